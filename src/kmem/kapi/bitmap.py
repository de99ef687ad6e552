"""Bitmaps (lib/bitmap.c), 6.1: arrays of 64-bit words, handled as one big integer.

Operations write whole words; what they leave in the bits behind the end of the bitmap is what the kernel leaves there.
"""

from __future__ import annotations

from kmem.kapi.errno import EBUSY, ENOMEM
from kmem.kapi.export import export, faithful, family
from kmem.kapi.host import Host
from kmem.kapi.vsprintf_pointer import bitmap_list, bitmap_words

WORD = 64
PAGE_SIZE = 4096


def load(k: Host, bitmap: int, bits: int) -> int:
    """All words of a bitmap of *bits* bits, as one integer."""
    return int.from_bytes(k.mem.read(bitmap, -(-bits // WORD) * 8), "little") if bits else 0


def store(k: Host, bitmap: int, bits: int, value: int) -> None:
    """Writes all words of a bitmap; higher bits of *value* are dropped."""
    size = -(-bits // WORD) * 8
    if size:
        k.mem.write(bitmap, (value & ((1 << 8 * size) - 1)).to_bytes(size, "little"))


def mask(bits: int) -> int:
    """*bits* ones."""
    return (1 << bits) - 1


@export(faithful)
def __bitmap_equal(k: Host, bitmap1: int, bitmap2: int, bits: int) -> bool:
    """``bool __bitmap_equal(const unsigned long *bitmap1, const unsigned long *bitmap2, unsigned int bits)``

    lib/bitmap.c, 6.1.
    """
    return not (load(k, bitmap1, bits) ^ load(k, bitmap2, bits)) & mask(bits)


@export(faithful)
def __bitmap_intersects(k: Host, bitmap1: int, bitmap2: int, bits: int) -> bool:
    """``bool __bitmap_intersects(const unsigned long *bitmap1, const unsigned long *bitmap2, unsigned int bits)``

    lib/bitmap.c, 6.1.
    """
    return load(k, bitmap1, bits) & load(k, bitmap2, bits) & mask(bits) != 0


@export(faithful)
def __bitmap_subset(k: Host, bitmap1: int, bitmap2: int, bits: int) -> bool:
    """``bool __bitmap_subset(const unsigned long *bitmap1, const unsigned long *bitmap2, unsigned int bits)``

    lib/bitmap.c, 6.1.
    """
    return not load(k, bitmap1, bits) & ~load(k, bitmap2, bits) & mask(bits)


@export(faithful)
def __bitmap_complement(k: Host, dst: int, src: int, bits: int) -> None:
    """``void __bitmap_complement(unsigned long *dst, const unsigned long *src, unsigned int bits)``

    lib/bitmap.c, 6.1. The bits behind the end, too.
    """
    store(k, dst, bits, ~load(k, src, bits))


@export(faithful)
def __bitmap_shift_right(k: Host, dst: int, src: int, shift: int, nbits: int) -> None:
    """``void __bitmap_shift_right(unsigned long *dst, const unsigned long *src, unsigned int shift, unsigned int
    nbits)``

    lib/bitmap.c, 6.1.
    """
    store(k, dst, nbits, (load(k, src, nbits) & mask(nbits)) >> shift)


@export(faithful)
def __bitmap_shift_left(k: Host, dst: int, src: int, shift: int, nbits: int) -> None:
    """``void __bitmap_shift_left(unsigned long *dst, const unsigned long *src, unsigned int shift, unsigned int
    nbits)``

    lib/bitmap.c, 6.1. Bits are shifted out only at the end of the last word.
    """
    store(k, dst, nbits, load(k, src, nbits) << shift)


@export(faithful)
def __bitmap_and(k: Host, dst: int, bitmap1: int, bitmap2: int, bits: int) -> bool:
    """``bool __bitmap_and(unsigned long *dst, const unsigned long *bitmap1, const unsigned long *bitmap2, unsigned
    int bits)``

    lib/bitmap.c, 6.1. Whether any bit is set in the result.
    """
    result = load(k, bitmap1, bits) & load(k, bitmap2, bits) & mask(bits)
    store(k, dst, bits, result)
    return result != 0


@export(faithful)
def __bitmap_andnot(k: Host, dst: int, bitmap1: int, bitmap2: int, bits: int) -> bool:
    """``bool __bitmap_andnot(unsigned long *dst, const unsigned long *bitmap1, const unsigned long *bitmap2, unsigned
    int bits)``

    lib/bitmap.c, 6.1.
    """
    result = load(k, bitmap1, bits) & ~load(k, bitmap2, bits) & mask(bits)
    store(k, dst, bits, result)
    return result != 0


@export(faithful)
def __bitmap_or(k: Host, dst: int, bitmap1: int, bitmap2: int, bits: int) -> None:
    """``void __bitmap_or(unsigned long *dst, const unsigned long *bitmap1, const unsigned long *bitmap2, unsigned int
    bits)``

    lib/bitmap.c, 6.1.
    """
    store(k, dst, bits, load(k, bitmap1, bits) | load(k, bitmap2, bits))


@export(faithful)
def __bitmap_xor(k: Host, dst: int, bitmap1: int, bitmap2: int, bits: int) -> None:
    """``void __bitmap_xor(unsigned long *dst, const unsigned long *bitmap1, const unsigned long *bitmap2, unsigned
    int bits)``

    lib/bitmap.c, 6.1.
    """
    store(k, dst, bits, load(k, bitmap1, bits) ^ load(k, bitmap2, bits))


@export(faithful)
def __bitmap_replace(k: Host, dst: int, old: int, new: int, chosen: int, nbits: int) -> None:
    """``void __bitmap_replace(unsigned long *dst, const unsigned long *old, const unsigned long *new,
    const unsigned long *mask, unsigned int nbits)``

    lib/bitmap.c, 6.1. *new* where the mask is set, *old* elsewhere.
    """
    selected = load(k, chosen, nbits)
    store(k, dst, nbits, load(k, old, nbits) & ~selected | load(k, new, nbits) & selected)


@export(faithful)
def __bitmap_weight(k: Host, bitmap: int, bits: int) -> int:
    """``unsigned int __bitmap_weight(const unsigned long *bitmap, unsigned int bits)``

    lib/bitmap.c, 6.1. How many bits are set.
    """
    return (load(k, bitmap, bits) & mask(bits)).bit_count()


@export(faithful)
def __bitmap_weight_and(k: Host, bitmap1: int, bitmap2: int, bits: int) -> int:
    """``unsigned int __bitmap_weight_and(const unsigned long *bitmap1, const unsigned long *bitmap2, unsigned int
    bits)``

    lib/bitmap.c, 6.1.
    """
    return (load(k, bitmap1, bits) & load(k, bitmap2, bits) & mask(bits)).bit_count()


def set_range(k: Host, bitmap: int, start: int, count: int, *, ones: bool) -> None:
    """Changes *count* bits from *start* on, touching no other words."""
    if count <= 0:
        return
    first = start // WORD
    bits = start + count - first * WORD
    chosen = mask(count) << (start - first * WORD)
    words = load(k, bitmap + 8 * first, bits)
    store(k, bitmap + 8 * first, bits, words | chosen if ones else words & ~chosen)


@export(faithful)
def __bitmap_set(k: Host, map: int, start: int, len_: int) -> None:
    """``void __bitmap_set(unsigned long *map, unsigned int start, int len)``

    lib/bitmap.c, 6.1.
    """
    set_range(k, map, start, len_, ones=True)


@export(faithful)
def __bitmap_clear(k: Host, map: int, start: int, len_: int) -> None:
    """``void __bitmap_clear(unsigned long *map, unsigned int start, int len)``

    lib/bitmap.c, 6.1.
    """
    set_range(k, map, start, len_, ones=False)


@export(faithful)
def bitmap_cut(k: Host, dst: int, src: int, first: int, cut: int, nbits: int) -> None:
    """``void bitmap_cut(unsigned long *dst, const unsigned long *src, unsigned int first, unsigned int cut, unsigned
    int nbits)``

    lib/bitmap.c, 6.1. Without *cut* bits from *first* on, the rest moved down.
    """
    words = load(k, src, nbits)
    store(k, dst, nbits, words & mask(first) | (words >> (first + cut)) << first)


@export(faithful)
def bitmap_find_next_zero_area_off(
    k: Host, map: int, size: int, start: int, nr: int, align_mask: int, align_offset: int
) -> int:
    """``unsigned long bitmap_find_next_zero_area_off(unsigned long *map, unsigned long size, unsigned long start,
    unsigned int nr, unsigned long align_mask, unsigned long align_offset)``

    lib/bitmap.c, 6.1. Where *nr* zeros begin, aligned; more than *size* - *nr* when there is no such place.
    """
    words = load(k, map, size) & mask(size)
    while True:
        zeros = ~words >> start
        index = min(start + (zeros & -zeros).bit_length() - 1, size) if start < size else size
        index = ((index + align_offset + align_mask) & ~align_mask) - align_offset
        end = index + nr
        if end > size:
            return end
        ones = words >> index & mask(nr)
        if not ones:
            return index
        start = index + (ones & -ones).bit_length()


@export(faithful)
def bitmap_find_free_region(k: Host, bitmap: int, bits: int, order: int) -> int:
    """``int bitmap_find_free_region(unsigned long *bitmap, unsigned int bits, int order)``

    lib/bitmap.c, 6.1. Takes the first free aligned region of 2**order bits; its position or -ENOMEM.
    """
    words, size = load(k, bitmap, bits), 1 << order
    for pos in range(0, bits - size + 1, size):
        if not words >> pos & mask(size):
            set_range(k, bitmap, pos, size, ones=True)
            return pos
    return -ENOMEM


@export(faithful)
def bitmap_release_region(k: Host, bitmap: int, pos: int, order: int) -> None:
    """``void bitmap_release_region(unsigned long *bitmap, unsigned int pos, int order)``

    lib/bitmap.c, 6.1.
    """
    set_range(k, bitmap, pos, 1 << order, ones=False)


@export(faithful)
def bitmap_allocate_region(k: Host, bitmap: int, pos: int, order: int) -> int:
    """``int bitmap_allocate_region(unsigned long *bitmap, unsigned int pos, int order)``

    lib/bitmap.c, 6.1. -EBUSY when a bit of the region is set.
    """
    if load(k, bitmap, pos + (1 << order)) >> pos & mask(1 << order):
        return -EBUSY
    set_range(k, bitmap, pos, 1 << order, ones=True)
    return 0


@export(faithful)
def bitmap_from_arr32(k: Host, bitmap: int, buf: int, nbits: int) -> None:
    """``void bitmap_from_arr32(unsigned long *bitmap, const u32 *buf, unsigned int nbits)``

    lib/bitmap.c, 6.1.
    """
    words = int.from_bytes(k.mem.read(buf, -(-nbits // 32) * 4), "little") if nbits else 0
    store(k, bitmap, nbits, words & mask(nbits))


@export(faithful)
def bitmap_to_arr32(k: Host, buf: int, bitmap: int, nbits: int) -> None:
    """``void bitmap_to_arr32(u32 *buf, const unsigned long *bitmap, unsigned int nbits)``

    lib/bitmap.c, 6.1.
    """
    if nbits:
        k.mem.write(buf, (load(k, bitmap, nbits) & mask(nbits)).to_bytes(-(-nbits // 32) * 4, "little"))


def _declare_alloc(name: str, *, zero: bool, node: bool) -> None:
    gfp_zero = 0x100 if zero else 0

    def allocate(k: Host, nbits: int, flags: int) -> int:
        return k.mm.kmalloc(-(-nbits // WORD) * 8, flags | gfp_zero, caller=k.caller)

    def allocate_node(k: Host, nbits: int, flags: int, node: int) -> int:
        return k.mm.kmalloc(-(-nbits // WORD) * 8, flags | gfp_zero, node, k.caller)

    prototype = f"unsigned long *{name}(unsigned int nbits, gfp_t flags{', int node' if node else ''})"
    text = "lib/bitmap.c, 6.1. To be freed with bitmap_free()."
    family(faithful, prototype, text, allocate_node if node else allocate)


_declare_alloc("bitmap_alloc", zero=False, node=False)
_declare_alloc("bitmap_zalloc", zero=True, node=False)
_declare_alloc("bitmap_alloc_node", zero=False, node=True)
_declare_alloc("bitmap_zalloc_node", zero=True, node=True)


@export(faithful)
def bitmap_free(k: Host, bitmap: int) -> None:
    """``void bitmap_free(const unsigned long *bitmap)``

    lib/bitmap.c, 6.1.
    """
    k.mm.kfree(bitmap)


@export(faithful)
def bitmap_print_to_pagebuf(k: Host, list: bool, buf: int, maskp: int, nmaskbits: int) -> int:
    """``int bitmap_print_to_pagebuf(bool list, char *buf, const unsigned long *maskp, int nmaskbits)``

    lib/bitmap.c, 6.1. As ranges or as words, with a newline; what fits into the rest of the page.
    """
    bits = load(k, maskp, nmaskbits) & mask(nmaskbits)
    text = (bitmap_list(bits) if list else bitmap_words(bits, nmaskbits)).encode() + b"\n"
    room = PAGE_SIZE - buf % PAGE_SIZE
    k.mem.write(buf, text[: room - 1] + b"\0")
    return min(len(text), room - 1)
