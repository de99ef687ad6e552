"""KUnit (lib/kunit), 6.1: what a test calls while it runs. `kmem.kapi.kunit_run` runs the suites of a module.

A kernel without KUnit exports none of this; kmem serves it for every release, so that suites can be tried on any. The
structs are those of the release's own headers (`kmem.abi.layout.kunit_layout`).
"""

from __future__ import annotations

from kmem.abi.gfp import __GFP_ZERO, GFP_KERNEL
from kmem.abi.layout import StructLayout, kunit_layout
from kmem.kapi import kunit_assert
from kmem.kapi.errno import EFAULT, ENOENT
from kmem.kapi.export import data, export, faithful, simplified
from kmem.kapi.host import Call, Guest, Host, Stuck, s32
from kmem.kapi.lists import add_tail, del_init, entries, init_list_head, is_empty
from kmem.kapi.varargs import VaArgs
from kmem.kapi.vsprintf import vsnprintf

SUCCESS, FAILURE, SKIPPED = range(3)
"""``enum kunit_status``."""
INDENT = "    "
_ASSERTION = 0
_LOG_SIZE = 512

data(
    "kunit_current",
    8,
    doc="The ``struct kunit`` of the test that runs now, as ``current->kunit_test``.",
    private=True,
)


def struct(k: Host, name: str) -> StructLayout:
    """The layout of one of KUnit's structs."""
    return kunit_layout(k.release.name)[name]


def member(k: Host, test: int, name: str) -> int:
    """Address of a member of the ``struct kunit`` at *test*."""
    return test + struct(k, "kunit").offset(name)


def set_failure(k: Host, test: int) -> None:
    """``kunit_set_failure()``."""
    k.mem.set_u32(member(k, test, "status"), FAILURE)


def name_of(k: Host, test: int) -> str:
    """``test->name``."""
    return text(k, k.mem.u64(member(k, test, "name")))


def text(k: Host, addr: int) -> str:
    """A guest string as Python's."""
    return k.mem.cstr(addr).decode("utf-8", "backslashreplace") if addr else "(null)"


def err(k: Host, test: int, message: str) -> None:
    """``kunit_err()``."""
    k.log.printk(f"\x013{INDENT}# {name_of(k, test)}: {message}", whole=True)


@export(simplified("the formats of the framework itself are known, not those of a module's own"))
def kunit_do_failed_assertion(
    k: Host, test: int, loc: int, type: int, assertion: int, assert_format: int, fmt: int, args: VaArgs
) -> None:
    """``void kunit_do_failed_assertion(struct kunit *test, const struct kunit_loc *loc, enum kunit_assert_type type,
    const struct kunit_assert *assert, assert_format_t assert_format, const char *fmt, ...)``

    lib/kunit/test.c, 6.1. Prints what was expected; an assertion ends the test, an expectation does not.
    """
    set_failure(k, test)
    message = vsnprintf(k, k.mem.cstr(fmt), args).decode("utf-8", "backslashreplace") if fmt else None
    at = struct(k, "kunit_loc")
    where = f"{text(k, k.mem.u64(loc + at.offset('file')))}:{k.mem.s32(loc + at.offset('line'))}"
    what = "EXPECTATION" if type != _ASSERTION else "ASSERTION"
    body = kunit_assert.describe(k, assert_format, assertion, message)
    err(k, test, f"{what} FAILED at {where}\n{body}")
    if type == _ASSERTION:
        kunit_try_catch_throw(k, member(k, test, "try_catch"))


@export(faithful)
def kunit_try_catch_throw(k: Host, try_catch: int) -> None:
    """``void kunit_try_catch_throw(struct kunit_try_catch *try_catch)``

    lib/kunit/try-catch.c, 6.1. Ends the test's thread; the cleanup runs after it.
    """
    k.mem.set_u32(try_catch + struct(k, "kunit_try_catch").offset("try_result"), -EFAULT & 0xFFFFFFFF)
    raise Stuck


@export(faithful)
def kunit_log_append(k: Host, log: int, fmt: int, args: VaArgs) -> None:
    """``void kunit_log_append(char *log, const char *fmt, ...)``

    lib/kunit/test.c, 6.1. As much as fits; without debugfs there is no log.
    """
    if log:
        old = k.mem.cstr(log, _LOG_SIZE)
        new = (old + vsnprintf(k, k.mem.cstr(fmt), args))[: _LOG_SIZE - 1]
        k.mem.write(log, new + b"\0")


def resource(k: Host, res: int, name: str) -> int:
    """Address of a member of the ``struct kunit_resource`` at *res*."""
    return res + struct(k, "kunit_resource").offset(name)


@export(faithful)
def __kunit_add_resource(k: Host, test: int, init: int, free: int, res: int, data: int) -> Guest:
    """``int __kunit_add_resource(struct kunit *test, kunit_resource_init_t init, kunit_resource_free_t free, struct
    kunit_resource *res, void *data)``

    lib/kunit/resource.c, 6.1. The test owns *res* from now on.
    """
    k.mem.set_u64(resource(k, res, "free"), free)
    k.mem.set_u32(resource(k, res, "refcount"), 1)
    if init:
        error = s32((yield Call(init, (res, data))))
        if error:
            return error
    else:
        k.mem.set_u64(resource(k, res, "data"), data)
    add_tail(k, resource(k, res, "node"), member(k, test, "resources"))
    return 0


