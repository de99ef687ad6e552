"""Calls of which drivers make one or two, on the real kernel and on kmem: refcounts, queues, ports, DMA, interrupts."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import kmem
from kmem.modules.kbuild import build
from tests.differential.boot import Load, boot
from tests.differential.image import Unavailable
from tests.truth.modules import VERSION

pytestmark = [pytest.mark.needs_headers, pytest.mark.slow]


def answers(log: str) -> list[str]:
    """What the module printed."""
    found = re.findall(r"\bodds: (.*)", log.replace("\r", ""))
    return [line for line in found if not line.startswith(("loading ", "module "))]


def test_the_module_gets_the_same_answers(root: Path) -> None:
    (module,) = build(root / "tests/kmod/odds", version=VERSION).modules
    try:
        expected = answers(boot([Load(module)]).console)
    except Unavailable as reason:
        pytest.skip(str(reason))
    with kmem.boot(ram="512M", cpus=2) as k:
        k.insmod(module).rmmod()
        assert answers(k.dmesg()) == expected
        assert expected
