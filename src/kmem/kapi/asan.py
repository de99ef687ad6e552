"""What code calls that was compiled with ``-fsanitize=kernel-address`` (mm/kasan/generic.c), 6.1.

A kernel without KASAN exports none of it; kmem serves it for every release, so that ``.c`` input can be checked down to
the variables on the stack. The question before each access is guest code: two looks at the shadow of
`kmem.sanitizers.instrumented`; what is forbidden goes on in Python.
"""

from __future__ import annotations

from kmem.kapi.export import code, export, faithful
from kmem.kapi.host import Host
from kmem.sanitizers.instrumented import (
    ALLOCA_LEFT,
    ALLOCA_RIGHT,
    GLOBAL_REDZONE,
    HEADER,
    OFFSET,
    USE_AFTER_SCOPE,
    shadow_of,
)

SIZES = (1, 2, 4, 8, 16)
REDZONE = 32
"""``KASAN_ALLOCA_REDZONE_SIZE``."""
GLOBAL_SIZE = 64
"""``sizeof(struct kasan_global)``: address, size, size with redzone, and what is of no use here."""
REPORT = "kasan_report"
SHADOWED = frozenset(("memcpy", "memmove", "memset"))
"""What is ``__asan_NAME`` to instrumented code."""


def _le(value: int, size: int) -> str:
    return value.to_bytes(size, "little").hex()


def _shown(number: int) -> str:
    return f"{number:#x}" if number > 9 else str(number)


def _question(size: int, write: bool) -> tuple[str, str]:
    """``check_memory_region_inline()``: return unless the shadow of the first or the last byte says something. What is
    no kernel address is left to the access itself. *size* 0: it is an argument.
    """
    out = 0x24 + (15 if size != 1 else 0) + (1 if not size else 0)
    last = f"488d47{_le(size - 1, 1)}" if size else "488d4437ff"
    more = "" if size == 1 else f"75{0x10 + (not size):02x} {last} 48c1e803 42803c1800"
    tail = f"be{_le(size, 4)}" if size else ""
    machine = f"""4889f8 48c1f82f 48ffc0 75{out - 12:02x} 4889f8 48c1e803 49bb{_le(OFFSET, 8)} 42803c1800
        {more} 7501 c3 {tail} ba{_le(int(write), 4)} 49bb{_le(HEADER, 8)} 41ff23"""
    again = f"""
        jne {out + 1:#x}
        lea rax, [rdi + {_shown(size - 1) if size else "rsi - 1"}]
        shr rax, 3
        cmp byte ptr [rax + r11], 0"""
    listing = f"""
        mov rax, rdi
        sar rax, 0x2f
        inc rax
        jne {out:#x}
        mov rax, rdi
        shr rax, 3
        movabs r11, {OFFSET:#x}
        cmp byte ptr [rax + r11], 0{again if size != 1 else ""}
        jne {out + 1:#x}
        ret{f"{chr(10)}mov esi, {_shown(size)}" if size else ""}
        mov edx, {int(write)}
        movabs r11, {HEADER:#x}
        jmp qword ptr [r11]
    """
    return machine, "\n".join(line.strip() for line in listing.strip().splitlines())


def _declare_questions() -> None:
    for way, write in (("load", False), ("store", True)):
        for size in (*SIZES, 0):
            machine, listing = _question(size, write)
            code(f"__asan_{way}{size or 'N'}_noabort", bytes.fromhex(machine), listing)


_declare_questions()


@export(faithful, private=True)
def kasan_report(k: Host, addr: int, size: int, is_write: int) -> None:
    """``bool kasan_report(unsigned long addr, size_t size, bool is_write)``

    mm/kasan/report.c, 6.1. The code at hand has asked for an access that the shadow may forbid.
    """
    k.instrumented().access(addr, size, bool(is_write))


@export(faithful)
def __kasan_check_read(k: Host, p: int, size: int) -> int:
    """``bool __kasan_check_read(const volatile void *p, unsigned int size)``

    mm/kasan/shadow.c, 6.1. Asked before what the compiler cannot instrument: bit operations, atomics.
    """
    return int(k.instrumented().check(p, size, False))


@export(faithful)
def __kasan_check_write(k: Host, p: int, size: int) -> int:
    """``bool __kasan_check_write(const volatile void *p, unsigned int size)``

    mm/kasan/shadow.c, 6.1.
    """
    return int(k.instrumented().check(p, size, True))


