"""User memory as a module sees it: kmem and the real kernel answer tests/kmod/usermem alike, line for line."""

from __future__ import annotations

import re

import pytest

import kmem
from tests.differential.boot import Load, boot
from tests.differential.image import Unavailable
from tests.truth.modules import built

pytestmark = [pytest.mark.needs_headers, pytest.mark.slow]
FACT = re.compile(r"\] fact: (.*?)\s*$", re.M)


def test_kmem_and_the_real_kernel_answer_usermem_alike() -> None:
    module = built("usermem")
    try:
        real = FACT.findall(boot([Load(module)]).console)
    except Unavailable as reason:
        pytest.skip(str(reason))
    with kmem.boot() as kernel:
        kernel.insmod(module).rmmod()
        ours = FACT.findall(kernel.dmesg())
        assert list(kernel.findings) == []
    assert len(real) > 100
    assert ours == real
