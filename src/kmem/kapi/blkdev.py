"""Block device numbers (block/genhd.c), 6.1."""

from __future__ import annotations

from kmem.abi.gfp import __GFP_ZERO, GFP_KERNEL
from kmem.kapi import registry
from kmem.kapi.errno import EBUSY, EINVAL, ENOMEM
from kmem.kapi.export import export, simplified
from kmem.kapi.fields import text
from kmem.kapi.host import Host

MAJORS, HASHED = 512, 255
BUILT_IN = frozenset((8, 65, 66, 67, 68, 69, 70, 71, 128, 129, 130, 131, 132, 133, 134, 135, 259))
"""The majors of disks and of the extended numbers."""
_KIND = "blkdev"
_NO_DISK = simplified("the number is taken; no disk appears")


def _taken(k: Host) -> dict[int, int]:
    """Entries {major, name} by major."""
    return {k.mem.u32(entry): entry for entry in registry.things(k, _KIND)}


@export(_NO_DISK)
def __register_blkdev(k: Host, major: int, name: int, probe: int) -> int:
    """``int __register_blkdev(unsigned int major, const char *name, void *probe)``

    block/genhd.c, 6.1. The major, if it was to be chosen; -EBUSY for one that is taken.
    """
    taken, wanted = _taken(k), major
    if not major:
        major = next((free for free in range(HASHED - 1, 0, -1) if free not in taken and free not in BUILT_IN), 0)
        if not major:
            return -EBUSY
    if major >= MAJORS:
        return -EINVAL
    if major in taken or major in BUILT_IN:
        return -EBUSY
    label = text(k, name)[:15] + b"\0"
    entry = k.mm.kmalloc(24, GFP_KERNEL | __GFP_ZERO, -1, k.address_of("__register_blkdev"))
    if not entry or not registry.add(k, _KIND, entry):
        return -ENOMEM
    k.mem.set_u32(entry, major)
    k.mem.write(entry + 4, label)
    return 0 if wanted else major


@export(_NO_DISK)
def unregister_blkdev(k: Host, major: int, name: int) -> None:
    """``void unregister_blkdev(unsigned int major, const char *name)``

    block/genhd.c, 6.1. Warns about one that is not registered.
    """
    entry = _taken(k).get(major)
    if not entry or k.mem.cstr(entry + 4) != text(k, name)[:15]:
        k.warn("block/genhd.c", 306, "unregister_blkdev")
        return
    registry.remove(k, _KIND, entry)
    k.mm.kfree(entry)
