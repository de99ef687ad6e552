"""Typed pointers in compiled code: the Numba twin of :class:`kmem.lib.cstruct.Ptr`.

A pointer is its address; the host address of physical 0 is a variable of the compiled code (:data:`RAM_BASE`).
Reading a field is a bounds check, an addition and a load. A failed check writes the fault record into the private area
and makes the function (and all its callers) return with an error status, which the entry wrapper in
:mod:`kmem.lib.build` turns into :data:`FAULTED`.

Imported only where something is compiled.
"""

from __future__ import annotations

import operator
from typing import Any, NamedTuple

from llvmlite import ir
from numba.core import cgutils, types
from numba.core.imputils import lower_constant, lower_getattr_generic, lower_setattr_generic
from numba.core.typing.templates import AttributeTemplate, infer_getattr, signature
from numba.extending import intrinsic, lower_builtin, lower_cast, models, register_model, type_callable, typeof_impl

from kmem.abi.address import PAGE_OFFSET, START_KERNEL_MAP, VMEMMAP_START
from kmem.lib import raw
from kmem.lib.cstruct import (
    ANY,
    DIRECT,
    IMAGE,
    MEM_MAP_AT,
    MEM_MAP_SIZE_AT,
    PRIVATE,
    RAM_SIZE_AT,
    VMEMMAP,
    Field,
    Struct,
    embedded_window,
    s64,
)

I1, I8, I64 = ir.IntType(1), ir.IntType(8), ir.IntType(64)
ONLY = "only"
"""The window of an object whose address is known, and of what is in it: nothing to check but the index of an array."""

_BASES = {DIRECT: s64(PAGE_OFFSET), VMEMMAP: s64(VMEMMAP_START), IMAGE: s64(START_KERNEL_MAP)}


class PtrType(types.Type):
    """``struct NAME *`` whose objects lie in *window*."""

    def __init__(self, struct: Struct, window: str) -> None:
        self.struct = struct
        self.window = ONLY if struct.at else window
        super().__init__(name=f"ptr({struct.name}@{self.window})")


class ArrayType(types.Type):
    """An array member of a struct."""

    def __init__(self, field: Field, window: str, owner: str) -> None:
        self.field = field
        self.window = window
        super().__init__(name=f"array({owner}@{window})")


class StructType(types.Opaque):
    """The type of a :class:`Struct` object named in model code."""

    def __init__(self, struct: Struct) -> None:
        self.struct = struct
        super().__init__(name=f"struct({struct.name})")


@typeof_impl.register(Struct)
def _typeof_struct(value: Struct, _context: Any) -> StructType:
    return StructType(value)


@lower_constant(StructType)
def _lower_struct(context: Any, _builder: Any, typ: StructType, _value: Any) -> Any:
    return context.get_dummy_value()


@register_model(StructType)
class _StructModel(models.OpaqueModel):
    pass


class _AddressModel(models.PrimitiveModel):
    def __init__(self, dmm: Any, fe_type: Any) -> None:
        super().__init__(dmm, fe_type, I64)


register_model(PtrType)(_AddressModel)
register_model(ArrayType)(_AddressModel)


def field_type(owner: str, window: str, field: Field) -> Any:
    """The Numba type that reading *field* of an object in *window* gives."""
    if field.kind == "int":
        return types.int64
    if field.kind == "ptr":
        target = Struct.registry.get(field.target)
        return PtrType(target, target.window) if target else types.int64
    if field.kind == "struct":
        target = Struct.registry[field.target]
        return PtrType(target, embedded_window(target, IMAGE if window == ONLY else window))
    assert field.element is not None
    return ArrayType(field, window, owner)


# ── addresses to host pointers
# ───────────────────────────────────────────────────────────────────────────────────────────────


def _private(builder: Any, ram: Any, offset: int) -> Any:
    return builder.inttoptr(builder.add(ram, I64(offset)), I64.as_pointer())


