"""Entries as Python functions, compiled beside the model: a call from Python costs a tenth of one through ctypes.

For the entry ``f`` there is ``kmem_py_f``, a ``PyCFunction`` (METH_FASTCALL) that takes Python integers of any sign,
calls the entry with their low 64 bits, and gives its result as an unsigned one. Its *self* is a tuple: the address of
the RAM, what to call (and raise) when the entry gave up, and what to call when the number of arguments is wrong.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

METH_FASTCALL = 0x80
PREFIX = "kmem_py_"


class PyMethodDef(ctypes.Structure):
    """``PyMethodDef`` of CPython (Include/methodobject.h)."""

    _fields_ = [
        ("ml_name", ctypes.c_char_p),
        ("ml_meth", ctypes.c_void_p),
        ("ml_flags", ctypes.c_int),
        ("ml_doc", ctypes.c_char_p),
    ]


def python_function(name: str, address: int, base: int, failed: Callable[[], Any], misused: Callable[[], Any]) -> Any:
    """The function at *address*, made by :func:`emit`, as a Python object for the RAM at *base*."""
    definition = PyMethodDef(name.encode(), address, METH_FASTCALL, None)
    _definitions.append(definition)  # CPython keeps a pointer to it
    new = ctypes.pythonapi.PyCFunction_NewEx
    new.restype = ctypes.py_object
    new.argtypes = [ctypes.POINTER(PyMethodDef), ctypes.py_object, ctypes.py_object]
    return new(ctypes.byref(definition), (base, failed, misused), None)


_definitions: list[PyMethodDef] = []


def emit(module: Any, name: str, count: int, entry: Any, failed: int) -> None:
    """Add ``kmem_py_NAME`` to *module* for the function *entry*, which takes the RAM and *count* integers and returns
    *failed* when it gave up.
    """
    from llvmlite import ir

    i32, i64, obj = ir.IntType(32), ir.IntType(64), ir.IntType(8).as_pointer()

    def api(symbol: str, result: Any, *given: Any) -> Any:
        found = module.globals.get(symbol)
        return found or ir.Function(module, ir.FunctionType(result, given), symbol)

    integer = api("PyLong_AsUnsignedLongLongMask", i64, obj)
    item, call = api("PyTuple_GetItem", obj, obj, i64), api("PyObject_CallNoArgs", obj, obj)
    function = ir.Function(module, ir.FunctionType(obj, [obj, obj.as_pointer(), i64]), PREFIX + name)
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    this, args, nargs = function.args
    with builder.if_then(builder.icmp_unsigned("!=", nargs, i64(count)), likely=False):
        builder.ret(builder.call(call, [builder.call(item, [this, i64(2)])]))
    values = [builder.call(integer, [builder.call(item, [this, i64(0)])])]
    for number in range(count):
        value = builder.call(integer, [builder.load(builder.gep(args, [i32(number)]))])
        with builder.if_then(builder.icmp_unsigned("==", value, i64(-1)), likely=False):
            error = builder.call(api("PyErr_Occurred", obj), [])
            with builder.if_then(builder.icmp_unsigned("!=", error, obj(None)), likely=False):
                builder.ret(obj(None))
        values.append(value)
    result = builder.call(entry, values)
    with builder.if_then(builder.icmp_unsigned("==", result, i64(failed)), likely=False):
        builder.ret(builder.call(call, [builder.call(item, [this, i64(1)])]))
    builder.ret(builder.call(api("PyLong_FromUnsignedLongLong", obj, i64), [result]))
