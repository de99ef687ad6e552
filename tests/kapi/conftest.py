"""A fresh fake kernel for each test."""

from __future__ import annotations

import pytest

from tests.kapi.fakehost import FakeHost


@pytest.fixture
def k() -> FakeHost:
    """A kernel that never booted."""
    return FakeHost()
