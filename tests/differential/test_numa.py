"""Nodes on the real kernel and on kmem: whose memory is whose, in which order nodes are tried, who gets which."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache

import pytest

import kmem
from kmem.mm import node_sysfs
from kmem.mm.validate import check
from kmem.modules.kbuild import build
from tests.differential.boot import Boot, Load, boot
from tests.differential.image import Unavailable
from tests.truth.modules import KMOD, VERSION

pytestmark = [pytest.mark.needs_headers, pytest.mark.slow]

RAM = 1024
SYS = "/sys/devices/system/node"
LEFT_OVER = re.compile(r"kmalloc (\d|[1-9]\d+|thisnode) ?.*node -1: nid")
"""Where an object comes from that may come from anywhere depends on the slab that the CPU has at the time."""


def machine(nodes: int) -> list[str]:
    """QEMU's words for so many nodes of equal size with one CPU each."""
    words = ["-m", f"{RAM}M", "-smp", str(max(nodes, 2))]
    for node in range(nodes if nodes > 1 else 0):
        words += ["-object", f"memory-backend-ram,id=m{node},size={RAM // nodes}M"]
        words += ["-numa", f"node,nodeid={node},memdev=m{node},cpus={node}"]
    return words


@cache
def real(nodes: int) -> Boot:
    """The real kernel's answers; skips where none can be booted."""
    (module,) = build(KMOD / "numa", version=VERSION).modules
    try:
        return boot([Load(module)], machine=machine(nodes), sys=(f"{SYS}/*", f"{SYS}/node*/*"))
    except Unavailable as reason:
        pytest.skip(str(reason))


def answers(log: str) -> list[str]:
    """What the module printed."""
    found = re.findall(r"\bnuma: (.*)", log.replace("\r", ""))
    return [line for line in found if not line.startswith(("loading ", "module ")) and not LEFT_OVER.match(line)]


@pytest.mark.parametrize("nodes", [1, 2, 4])
def test_the_module_gets_the_same_nodes(nodes: int, record_property: Callable[[str, object], None]) -> None:
    expected = answers(real(nodes).console)
    (module,) = build(KMOD / "numa", version=VERSION).modules
    with kmem.boot(ram=f"{RAM}M", cpus=max(nodes, 2), numa=nodes) as k:
        k.insmod(module).rmmod()
        found = answers(k.dmesg())
        assert not k.findings
        assert check(k.mm) == []
    assert len(expected) > 30
    assert found == expected
    record_property("differential", f"numa module, {nodes} nodes: {len(expected)} answers equal")


@pytest.mark.parametrize("nodes", [1, 2, 4])
def test_zones_have_the_same_pages(nodes: int) -> None:
    with kmem.boot(ram=f"{RAM}M", cpus=max(nodes, 2), numa=nodes) as k:
        assert layout(k.proc("zoneinfo")) == layout(real(nodes).files["before/zoneinfo"])


def layout(zoneinfo: str) -> list[str]:
    """The lines of zoneinfo that do not depend on what runs; which counters there are, without their values."""
    kept = []
    for line in zoneinfo.splitlines():
        name = line.split()[0]
        if name in ("spanned", "present", "start_pfn:", "Node", "batch:", "cpu:", "boost", "vm"):
            kept.append(line)
        elif name not in ("protection:",):
            kept.append(re.sub(r" *\d+$", "", line))
    return kept


@pytest.mark.parametrize("nodes", [1, 2, 4])
def test_files_of_the_nodes_have_the_same_form(nodes: int) -> None:
    theirs = {
        path.removeprefix(f"{SYS[1:]}/"): text for path, text in real(nodes).files.items() if path.startswith("sys")
    }
    with kmem.boot(ram=f"{RAM}M", cpus=max(nodes, 2), numa=nodes) as k:
        ours = {name: text() for name, text in node_sysfs.files(k.mm).items()}
    for path, text in ours.items():
        name = path.rpartition("/")[2]
        if name in ("meminfo", "vmstat", "numastat"):
            assert [label(line) for line in text.splitlines()] == [label(line) for line in theirs[path].splitlines()]
            if name == "meminfo":
                assert [len(line) for line in text.splitlines()] == [len(line) for line in theirs[path].splitlines()]
        else:
            assert text == theirs[path], path


def label(line: str) -> str:
    """A line without its number."""
    return re.sub(r" *\d+( kB)?$", r"\1", line)