@export(faithful)
def __asan_register_globals(k: Host, globals: int, size: int) -> None:
    """``void __asan_register_globals(struct kasan_global *globals, size_t size)``

    mm/kasan/generic.c, 6.1. What lies between a module's variables is forbidden.
    """
    for number in range(size):
        at = globals + GLOBAL_SIZE * number
        beg, length, whole = (k.mem.u64(at + word) for word in (0, 8, 16))
        used = -(-length // 8) * 8
        k.instrumented().shadow.unpoison(beg, length)
        k.instrumented().shadow.poison(beg + used, whole - used, GLOBAL_REDZONE)


@export(faithful)
def __asan_unregister_globals(k: Host, globals: int, size: int) -> None:
    """``void __asan_unregister_globals(struct kasan_global *globals, size_t size)``

    mm/kasan/generic.c, 6.1. Nothing: the shadow is cleared with the module.
    """


@export(faithful)
def __asan_handle_no_return(k: Host) -> None:
    """``void __asan_handle_no_return(void)``

    mm/kasan/generic.c, 6.1. Nothing: what is left on a stack is cleared when the stack is used anew.
    """


@export(faithful)
def __asan_alloca_poison(k: Host, addr: int, size: int) -> None:
    """``void __asan_alloca_poison(unsigned long addr, size_t size)``

    mm/kasan/generic.c, 6.1. A variable of a size that is known only now: what is before and behind it is forbidden.
    """
    shadow, end = k.instrumented().shadow, addr + size
    padded = -(-end // 8) * 8
    shadow.unpoison(addr + (size & -8), size % 8)
    shadow.poison(addr - REDZONE, REDZONE, ALLOCA_LEFT)
    shadow.poison(padded, -(-end // REDZONE) * REDZONE + REDZONE - padded, ALLOCA_RIGHT)


@export(faithful)
def __asan_allocas_unpoison(k: Host, stack_top: int, stack_bottom: int) -> None:
    """``void __asan_allocas_unpoison(void *stack_top, void *stack_bottom)``

    mm/kasan/generic.c, 6.1. Such variables go away.
    """
    if 0 < stack_top < stack_bottom:
        k.instrumented().shadow.unpoison(stack_top, stack_bottom - stack_top)


@export(faithful)
def __asan_poison_stack_memory(k: Host, addr: int, size: int) -> None:
    """``void __asan_poison_stack_memory(const void *addr, size_t size)``

    gcc's use-after-scope, which 6.1 does not ask for: the scope of a variable ends.
    """
    k.instrumented().shadow.poison(addr, -(-size // 8) * 8, USE_AFTER_SCOPE)


@export(faithful)
def __asan_unpoison_stack_memory(k: Host, addr: int, size: int) -> None:
    """``void __asan_unpoison_stack_memory(const void *addr, size_t size)``

    gcc's use-after-scope, which 6.1 does not ask for: the scope of a variable begins.
    """
    k.instrumented().shadow.unpoison(addr, size)


def _set_shadow(byte: int) -> None:
    def handler(k: Host, addr: int, size: int) -> None:
        k.instrumented().set_shadow(addr, size, byte)

    handler.__name__ = f"__asan_set_shadow_{byte:02x}"
    handler.__doc__ = (
        f"``void __asan_set_shadow_{byte:02x}(const void *addr, ssize_t size)``\n\n"
        "mm/kasan/generic.c, 6.1. Write into the shadow, for a large frame."
    )
    export(faithful)(handler)


for _byte in (0x00, 0xF1, 0xF2, 0xF3, 0xF5, 0xF8):
    _set_shadow(_byte)


@export(faithful, private=True)
def __asan_memcpy(k: Host, dest: int, src: int, n: int) -> int:
    """``void *__asan_memcpy(void *dest, const void *src, size_t len)``

    mm/kasan/shadow.c, 6.1. What memcpy is in instrumented code: asks, then copies, or does nothing and gives NULL.
    """
    if not (k.instrumented().check(src, n, False) and k.instrumented().check(dest, n, True)):
        return 0
    k.mem.write(dest, k.mem.read(src, n))
    return dest


@export(faithful, private=True)
def __asan_memmove(k: Host, dest: int, src: int, n: int) -> int:
    """``void *__asan_memmove(void *dest, const void *src, size_t len)``

    mm/kasan/shadow.c, 6.1.
    """
    return __asan_memcpy(k, dest, src, n)


@export(faithful, private=True)
def __asan_memset(k: Host, addr: int, c: int, n: int) -> int:
    """``void *__asan_memset(void *addr, int c, size_t len)``

    mm/kasan/shadow.c, 6.1.
    """
    if not k.instrumented().check(addr, n, True):
        return 0
    k.mem.fill(addr, c & 0xFF, n)
    return addr


assert shadow_of(0xFFFF800000000000) == HEADER
