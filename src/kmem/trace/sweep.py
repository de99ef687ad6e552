"""What if: traces replayed under every combination of settings, on all processors of one machine or of a Dask cluster.

``python -m kmem.trace.sweep`` does one replay, as JSON on its standard input says: a process of its own for what cannot
share one.
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from kmem.abi.release import PAGEBLOCK_ORDER
from kmem.errors import KmemError, UsageError

Settings = tuple[tuple[str, Any], ...]
Work = tuple[str, Settings, str]
"""A trace's address, settings, the release."""
FRAGMENTED_ORDER = 3


@dataclass(frozen=True)
class Outcome:
    """One trace under one configuration: pages of slabs (and of what is mapped instead) at the end and at most, bytes
    that live objects asked for, what of the pages is not that, slabs made and given back, the share of free memory that
    is no use for order 3, failed allocations.
    """

    file: str
    settings: Settings
    release: str
    pages: int
    peak_pages: int
    live_bytes: int
    waste: float
    slabs_made: int
    slabs_freed: int
    unusable: float
    failures: int

    def json(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self) | {"settings": dict(self.settings)}

    @classmethod
    def of(cls, value: dict[str, Any]) -> Outcome:
        """Of plain data."""
        return cls(**{**value, "settings": tuple(value["settings"].items())})

    @property
    def work(self) -> Work:
        """What it is the outcome of."""
        return self.file, self.settings, self.release


def combinations(settings: Sequence[tuple[str, Sequence[Any]]]) -> list[Settings]:
    """Every combination of the values of *settings*."""
    names = [name for name, _ in settings]
    return [tuple(zip(names, values, strict=True)) for values in itertools.product(*(values for _, values in settings))]


@contextmanager
def local(address: str) -> Iterator[Path]:
    """Where the trace at *address* is: a path, or anything that fsspec knows, which is copied while it is used."""
    if "://" not in address:
        yield Path(address)
        return
    try:
        import fsspec
    except ImportError:
        raise UsageError(f"{address}: addresses need fsspec", remedy="pip install 'kmem[dask]'") from None
    with TemporaryDirectory() as place:
        try:
            system, path = fsspec.core.url_to_fs(address)
            target = Path(place) / Path(path).name
            system.get(path, str(target), recursive=True)
        except (OSError, ValueError, ImportError) as error:
            raise UsageError(f"{address}: {error}", remedy="Give the address of a trace.") from None
        yield target


def outcome(file: str, settings: Settings, release: str) -> Outcome:
    """Replay *file* with *settings*, in this process."""
    from kmem.mm.vm_events import EV_SLAB_DISCARD, EV_SLAB_NEW
    from kmem.trace.open import open_trace
    from kmem.trace.replay import Replay
    from kmem.trace.result import Options, unusable

    with local(file) as path:
        player = Replay(open_trace(path), Options.of(dict(settings), release))
        result = player.run()
    work = player.kernel.mm.view.kdata.vm_events
    pages = sum(c.pages for c in result.caches) + result.counts["mapped_pages"]
    live = sum(c.bytes for c in result.caches)
    free = [sum(orders) for orders in zip(*result.free_after.values(), strict=False)]
    return Outcome(
        file,
        settings,
        release,
        pages,
        max([pages, *(sample.slab_pages for sample in result.samples)]),
        live,
        1 - live / (pages * 4096) if pages else 0.0,
        int(work[EV_SLAB_NEW]) - result.counts["slabs_made_before"],
        int(work[EV_SLAB_DISCARD]) - result.counts["slabs_freed_before"],
        unusable(free, FRAGMENTED_ORDER),
        sum(c.failed for c in result.caches) + result.counts["page_failures"],
    )


def outcome_alone(file: str, settings: Settings, release: str) -> Outcome:
    """As :func:`outcome`, in a process of its own: the order of page blocks is one of compiled code, and a worker of a
    cluster has to answer while it works.
    """
    env = dict(os.environ)
    order = dict(settings).get("pageblock_order")
    if order is not None:
        env[PAGEBLOCK_ORDER] = str(order)
    asked = json.dumps({"file": file, "settings": settings, "release": release})
    command = [sys.executable, "-m", "kmem.trace.sweep"]
    done = subprocess.run(command, input=asked, env=env, text=True, capture_output=True, check=False)
    try:
        answer = json.loads(done.stdout.rpartition("\n")[2])
    except ValueError:
        raise UsageError(
            f"{file}: the replay ended with status {done.returncode}: {done.stderr.strip()[-500:]}",
            remedy="Replay it with kmem replay, with the same --set.",
        ) from None
    if "error" in answer:
        raise UsageError(answer["error"], remedy=answer["remedy"])
    return Outcome.of(answer)


def _one(work: Work) -> Outcome | tuple[str, str]:
    """One replay in a worker of a pool; what is wrong and its remedy, if it cannot be."""
    try:
        return outcome_alone(*work) if "pageblock_order" in dict(work[1]) else outcome(*work)
    except KmemError as error:
        return str(error), error.remedy


def run_here(work: Sequence[Work], jobs: int) -> Iterator[Outcome]:
    """All of *work* in as many processes as there are processors, or *jobs*."""
    with ProcessPoolExecutor(min(jobs or os.cpu_count() or 1, len(work)), get_context("spawn")) as pool:
        for done in as_completed([pool.submit(_one, one) for one in work]):
            found = done.result()
            if not isinstance(found, Outcome):
                raise UsageError(found[0], remedy=found[1])
            yield found


def run_on_cluster(work: Sequence[Work], scheduler: str) -> Iterator[Outcome]:
    """All of *work* on the Dask cluster of *scheduler*, of which every worker has kmem and can read the traces."""
    try:
        import distributed as _distributed
    except ImportError:
        raise UsageError("--dask needs distributed", remedy="pip install 'kmem[dask]'") from None
    distributed: Any = _distributed
    try:
        client = distributed.Client(scheduler, timeout=20)
    except (OSError, ValueError) as error:
        raise UsageError(
            f"{scheduler}: {error}", remedy="Give the address of a scheduler, as tcp://host:8786."
        ) from None
    with client:
        for done in distributed.as_completed([client.submit(outcome_alone, *one, pure=False) for one in work]):
            yield done.result()


def main() -> None:
    """One replay: what the standard input says."""
    asked = json.load(sys.stdin)
    settings = tuple((str(name), value) for name, value in asked["settings"])
    try:
        answer = outcome(asked["file"], settings, asked["release"]).json()
    except KmemError as error:
        answer = {"error": str(error), "remedy": error.remedy}
    print("\n" + json.dumps(answer), end="")


def sweep(
    work: Sequence[Work],
    done: Sequence[Outcome],
    run: Callable[[Sequence[Work]], Iterator[Outcome]],
    finished: Callable[[list[Outcome]], None],
) -> list[Outcome]:
    """*work* by *run*, but for what is *done* already; those with the fewest pages first. *finished* is told after each
    what there is.
    """
    wanted = set(work)
    found = [outcome for outcome in done if outcome.work in wanted]
    known = {outcome.work for outcome in found}
    rest = [one for one in work if one not in known]
    finished(found)
    for one in run(rest) if rest else ():
        found.append(one)
        finished(found)
    return sorted(found, key=lambda o: (o.failures > 0, o.file, o.pages, o.peak_pages, str(o.settings)))


if __name__ == "__main__":
    main()
