"""From a trapped call to a handler: conversion of arguments and result by the C prototype.

The executor holds the six integer argument registers in a sequence and calls the bound function:

    result = bind("kfree")(k, regs)

*regs* is anything indexable: 0 to 5 are rdi, rsi, rdx, rcx, r8, r9 (unsigned 64 bit), 6 is rsp as the function would
find it, pointing at the return address. *result* is what goes into rax, an ``int`` from 0 to 2**64-1, or a generator:
then the executor runs each `kmem.kapi.host.Call` that it yields, sends back what the guest function returned, and the
generator's value goes into rax, masked to 64 bits.

A trapped call must cost well under a microsecond, so each shape of prototype is compiled once into a small function
in which the conversions are plain expressions.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from functools import cache
from inspect import isgeneratorfunction
from typing import Protocol

from kmem.kapi.cproto import Prototype, PrototypeError, parse_prototype
from kmem.kapi.export import Export, Handler, lookup
from kmem.kapi.host import Call, Host
from kmem.kapi.varargs import VaArgs

MASK64 = (1 << 64) - 1
REGISTERS = 6


class RawArgs(Protocol):
    """Argument registers and the stack pointer of a trapped call."""

    def __getitem__(self, index: int, /) -> int: ...


Bound = Callable[[Host, RawArgs], int | Generator[Call, int, int]]

_CONVERT = {
    "ptr": "{raw}",
    "u64": "{raw}",
    "u32": "{raw} & 0xFFFFFFFF",
    "u16": "{raw} & 0xFFFF",
    "u8": "{raw} & 0xFF",
    "s64": "({raw} ^ 0x8000000000000000) - 0x8000000000000000",
    "s32": "(({raw} & 0xFFFFFFFF) ^ 0x80000000) - 0x80000000",
    "s16": "(({raw} & 0xFFFF) ^ 0x8000) - 0x8000",
    "s8": "(({raw} & 0xFF) ^ 0x80) - 0x80",
    "bool": "{raw} & 0xFF != 0",
    "va_list": "VaArgs.of_list(k.mem, {raw})",
}
"""Source of the conversion of one argument."""

# A handler for a pointer or void function may return a generator instead of a value, and that must pass through.
_RESULT = {"void": "{call} or 0", "ptr": "{call}", "va_list": "{call}", "bool": "1 if {call} else 0"}
_INTEGER_RESULT = "{call} & 0xFFFFFFFFFFFFFFFF"
_EITHER_RESULT = "r & 0xFFFFFFFFFFFFFFFF if (r := {call}).__class__ is int else int(r) if r.__class__ is bool else r"
"""For a handler that is declared ``-> int | Guest``: it returns a generator where it has to wait."""


def bind(name: str) -> Bound | None:
    """The bound function of the export *name*; None when no handler serves it."""
    entry = lookup(name)
    return bind_export(entry) if isinstance(entry, Export) else None


def bind_export(entry: Export) -> Bound:
    """The bound function of *entry*. Raises PrototypeError when prototype and handler do not fit together."""
    prototype = parse_prototype(entry.prototype)
    if prototype.name != entry.name:
        raise PrototypeError(
            f"the prototype of {entry.name} is that of {prototype.name}", remedy="correct the docstring"
        )
    kinds = tuple(param.kind for param in prototype.params)
    expected = 1 + len(kinds) + prototype.variadic
    code = entry.handler.__code__
    if not code.co_flags & 4 and code.co_argcount != expected:
        what = f"the handler of {entry.name} takes {code.co_argcount} parameters, its prototype needs {expected}"
        raise PrototypeError(what, remedy="give the handler the parameters of the C function, after k")
    generator = isgeneratorfunction(entry.handler)
    either = not generator and "Guest" in str(entry.handler.__annotations__.get("return", ""))
    result = "either" if either and prototype.result not in ("void", "ptr") else prototype.result
    make = _shape(kinds, prototype.variadic, result, generator)
    return make(entry.handler)


def source(prototype: Prototype, generator: bool = False) -> str:
    """The Python source of the converter for *prototype* (for a look)."""
    return _source(tuple(param.kind for param in prototype.params), prototype.variadic, prototype.result, generator)


def _raw(index: int) -> str:
    """Source that fetches argument *index* unconverted: a register, or a slot above the return address."""
    return f"a[{index}]" if index < REGISTERS else f"k.mem.u64(a[6] + {8 * (index - REGISTERS + 1)})"


def _source(kinds: tuple[str, ...], variadic: bool, result: str, generator: bool) -> str:
    arguments = ["k", *(_CONVERT[kind].format(raw=_raw(index)) for index, kind in enumerate(kinds))]
    if variadic:
        left = ", ".join(f"a[{index}]" for index in range(len(kinds), REGISTERS))
        above = 8 * (1 + max(0, len(kinds) - REGISTERS))
        arguments.append(f"VaArgs(k.mem, ({left}{',' if left else ''}), a[6] + {above})")
    call = f"handler({', '.join(arguments)})"
    if generator:
        call = f"(yield from {call})"
    form = _EITHER_RESULT if result == "either" else _RESULT.get(result, _INTEGER_RESULT)
    body = form.format(call=call)
    return f"def make(handler):\n    def bound(k, a):\n        return {body}\n    return bound\n"


@cache
def _shape(kinds: tuple[str, ...], variadic: bool, result: str, generator: bool) -> Callable[[Handler], Bound]:
    scope: dict[str, object] = {"VaArgs": VaArgs}
    exec(_source(kinds, variadic, result, generator), scope)  # the source is made here, of constants only
    make: Callable[[Handler], Bound] = scope["make"]  # type: ignore[assignment]
    return make
