"""A fresh fake kernel for each test."""

from __future__ import annotations

import pytest

from kmem.kernel import Kernel
from tests.kapi.booted import fresh
from tests.kapi.fakehost import FakeHost


@pytest.fixture
def k() -> FakeHost:
    """A kernel that never booted."""
    return FakeHost()


@pytest.fixture
def kernel() -> Kernel:
    """A booted kernel, as new: without hardening, nothing wiped unasked."""
    return fresh()


@pytest.fixture
def debian() -> Kernel:
    """A booted kernel as Debian configures it."""
    return fresh("debian")
