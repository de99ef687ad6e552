"""What if: a trace of the kernel as it boots, replayed with slub_max_order=0, against the kernel booted with it."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from kmem.trace.open import open_trace
from kmem.trace.replay import replay
from kmem.trace.result import Options, Result, accuracy
from kmem.trace.state import parse_slabinfo
from tests.differential.boot import Boot, boot
from tests.differential.image import Unavailable

pytestmark = pytest.mark.slow

EVENTS = "kmalloc kfree kmem_cache_alloc kmem_cache_free kmalloc_node kmem_cache_alloc_node mm_page_alloc mm_page_free"
FILES = (
    *("slab_size", "objs_per_slab", "order", "slabs", "objects", "object_size", "partial", "objects_partial"),
    *("cpu_slabs", "slabs_cpu_partial", "min_partial", "reclaim_account"),
)
RECORD = """
mount -t tracefs none /sys/kernel/tracing
cd /sys/kernel/tracing
echo 0 > tracing_on
echo 16384 > buffer_size_kb
state() {
    mkdir -p /out/trace/$1
    for f in slabinfo buddyinfo zoneinfo meminfo vmstat; do cat /proc/$f > /out/trace/$1/$f; done
    cd /sys/kernel/slab
    grep -H . FILES > /out/trace/$1/sysfs
    ls -l /sys/kernel/slab > /out/trace/$1/links
    cd /sys/kernel/tracing
}
for e in EVENTS; do [ -d events/kmem/$e ] && echo 1 > events/kmem/$e/enable; done
state before
echo 1 > tracing_on
mkdir /many
i=0
while [ $i -lt 600 ]; do echo $i > /many/$i; i=$((i+1)); done
i=0
while [ $i -lt 200 ]; do sleep 1000 & i=$((i+1)); done
find /proc/sys /sys/devices > /dev/null 2>&1
i=0
while [ $i -lt 300 ]; do rm /many/$i; i=$((i+1)); done
echo 0 > tracing_on
state after
cat trace > /out/trace/trace.txt
cd /
""".replace("FILES", " ".join(f"*/{name}" for name in FILES)).replace("EVENTS", EVENTS)


@cache
def real(append: str) -> Boot:
    """What the real kernel did; skips where none can be booted."""
    try:
        return boot([], append=append, script=RECORD, timeout=300)
    except Unavailable as reason:
        pytest.skip(str(reason))


def sysfs(text: str, links: str) -> str:
    """What grep and ls said of /sys/kernel/slab, as recordings keep it."""
    caches: dict[str, dict[str, str]] = {}
    for line in text.splitlines():
        name, _, rest = line.partition("/")
        file, _, value = rest.partition(":")
        caches.setdefault(name, {})[file] = value
    to = dict(line.rsplit(None, 3)[1:4:2] for line in links.splitlines() if " -> " in line)
    return json.dumps({"caches": caches, "links": {name: to.get(name, name) for name in caches}})


@pytest.fixture(scope="module")
def usual(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The trace of the kernel as it boots, with its files."""
    files = real("").files
    where = tmp_path_factory.mktemp("trace")
    (where / "trace.txt").write_text(files["trace/trace.txt"])
    for when in ("before", "after"):
        (where / when).mkdir()
        for name in ("slabinfo", "buddyinfo", "zoneinfo", "meminfo", "vmstat"):
            (where / when / name).write_text(files[f"trace/{when}/{name}"])
        kept = sysfs(files[f"trace/{when}/sysfs"], files[f"trace/{when}/links"])
        (where / f"sysslab.{when}.json").write_text(kept)
    return where


def played(where: Path, **chosen: int) -> Result:
    return replay(open_trace(where / "trace.txt"), Options.of(chosen, "6.1"))


def growth(boot: Boot) -> dict[str, int]:
    """Pages that each cache's slabs took while the trace was recorded."""
    before, after = (parse_slabinfo(boot.files[f"trace/{when}/slabinfo"]) for when in ("before", "after"))
    return {name: c.pages - before[name].pages for name, c in after.items() if name in before}


def test_the_replay_ends_where_the_kernel_ended(usual: Path, record_property: Callable[[str, object], None]) -> None:
    found = accuracy(played(usual))
    assert found is not None
    told = f"a trace of it, replayed: slabs off by {found.error:,} of {found.change:,} ({found.share:.1%})"
    record_property("differential", f"{told}, {found.close} of {found.caches} caches within 2 or 10 %")
    assert found.close >= 0.95 * found.caches
    assert found.share <= 0.1


def test_smaller_slabs_cost_what_they_cost_the_kernel(
    usual: Path, record_property: Callable[[str, object], None]
) -> None:
    slabinfo = parse_slabinfo(real("slub_max_order=0").files["trace/after/slabinfo"])
    large, small = played(usual), played(usual, slub_max_order=0)
    known = [c for c in small.caches if c.name in slabinfo]
    assert {c.name: c.order for c in known} == {c.name: slabinfo[c.name].order for c in known}
    theirs_large, theirs_small = growth(real("")), growth(real("slub_max_order=0"))
    ours_large, ours_small = (
        {c.name: c.slabs - c.slabs_before << c.order for c in result.caches if c.name in slabinfo}
        for result in (large, small)
    )
    change = sum(ours_small.values()) - sum(ours_large.values())
    real_change = sum(theirs_small[n] - theirs_large[n] for n in ours_small)
    record_property(
        "differential",
        f"slub_max_order=0: {real_change:+,} pages of slabs beside {sum(theirs_large.values()):,}; replay {change:+,}",
    )
    assert change * real_change > 0
    assert abs(change - real_change) <= 0.25 * abs(real_change)
