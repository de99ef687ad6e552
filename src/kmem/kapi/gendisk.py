"""Disks and their queues (block/genhd.c, blk-mq.c, blk-settings.c), 6.1: registered; nothing reads or writes one.

``struct gendisk``, its ``request_queue`` and the ``block_device`` of the whole disk are the kernel's structs, with the
members that drivers' code sets and reads. What the kernel allocates for requests is not there.
"""

from __future__ import annotations

from kmem.abi.gfp import __GFP_ZERO, GFP_KERNEL
from kmem.kapi import registry
from kmem.kapi.devicecore import device_add, device_del, device_initialize, put_device, set_name_text
from kmem.kapi.errno import EINVAL, ENOMEM, err_ptr
from kmem.kapi.export import data, export, simplified
from kmem.kapi.fields import at, get, put, text
from kmem.kapi.host import Call, Guest, Host, s32
from kmem.kapi.lists import init_list_head
from kmem.kapi.registry import accepts

NO_REQUESTS = simplified("the disk is known; no request is ever made")
BLK_MQ_MAX_DEPTH, HCTX_MAX_TYPES = 10240, 3
GD_OWNS_QUEUE, GD_ADDED = 7, 4
SECTOR = 512
EXTENDED = 259
"""The major of disks that have no numbers of their own."""

data(
    "block_class",
    128,
    lambda k: k.address_of("kmem_block_class_name").to_bytes(8, "little"),
    doc="The class of disks, block/genhd.c.",
    private=True,
)
data("kmem_block_class_name", 8, b"block\0", doc="What the class is called. The model's own.", private=True)
data("kmem_disk_numbers", 8, doc="How many disks had no numbers of their own. The model's own.", private=True)


@export(simplified("the map of queues and the list are made, no request is"))
def blk_mq_alloc_tag_set(k: Host, set: int) -> int:
    """``int blk_mq_alloc_tag_set(struct blk_mq_tag_set *set)``

    block/blk-mq.c, 6.1. -EINVAL for a set without queues, depth or a function that takes requests; -ENOMEM.
    """
    queues, depth = (get(k, "blk_mq_tag_set", set, name) for name in ("nr_hw_queues", "queue_depth"))
    ops = get(k, "blk_mq_tag_set", set, "ops")
    budget = k.layout["blk_mq_ops"]
    if not queues or depth < get(k, "blk_mq_tag_set", set, "reserved_tags") + 1:
        return -EINVAL
    if not k.mem.u64(ops + budget.offset("queue_rq")):
        return -EINVAL
    if bool(k.mem.u64(ops + budget.offset("get_budget"))) != bool(k.mem.u64(ops + budget.offset("put_budget"))):
        return -EINVAL
    if depth > BLK_MQ_MAX_DEPTH:
        k.log.printk(f"\x016blk-mq: reduced tag depth to {BLK_MQ_MAX_DEPTH}\n")
        put(k, "blk_mq_tag_set", set, "queue_depth", BLK_MQ_MAX_DEPTH)
    maps = get(k, "blk_mq_tag_set", set, "nr_maps") or 1
    if maps > HCTX_MAX_TYPES:
        return -EINVAL
    put(k, "blk_mq_tag_set", set, "nr_maps", maps)
    if maps == 1 and queues > k.nr_cpus:
        queues = k.nr_cpus
        put(k, "blk_mq_tag_set", set, "nr_hw_queues", queues)
    for place in _maps(k, set):
        table = k.mm.kmalloc(4 * k.nr_cpus, GFP_KERNEL | __GFP_ZERO, -1, k.caller)
        if not table:
            blk_mq_free_tag_set(k, set)
            return -ENOMEM
        put(k, "blk_mq_queue_map", place, "mq_map", table)
        put(k, "blk_mq_queue_map", place, "nr_queues", queues)
    for cpu in range(k.nr_cpus):
        for place in _maps(k, set):
            k.mem.set_u32(get(k, "blk_mq_queue_map", place, "mq_map") + 4 * cpu, cpu % queues)
    init_list_head(k, at(k, "blk_mq_tag_set", set, "tag_list"))
    init_list_head(k, at(k, "blk_mq_tag_set", set, "tag_list_lock") + k.layout["mutex"].offset("wait_list"))
    return 0


def _maps(k: Host, set: int) -> list[int]:
    size, first = k.layout["blk_mq_queue_map"].size, at(k, "blk_mq_tag_set", set, "map")
    return [first + size * number for number in range(get(k, "blk_mq_tag_set", set, "nr_maps"))]


