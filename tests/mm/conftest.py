"""Fixtures of the mm's tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.mm.booted import BootedMm

Boot = Callable[..., BootedMm]


@pytest.fixture
def boot() -> Iterator[Boot]:
    """``boot("debian", ram=…, cpus=…)``: a booted mm; its memory is given back when the test ends."""
    machines: list[BootedMm] = []

    def make(config: str = "plain", **changes: object) -> BootedMm:
        machines.append(BootedMm(config, **changes))  # type: ignore[arg-type]
        return machines[-1]

    yield make
    for mm in machines:
        mm.ram.close()
