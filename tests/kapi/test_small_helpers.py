"""Small helpers of the kernel's library, called as a module calls them."""

from __future__ import annotations

import pytest

from kmem.kapi.bind import bind_export
from kmem.kapi.export import Export, all_exports
from kmem.kapi.parser import match_one
from kmem.kernel import Kernel
from tests.kapi.booted import fresh


def test_every_prototype_fits_its_handler() -> None:
    for entry in all_exports().values():
        if isinstance(entry, Export):
            bind_export(entry)


@pytest.mark.parametrize(
    ("text", "pattern", "arguments"),
    [
        (b"ro", b"ro", []),
        (b"ro", b"rw", None),
        (b"size=12", b"size=%u", [b"12"]),
        (b"size=", b"size=%u", None),
        (b"size=12k", b"size=%u", None),
        (b"size=0x1f", b"size=%d", [b"0x1f"]),
        (b"mode=755", b"mode=%o", [b"755"]),
        (b"key=-3", b"key=%d", [b"-3"]),
        (b"name=disk", b"name=%s", [b"disk"]),
        (b"name=disk", b"name=%2sk", None),
        (b"name=dik", b"name=%2sk", [b"di"]),
        (b"3:4", b"%d:%d", [b"3", b"4"]),
        (b"5%", b"%u%%", [b"5"]),
        (b"x", b"%q", None),
        (b"1,2,3,4", b"%d,%d,%d,%d", None),
    ],
)
def test_an_option_is_of_a_pattern_or_not(text: bytes, pattern: bytes, arguments: list[bytes] | None) -> None:
    found = match_one(text, pattern)
    assert (None if found is None else [text[a:b] for a, b in found]) == arguments


@pytest.mark.parametrize("release", ["6.1", "6.12"])
def test_a_counter_is_the_sum_of_its_parts(release: str) -> None:
    k = fresh(release=release)
    fbc = k.kzalloc(k.layout["percpu_counter"].size)
    many = "__percpu_counter_init_many"
    if release == "6.1":
        assert getattr(k, "__percpu_counter_init")(fbc, 5, 0xCC0, 0) == 0
    else:
        assert getattr(k, many)(fbc, 5, 0xCC0, 1, 0) == 0
    for amount in (3, -10, 31, 40):
        k.percpu_counter_add_batch(fbc, amount, 32)
    rough = k.mem.read(fbc + k.layout["percpu_counter"].offset("count"), 8)
    assert int.from_bytes(rough, "little", signed=True) == 5 + 64  # 3 - 10 + 31 are on the CPU until 40 come, too
    k.percpu_counter_add_batch(fbc, -7, 32)
    assert getattr(k, "__percpu_counter_sum")(fbc) == 62
    assert [getattr(k, "__percpu_counter_compare")(fbc, rhs, 32) for rhs in (61, 62, 63)] == [1, 0, -1]
    assert k.mem.u64(fbc + k.layout["percpu_counter"].offset("counters")) != 0
    if release == "6.1":
        k.percpu_counter_destroy(fbc)
    else:
        k.percpu_counter_destroy_many(fbc, 1)
    assert k.mem.u64(fbc + k.layout["percpu_counter"].offset("counters")) == 0


def test_locks_of_a_hash_table_are_so_many_for_each_cpu(kernel: Kernel) -> None:
    out = kernel.kzalloc(16)
    assert getattr(kernel, "__alloc_bucket_spinlocks")(out, out + 8, 1000, 16, 0xCC0, 0, 0) == 0
    assert kernel.mem.u32(out + 8) == 16 * kernel.nr_cpus - 1
    kernel.free_bucket_spinlocks(kernel.mem.u64(out))


@pytest.mark.parametrize(("name", "valid"), [(b"eth0", 1), (b"", 0), (b"..", 0), (b"a/b", 0), (b"a" * 16, 0)])
def test_names_of_network_devices(kernel: Kernel, name: bytes, valid: int) -> None:
    text = kernel.kzalloc(32)
    kernel.mem.write(text, name + b"\0")
    assert kernel.dev_valid_name(text) == valid