@export(NO_REQUESTS)
def blk_mq_free_tag_set(k: Host, set: int) -> None:
    """``void blk_mq_free_tag_set(struct blk_mq_tag_set *set)``

    block/blk-mq.c, 6.1.
    """
    for place in _maps(k, set):
        k.mm.kfree(get(k, "blk_mq_queue_map", place, "mq_map"))
        put(k, "blk_mq_queue_map", place, "mq_map", 0)


def _queue(k: Host, tags: int, queuedata: int) -> int:
    """A ``struct request_queue``; 0 without memory."""
    queue = k.mm.kmalloc(k.layout["request_queue"].size, GFP_KERNEL | __GFP_ZERO, -1, k.caller)
    if queue:
        put(k, "request_queue", queue, "queuedata", queuedata)
        put(k, "request_queue", queue, "tag_set", tags)
        for member in ("requeue_list", "icq_list", "unused_hctx_list"):
            if member in k.layout["request_queue"].members:
                init_list_head(k, at(k, "request_queue", queue, member))
        for member in ("sysfs_lock", "sysfs_dir_lock", "mq_freeze_lock"):
            if member in k.layout["request_queue"].members:
                lock = at(k, "request_queue", queue, member)
                init_list_head(k, lock + k.layout["mutex"].offset("wait_list"))
        limits = at(k, "request_queue", queue, "limits")
        for name, value in (
            ("max_sectors", 255),
            ("max_hw_sectors", 255),
            ("max_segments", 128),
            ("max_segment_size", 65536),
            ("seg_boundary_mask", (1 << 32) - 1),
            ("logical_block_size", SECTOR),
            ("physical_block_size", SECTOR),
            ("io_min", SECTOR),
            ("dma_alignment", SECTOR - 1),
        ):
            if name in k.layout["queue_limits"].members:
                put(k, "queue_limits", limits, name, value)
    return queue


def _disk(k: Host, queue: int) -> int:
    disk = k.mm.kmalloc(k.layout["gendisk"].size, GFP_KERNEL | __GFP_ZERO, -1, k.caller)
    part = k.mm.kmalloc(k.layout["block_device"].size, GFP_KERNEL | __GFP_ZERO, -1, k.caller) if disk else 0
    if not part:
        k.mm.kfree(disk)
        return 0
    put(k, "gendisk", disk, "queue", queue)
    put(k, "gendisk", disk, "part0", part)
    put(k, "gendisk", disk, "node_id", -1)
    put(k, "block_device", part, "bd_disk", disk)
    put(k, "block_device", part, "bd_queue", queue)
    init_list_head(k, at(k, "gendisk", disk, "open_mutex") + k.layout["mutex"].offset("wait_list"))
    if "slave_bdevs" in k.layout["gendisk"].members:
        init_list_head(k, at(k, "gendisk", disk, "slave_bdevs"))
    device = disk_to_dev(k, disk)
    put(k, "device", device, "class", k.address_of("block_class"))
    put(k, "device", device, "release", k.address_of("disk_release"))
    device_initialize(k, device)
    if "disk" in k.layout["request_queue"].members:
        put(k, "request_queue", queue, "disk", disk)
    put(k, "gendisk", disk, "state", 1 << GD_OWNS_QUEUE)
    return disk


def disk_to_dev(k: Host, disk: int) -> int:
    """``disk_to_dev()``: the device inside the ``block_device`` of the whole disk."""
    return at(k, "block_device", get(k, "gendisk", disk, "part0"), "bd_device")


@export(NO_REQUESTS, private=True)
def disk_release(k: Host, dev: int) -> Guest:
    """``void disk_release(struct device *dev)``

    block/genhd.c, 6.1. The last reference to a disk is gone.
    """
    part = dev - k.layout["block_device"].offset("bd_device")
    disk = get(k, "block_device", part, "bd_disk")
    free = get(k, "gendisk", disk, "fops")
    free = k.mem.u64(free + k.layout["block_device_operations"].offset("free_disk")) if free else 0
    if free and get(k, "gendisk", disk, "state") >> GD_ADDED & 1:
        yield Call(free, (disk,))
    k.mm.kfree(get(k, "gendisk", disk, "queue"))
    k.mm.kfree(disk)
    k.mm.kfree(part)
    return 0


def _alloc(k: Host, tags: int, queuedata: int) -> int:
    queue = _queue(k, tags, queuedata)
    disk = _disk(k, queue) if queue else 0
    if not disk:
        k.mm.kfree(queue)
    return disk


@export(NO_REQUESTS)
def __blk_alloc_disk(k: Host, node: int, lkclass: int) -> int:
    """``struct gendisk *__blk_alloc_disk(int node, struct lock_class_key *lkclass)``

    block/genhd.c, 6.1. NULL without memory.
    """
    return _alloc(k, 0, 0)


