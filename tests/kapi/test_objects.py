"""Things with a life: kernel objects, module references, memory pools; and how life ends."""

from __future__ import annotations

import pytest

from kmem.kapi.host import Stuck
from tests.kapi.fakehost import CALLER, FakeBug, FakeHost, FakePanic

U64 = 1 << 64
GFP_KERNEL, GFP_ATOMIC = 0xCC0, 0xA20


# Kernel objects


@pytest.fixture
def released() -> list[int]:
    return []


@pytest.fixture
def kobj(k: FakeHost, released: list[int]) -> int:
    obj = k.alloc(64)
    ktype = k.put(k.guest(lambda kobj: released.append(kobj) or 0).to_bytes(8, "little") + bytes(40))
    k.run("kobject_init", obj, ktype)
    return obj


def test_the_last_reference_releases_the_object_and_frees_its_name(kobj: int, released: list[int], k: FakeHost) -> None:
    assert k.run("kobject_set_name", kobj, "sd%c/%d", ord("a"), 1) == 0
    assert k.text(k.mem.u64(kobj)) == "sda!1"
    assert k.run("kobject_get", kobj) == kobj
    k.run("kobject_put", kobj)
    assert released == []
    k.run("kobject_put", kobj)
    assert released == [kobj]
    assert k.mm.live == {}


def test_renaming_frees_the_old_name(kobj: int, k: FakeHost) -> None:
    k.run("kobject_set_name", kobj, "old")
    k.run("kobject_set_name", kobj, "new")
    assert len(k.mm.live) == 1
    k.mm.fail = True
    assert k.run("kobject_set_name", kobj, k.mem.u64(kobj)) == U64 - 12


def test_adding_takes_a_reference_to_the_parent(kobj: int, k: FakeHost) -> None:
    parent = k.alloc(64)
    k.run("kobject_init", parent, k.put(bytes(48)))
    assert k.run("kobject_add", kobj, parent, "child") == 0
    assert k.mem.u32(parent + 56) == 2
    k.run("kobject_del", kobj)
    assert k.mem.u32(parent + 56) == 1


def test_initializing_twice_or_without_a_type_is_told(kobj: int, k: FakeHost) -> None:
    k.run("kobject_init", kobj, k.mem.u64(kobj + 40))
    k.run("kobject_init", kobj, 0)
    assert [record.text.split("): ")[1] for record in k.log.records] == [
        "tried to init an initialized object, something is seriously wrong.",
        "must have a ktype to be initialized properly!\n",
    ]
    assert k.dumps == 2


def test_an_uninitialized_object_warns(k: FakeHost) -> None:
    obj = k.alloc(64)
    k.run("kobject_get", obj)
    assert k.warnings[0].startswith("lib/kobject.c:632 kobject_get: kobject: '(null)' (")
    assert "refcount_t: addition on 0; use-after-free." in k.warnings[1]
    k.run("kobject_put", k.alloc(64))
    assert "refcount_t: underflow; use-after-free." in k.warnings[-1]
    assert k.run("kobject_add", k.alloc(64), 0, "x") == U64 - 22


def test_get_unless_zero(kobj: int, k: FakeHost) -> None:
    assert k.run("kobject_get_unless_zero", kobj) == kobj
    k.mem.set_u32(kobj + 56, 0)
    assert k.run("kobject_get_unless_zero", kobj) == 0
    assert k.run("kobject_get", 0) == k.run("kobject_put", 0) == 0


# Modules


def test_references_of_a_module(k: FakeHost) -> None:
    layout = k.layout["module"]
    module = k.alloc(layout.size)
    count = module + layout.offset("refcnt")
    k.mem.set_u32(count, 1)
    assert k.run("try_module_get", module) == 1
    k.run("__module_get", module)
    assert k.run("module_refcount", module) == 2
    for _ in range(3):
        k.run("module_put", module)
    assert k.run("try_module_get", module) == 0
    assert k.warnings == []
    k.run("module_put", module)
    assert k.warnings == ["kernel/module/main.c:857 module_put: "]
    k.mem.set_u32(count, 1)
    k.mem.set_u32(module + layout.offset("state"), 2)
    assert k.run("try_module_get", module) == 0
    assert k.run("try_module_get", 0) == 1


def test_no_other_module_is_found(k: FakeHost) -> None:
    assert k.run("__request_module", 1, "snd-%s", "x") == U64 - 2
    assert k.context.asked == ["schedule"]


# Memory pools


