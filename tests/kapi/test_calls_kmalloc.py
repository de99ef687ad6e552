"""kmalloc, its arrays, krealloc, kvmalloc: what Python gets from a booted kernel."""

from __future__ import annotations

import pytest

from kmem.kernel import Kernel
from tests.kapi.booted import GFP_ATOMIC, GFP_KERNEL, GFP_NOFAIL, GFP_NOWARN, PAGE, SIZE_MAX, ZERO_SIZE_PTR, consistent

DIRT = b"\xa5"


def dirty(k: Kernel, size: int) -> None:
    """Leave a freed object of the class with something in it at the front of the free list."""
    p = k.kmalloc(size)
    k.write(p, DIRT * k.ksize(p))
    k.kfree(p)


def test_kmalloc_gives_a_class_that_holds_the_size(kernel: Kernel) -> None:
    assert [kernel.ksize(kernel.kmalloc(size)) for size in (1, 65, 129, 4097, 8193)] == [8, 96, 192, 8192, 16384]
    assert kernel.kmalloc(0) == ZERO_SIZE_PTR
    assert kernel.kmalloc((4 << 20) + 1, GFP_KERNEL | GFP_NOWARN) == 0


def test_kzalloc_wipes(kernel: Kernel) -> None:
    dirty(kernel, 64)
    assert kernel.read(kernel.kzalloc(64), 64) == bytes(64)
    dirty(kernel, 64)
    assert kernel.read(kernel.kmalloc(64), 16) != bytes(16)


@pytest.mark.parametrize("call", ["kmalloc_array", "kcalloc"])
def test_arrays_check_their_product(call: str, kernel: Kernel) -> None:
    assert kernel.ksize(getattr(kernel, call)(10, 20)) == 256
    assert getattr(kernel, call)(0, 8) == ZERO_SIZE_PTR
    assert getattr(kernel, call)(1 << 33, 1 << 31) == 0


def test_kcalloc_wipes(kernel: Kernel) -> None:
    dirty(kernel, 64)
    assert kernel.read(kernel.kcalloc(4, 16), 64) == bytes(64)


def test_node_forms_take_a_node(kernel: Kernel) -> None:
    assert kernel.ksize(kernel.kmalloc_node(100, GFP_KERNEL, 0)) == 128
    assert kernel.read(kernel.kzalloc_node(100, GFP_KERNEL, 0), 100) == bytes(100)
    assert kernel.ksize(kernel.kmalloc_array_node(3, 100, GFP_KERNEL, 0)) == 512
    assert kernel.read(kernel.kcalloc_node(3, 100, GFP_KERNEL, 0), 300) == bytes(300)
    assert kernel.kcalloc_node(1 << 33, 1 << 31, GFP_KERNEL, 0) == 0


def test_krealloc_moves_only_what_is_too_small(kernel: Kernel) -> None:
    p = kernel.kmalloc(20)
    kernel.write(p, b"twenty bytes of text")
    assert kernel.krealloc(p, 32) == p
    q = kernel.krealloc(p, 33)
    assert q != p
    assert kernel.read(q, 20) == b"twenty bytes of text"
    assert kernel.kmalloc(20) == p
    assert kernel.krealloc(q, 0) == ZERO_SIZE_PTR
    assert kernel.ksize(kernel.krealloc(0, 50)) == 64
    assert kernel.krealloc(kernel.kmalloc(8), 8 << 20, GFP_KERNEL | GFP_NOWARN) == 0


def test_krealloc_array_checks_the_product(kernel: Kernel) -> None:
    p = kernel.kmalloc_array(4, 8)
    assert kernel.ksize(kernel.krealloc_array(p, 100, 8)) == 1024
    q = kernel.kmalloc(64)
    assert kernel.krealloc_array(q, 1 << 33, 1 << 31) == 0
    assert kernel.ksize(q) == 64


def test_kmalloc_track_caller_charges_another(kernel: Kernel) -> None:
    events: list[int] = []
    kernel.events.listen(lambda event: events.append(event.call_site))
    kernel.kmalloc_track_caller(8, GFP_KERNEL, 0xFFFFFFFFC0001234)
    kernel.drain()
    assert events == [0xFFFFFFFFC0001234]
    kernel.events._listeners.pop()