def _bound(builder: Any, ram: Any, offset: int) -> Any:
    """A number of the private area that never changes while model code runs."""
    value = builder.load(_private(builder, ram, offset))
    value.set_metadata("invariant.load", builder.module.add_metadata([]))
    return value


RAM_BASE = "kmem_ram_base"
"""The variable of compiled code that holds the RAM's base. An entry sets it and, when it returns, sets it back; it does
not change while one runs.
"""


class Access(NamedTuple):
    """What is done to an object: *size* bytes at *offset* in it are read or written."""

    size: int
    write: bool
    offset: int = 0


def _fault(context: Any, builder: Any, ram: Any, addr: Any, at: Access) -> None:
    builder.store(builder.add(addr, I64(at.offset)), _private(builder, ram, raw.FAULT_ADDR_AT))
    builder.store(I64(at.size), _private(builder, ram, raw.FAULT_SIZE_AT))
    builder.store(I64(int(at.write)), _private(builder, ram, raw.FAULT_WRITE_AT))
    context.call_conv.return_user_exc(builder, raw.Unwind, ())


def host_pointer(context: Any, builder: Any, window: str, addr: Any, ram: Any, at: Access) -> Any:
    """The host address of an access to the object at *addr*: the object is checked, not each of its members."""
    if window == PRIVATE:
        return builder.add(ram, builder.add(addr, I64(at.offset)))
    if window == ONLY:
        return builder.add(ram, builder.add(addr, I64(at.offset - _BASES[IMAGE])))
    if window == ANY:
        host = _any_pointer(context, builder, addr, ram, at)
    else:
        delta = builder.sub(addr, I64(_BASES[window]))
        limit = _bound(builder, ram, MEM_MAP_SIZE_AT if window == VMEMMAP else RAM_SIZE_AT)
        with cgutils.if_unlikely(builder, builder.icmp_unsigned(">=", delta, limit)):
            _fault(context, builder, ram, addr, at)
        host = builder.add(ram, delta)
        if window == VMEMMAP:
            host = builder.add(host, _bound(builder, ram, MEM_MAP_AT))
    return builder.add(host, I64(at.offset))


def _any_pointer(context: Any, builder: Any, addr: Any, ram: Any, at: Access) -> Any:
    """The host address behind *addr* in any window; nearly always it is the direct map."""
    ram_size = _bound(builder, ram, RAM_SIZE_AT)
    direct = builder.sub(addr, I64(_BASES[DIRECT]))
    before = builder.block
    elsewhere, after = builder.append_basic_block("elsewhere"), builder.append_basic_block("after")
    branch = builder.cbranch(builder.icmp_unsigned("<", direct, ram_size), after, elsewhere)
    branch.set_weights([99, 1])
    builder.position_at_end(elsewhere)
    page = builder.sub(addr, I64(_BASES[VMEMMAP]))
    image = builder.sub(addr, I64(_BASES[IMAGE]))
    is_page = builder.icmp_unsigned("<", page, _bound(builder, ram, MEM_MAP_SIZE_AT))
    good = builder.or_(is_page, builder.icmp_unsigned("<", image, ram_size))
    with cgutils.if_unlikely(builder, builder.not_(good)):
        _fault(context, builder, ram, addr, at)
    found = builder.select(is_page, builder.add(page, _bound(builder, ram, MEM_MAP_AT)), image)
    last = builder.block
    builder.branch(after)
    builder.position_at_end(after)
    phys = builder.phi(I64)
    phys.add_incoming(direct, before)
    phys.add_incoming(found, last)
    return builder.add(ram, phys)


def load_int(context: Any, builder: Any, window: str, addr: Any, ram: Any, at: Access, signed: bool) -> Any:
    host = host_pointer(context, builder, window, addr, ram, at)
    narrow = ir.IntType(at.size * 8)
    value = builder.load(builder.inttoptr(host, narrow.as_pointer()))
    if at.size == 8:
        return value
    return builder.sext(value, I64) if signed else builder.zext(value, I64)


