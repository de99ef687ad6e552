"""Records golden facts of errors from the real kernel, booted here: ``python -m tests.differential.record``."""

from __future__ import annotations

from tests.differential.real import facts_of_real_kernel
from tests.truth.facts import Fact, Golden

MODES = {
    "debian": (
        *("mode=oob size=32", "mode=gpf", "mode=roread", "mode=rowrite", "mode=guard", "mode=exec"),
        *("mode=bug", "mode=warn", "mode=stack"),
    ),
    "debug": ("mode=dblfree size=32",),
}
"""The errors of tests/kmod/bug that are recorded, by configuration."""


def main() -> None:
    """Boot, ask, and write the golden files."""
    for config, modes in MODES.items():
        asked = tuple(Fact(config, "bug", mode, "", "") for mode in modes)
        name = f"{config}.bug.recorded"
        facts = facts_of_real_kernel(Golden(name, config, "bug", (), asked))
        golden = Golden(name, config, "bug", ("tests/differential/record.py",), tuple(facts))
        golden.path.write_text(golden.text())
        print(f"{golden.path.name}: {len(facts)} facts")


if __name__ == "__main__":
    main()
