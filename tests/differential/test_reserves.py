"""How far each GFP mask may go into a small machine's memory, and the reports of failure: a real kernel and kmem.

tests/kmod/drain takes blocks with one mask until it is refused and prints what each zone has left. How much memory is
free at first differs between the two machines; where a mask is refused, relative to the zone's watermarks, must not.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import pytest

import kmem
from kmem.abi import gfp
from kmem.abi.gfp import GFP_ATOMIC, GFP_KERNEL, GFP_NOFS, GFP_NOIO, GFP_NOWAIT
from kmem.modules.kbuild import build
from tests.differential.boot import Load, boot
from tests.differential.image import VERSION, Unavailable
from tests.truth.modules import KMOD

pytestmark = [pytest.mark.needs_headers, pytest.mark.slow]

QUIET = gfp.__GFP_NOWARN | gfp.__GFP_NORETRY
PF_MEMALLOC = 2
MASKS = {
    "GFP_KERNEL|NORETRY": GFP_KERNEL | QUIET,
    "GFP_KERNEL|RETRY_MAYFAIL": GFP_KERNEL | gfp.__GFP_NOWARN | gfp.__GFP_RETRY_MAYFAIL,
    "GFP_KERNEL|NORETRY|HIGH": GFP_KERNEL | QUIET | gfp.__GFP_HIGH,
    "GFP_KERNEL|NORETRY|THISNODE": GFP_KERNEL | QUIET | gfp.__GFP_THISNODE,
    "GFP_KERNEL|NORETRY|NOMEMALLOC": GFP_KERNEL | QUIET | gfp.__GFP_NOMEMALLOC,
    "GFP_NOIO|NORETRY": GFP_NOIO | QUIET,
    "GFP_NOFS|NORETRY": GFP_NOFS | QUIET,
    "GFP_NOWAIT": GFP_NOWAIT | gfp.__GFP_NOWARN,
    "GFP_NOWAIT|NOMEMALLOC": GFP_NOWAIT | gfp.__GFP_NOWARN | gfp.__GFP_NOMEMALLOC,
    "GFP_ATOMIC": GFP_ATOMIC | gfp.__GFP_NOWARN,
    "GFP_ATOMIC|NOMEMALLOC": GFP_ATOMIC | gfp.__GFP_NOWARN | gfp.__GFP_NOMEMALLOC,
    "__GFP_HIGH": gfp.__GFP_HIGH | gfp.__GFP_NOWARN,
    "0": gfp.__GFP_NOWARN,
    "GFP_KERNEL|NORETRY|MEMALLOC": GFP_KERNEL | QUIET | gfp.__GFP_MEMALLOC,
    "GFP_NOWAIT|MEMALLOC": GFP_NOWAIT | gfp.__GFP_NOWARN | gfp.__GFP_MEMALLOC,
    "GFP_DMA|NORETRY": GFP_KERNEL | QUIET | gfp.__GFP_DMA,
    "GFP_DMA|ATOMIC": GFP_ATOMIC | gfp.__GFP_NOWARN | gfp.__GFP_DMA,
}
STEPS = [f"{mask:x}.0.0" for mask in MASKS.values()] + [f"{GFP_KERNEL | QUIET:x}.0.2"]
ORDERS = [
    f"{mask:x}.{order:x}.0"
    for order in (1, 3, 4)
    for mask in (GFP_KERNEL | QUIET, GFP_NOWAIT | gfp.__GFP_NOWARN, GFP_KERNEL | QUIET | gfp.__GFP_COMP)
]
BATCH = 64
"""As many pages at most go to a CPU's list at once."""

_STEP = re.compile(r"drain: step (\d+) mask (\w+) order (\d+) flags (\w+) took (\d+)")
_ZONE = re.compile(
    r"drain: then zone (\d) free (\d+) min (\d+) low \d+ high \d+ "
    r"reserve (\d+) (\d+) (\d+) boost (\d+) highatomic (\d+)"
)


@dataclass(frozen=True)
class Refused:
    """One zone when a step was refused."""

    step: int
    mask: int
    order: int
    flags: int
    zone: int
    free: int
    least: int
    reserve: tuple[int, int, int]
    boost: int
    highatomic: int

    @property
    def used(self) -> bool:
        """Whether the mask may use the zone."""
        return self.zone == 0 or not self.mask & gfp.__GFP_DMA

    def mark(self, boost: int) -> int:
        """Free pages above which an order-0 request of this mask is served from the zone (6.1)."""
        if self.mask & gfp.__GFP_MEMALLOC or self.flags & PF_MEMALLOC:
            return 0
        least = self.least + (0 if self.mask & gfp.__GFP_ATOMIC else boost)
        reserves = bool(self.mask & gfp.__GFP_HIGH)
        if reserves:
            least -= least // 2
        if not self.mask & (gfp.__GFP_DIRECT_RECLAIM | gfp.__GFP_NOMEMALLOC):
            least -= least // 4 if reserves else 0
            reserves = True
        return least + self.reserve[0 if self.mask & gfp.__GFP_DMA else 2] + (0 if reserves else self.highatomic)


