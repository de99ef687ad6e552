"""What slub_debug prints: reports about slabs and objects as text, from values (mm/slub.c, release 6.1).

The functions are called by the checks at the moment of the error, before anything is repaired, and return lines: (log
level, text of one printk record). They find nothing and repair nothing. A report is followed by what was done about it
(``FIX …``), which is the caller's to print in the right order: `SlabReport.overwritten` has it included because the
kernel restores the bytes right after.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from kmem.abi.release import release
from kmem.abi.slab_flags import SlabFlags, slab_flags

Line = tuple[int, str]

KERN_ERR, KERN_WARNING = 3, 4
PAGE_SIZE = 4096
TRACK_SIZE = 32
"""``sizeof(struct track)``; an object has two."""
ROW = 16
SLAB_ERR_BUFFER = 100
"""``slab_err()`` formats its message into a buffer of this size, NUL included."""

# What of check_bytes_and_report: "<what> overwritten".
LEFT_REDZONE, RIGHT_REDZONE, OBJECT_PADDING = "Left Redzone", "Right Redzone", "Object padding"
ALIGNMENT_PADDING, POISON, END_POISON = "Alignment padding", "Poison", "End Poison"
KMALLOC_REDZONE = "kmalloc Redzone"

# Reasons of object_err.
FREEPOINTER_CORRUPT, FREECHAIN_CORRUPT = "Freepointer corrupt", "Freechain corrupt"
FREELIST_CHECK, ALREADY_FREE = "Freelist Pointer check fails", "Object already free"
SLAB_POINTER_CORRUPT = "page slab pointer corrupt."

# Messages of slab_err without values.
NOT_A_SLAB, SLAB_DISABLED = (
    "Not a valid slab page",
    "Slab disabled since SLUB metadata consistency check failed",
)

# What slab_fix says was done.
FIX_ISOLATED, FIX_FREELIST_CLEARED = "Isolate corrupted freechain", "Freelist cleared"
FIX_NUMBER, FIX_COUNT = "Number of objects adjusted", "Object count adjusted"
FIX_ALL_USED = "Marking all objects used"


@dataclass(frozen=True, slots=True)
class CacheGeometry:
    """The members of ``struct kmem_cache`` that say where things lie, in bytes."""

    name: str
    size: int
    object_size: int
    inuse: int
    offset: int
    red_left_pad: int
    flags: int
    release: str = "6.1"

    @property
    def f(self) -> SlabFlags:
        """The flags of the release."""
        return slab_flags(self.release)

    @property
    def kmalloc_redzone(self) -> bool:
        """Whether an object remembers in a word how many bytes kmalloc was asked for, and is checked behind them."""
        return "slub-orig-size-long" in release(self.release).features

    @property
    def info_end(self) -> int:
        """``get_info_end()``: where the tracks begin, behind the free pointer if that is outside the object."""
        return self.inuse + 8 if self.offset >= self.inuse else self.inuse

    @property
    def padding(self) -> int:
        """Where the padding of an object begins, from the object."""
        start = self.info_end
        if self.flags & self.f.SLAB_STORE_USER:
            start += 2 * TRACK_SIZE
            if self.flags & self.f.SLAB_KMALLOC:
                start += 8 if self.kmalloc_redzone else 4
        return start

    @property
    def end(self) -> int:
        """``size_from_object()``: where the next object's left red zone begins, from the object."""
        return self.size - self.red_left_pad if self.flags & self.f.SLAB_RED_ZONE else self.size


@dataclass(frozen=True, slots=True)
class SlabValues:
    """``struct slab`` at *address*; *base* is the memory that it describes; *flags* as ``%pGp`` prints them."""

    address: int
    base: int
    objects: int
    inuse: int
    freelist: int
    flags: str


@dataclass(frozen=True, slots=True)
class Track:
    """``struct track``: who allocated or freed an object. *when* is in jiffies, *stack* innermost first."""

    addr: int
    cpu: int
    pid: int
    when: int
    stack: Sequence[int] = ()