@export(NO_REQUESTS)
def __blk_mq_alloc_disk(k: Host, set: int, queuedata: int, lkclass: int) -> int:
    """``struct gendisk *__blk_mq_alloc_disk(struct blk_mq_tag_set *set, void *queuedata, struct lock_class_key
    *lkclass)``

    block/blk-mq.c, 6.1. An error pointer of -ENOMEM. Where limits are given at once, they stand before *queuedata*.
    """
    if "limits_lock" in k.layout["request_queue"].members:
        queuedata = lkclass
    return _alloc(k, set, queuedata) or err_ptr(-ENOMEM)


@export(NO_REQUESTS)
def blk_mq_init_queue(k: Host, set: int) -> int:
    """``struct request_queue *blk_mq_init_queue(struct blk_mq_tag_set *set)``

    block/blk-mq.c, 6.1. A queue without a disk; an error pointer of -ENOMEM.
    """
    return _queue(k, set, 0) or err_ptr(-ENOMEM)


@export(NO_REQUESTS)
def blk_put_queue(k: Host, q: int) -> None:
    """``void blk_put_queue(struct request_queue *q)``

    block/blk-core.c, 6.1. Of a queue without a disk.
    """
    k.mm.kfree(q)


@export(NO_REQUESTS)
def device_add_disk(k: Host, parent: int, disk: int, groups: int) -> Guest:
    """``int device_add_disk(struct device *parent, struct gendisk *disk, const struct attribute_group **groups)``

    block/genhd.c, 6.1. The disk appears under its name, with its own numbers or chosen ones. -EINVAL for numbers that
    do not fit, -EEXIST for a name that is taken.
    """
    device = disk_to_dev(k, disk)
    major, minors = get(k, "gendisk", disk, "major"), get(k, "gendisk", disk, "minors")
    if major:
        if not minors or minors > 256:
            k.warn("block/genhd.c", 448, "device_add_disk")
            return -EINVAL
    else:
        counter = k.address_of("kmem_disk_numbers")
        put(k, "gendisk", disk, "major", EXTENDED)
        put(k, "gendisk", disk, "first_minor", k.mem.u64(counter))
        k.mem.set_u64(counter, k.mem.u64(counter) + 1)
    put(k, "device", device, "parent", parent)
    put(k, "device", device, "devt", get(k, "gendisk", disk, "major") << 20 | get(k, "gendisk", disk, "first_minor"))
    if set_name_text(k, device, text(k, at(k, "gendisk", disk, "disk_name"))):
        return -ENOMEM
    error = s32((yield from device_add(k, device)))
    if not error:
        registry.add(k, "disk", disk)
        put(k, "gendisk", disk, "state", get(k, "gendisk", disk, "state") | 1 << GD_ADDED)
    return error


@export(NO_REQUESTS)
def del_gendisk(k: Host, disk: int) -> Guest:
    """``void del_gendisk(struct gendisk *disk)``

    block/genhd.c, 6.1. The disk is not known any more.
    """
    registry.remove(k, "disk", disk)
    yield from device_del(k, disk_to_dev(k, disk))
    return 0


@export(NO_REQUESTS)
def put_disk(k: Host, disk: int) -> Guest:
    """``void put_disk(struct gendisk *disk)``

    block/genhd.c, 6.1. The last reference frees the disk and its queue. NULL is allowed.
    """
    if disk:
        yield from put_device(k, disk_to_dev(k, disk))
    return 0


@export(NO_REQUESTS)
def set_capacity(k: Host, disk: int, sectors: int) -> None:
    """``void set_capacity(struct gendisk *disk, sector_t sectors)``

    block/genhd.c, 6.1. In sectors of 512 bytes.
    """
    put(k, "block_device", get(k, "gendisk", disk, "part0"), "bd_nr_sectors", sectors)


@export(NO_REQUESTS)
def set_capacity_and_notify(k: Host, disk: int, size: int) -> bool:
    """``bool set_capacity_and_notify(struct gendisk *disk, sector_t size)``

    block/genhd.c, 6.1. Whether a disk that has a size has another one now.
    """
    member = k.layout["block_device"].offset("bd_nr_sectors") + get(k, "gendisk", disk, "part0")
    before = k.mem.u64(member)
    k.mem.set_u64(member, size)
    return bool(before and size and before != size)


@export(simplified("no block is ever bad"))
def badblocks_init(k: Host, bb: int, enable: int) -> int:
    """``int badblocks_init(struct badblocks *bb, int enable)``

    block/badblocks.c, 6.1. A page for the list. -ENOMEM.
    """
    page = k.mm.kmalloc(4096, GFP_KERNEL | __GFP_ZERO, -1, k.caller)
    k.mem.fill(bb, 0, 16)
    k.mem.set_u32(bb + BB_SHIFT, 0 if enable and page else 0xFFFFFFFF)
    k.mem.set_u64(bb + BB_PAGE, page)
    return 0 if page else -ENOMEM