def test_kmalloc_size_roundup(kernel: Kernel) -> None:
    sizes = (0, 1, 65, 100, 4096, 8193, 70000, SIZE_MAX)
    assert [kernel.kmalloc_size_roundup(size) for size in sizes] == [0, 8, 96, 128, 4096, 16384, 131072, SIZE_MAX]
    for size in (1, 100, 5000, 20000):
        assert kernel.ksize(kernel.kmalloc(size)) == kernel.kmalloc_size_roundup(size)


def test_kfree_takes_null_and_zero_size(kernel: Kernel) -> None:
    kernel.kfree(0)
    kernel.kfree(ZERO_SIZE_PTR)
    p = kernel.kmalloc(64)
    kernel.kfree(p)
    assert kernel.kmalloc(64) == p
    consistent(kernel)


def test_ksize_of_nothing(kernel: Kernel) -> None:
    assert [kernel.ksize(p) for p in (0, ZERO_SIZE_PTR)] == [0, 0]


def test_kfree_sensitive_wipes_the_whole_object(kernel: Kernel) -> None:
    p = kernel.kmalloc(40)
    kernel.write(p, DIRT * 64)
    kernel.kfree_sensitive(p)
    assert DIRT not in kernel.read(p, 64)
    kernel.kfree_sensitive(0)


def test_kfree_const_frees_what_is_no_constant(kernel: Kernel) -> None:
    p = kernel.kstrdup_const("name", GFP_KERNEL)
    assert kernel.read(p, 5) == b"name\0"
    kernel.kfree_const(p)
    assert kernel.kmalloc(8) == p


def test_kfree_bulk_frees_each_to_its_own_cache(kernel: Kernel) -> None:
    objects = [kernel.kmalloc(size) for size in (8, 100, 8, 5000, 20000, 100, 8)]
    kernel.kfree_bulk(objects)
    assert all(kernel.mm.core.k_object_is_free(p) for p in objects if kernel.slab_of(p))
    consistent(kernel)
    assert kernel.kmalloc(8) == objects[0]


def test_kfree_rcu_waits_for_the_grace_period(kernel: Kernel) -> None:
    p = kernel.kmalloc(64)
    kernel.kfree_rcu(p, 16)
    assert not kernel.mm.core.k_object_is_free(p)
    kernel.rcu_barrier()
    assert kernel.mm.core.k_object_is_free(p)


def test_kfree_rcu_without_a_head_frees_at_once(kernel: Kernel) -> None:
    p, q = kernel.kmalloc(64), kernel.kvmalloc(8 << 20)
    kernel.kfree_rcu_mightsleep(p)
    kernel.kvfree_rcu_mightsleep(q)
    assert kernel.mm.core.k_object_is_free(p)
    assert kernel.vmalloc_to_page(q) == 0


def test_kvfree_rcu_frees_both_kinds(kernel: Kernel) -> None:
    q = kernel.kvmalloc(8 << 20)
    kernel.kvfree_rcu(q, 8)
    kernel.rcu_barrier()
    assert kernel.vmalloc_to_page(q) == 0


def test_kmem_dump_obj_names_cache_and_offset(kernel: Kernel) -> None:
    p = kernel.kmalloc(100)
    kernel.log.printk("ptr", 4)
    assert kernel.kmem_dump_obj(p + 8) == 1
    assert f"ptr slab kmalloc-128 start {p:016x} pointer offset 8 size 128\n" in kernel.dmesg()
    assert kernel.kmem_dump_obj(kernel.vmalloc(PAGE)) == 0


def test_mem_dump_obj_names_every_kind_of_memory(kernel: Kernel) -> None:
    area = kernel.vmalloc(3 * PAGE)
    for what in (0, ZERO_SIZE_PTR, kernel.get_free_page(), area, 0xFFFFFFFFFF000000):
        kernel.log.printk("ptr", 4)
        kernel.mem_dump_obj(what)
    kinds = ["NULL pointer", "zero-size pointer", "non-slab/vmalloc memory"]
    lines = [line.split("ptr ", 1)[1] for line in kernel.dmesg().splitlines() if "ptr " in line]
    assert lines[:3] == kinds
    assert lines[3].startswith(f"3-page vmalloc region starting at {area:#x} allocated at ")
    assert lines[4] == "non-paged memory"


