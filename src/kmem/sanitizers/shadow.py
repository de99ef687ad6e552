"""Shadow memory: for every eight bytes of RAM one byte that says whether they may be touched (mm/kasan, 6.1).

0: all eight; 1 to 7: the first so many; 0x80 and above: none, and why. Behind the shadow lies a second map of the same
size, whose bits mark bytes that were allocated and never written. Both are addressed by physical address, so that an
error shows through every mapping of a page; both go back with a rollback.
"""

from __future__ import annotations

from kmem.machine.ram import Ram

PAGE_FREE = 0xFF
PAGE_REDZONE = 0xFE
SLAB_REDZONE = 0xFC
SLAB_FREE = 0xFB
SLAB_FREETRACK = 0xFA
GLOBAL_REDZONE = 0xF9
VMALLOC_INVALID = 0xF8
"""``KASAN_*`` of mm/kasan/kasan.h."""
PERCPU_REDZONE, PERCPU_FREE = 0xC6, 0xC5
"""Beside a per-cpu variable, and one that is freed: KASAN knows neither."""

GRANULE = 8
_ALIGN = 2 << 20


class Shadow:
    """The shadow of *size* bytes of RAM."""

    def __init__(self, size: int) -> None:
        self.size = size
        half = -(-size // GRANULE // _ALIGN) * _ALIGN
        self.ram = Ram(2 * half)
        self.address, self.unwritten_address = self.ram.base, self.ram.base + half
        self._state = self.ram.mem[: size // GRANULE]
        self._unwritten = self.ram.mem[half : half + size // GRANULE]

    def poison(self, phys: int, size: int, code: int) -> None:
        """Forbid *size* bytes at *phys*; a granule of which a part is forbidden keeps what comes before it."""
        first, last = phys // GRANULE, -(-(phys + size) // GRANULE)
        if phys % GRANULE:
            state = self._state[first]
            if state == 0 or GRANULE > state > phys % GRANULE:
                self._state[first] = phys % GRANULE
            first += 1
        if last > first:
            self._state[first:last] = bytes([code]) * (last - first)

    def unpoison(self, phys: int, size: int) -> None:
        """Allow *size* bytes at *phys*, the start of a granule; of the last granule only what belongs to them."""
        first, whole = phys // GRANULE, size // GRANULE
        self._state[first : first + whole] = bytes(whole)
        if size % GRANULE:
            self._state[first + whole] = size % GRANULE

    def fresh(self, phys: int, size: int) -> None:
        """*size* bytes at *phys*, the start of a granule, were allocated and hold whatever was there before."""
        first, whole = phys // GRANULE, size // GRANULE
        self._unwritten[first : first + whole] = b"\xff" * whole
        if size % GRANULE:
            self._unwritten[first + whole] = (1 << size % GRANULE) - 1

    def written(self, phys: int, size: int) -> None:
        """*size* bytes at *phys* were written."""
        first, last = phys // GRANULE, (phys + size) // GRANULE
        low, high = phys % GRANULE, (phys + size) % GRANULE
        if first == last:
            self._unwritten[first] &= ~((1 << high) - (1 << low)) & 0xFF
            return
        if low:
            self._unwritten[first] &= (1 << low) - 1
            first += 1
        self._unwritten[first:last] = bytes(last - first)
        if high:
            self._unwritten[last] &= 0xFF << high & 0xFF

    def first_bad(self, phys: int, size: int) -> int:
        """The first of *size* bytes at *phys* that may not be touched, or -1."""
        at, end = phys, phys + size
        states = self._state[phys // GRANULE : -(-end // GRANULE)]
        if not any(states):
            return -1
        for state in states:
            allowed = GRANULE if not state else state if state < GRANULE else 0
            limit = at // GRANULE * GRANULE + allowed
            if limit < min(end, at // GRANULE * GRANULE + GRANULE):
                return max(at, limit)
            at = (at // GRANULE + 1) * GRANULE
        return -1

    def first_unwritten(self, phys: int, size: int) -> int:
        """The first of *size* bytes at *phys* that was allocated and never written, or -1."""
        first, last = phys // GRANULE, -(-(phys + size) // GRANULE)
        marks = bytes(self._unwritten[first:last])
        if not any(marks):
            return -1
        return next(
            (at for at in range(phys, phys + size) if marks[at // GRANULE - first] >> at % GRANULE & 1),
            -1,
        )

    def count_unwritten(self, phys: int, size: int) -> int:
        """How many of *size* bytes at *phys* were allocated and never written."""
        marks = self._unwritten
        return sum(marks[at // GRANULE] >> at % GRANULE & 1 for at in range(phys, phys + size))

    def code(self, phys: int) -> int:
        """Why *phys* may not be touched: of a partial granule, what the next one says (``get_shadow_bug_type()``)."""
        state = self._state[phys // GRANULE]
        return self._state[phys // GRANULE + 1] if 0 < state < GRANULE else state

    def row(self, phys: int, count: int) -> bytes:
        """*count* bytes of shadow from that of *phys* on."""
        return bytes(self._state[phys // GRANULE : phys // GRANULE + count])

    def snapshot(self) -> None:
        """Make the state of now the one that :meth:`rollback` returns to."""
        self.ram.snapshot()

    def rollback(self) -> None:
        """Return to the last snapshot."""
        self.ram.rollback()