BB_SHIFT, BB_PAGE = 16, 24
"""In ``struct badblocks``."""


@export(simplified("no block is ever bad"))
def badblocks_exit(k: Host, bb: int) -> None:
    """``void badblocks_exit(struct badblocks *bb)``

    block/badblocks.c, 6.1.
    """
    k.mm.kfree(k.mem.u64(bb + BB_PAGE))
    k.mem.set_u64(bb + BB_PAGE, 0)


def _limit(member: str, prototype: str) -> None:
    def set_limit(k: Host, q: int, value: int) -> None:
        limits = at(k, "request_queue", q, "limits")
        if member in k.layout["queue_limits"].members:
            put(k, "queue_limits", limits, member, value)

    name = prototype[: prototype.index("(")].split()[-1]
    set_limit.__name__, set_limit.__doc__ = name, f"``{prototype}``\n\nblock/blk-settings.c, 6.1."
    export(NO_REQUESTS)(set_limit)


_limit("max_hw_sectors", "void blk_queue_max_hw_sectors(struct request_queue *q, unsigned int max_hw_sectors)")
_limit("max_discard_sectors", "void blk_queue_max_discard_sectors(struct request_queue *q, unsigned int sectors)")
_limit("max_write_zeroes_sectors", "void blk_queue_max_write_zeroes_sectors(struct request_queue *q, unsigned int n)")
_limit("max_segments", "void blk_queue_max_segments(struct request_queue *q, unsigned short max_segments)")
_limit("max_segment_size", "void blk_queue_max_segment_size(struct request_queue *q, unsigned int max_size)")
_limit("logical_block_size", "void blk_queue_logical_block_size(struct request_queue *q, unsigned int size)")
_limit("physical_block_size", "void blk_queue_physical_block_size(struct request_queue *q, unsigned int size)")
_limit("io_min", "void blk_queue_io_min(struct request_queue *q, unsigned int min)")
_limit("io_opt", "void blk_queue_io_opt(struct request_queue *q, unsigned int opt)")
_limit("virt_boundary_mask", "void blk_queue_virt_boundary(struct request_queue *q, unsigned long mask)")
_limit("seg_boundary_mask", "void blk_queue_segment_boundary(struct request_queue *q, unsigned long mask)")


@export(NO_REQUESTS)
def blk_queue_flag_set(k: Host, flag: int, q: int) -> None:
    """``void blk_queue_flag_set(unsigned int flag, struct request_queue *q)``

    block/blk-core.c, 6.1.
    """
    put(k, "request_queue", q, "queue_flags", get(k, "request_queue", q, "queue_flags") | 1 << flag)


@export(NO_REQUESTS)
def blk_queue_flag_clear(k: Host, flag: int, q: int) -> None:
    """``void blk_queue_flag_clear(unsigned int flag, struct request_queue *q)``

    block/blk-core.c, 6.1.
    """
    put(k, "request_queue", q, "queue_flags", get(k, "request_queue", q, "queue_flags") & ~(1 << flag))


accepts(
    "block/blk-mq.c",
    "void blk_mq_destroy_queue(struct request_queue *q)",
    "void blk_mq_freeze_queue(struct request_queue *q)",
    "void blk_mq_unfreeze_queue(struct request_queue *q)",
    "void blk_mq_quiesce_queue(struct request_queue *q)",
    "void blk_mq_unquiesce_queue(struct request_queue *q)",
    "void blk_mark_disk_dead(struct gendisk *disk)",
    "void blk_sync_queue(struct request_queue *q)",
    "void blk_queue_write_cache(struct request_queue *q, bool wc, bool fua)",
    "void blk_queue_rq_timeout(struct request_queue *q, unsigned int timeout)",
    "void blk_set_stacking_limits(struct queue_limits *lim)",
    "void blk_queue_update_dma_alignment(struct request_queue *q, int mask)",
    "void blk_queue_dma_alignment(struct request_queue *q, int mask)",
    "void blk_queue_chunk_sectors(struct request_queue *q, unsigned int chunk_sectors)",
    how="no request is ever made",
)
accepts(
    "block/bdev.c",
    "int sync_blockdev(struct block_device *bdev)",
    "int invalidate_bdev(struct block_device *bdev)",
    how="nothing was ever written",
)
accepts(
    "block/bio.c",
    "int bioset_init(struct bio_set *bs, unsigned int pool_size, unsigned int front_pad, int flags)",
    "void bioset_exit(struct bio_set *bs)",
    "int bioset_integrity_create(struct bio_set *bs, int pool_size)",
    how="no request is ever made",
)
