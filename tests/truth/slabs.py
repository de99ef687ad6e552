"""Facts of slab caches: the attributes of /sys/kernel/slab and the geometry in /proc/slabinfo, cache by cache.

Of sysfs a fact is every attribute that does not depend on what was allocated. kmem is asked by making a cache of the
same object size, alignment, flags, constructor and usercopy region (caches that exist since boot are read as they are)
and reading its attributes. Of slabinfo a fact is the size of an object with all that belongs to it, how many are in a
slab, and the pages of a slab; kmem is asked by making a cache of that size.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import kmem
from kmem.abi.slab_flags import (
    SLAB_ACCOUNT,
    SLAB_CACHE_DMA,
    SLAB_HWCACHE_ALIGN,
    SLAB_RECLAIM_ACCOUNT,
    SLAB_TYPESAFE_BY_RCU,
)
from kmem.mm.slub_sysfs import sysfs
from tests.truth.facts import Collector, Fact, Golden, Value

SOME_FUNCTION = 0xFFFFFFFF81000000
ATTRIBUTES = (
    *("align", "cache_dma", "cpu_partial", "destroy_by_rcu", "hwcache_align", "min_partial", "object_size"),
    *("objs_per_slab", "order", "poison", "reclaim_account", "red_zone", "remote_node_defrag_ratio", "sanity_checks"),
    *("slab_size", "store_user", "trace", "usersize"),
)
FLAGS = {
    "cache_dma": SLAB_CACHE_DMA,
    "destroy_by_rcu": SLAB_TYPESAFE_BY_RCU,
    "hwcache_align": SLAB_HWCACHE_ALIGN,
    "reclaim_account": SLAB_RECLAIM_ACCOUNT,
}
SINCE_BOOT = ("kmalloc", "dma-kmalloc", "kmem_cache", "vmap_area")
SYSFS = {"debian": "boot0/slab.json"}
SLABINFO = {"debian": "boot0/snap/after/slabinfo", "plain": "A.probe/snap/after/slabinfo"}
COLUMNS = ("objsize", "objperslab", "pagesperslab")


def convert(folder: Path) -> Iterator[Golden]:
    """Read what the real kernels' /sys and /proc said."""
    for config, file in SYSFS.items():
        facts = facts_of_sysfs(config, json.loads((folder / file).read_text()))
        yield Golden(f"{config}.sysfs", config, "sysfs", (file,), tuple(facts))
    for config, file in SLABINFO.items():
        facts = facts_of_slabinfo(config, (folder / file).read_text())
        yield Golden(f"{config}.slabinfo", config, "slabinfo", (file,), tuple(facts))


def facts_of_sysfs(config: str, caches: dict[str, dict[str, str]]) -> list[Fact]:
    """The facts of /sys/kernel/slab: by cache, what each attribute says."""
    out = Collector(config, "sysfs")
    for name, values in sorted(caches.items()):
        if "alias_of" in values:
            continue
        out.add(f"cache {name}", "ctor", "yes" if values["ctor"].strip() else "no")
        for attribute in ATTRIBUTES:
            out.add(f"cache {name}", attribute, int(values[attribute]))
    return out.facts


def facts_of_slabinfo(config: str, text: str) -> list[Fact]:
    """The facts of /proc/slabinfo."""
    out = Collector(config, "slabinfo")
    for line in sorted(text.splitlines()[2:]):
        name, _, _, *sizes = line.split()[:6]
        for column, value in zip(COLUMNS, sizes, strict=True):
            out.add(f"cache {name}", column, int(value))
    return out.facts


def ask(golden: Golden) -> list[Fact]:
    """What kmem says about the same caches."""
    out = Collector(golden.config, golden.module)
    steps: dict[str, dict[str, Value]] = {}
    for fact in golden.facts:
        steps.setdefault(fact.step, {})[fact.key] = fact.value
    with kmem.boot(config=golden.config, slab_nomerge=True) as k:
        k.snapshot()
        for step, values in steps.items():
            k.rollback()
            (_sysfs if golden.module == "sysfs" else _slabinfo)(k, out, step, values)
    return out.facts


def _existing(k: kmem.Kernel, name: str) -> int:
    found = [s for s in k.mm.view.caches() if k.mm.view.cache_name(s) == name]
    return found[0]._addr & (1 << 64) - 1 if found and name.startswith(SINCE_BOOT) else 0


def _sysfs(k: kmem.Kernel, out: Collector, step: str, values: dict[str, Value]) -> None:
    name = step.removeprefix("cache ")
    flags = sum(flag for attribute, flag in FLAGS.items() if values[attribute])
    flags |= SLAB_ACCOUNT if name.startswith(":") and "A" in name.split("-")[0] else 0
    ctor = SOME_FUNCTION if values["ctor"] == "yes" else 0
    size, align, region = int(values["object_size"]), int(values["align"]), int(values["usersize"])
    at = _existing(k, name) or k.mm.kmem_cache_create("asked", size, align, flags, ctor, 0, region)
    out.add(step, "ctor", "yes" if sysfs(k.mm, at, "ctor") else "no")
    for attribute in ATTRIBUTES:
        out.add(step, attribute, int(sysfs(k.mm, at, attribute)))


def _slabinfo(k: kmem.Kernel, out: Collector, step: str, values: dict[str, Value]) -> None:
    name = step.removeprefix("cache ")
    if not _existing(k, name):
        k.mm.kmem_cache_create("asked", int(values["objsize"]), 8)
        name = "asked"
    line = next(line for line in k.proc("slabinfo").splitlines() if line.split()[0] == name)
    for column, value in zip(COLUMNS, line.split()[3:6], strict=True):
        out.add(step, column, int(value))