def refusals(text: str) -> Iterator[Refused]:
    """What the module printed."""
    step = (0, 0, 0, 0)
    for line in text.splitlines():
        if found := _STEP.search(line):
            step = (int(found[1]), int(found[2], 16), int(found[3]), int(found[4], 16))
        elif found := _ZONE.search(line):
            zone, free, least, *reserve, boost, highatomic = (int(number) for number in found.groups())
            yield Refused(*step, zone, free, least, (reserve[0], reserve[1], reserve[2]), boost, highatomic)


@cache
def real(*steps: str) -> str:
    """The console of Debian's kernel with 96 MiB, one load for each of *steps*."""
    (path,) = build(KMOD / "drain", version=VERSION).modules
    return boot([Load(path, f"s={s}") for s in steps], machine=("-m", "96M"), loaded=(), timeout=200).console


@cache
def ours(*steps: str) -> str:
    """The log of kmem with as much."""
    (path,) = build(KMOD / "drain", version=VERSION).modules
    with kmem.boot(ram="96M") as k:
        for s in steps:
            k.insmod(path, s=s).rmmod()
        return k.dmesg()


def answers(*steps: str) -> dict[str, str]:
    """Both logs, or a skip."""
    try:
        return {"real": real(*steps), "kmem": ours(*steps)}
    except Unavailable as reason:
        pytest.skip(str(reason))


LOADS = tuple(",".join(STEPS[i : i + 3]) for i in range(0, len(STEPS), 3))
WARM = STEPS[0]
"""Of the first exhaustion nothing is compared: it mixes page blocks, for which the watermarks are boosted, and a real
kswapd takes the boost back at a moment of its own.
"""


@pytest.mark.parametrize("who", ["real", "kmem"])
def test_each_mask_is_refused_where_the_watermarks_say(who: str) -> None:
    text = answers(WARM, *LOADS)[who]
    found = [one for one in refusals(text[text.index("drain: end") :]) if one.used]
    assert len(found) == 2 * len(STEPS) - sum(1 for mask in MASKS.values() if mask & gfp.__GFP_DMA)
    for one in found:
        most, least = one.mark(one.boost), one.mark(0)
        assert least - BATCH < one.free <= most + BATCH // 8, one


@pytest.mark.parametrize("who", ["real", "kmem"])
def test_large_blocks_are_refused_while_single_pages_are_left(who: str) -> None:
    """Nothing goes below the watermark of the mask, and no block of the order is left above it."""
    for one in refusals(answers(*LOADS, ",".join(ORDERS))[who]):
        if one.order:
            assert one.free > one.mark(0) - (2 << one.order) - BATCH, one


def normal(lines: list[str]) -> list[str]:
    """Report lines without what differs from moment to moment: numbers, types of free lists, kswapd's despair."""
    shown = []
    for line in lines:
        line = re.sub(r"^\[ *\d+\.\d+\] ?", "", line.rstrip())
        line = re.sub(r" \([UMEH]+\)|all_unreclaimable\? \w+", "", line)
        line = re.sub(r"\d+", "#", line)
        shown.append(re.sub(r" {2,}", "  ", line))
    return shown


def report(text: str, first: str, last: str) -> list[str]:
    """The lines of a report without its call trace, each slab only as such."""
    lines = normal(text.splitlines())
    start = next(i for i, line in enumerate(lines) if first in line)
    end = next(i for i in range(start, len(lines)) if lines[i].startswith(last))
    trace = next(i for i in range(start, end) if lines[i].startswith("Mem-Info"))
    kept = [lines[start], *lines[trace : end + 1]]
    return list(dict.fromkeys("SLAB" if re.fullmatch(r"[\w#-]+ +#KB +#KB", line) else line for line in kept))


def test_the_failure_report_has_the_kernel_s_form() -> None:
    both = answers(f"{GFP_KERNEL | gfp.__GFP_NORETRY:x}.0.0")
    first, last = "page allocation failure", "# pages hwpoisoned"
    assert report(both["kmem"], first, last) == report(both["real"], first, last)


def test_the_oom_killer_s_report_has_the_kernel_s_form() -> None:
    both = answers(f"{GFP_KERNEL:x}.0.0")
    first, last = "invoked oom-killer", "Out of memory: Killed process"
    assert report(both["kmem"], first, last) == report(both["real"], first, last)


def test_a_killed_insmod_gets_half_of_the_reserve_and_then_null() -> None:
    for who, text in answers(f"{GFP_KERNEL:x}.0.0").items():
        for one in refusals(text):
            mark = one.least - one.least // 2 + one.reserve[2]
            assert mark - BATCH < one.free <= mark + one.boost // 2 + BATCH // 8, (who, one)
        assert text.index("Out of memory: Killed process") < text.index("insmod: page allocation failure: order:0"), who