@dataclass(frozen=True, slots=True)
class SlabReport:
    """The values of one report.

    *read(addr, n)* reads guest memory, *free_pointer(object)* decodes the object's free pointer, *tracks(object)* gives
    its allocation and its last free (None: never). *symbol* is ``%pS``, *pointer* ``%p`` (with slub_debug not hashed).
    *tainted* is ``print_tainted()`` and *dump_stack* what ``dump_stack()`` prints at this place. *taint_notice* has the
    line of the first taint that switches lock debugging off, else nothing.
    """

    cache: CacheGeometry
    slab: SlabValues
    read: Callable[[int, int], bytes]
    free_pointer: Callable[[int], int]
    tracks: Callable[[int], tuple[Track | None, Track | None]]
    jiffies: int
    tainted: str
    symbol: Callable[[int], str]
    dump_stack: Iterable[Line] = ()
    taint_notice: Iterable[Line] = ()
    pointer: Callable[[int], str] = "{:016x}".format

    def overwritten(self, what: str, obj: int, first: int, last: int, value: int) -> Iterator[Line]:
        """``check_bytes_and_report()``: bytes *first* to *last* (inclusive) should all be *value*, and are restored."""
        found = self.read(first, 1)[0]
        yield from self.bug(f"{what} overwritten")
        yield (
            KERN_ERR,
            f"0x{self.pointer(first)}-0x{self.pointer(last)} @offset={first - self.slab.base}. "
            f"First byte {found:#x} instead of {value:#x}",
        )
        yield from self.trailer(obj)
        yield from self.taint_notice
        yield self.restoring(what, first, last, value)

    def padding_overwritten(self, first: int, last: int, pad: int, length: int, value: int) -> Iterator[Line]:
        """``slab_pad_check()``: of the *length* bytes at *pad*, behind the last object, *first* to *last* are wrong."""
        where = f"0x{self.pointer(first)}-0x{self.pointer(last)} @offset={first - self.slab.base}"
        yield from self.slab_error(f"Padding overwritten. {where}")
        yield from self.section("Padding ", pad, length)
        yield self.restoring("slab padding", first, last, value)

    def object_error(self, obj: int, reason: str) -> Iterator[Line]:
        """``object_err()``: *reason* is wrong with the object, which need not even be one."""
        yield from self.bug(reason)
        if obj and self.is_object(obj):
            yield from self.trailer(obj)
        else:
            yield self.slab_info()
            yield KERN_ERR, f"Invalid pointer 0x{self.pointer(obj)}"
        yield from self.taint_notice

    def slab_error(self, message: str) -> Iterator[Line]:
        """``slab_err()``: *message* is wrong with the slab as a whole."""
        yield from self.bug(message[: SLAB_ERR_BUFFER - 1])
        yield self.slab_info()
        yield from self.dump_stack
        yield from self.taint_notice

    def freechain_corrupt(self, obj: int) -> Iterator[Line]:
        """``freelist_corrupted()``: the free pointer of *obj* leads out of the slab; the chain ends there now."""
        yield from self.object_error(obj, FREECHAIN_CORRUPT)
        yield self.fix(FIX_ISOLATED)

    def invalid_object(self, obj: int) -> Iterator[Line]:
        """``free_consistency_checks()``: an address that is no object's is freed."""
        return self.slab_error(f"Invalid object pointer 0x{self.pointer(obj)}")

    def outside_of_slab(self, obj: int) -> Iterator[Line]:
        """``free_consistency_checks()``: an object is freed whose page is no slab."""
        return self.slab_error(f"Attempt to free object(0x{self.pointer(obj)}) outside of slab")

    def no_cache(self, obj: int) -> Iterator[Line]:
        """``free_consistency_checks()``: an object is freed whose slab belongs to no cache."""
        yield KERN_ERR, f"SLUB <none>: no slab for object 0x{self.pointer(obj)}."
        yield from self.dump_stack

    def wrong_objects(self, found: int, right: int) -> Iterator[Line]:
        """``on_freelist()``: the slab says it has another number of objects than fit."""
        yield from self.slab_error(f"Wrong number of objects. Found {found} but should be {right}")
        yield self.fix(FIX_NUMBER)

    def wrong_count(self, counter: int, counted: int) -> Iterator[Line]:
        """``on_freelist()``: the slab says that another number of objects is in use than the free list leaves."""
        yield from self.slab_error(f"Wrong object count. Counter is {counter} but counted were {counted}")
        yield self.fix(FIX_COUNT)

    def objects_remaining(self, live: Iterable[int]) -> Iterator[Line]:
        """``list_slab_objects()``: the cache is destroyed while the objects *live* are in use."""
        yield from self.slab_error(f"Objects remaining in {self.cache.name} on __kmem_cache_shutdown()")
        for obj in live:
            yield KERN_ERR, f"Object 0x{self.pointer(obj)} @offset={obj - self.slab.base}"
            yield from self.tracking(obj)

    def bug(self, message: str) -> Iterator[Line]:
        """``slab_bug()``: the head of every report."""
        yield KERN_ERR, "=" * 77
        yield KERN_ERR, f"BUG {self.cache.name} ({self.tainted}): {message}"
        yield KERN_ERR, "-" * 77 + "\n"

    def fix(self, message: str) -> Line:
        """``slab_fix()``: what was done about it."""
        return KERN_ERR, f"FIX {self.cache.name}: {message}"

    def restoring(self, what: str, first: int, last: int, value: int) -> Line:
        """``restore_bytes()``."""
        return self.fix(f"Restoring {what} 0x{self.pointer(first)}-0x{self.pointer(last)}={value:#x}")

    def not_freed(self, obj: int) -> Line:
        """``free_debug_processing()``: the object stays as it is."""
        return self.fix(f"Object at 0x{self.pointer(obj)} not freed")

    def is_object(self, obj: int) -> bool:
        """``check_valid_pointer()``."""
        start = obj - self.cache.red_left_pad if self.cache.flags & self.cache.f.SLAB_RED_ZONE else obj
        offset = start - self.slab.base
        return 0 <= offset < self.slab.objects * self.cache.size and offset % self.cache.size == 0

    def slab_info(self) -> Line:
        """``print_slab_info()``."""
        slab = self.slab
        return (
            KERN_ERR,
            f"Slab 0x{self.pointer(slab.address)} objects={slab.objects} used={slab.inuse} "
            f"fp=0x{self.pointer(slab.freelist)} flags={slab.flags}",
        )

    def tracking(self, obj: int) -> Iterator[Line]:
        """``print_tracking()``: who allocated and who freed the object."""
        if not self.cache.flags & self.cache.f.SLAB_STORE_USER:
            return
        for word, track in zip(("Allocated", "Freed"), self.tracks(obj), strict=True):
            if track is None or not track.addr:
                continue
            age = self.jiffies - track.when
            yield KERN_ERR, f"{word} in {self.symbol(track.addr)} age={age} cpu={track.cpu} pid={track.pid}"
            for address in track.stack:
                yield KERN_WARNING, f" {self.symbol(address)}"
            if not track.stack:
                yield KERN_ERR, "object allocation/free stack trace missing"

    def trailer(self, obj: int) -> Iterator[Line]:
        """``print_trailer()``: history, slab and bytes of the object, and the call trace."""
        cache, base = self.cache, self.slab.base
        yield from self.tracking(obj)
        yield self.slab_info()
        free = self.pointer(self.free_pointer(obj))
        yield KERN_ERR, f"Object 0x{self.pointer(obj)} @offset={obj - base} fp=0x{free}\n"
        if cache.flags & cache.f.SLAB_RED_ZONE:
            yield from self.section("Redzone  ", obj - cache.red_left_pad, cache.red_left_pad)
        elif obj > base + 16:
            yield from self.section("Bytes b4 ", obj - 16, 16)
        yield from self.section("Object   ", obj, min(cache.object_size, PAGE_SIZE))
        if cache.flags & cache.f.SLAB_RED_ZONE:
            yield from self.section("Redzone  ", obj + cache.object_size, cache.inuse - cache.object_size)
        yield from self.section("Padding  ", obj + cache.padding, cache.end - cache.padding)
        yield from self.dump_stack

    def section(self, label: str, address: int, length: int) -> Iterator[Line]:
        """``print_section()``: a hex dump, 16 bytes a line, with the characters behind."""
        content = self.read(address, length) if length > 0 else b""
        for at in range(0, len(content), ROW):
            row = content[at : at + ROW]
            text = "".join(chr(byte) if 0x20 <= byte < 0x7F else "." for byte in row)
            yield KERN_ERR, f"{label}{self.pointer(address + at)}: {row.hex(' '):<{3 * ROW}} {text}"