def store_int(context: Any, builder: Any, window: str, addr: Any, ram: Any, at: Access, value: Any) -> None:
    host = host_pointer(context, builder, window, addr, ram, at)
    narrow = ir.IntType(at.size * 8)
    builder.store(value if at.size == 8 else builder.trunc(value, narrow), builder.inttoptr(host, narrow.as_pointer()))


def ram_base(builder: Any) -> Any:
    """The host address of physical 0 of the machine that the running entry works on."""
    found = builder.module.globals.get(RAM_BASE)
    if found is None:
        found = ir.GlobalVariable(builder.module, I64, RAM_BASE)
    value = builder.load(found)
    value.set_metadata("invariant.load", builder.module.add_metadata([]))
    return value


def addr_of(typ: Any, value: Any) -> Any:
    """The address in a pointer or an array."""
    return I64(typ.struct.at) if isinstance(typ, PtrType) and typ.struct.at else value


# ── fields
# ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _read(context: Any, builder: Any, window: str, addr: Any, ram: Any, field: Field, result: Any) -> Any:
    """The member *field* of the object at *addr*."""
    if field.kind == "int":
        value = load_int(context, builder, window, addr, ram, Access(field.size, False, field.offset), field.signed)
        if field.bit_size:
            value = builder.and_(builder.lshr(value, I64(field.bit_offset)), I64((1 << field.bit_size) - 1))
        return value
    if field.kind == "ptr":
        value = load_int(context, builder, window, addr, ram, Access(8, False, field.offset), True)
        return value
    return builder.add(addr, I64(field.offset))


def _write(context: Any, builder: Any, window: str, addr: Any, ram: Any, field: Field, typ: Any, value: Any) -> None:
    if isinstance(typ, PtrType):
        value = addr_of(typ, value)
    if field.bit_size:
        mask = ((1 << field.bit_size) - 1) << field.bit_offset
        old = load_int(context, builder, window, addr, ram, Access(field.size, False, field.offset), False)
        kept = builder.and_(old, I64(~mask))
        value = builder.or_(kept, builder.and_(builder.shl(value, I64(field.bit_offset)), I64(mask)))
    store_int(context, builder, window, addr, ram, Access(field.size, True, field.offset), value)


@infer_getattr
class _PtrAttributes(AttributeTemplate):
    key = PtrType

    def generic_resolve(self, typ: PtrType, attr: str) -> Any:
        field = typ.struct.field(attr)
        return field_type(f"{typ.struct.name}.{attr}", typ.window, field)


@lower_getattr_generic(PtrType)
def _get_field(context: Any, builder: Any, typ: PtrType, value: Any, attr: str) -> Any:
    field = typ.struct.field(attr)
    addr, ram = addr_of(typ, value), ram_base(builder)
    result = field_type(f"{typ.struct.name}.{attr}", typ.window, field)
    return _read(context, builder, typ.window, addr, ram, field, result)


@lower_setattr_generic(PtrType)
def _set_field(context: Any, builder: Any, sig: Any, args: Any, attr: str) -> None:
    typ, valty = sig.args
    field = typ.struct.field(attr)
    addr, ram = addr_of(typ, args[0]), ram_base(builder)
    _write(context, builder, typ.window, addr, ram, field, valty, args[1])


def _element_type(array: ArrayType) -> Any:
    assert array.field.element is not None
    return field_type(array.name + "[]", array.window, array.field.element)


def _element(context: Any, builder: Any, typ: ArrayType, value: Any, index: Any, write: bool) -> tuple[Any, Any]:
    """The address of an element, and the RAM. An index that the array lacks is a fault; a flexible array has any."""
    field = typ.field.element
    assert field is not None
    addr, ram = addr_of(typ, value), ram_base(builder)
    found = builder.add(addr, builder.mul(index, I64(field.size)))
    if typ.field.length:
        with cgutils.if_unlikely(builder, builder.icmp_unsigned(">=", index, I64(typ.field.length))):
            _fault(context, builder, ram, found, Access(field.size, write))
    return found, ram