def put_resource(k: Host, res: int) -> Guest:
    """``kunit_put_resource()``: the last reference frees what the resource stands for."""
    count = k.mem.u32(resource(k, res, "refcount")) - 1
    k.mem.set_u32(resource(k, res, "refcount"), count & 0xFFFFFFFF)
    if count:
        return 0
    free = k.mem.u64(resource(k, res, "free"))
    if free:
        yield Call(free, (res,))
    if k.mem.u8(resource(k, res, "should_kfree")):
        k.mm.kfree(res)
    return 0


@export(faithful)
def kunit_remove_resource(k: Host, test: int, res: int) -> Guest:
    """``void kunit_remove_resource(struct kunit *test, struct kunit_resource *res)``

    lib/kunit/resource.c, 6.1.
    """
    node = resource(k, res, "node")
    linked = not is_empty(k, node)
    del_init(k, node)
    if linked:
        yield from put_resource(k, res)
    return 0


@export(faithful)
def kunit_destroy_resource(k: Host, test: int, match: int, match_data: int) -> Guest:
    """``int kunit_destroy_resource(struct kunit *test, kunit_resource_match_t match, void *match_data)``

    lib/kunit/resource.c, 6.1. The newest resource that *match* accepts; -ENOENT if there is none.
    """
    node_at = struct(k, "kunit_resource").offset("node")
    for node in reversed(list(entries(k, member(k, test, "resources")))):
        if (yield Call(match, (test, node - node_at, match_data))) & 0xFF:
            yield from kunit_remove_resource(k, test, node - node_at)
            return 0
    return -ENOENT


@export(faithful, private=True)
def kunit_kmalloc_array_free(k: Host, res: int) -> None:
    """``void kunit_kmalloc_array_free(struct kunit_resource *res)``

    lib/kunit/test.c, 6.1.
    """
    k.mm.kfree(k.mem.u64(resource(k, res, "data")))


@export(faithful)
def kunit_kmalloc_array(k: Host, test: int, n: int, size: int, gfp: int) -> int:
    """``void *kunit_kmalloc_array(struct kunit *test, size_t n, size_t size, gfp_t gfp)``

    lib/kunit/test.c, 6.1. Freed when the test ends.
    """
    res = k.mm.kmalloc(struct(k, "kunit_resource").size, GFP_KERNEL | __GFP_ZERO, caller=k.caller)
    if not res:
        return 0
    array = k.mm.kmalloc(n * size, gfp, caller=k.caller) if n * size < 1 << 64 else 0
    if not array:
        k.mm.kfree(res)
        return 0
    k.mem.set_u8(resource(k, res, "should_kfree"), 1)
    k.mem.set_u64(resource(k, res, "free"), k.address_of("kunit_kmalloc_array_free"))
    k.mem.set_u32(resource(k, res, "refcount"), 1)
    k.mem.set_u64(resource(k, res, "data"), array)
    add_tail(k, resource(k, res, "node"), member(k, test, "resources"))
    return array


@export(faithful)
def kunit_kfree(k: Host, test: int, ptr: int) -> Guest:
    """``void kunit_kfree(struct kunit *test, const void *ptr)``

    lib/kunit/test.c, 6.1. A pointer that the test does not own fails the test.
    """
    if not ptr:
        return 0
    node_at = struct(k, "kunit_resource").offset("node")
    freeing = k.address_of("kunit_kmalloc_array_free")
    for node in reversed(list(entries(k, member(k, test, "resources")))):
        res = node - node_at
        if k.mem.u64(resource(k, res, "free")) == freeing and k.mem.u64(resource(k, res, "data")) == ptr:
            yield from kunit_remove_resource(k, test, res)
            return 0
    set_failure(k, test)
    err(k, test, f"kunit_kfree: {ptr:#x} is not allocated by the test")
    return 0


@export(faithful)
def kunit_cleanup(k: Host, test: int) -> Guest:
    """``void kunit_cleanup(struct kunit *test)``

    lib/kunit/test.c, 6.1. What the test owns goes, the newest first.
    """
    head = member(k, test, "resources")
    node_at = struct(k, "kunit_resource").offset("node")
    while not is_empty(k, head):
        yield from kunit_remove_resource(k, test, k.mem.u64(head + 8) - node_at)
    return 0


@export(faithful)
def kunit_init_test(k: Host, test: int, name: int, log: int) -> None:
    """``void kunit_init_test(struct kunit *test, const char *name, char *log)``

    lib/kunit/test.c, 6.1.
    """
    k.mem.set_u32(member(k, test, "lock"), 0)
    init_list_head(k, member(k, test, "resources"))
    k.mem.set_u64(member(k, test, "name"), name)
    k.mem.set_u64(member(k, test, "log"), log)
    k.mem.set_u32(member(k, test, "status"), SUCCESS)
    k.mem.set_u8(member(k, test, "status_comment"), 0)


def named_resource(k: Host, test: int, name: bytes) -> int:
    """``kunit_find_named_resource()`` without a reference: the newest of this name, 0 if there is none."""
    node_at = struct(k, "kunit_resource").offset("node")
    for node in reversed(list(entries(k, member(k, test, "resources")))):
        at = k.mem.u64(resource(k, node - node_at, "name"))
        if at and k.mem.cstr(at) == name:
            return node - node_at
    return 0