def wrong_slab_cache(cache: str, owner: str) -> str:
    """The message of the WARN in ``cache_from_obj()`` (mm/slab.h): an object of *owner* is freed to *cache*."""
    return f"cache_from_obj: Wrong slab cache. {cache} but object is from {owner}"


def not_a_slab_page() -> str:
    """The message of the WARN in ``virt_to_cache()`` (mm/slab.h): what is freed to a cache is in no slab."""
    return "virt_to_cache: Object is not a Slab page!"


def cache_still_used(cache: str, caller: str) -> str:
    """The message of the WARN in ``kmem_cache_destroy()`` (mm/slab_common.c); *caller* as ``%pS`` prints it."""
    return f"kmem_cache_destroy {cache}: Slab cache still has objects when called from {caller}"


def cache_failed(cache: str, error: int) -> Line:
    """``kmem_cache_create_usercopy()``, mm/slab_common.c: no cache; ``dump_stack()`` follows."""
    return KERN_WARNING, f"kmem_cache_create_usercopy({cache}) failed with error -{error}"


def cache_panic(cache: str, error: int) -> str:
    """The same with SLAB_PANIC: what ``panic()`` is told."""
    return f"kmem_cache_create_usercopy: Failed to create slab '{cache}'. Error -{error}"


def unexpected_gfp(invalid: int, invalid_names: str, fixed: int, fixed_names: str) -> Line:
    """``kmalloc_fix_flags()``, mm/slab_common.c; ``dump_stack()`` follows."""
    return (
        KERN_WARNING,
        f"Unexpected gfp: {invalid:#x} ({invalid_names}). Fixing up to gfp: {fixed:#x} ({fixed_names}). Fix your code!",
    )


