"""Convert real kernels' logs to the golden facts: ``python -m tests.truth.convert FOLDER``.

FOLDER holds one folder a boot, each with a ``serial.log``. The facts go to tests/golden/truth.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.truth import basic, bug, burst, probe, slabs
from tests.truth.facts import Collector, Fact, FactsError, Golden
from tests.truth.log import Step, steps_of_serial

READERS: dict[str, Callable[[Collector, Step], None]] = {
    "km1024": basic.collect_kmalloc,
    "vm1024": basic.collect_vmalloc,
    "probe": probe.collect,
    "burst": burst.collect,
    "bug": bug.collect,
}

SOURCES: dict[str, tuple[str, ...]] = {
    "plain": ("A.basic", "A.probe", "A.burst", "A.bug.uaf32", "A.bug.dblfree"),
    "debian": ("basic", "probe", "burst", "deb.bug.uaf32", "deb.bug.dblfree", "deb.bug.null"),
    "debug": ("deb.slubdbg.info", "deb.slubdbg.uaf32", "deb.slubdbg.oob32"),
}
"""Which boots stand for which configuration of kmem."""


def facts_of(config: str, steps: Sequence[Step]) -> dict[str, list[Fact]]:
    """Return the facts of each module that was loaded."""
    collectors: dict[str, Collector] = {}
    for step in steps:
        if step.module in READERS:
            out = collectors.setdefault(step.module, Collector(config, step.module))
            READERS[step.module](out, step)
    return {module: collector.facts for module, collector in collectors.items()}


def convert(folder: Path) -> list[Golden]:
    """Read all logs under *folder*."""
    goldens = []
    for config, names in SOURCES.items():
        logs = {name: steps_of_serial(_read(folder / name / "serial.log")) for name in names}
        all_steps = [step for steps in logs.values() for step in steps]
        for module, facts in facts_of(config, all_steps).items():
            used = tuple(name for name, steps in logs.items() if any(step.module == module for step in steps))
            goldens.append(Golden(f"{config}.{module}", config, module, used, tuple(facts)))
    return [*goldens, *slabs.convert(folder)]


def _read(path: Path) -> str:
    if not path.is_file():
        raise FactsError(f"no log at {path}")
    return path.read_text(errors="replace")


def main() -> None:
    """Write the golden files."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("folder", type=Path, help="one folder a boot, each with a serial.log")
    for golden in convert(parser.parse_args().folder):
        golden.path.parent.mkdir(parents=True, exist_ok=True)
        golden.path.write_text(golden.text())
        print(f"{golden.path.name}: {len(golden.facts)} facts")


if __name__ == "__main__":
    main()