@type_callable(operator.getitem)
def _type_getitem(context: Any) -> Any:
    def typer(array: Any, index: Any) -> Any:
        if isinstance(array, ArrayType) and isinstance(index, types.Integer):
            return _element_type(array)
        if isinstance(array, PtrType) and isinstance(index, types.Integer):
            return array
        return None

    return typer


@lower_builtin(operator.getitem, ArrayType, types.Integer)
def _getitem(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    array = sig.args[0]
    index = context.cast(builder, args[1], sig.args[1], types.int64)
    addr, ram = _element(context, builder, array, args[0], index, False)
    return _read(context, builder, array.window, addr, ram, array.field.element, sig.return_type)


@type_callable(operator.setitem)
def _type_setitem(context: Any) -> Any:
    def typer(array: Any, index: Any, value: Any) -> Any:
        if isinstance(array, ArrayType) and isinstance(index, types.Integer):
            expected = _element_type(array)
            return signature(types.void, array, index, expected)
        return None

    return typer


@lower_builtin(operator.setitem, ArrayType, types.Integer, types.Any)
def _setitem(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    array, index_type, valty = sig.args
    index = context.cast(builder, args[1], index_type, types.int64)
    addr, ram = _element(context, builder, array, args[0], index, True)
    _write(context, builder, array.window, addr, ram, array.field.element, valty, args[2])
    return context.get_dummy_value()


# ── pointer arithmetic, comparison, truth
# ────────────────────────────────────────────────────────────────────────────────────


@lower_builtin(operator.getitem, PtrType, types.Integer)
def _index_ptr(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    return _step(context, builder, sig, args, 1)


@type_callable(operator.add)
def _type_add(context: Any) -> Any:
    def typer(ptr: Any, n: Any) -> Any:
        return ptr if isinstance(ptr, PtrType) and isinstance(n, types.Integer) else None

    return typer


@lower_builtin(operator.add, PtrType, types.Integer)
def _add(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    return _step(context, builder, sig, args, 1)


@type_callable(operator.sub)
def _type_sub(context: Any) -> Any:
    def typer(ptr: Any, other: Any) -> Any:
        if isinstance(ptr, PtrType) and isinstance(other, types.Integer):
            return ptr
        if isinstance(ptr, PtrType) and isinstance(other, PtrType):
            return types.int64
        return None

    return typer


@lower_builtin(operator.sub, PtrType, types.Integer)
def _sub(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    return _step(context, builder, sig, args, -1)


@lower_builtin(operator.sub, PtrType, PtrType)
def _distance(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    left = addr_of(sig.args[0], args[0])
    right = addr_of(sig.args[1], args[1])
    return builder.sdiv(builder.sub(left, right), I64(sig.args[0].struct.size))


def _step(context: Any, builder: Any, sig: Any, args: Any, sign: int) -> Any:
    typ = sig.args[0]
    n = context.cast(builder, args[1], sig.args[1], types.int64)
    return builder.add(addr_of(typ, args[0]), builder.mul(n, I64(sign * typ.struct.size)))


def _comparison(op: Any, predicate: str) -> None:
    @type_callable(op)
    def _type(context: Any) -> Any:
        def typer(a: Any, b: Any) -> Any:
            return types.boolean if isinstance(a, PtrType) and isinstance(b, PtrType) else None

        return typer

    @lower_builtin(op, PtrType, PtrType)
    def _lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        left = addr_of(sig.args[0], args[0])
        right = addr_of(sig.args[1], args[1])
        return builder.icmp_unsigned(predicate, left, right)


_comparison(operator.eq, "==")
_comparison(operator.ne, "!=")


@type_callable(bool)
def _type_bool(context: Any) -> Any:
    def typer(ptr: Any) -> Any:
        return types.boolean if isinstance(ptr, PtrType) else None

    return typer


@lower_builtin(bool, PtrType)
def _bool(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    return builder.icmp_unsigned("!=", addr_of(sig.args[0], args[0]), I64(0))


@type_callable(operator.not_)
def _type_not(context: Any) -> Any:
    def typer(ptr: Any) -> Any:
        return types.boolean if isinstance(ptr, PtrType) else None

    return typer


@lower_builtin(operator.not_, PtrType)
def _not(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    return builder.icmp_unsigned("==", addr_of(sig.args[0], args[0]), I64(0))


@lower_cast(PtrType, PtrType)
def _cast_same(context: Any, builder: Any, fromty: PtrType, toty: PtrType, value: Any) -> Any:
    return addr_of(fromty, value)


# ── the operations of kmem.lib.raw
# ───────────────────────────────────────────────────────────────────────────────────────────


@intrinsic
def address(typingctx: Any, p: Any) -> Any:
    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return addr_of(sig.args[0], args[0])

    return (types.int64(p), codegen) if isinstance(p, PtrType | ArrayType) else None


@intrinsic
def ptr(typingctx: Any, struct: Any, addr: Any, near: Any) -> Any:
    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return context.cast(builder, args[1], sig.args[1], types.int64)

    result = PtrType(struct.struct, struct.struct.window)
    return signature(result, struct, addr, near), codegen


@intrinsic
def root(typingctx: Any, struct: Any, addr: Any, ram: Any) -> Any:
    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return context.cast(builder, args[1], sig.args[1], types.int64)

    result = PtrType(struct.struct, struct.struct.window)
    return signature(result, struct, addr, ram), codegen


@intrinsic(prefer_literal=True)
def container_of(typingctx: Any, p: Any, struct: Any, member: Any) -> Any:
    if not isinstance(member, types.StringLiteral):
        return None
    offset = struct.struct.field(member.literal_value).offset
    result = PtrType(struct.struct, struct.struct.window)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.sub(addr_of(sig.args[0], args[0]), I64(offset))

    return signature(result, p, struct, member), codegen


@intrinsic
def sizeof(typingctx: Any, struct: Any) -> Any:
    size = struct.struct.size

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return I64(size)

    return types.int64(struct), codegen


@intrinsic(prefer_literal=True)
def offsetof(typingctx: Any, struct: Any, member: Any) -> Any:
    if not isinstance(member, types.StringLiteral):
        return None
    offset = struct.struct.field(member.literal_value).offset

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return I64(offset)

    return types.int64(struct, member), codegen


def _raw_load(size: int) -> Any:
    def load(typingctx: Any, near: Any, addr: Any) -> Any:
        def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            ram = ram_base(builder)
            return load_int(context, builder, ANY, args[1], ram, Access(size, False), size == 8)

        return types.int64(near, types.int64), codegen

    load.__name__ = f"load{size * 8}"
    return intrinsic(load)


def _raw_store(size: int) -> Any:
    def store(typingctx: Any, near: Any, addr: Any, value: Any) -> Any:
        def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            ram = ram_base(builder)
            store_int(context, builder, ANY, args[1], ram, Access(size, True), args[2])
            return context.get_dummy_value()

        return types.void(near, types.int64, types.int64), codegen

    store.__name__ = f"store{size * 8}"
    return intrinsic(store)


load8, load16, load32, load64 = (_raw_load(size) for size in (1, 2, 4, 8))
store8, store16, store32, store64 = (_raw_store(size) for size in (1, 2, 4, 8))


@intrinsic
def fill(typingctx: Any, near: Any, addr: Any, byte: Any, n: Any) -> Any:
    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        ram = ram_base(builder)
        addr, byte, n = args[1:]
        some = builder.icmp_signed(">", n, I64(0))
        with builder.if_then(some):
            host = host_pointer(context, builder, ANY, addr, ram, Access(1, True))
            last = builder.sub(builder.add(addr, n), I64(1))
            host_pointer(context, builder, ANY, last, ram, Access(1, True))
            function = builder.module.declare_intrinsic("llvm.memset", [I8.as_pointer(), I64])
            target = builder.inttoptr(host, I8.as_pointer())
            builder.call(function, [target, builder.trunc(byte, I8), n, I1(0)])
        return context.get_dummy_value()

    return types.void(near, types.int64, types.int64, types.int64), codegen


@intrinsic
def copy(typingctx: Any, near: Any, dest: Any, src: Any, n: Any) -> Any:
    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        ram = ram_base(builder)
        dest, src, n = args[1:]
        with builder.if_then(builder.icmp_signed(">", n, I64(0))):
            ends = builder.sub(n, I64(1))
            to = host_pointer(context, builder, ANY, dest, ram, Access(1, True))
            host_pointer(context, builder, ANY, builder.add(dest, ends), ram, Access(1, True))
            source = host_pointer(context, builder, ANY, src, ram, Access(1, False))
            host_pointer(context, builder, ANY, builder.add(src, ends), ram, Access(1, False))
            function = builder.module.declare_intrinsic("llvm.memmove", [I8.as_pointer(), I8.as_pointer(), I64])
            pointers = [builder.inttoptr(host, I8.as_pointer()) for host in (to, source)]
            builder.call(function, [*pointers, n, I1(0)])
        return context.get_dummy_value()

    return types.void(near, types.int64, types.int64, types.int64), codegen


@intrinsic
def bswap64(typingctx: Any, value: Any) -> Any:
    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.bswap(args[0])

    return types.int64(types.int64), codegen


@intrinsic
def ctz(typingctx: Any, value: Any) -> Any:
    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.cttz(args[0], I1(0))

    return types.int64(types.int64), codegen


@intrinsic
def fls64(typingctx: Any, value: Any) -> Any:
    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.sub(I64(64), builder.ctlz(args[0], I1(0)))

    return types.int64(types.int64), codegen


@intrinsic
def ult(typingctx: Any, a: Any, b: Any) -> Any:
    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.icmp_unsigned("<", args[0], args[1])

    return types.boolean(types.int64, types.int64), codegen


@intrinsic
def lshr(typingctx: Any, a: Any, n: Any) -> Any:
    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.lshr(args[0], args[1])

    return types.int64(types.int64, types.int64), codegen


@intrinsic
def shl(typingctx: Any, a: Any, n: Any) -> Any:
    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.shl(args[0], args[1])

    return types.int64(types.int64, types.int64), codegen


@intrinsic
def mul64(typingctx: Any, a: Any, b: Any) -> Any:
    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.mul(args[0], args[1])

    return types.int64(types.int64, types.int64), codegen


@intrinsic
def upcall(typingctx: Any, near: Any, code: Any, a: Any, b: Any, c: Any, d: Any) -> Any:
    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        ram = ram_base(builder)
        target = builder.load(_private(builder, ram, raw.UPCALL_AT))
        function_type = ir.FunctionType(I64, [I64] * 5)
        function = builder.inttoptr(target, function_type.as_pointer())
        result = builder.call(function, list(args[1:]))
        failed = builder.load(_private(builder, ram, raw.UPCALL_FAILED_AT))
        with cgutils.if_unlikely(builder, builder.icmp_unsigned("!=", failed, I64(0))):
            context.call_conv.return_user_exc(builder, raw.Unwind, ())
        return result

    return types.int64(near, *[types.int64] * 5), codegen


@intrinsic
def unwind(typingctx: Any, near: Any) -> Any:
    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        always = builder.icmp_unsigned("!=", ram_base(builder), I64(0))
        with builder.if_then(always):
            context.call_conv.return_user_exc(builder, raw.Unwind, ())
        return context.get_dummy_value()

    return types.void(near), codegen
