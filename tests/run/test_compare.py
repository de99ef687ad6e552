"""What ``kmem compare`` says of which function frees what: by doing it, and by what the allocators say afterwards."""

from __future__ import annotations

import pytest

import kmem
from kmem.compare import Lab


@pytest.fixture(scope="module")
def lab() -> Lab:
    return Lab(kmem.boot(ram="128M", config="plain"))


@pytest.mark.parametrize(
    ("call", "size", "free"),
    [
        ("kmalloc", 1000, "kmem_cache_free, kfree, kvfree"),
        ("kmalloc", 64 << 10, "kfree, kvfree, free_pages"),
        ("vmalloc", 1000, "vfree, kvfree"),
        ("__get_free_pages", 1000, "free_pages"),
        # Pages can be taken from below a cache, which then still counts them: that frees nothing.
        ("kmem_cache_alloc", 1000, "kmem_cache_free, kfree, kvfree"),
    ],
)
def test_what_frees_what(lab: Lab, call: str, size: int, free: str) -> None:
    assert lab.frees(call, size) == free