class Pool:
    """A pool whose elements are numbers."""

    def __init__(self, k: FakeHost, min_nr: int) -> None:
        self.k = k
        self.given: list[int] = []
        self.freed: list[int] = []
        self.empty = False
        self.masks: list[int] = []
        self.alloc, self.free = k.guest(self._alloc), k.guest(self._free)
        self.address = k.run("mempool_create", min_nr, self.alloc, self.free, 77)

    def _alloc(self, gfp: int, data: int) -> int:
        assert data == 77
        self.masks.append(gfp)
        if self.empty:
            return 0
        self.given.append(1000 + len(self.given))
        return self.given[-1]

    def _free(self, element: int, data: int) -> int:
        self.freed.append(element)
        return 0


def test_a_pool_keeps_elements_in_reserve(k: FakeHost) -> None:
    pool = Pool(k, 2)
    assert pool.given == [1000, 1001]
    assert k.run("mempool_alloc", pool.address, GFP_KERNEL) == 1002
    pool.empty = True
    assert k.run("mempool_alloc", pool.address, GFP_KERNEL) == 1001
    assert k.run("mempool_alloc", pool.address, GFP_KERNEL) == 1000
    k.run("mempool_free", 1002, pool.address)
    assert k.run("mempool_alloc", pool.address, GFP_ATOMIC) == 1002
    assert k.run("mempool_alloc", pool.address, GFP_ATOMIC) == 0
    assert k.findings == []


def test_a_full_reserve_frees_what_comes_back(k: FakeHost) -> None:
    pool = Pool(k, 1)
    element = k.run("mempool_alloc", pool.address, GFP_KERNEL)
    k.run("mempool_free", element, pool.address)
    k.run("mempool_free", 0, pool.address)
    assert pool.freed == [element]


def test_the_allocator_is_first_asked_without_sleeping(k: FakeHost) -> None:
    pool = Pool(k, 1)
    pool.masks.clear()
    pool.empty = True
    k.run("mempool_alloc", pool.address, GFP_KERNEL)
    with pytest.raises(Stuck):
        k.run("mempool_alloc", pool.address, GFP_KERNEL)
    no_reserves = 0x80000 | 0x10000 | 0x2000
    assert pool.masks == [0x880 | no_reserves, 0x880 | no_reserves, GFP_KERNEL | no_reserves]
    assert k.findings[0][0] == "hang"


def test_destroying_a_pool_frees_everything(k: FakeHost) -> None:
    pool = Pool(k, 3)
    k.run("mempool_destroy", pool.address)
    k.run("mempool_destroy", 0)
    assert sorted(pool.freed) == pool.given
    assert k.mm.live == {}


def test_a_pool_that_cannot_be_filled_is_not_created(k: FakeHost) -> None:
    no_elements = k.guest(lambda gfp, data: 0)
    assert k.run("mempool_create", 2, no_elements, no_elements, 0) == 0
    assert k.mm.live == {}
    k.mm.fail = True
    assert k.run("mempool_create", 2, no_elements, no_elements, 0) == 0


def test_resizing_a_pool(k: FakeHost) -> None:
    pool = Pool(k, 2)
    assert k.run("mempool_resize", pool.address, 4) == 0
    assert len(pool.given) == 4
    assert k.run("mempool_resize", pool.address, 1) == 0
    assert len(pool.freed) == 3
    with pytest.raises(FakeBug):
        k.run("mempool_resize", pool.address, 0)
    k.run("mempool_destroy", pool.address)
    assert sorted(pool.freed) == pool.given


# The end


def test_panic(k: FakeHost) -> None:
    with pytest.raises(FakePanic, match=r"^out of luck 7$"):
        k.run("panic", "out of luck %d\n", 7)


def test_a_smashed_stack(k: FakeHost) -> None:
    k.kallsyms.add("drv_init", CALLER - 0x10, 0x80, "drv")
    with pytest.raises(FakePanic, match=r"stack-protector: Kernel stack is corrupted in: drv_init\+0x10/0x80 \[drv\]"):
        k.run("__stack_chk_fail")


def test_a_fortified_overflow(k: FakeHost) -> None:
    with pytest.raises(FakeBug, match=r"lib/string_helpers.c:1027 fortify_panic"):
        k.run("fortify_panic", "memcpy")
    assert (k.log.records[0].level, k.log.records[0].text) == (0, "detected buffer overflow in memcpy")


def test_dump_stack(k: FakeHost) -> None:
    k.run("dump_stack")
    assert k.dumps == 1