@dataclass(frozen=True, slots=True)
class NodeCounts:
    """Slabs and objects of one node, for `slab_out_of_memory`."""

    node: int
    slabs: int
    objects: int
    free: int


def slab_out_of_memory(
    cache: CacheGeometry, gfp: int, gfp_names: str, node: int, orders: tuple[int, int, int], nodes: Iterable[NodeCounts]
) -> Iterator[Line]:
    """``slab_out_of_memory()``: no new slab could be had. *orders* are the default, the least, that of one object."""
    default, least, needed = orders
    yield KERN_WARNING, f"SLUB: Unable to allocate memory on node {node}, gfp={gfp:#x}({gfp_names})"
    yield (
        KERN_WARNING,
        f"  cache: {cache.name}, object size: {cache.object_size}, buffer size: {cache.size}, "
        f"default order: {default}, min order: {least}",
    )
    if least > needed:
        yield KERN_WARNING, f"  {cache.name} debugging increased min order, use slub_debug=O to disable."
    for n in nodes:
        yield KERN_WARNING, f"  node {n.node}: slabs: {n.slabs}, objs: {n.objects}, free: {n.free}"


@dataclass(frozen=True, slots=True)
class AllocationFailure:
    """``warn_alloc()``, mm/page_alloc.c: an allocation failed; `page_allocation` and `vmalloc_*` give the *message*.

    *gfp_names* is ``%pGg``. *cpuset* and *mems_allowed* are empty for a kernel without CONFIG_CPUSETS.
    """

    comm: str
    message: str
    gfp: int
    gfp_names: str
    nodemask: str = "(null)"
    cpuset: str = "/"
    mems_allowed: str = "0"

    def lines(self, dump_stack: Iterable[Line], mem_info: Iterable[Line]) -> Iterator[Line]:
        """The whole report; *mem_info* is what ``show_mem()`` prints, from "Mem-Info:" on."""
        allowed = f",cpuset={self.cpuset},mems_allowed={self.mems_allowed}" if self.cpuset else ""
        yield (
            KERN_WARNING,
            f"{self.comm}: {self.message}, mode:{self.gfp:#x}({self.gfp_names}), nodemask={self.nodemask}{allowed}",
        )
        yield from dump_stack
        yield from mem_info


def page_allocation(order: int) -> str:
    """``__alloc_pages_slowpath()``."""
    return f"page allocation failure: order:{order}"


def vmalloc_exceeds(size: int) -> str:
    """``__vmalloc_node_range()``: more than the machine has."""
    return f"vmalloc error: size {size}, exceeds total pages"


def vmalloc_no_area(size: int, *, nofail: bool = False) -> str:
    """``__vmalloc_node_range()``: no address range, or no memory for its descriptor."""
    return f"vmalloc error: size {size}, vm_struct allocation failed{'. Retrying.' if nofail else ''}"


def vmalloc_no_page_array(size: int, array_size: int) -> str:
    """``__vmalloc_area_node()``; the wording is the kernel's."""
    return f"vmalloc error: size {size}, failed to allocated page array size {array_size}"


def vmalloc_no_pages(size: int, order: int) -> str:
    """``__vmalloc_area_node()``."""
    return f"vmalloc error: size {size}, page order {order}, failed to allocate pages"


def vmalloc_not_mapped(size: int) -> str:
    """``__vmalloc_area_node()``: no memory for page tables."""
    return f"vmalloc error: size {size}, failed to map pages"


def vmap_exhausted(size: int) -> Line:
    """``alloc_vmap_area()``: the address range is full (printed at a limited rate)."""
    return KERN_WARNING, f"vmap allocation for size {size} failed: use vmalloc=<size> to increase size"
