"""Allocating where sleeping is forbidden: what a kernel with CONFIG_DEBUG_ATOMIC_SLEEP (plain) and Debian's print.

tests/golden/atomic.json has the complaints of the real kernels, by configuration, context and operation; PIDs are
masked.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

import kmem
from kmem.modules.kbuild import build

GOLDEN: dict[str, list[str]] = json.loads((Path(__file__).parents[1] / "golden" / "atomic.json").read_text())
SOURCE = Path(__file__).parents[1] / "kmod" / "atomic"
WRONG_ZONE = ("dma32", "highmem")
"""Operations that ask kmalloc for a zone that slabs cannot be in: a complaint only where a slab has to be made."""
_COMPLAINT = re.compile(r"BUG: |in_atomic\(\)|preempt_count: |RCU nest")


def complaints(dmesg: str) -> list[str]:
    """The lines of reports that say what is wrong with the context."""
    lines = [re.sub(r"^\[ *[\d.]+\] ", "", line) for line in dmesg.splitlines()]
    found = [line for line in lines if _COMPLAINT.match(line)]
    return [re.sub(r"pid: \d+", "pid: N", re.sub(r"insmod/\d+/", "insmod/N/", line)) for line in found]


@pytest.mark.needs_headers
@pytest.mark.parametrize("case", sorted(GOLDEN))
def test_kmem_complains_as_the_real_kernel_does(case: str) -> None:
    config, mode, operation = case.split(".")
    with kmem.boot(config=config, ram="128M") as k:
        k.insmod(build(SOURCE).modules[0], mode=mode, op=operation)
        assert complaints(k.dmesg()) == GOLDEN[case]
        found = {str(finding.kind) for finding in k.findings}
        forbidden = mode != "proc" and operation != "atomic"
        if operation in WRONG_ZONE:
            found.discard("bad-gfp")
        assert found == ({"sleep-in-atomic"} if forbidden else set()), "a finding, whether the kernel prints it or not"
