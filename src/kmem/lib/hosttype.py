"""The compiled form of :mod:`kmem.lib.host`. Imported only where something is compiled."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

I64 = ir.IntType(64)


def _loader(bits: int) -> Any:
    @intrinsic
    def get(typingctx: Any, addr: Any) -> Any:
        def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            value = builder.load(builder.inttoptr(args[0], ir.IntType(bits).as_pointer()), align=1)
            return value if bits == 64 else builder.zext(value, I64)

        return types.int64(types.int64), codegen

    return get


def _storer(bits: int) -> Any:
    @intrinsic
    def put(typingctx: Any, addr: Any, value: Any) -> Any:
        def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            narrow = ir.IntType(bits)
            word = args[1] if bits == 64 else builder.trunc(args[1], narrow)
            builder.store(word, builder.inttoptr(args[0], narrow.as_pointer()), align=1)
            return context.get_dummy_value()

        return types.void(types.int64, types.int64), codegen

    return put


get8, get16, get32, get64 = _loader(8), _loader(16), _loader(32), _loader(64)
put8, put16, put32, put64 = _storer(8), _storer(16), _storer(32), _storer(64)


@intrinsic
def prefetch(typingctx: Any, addr: Any) -> Any:
    """``__builtin_prefetch()``."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        byte, i32 = ir.IntType(8).as_pointer(), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [byte, i32, i32, i32])
        function = builder.module.declare_intrinsic("llvm.prefetch", (byte,), kind)
        builder.call(function, [builder.inttoptr(args[0], byte), i32(1), i32(3), i32(1)])
        return context.get_dummy_value()

    return types.void(types.int64), codegen


@intrinsic
def matches(typingctx: Any, addr: Any, byte: Any) -> Any:
    """A comparison of 64 bytes at once, however wide the vectors of this CPU are."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        vector = ir.VectorType(ir.IntType(8), 64)
        found = builder.load(builder.inttoptr(args[0], vector.as_pointer()), align=1)
        one = builder.insert_element(
            ir.Constant(vector, ir.Undefined), builder.trunc(args[1], ir.IntType(8)), ir.IntType(32)(0)
        )
        everywhere = ir.Constant(ir.VectorType(ir.IntType(32), 64), [0] * 64)
        all_of_it = builder.shuffle_vector(one, ir.Constant(vector, ir.Undefined), everywhere)
        return builder.bitcast(builder.icmp_unsigned("==", found, all_of_it), I64)

    return types.int64(types.int64, types.int64), codegen
