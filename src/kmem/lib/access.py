"""The check of one memory access, compiled beside the model: what the emulated CPU calls for every load and store.

Shadow memory has one byte for eight of RAM: 0 when all may be touched, 1 to 7 when only the first so many may, 0x80 and
above when none may (mm/kasan/kasan.h, 6.1). Beside it lies one byte whose bits say which of the eight were never
written since they were allocated; a store clears them.
"""

from __future__ import annotations

import ctypes
from typing import Any

NAME = "kmem_check_access"
MEM_READ, MEM_WRITE = 16, 17
"""``UC_MEM_READ``, ``UC_MEM_WRITE``."""

SLOW = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int, ctypes.c_uint64, ctypes.c_int, ctypes.c_int64)
"""Called for an access that may not be; arguments as of the hook itself, the address physical."""


class Access(ctypes.Structure):
    """What the hook gets as user data. Addresses are the host's; *size* is that of RAM."""

    _fields_ = [
        ("shadow", ctypes.c_uint64),
        ("size", ctypes.c_uint64),
        ("slow", ctypes.c_void_p),
        ("unwritten", ctypes.c_uint64),
    ]


def emit(module: Any) -> None:
    """Add ``void kmem_check_access(uc_engine *, int type, uint64_t address, int size, int64_t value, struct access *)``
    to *module*.
    """
    from llvmlite import ir

    i8, i16, i32, i64, void = ir.IntType(8), ir.IntType(16), ir.IntType(32), ir.IntType(64), ir.VoidType()
    words = [i8.as_pointer(), i32, i64, i32, i64]
    slow = ir.FunctionType(void, words)
    context = ir.LiteralStructType([i64, i64, slow.as_pointer(), i64])
    function = ir.Function(module, ir.FunctionType(void, [*words, context.as_pointer()]), NAME)
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    _, kind, address, size, _, given = function.args

    def member(number: int) -> Any:
        return builder.load(builder.gep(given, [i32(0), i32(number)]))

    def shadow_of(at: Any) -> Any:
        granule = builder.lshr(at, i64(3))
        return granule, builder.load(builder.inttoptr(builder.add(member(0), granule), i8.as_pointer()))

    with builder.if_then(builder.icmp_unsigned(">=", address, member(1)), likely=False):
        builder.ret_void()
    first, begin = shadow_of(address)
    with builder.if_then(builder.icmp_unsigned("==", kind, i32(MEM_WRITE))):
        ones = builder.sub(builder.shl(i16(1), builder.trunc(size, i16)), i16(1))
        mask = builder.shl(ones, builder.trunc(builder.and_(address, i64(7)), i16))
        place = builder.inttoptr(builder.add(member(3), first), i16.as_pointer())
        builder.store(builder.and_(builder.load(place), builder.not_(mask)), place, align=1)
    last = builder.sub(builder.add(address, builder.zext(size, i64)), i64(1))
    final, end = shadow_of(last)
    with builder.if_then(builder.icmp_unsigned("==", builder.or_(begin, end), i8(0)), likely=True):
        builder.ret_void()
    beyond = builder.icmp_signed(">=", builder.trunc(builder.and_(last, i64(7)), i8), end)
    behind = builder.and_(builder.icmp_unsigned("!=", end, i8(0)), beyond)
    crosses = builder.icmp_unsigned("!=", first, final)
    before = builder.and_(builder.icmp_unsigned("!=", begin, i8(0)), crosses)
    with builder.if_then(builder.or_(behind, before), likely=False):
        builder.call(member(2), function.args[:5])
    builder.ret_void()
