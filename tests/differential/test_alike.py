"""Modules that say what the kernel answers, on the real kernel and on kmem: the same lines."""

from __future__ import annotations

import functools

import pytest

from tests.differential.alike import of_kmem, of_real_kernel
from tests.differential.image import Unavailable

MODULES = ("vmap", "owned")


@functools.cache
def real() -> dict[str, list[str]]:
    """Asked once for all modules."""
    return of_real_kernel(MODULES)


@pytest.mark.needs_headers
@pytest.mark.slow
@pytest.mark.parametrize("name", MODULES)
def test_the_module_says_the_same_on_the_real_kernel(name: str) -> None:
    try:
        expected = real()[name]
    except Unavailable as reason:
        pytest.skip(str(reason))
    assert expected[-1] == "end"
    assert of_kmem(name) == expected