# kvmalloc


def test_kvmalloc_falls_back_to_vmalloc(kernel: Kernel) -> None:
    small, large = kernel.kvmalloc(100), kernel.kvmalloc(8 << 20)
    assert not kernel.is_vmalloc_addr(small)
    assert kernel.is_vmalloc_addr(large)
    assert kernel.dmesg() == ""
    kernel.kvfree(small)
    kernel.kvfree(large)
    consistent(kernel)


def test_kvmalloc_that_may_not_sleep_does_not_fall_back(kernel: Kernel) -> None:
    assert kernel.kvmalloc(8 << 20, GFP_ATOMIC) == 0
    assert kernel.is_vmalloc_addr(kernel.kvmalloc(8 << 20, 0xC00))


def test_kvmalloc_nofail_is_vmallocs_business(kernel: Kernel) -> None:
    assert kernel.is_vmalloc_addr(kernel.kvmalloc(8 << 20, GFP_KERNEL | GFP_NOFAIL))


def test_kvmalloc_beyond_int_max_warns(kernel: Kernel) -> None:
    assert kernel.kvmalloc(1 << 31, GFP_KERNEL | GFP_NOWARN) == 0
    assert "kvmalloc_node" not in kernel.dmesg()
    assert kernel.kvmalloc(1 << 31) == 0
    assert "WARNING: CPU: 0 PID: 97 at mm/util.c:596 kvmalloc_node" in kernel.dmesg()


def test_an_attempt_that_vmalloc_follows_is_no_failure(kernel: Kernel) -> None:
    kinds: list[tuple[str, bool]] = []
    kernel.events.listen(lambda event: kinds.append((event.kind, bool(event.ptr))))
    kernel.kvmalloc(8 << 20)
    kernel.drain()
    kernel.events._listeners.pop()
    assert kinds == [("vmalloc", True)]


def test_kvzalloc_and_node_forms(kernel: Kernel) -> None:
    p = kernel.kmalloc(20000)
    kernel.write(p, DIRT * 20000)
    kernel.kfree(p)
    assert kernel.read(kernel.kvzalloc(20000), 20000) == bytes(20000)
    assert kernel.read(kernel.kvzalloc_node(20000, GFP_KERNEL, 0), 20000) == bytes(20000)
    assert kernel.ksize(kernel.kvmalloc_node(100, GFP_KERNEL, 0)) == 128


def test_kvmalloc_arrays_check_their_product(kernel: Kernel) -> None:
    assert kernel.ksize(kernel.kvmalloc_array(4, 25)) == 128
    assert kernel.read(kernel.kvcalloc(4, 25), 100) == bytes(100)
    assert kernel.kvmalloc_array(1 << 33, 1 << 31) == 0
    assert kernel.kvcalloc(1 << 33, 1 << 31) == 0


def test_kvrealloc_copies_and_never_shrinks(kernel: Kernel) -> None:
    p = kernel.kvmalloc(100)
    kernel.write(p, b"content")
    assert kernel.kvrealloc(p, 100, 50, GFP_KERNEL) == p
    q = kernel.kvrealloc(p, 100, 8 << 20, GFP_KERNEL)
    assert kernel.is_vmalloc_addr(q)
    assert kernel.read(q, 7) == b"content"


def test_kvfree_sensitive_wipes(kernel: Kernel) -> None:
    p = kernel.kvmalloc(40)
    kernel.write(p, DIRT * 40)
    kernel.kvfree_sensitive(p, 40)
    assert DIRT not in kernel.read(p, 40)


def test_objects_by_size_and_number(kernel: Kernel) -> None:
    assert kernel.ksize(kernel.kmalloc_obj(100)) == 128
    assert kernel.ksize(kernel.kmalloc_objs(24, 10)) == 256
    assert kernel.ksize(kernel.kmalloc_flex(16, 8, 100)) == 1024
    assert kernel.kmalloc_objs(1 << 62, 8) == kernel.kmalloc_flex(16, 1 << 62, 8) == 0
