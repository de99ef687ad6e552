"""The tests of the examples need kernel headers to build against."""

from __future__ import annotations

import pytest


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip, with the reason, where nothing can be built."""
    from kmem.modules.headers import find

    if find("6.1") is None:
        pytest.skip("no kernel headers to build against: kmem headers 6.1")
