"""Object layout and slab order of every cache of a real kernel, in six slub_debug modes: no difference is allowed.

tests/golden/slub_geometry.tsv has what sysfs of a 6.1.176 said. The flags are those that sysfs shows for the cache.
Whether a cache has a constructor sysfs does not show; the column is the only value with which all six modes agree, and
it names just the inode caches, radix_tree_node and iint_cache, which do have one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import kmem
from kmem.mm.mm_types import kmem_cache

VECTORS = Path(__file__).parents[1] / "golden" / "slub_geometry.tsv"
SOME_FUNCTION = 0xFFFFFFFF81000000
SYSFS_FLAGS = {
    "red_zone": 0x400,
    "poison": 0x800,
    "store_user": 0x10000,
    "sanity_checks": 0x100,
    "reclaim_account": 0x20000,
    "hwcache_align": 0x2000,
    "destroy_by_rcu": 0x80000,
}


def vectors() -> list[tuple[str, str, list[int]]]:
    rows = [line.split("\t") for line in VECTORS.read_text().splitlines()[2:]]
    return [(mode, name, [int(value, 0) for value in values]) for mode, name, *values in rows]


@pytest.fixture(scope="module")
def kernel() -> Iterator[kmem.Kernel]:
    """One CPU as in user-mode-linux, which makes 8 objects a slab the least."""
    with kmem.boot(config="plain", cpus=1, slab_nomerge=True, slub_min_objects=8) as k:
        k.snapshot()
        yield k


@pytest.mark.parametrize("mode", ["none", "F", "Z", "P", "FZ", "FZP"])
def test_every_cache_has_the_geometry_of_the_real_one(kernel: kmem.Kernel, mode: str) -> None:
    wrong = []
    of_mode = [(name, values) for where, name, values in vectors() if where == mode]
    assert len(of_mode) == 229
    for name, (object_size, align, flags, ctor, *expected) in of_mode:
        kernel.rollback()
        address = kernel.mm.kmem_cache_create(name, object_size, align, flags, SOME_FUNCTION * ctor)
        s = kernel.mm.view.ptr(kmem_cache, address)
        found = [s.size, s.oo.x & 0xFFFF, s.oo.x >> 16, s.min_partial]
        if found != expected or s.align != align:
            wrong.append((name, expected, found))
    assert wrong == []


@pytest.mark.needs_shared
def test_the_vectors_are_what_sysfs_said(shared: Path) -> None:
    found = set()
    for file in sorted((shared / "slub_oracle").glob("*.txt")):
        mode = file.stem.rsplit("-", 1)[1]
        for name, text in re.findall(r"^@@ (?!HDR)(\S+) (.*)$", file.read_text(), re.M):
            value = {key: int(number) for key, number in re.findall(r"(\w+)=(\d+)", text)}
            if not value:
                continue
            flags = sum(flag for key, flag in SYSFS_FLAGS.items() if value[key])
            found.add(
                (
                    mode,
                    name,
                    value["object_size"],
                    value["align"],
                    flags,
                    *tuple(value[key] for key in ("slab_size", "objs_per_slab", "order", "min_partial")),
                )
            )
    carried = {(mode, name, size, align, flags, *rest) for mode, name, (size, align, flags, _, *rest) in vectors()}
    assert found == carried
