"""Debian's own USB modules: host and gadget in one machine, and a serial line between them.

The emulated host controller (dummy_hcd) finds the gadget that g_serial makes; opening the gadget's terminal allocates
the requests of its endpoints.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import kmem
from kmem.errors import HeadersMissing
from kmem.kapi.executor import TaskDied
from kmem.kapi.insmod import LoadedModule
from kmem.kernel import Kernel
from kmem.mm.stream import Event
from kmem.modules.kernel_package import require_modules
from kmem.modules.tree import ModuleTree
from kmem.runner import load_dependencies, report_leaks

GADGET = ("dummy_hcd", "usb_f_acm", "g_serial")
SECOND = 1_000_000_000
FRAME = re.compile(r"^ ([\w.]+)\+0x[0-9a-f]+/0x[0-9a-f]+(?: \[(\w+)\])?$")


@pytest.fixture(scope="module")
def modules() -> Path:
    try:
        return require_modules("6.1")
    except HeadersMissing as missing:
        pytest.skip(f"Debian's modules could not be fetched, the USB chain is NOT tested: {missing.message}")


def machine(modules: Path, *names: str, **options: Any) -> Kernel:
    """A machine with the modules and what they need, after the host has had the time to look at its ports."""
    k, tree = kmem.boot(ram="128M", **options), ModuleTree(modules)
    for name in names:
        [path] = modules.rglob(f"{name}.ko")
        assert not any(load_dependencies(k, tree, path).values())
        k.insmod(path)
    k.run_for(2 * SECOND)
    return k


@pytest.fixture(scope="module")
def connected(modules: Path) -> Iterator[Kernel]:
    with machine(modules, "cdc-acm", *GADGET, check="fast") as k:
        yield k


def test_the_host_finds_the_gadget_and_binds_its_driver(connected: Kernel) -> None:
    said = connected.dmesg()
    assert "g_serial gadget.0: g_serial ready" in said
    assert "usb 1-1: new high-speed USB device number 2 using dummy_hcd" in said
    assert "usb 1-1: New USB device found, idVendor=0525, idProduct=a4a7" in said
    assert "usb 1-1: Product: Gadget Serial v2.4" in said
    assert "cdc_acm 1-1:2.0: ttyACM0: USB ACM device" in said


def test_opening_the_gadgets_terminal_reaches_the_allocation_of_its_requests(modules: Path) -> None:
    traces: list[list[tuple[str, str]]] = []
    sizes: list[int] = []
    with machine(modules, *GADGET) as k:

        def seen(event: Event) -> None:
            if event.kind == "kmalloc" and k.kallsyms.sprint(event.call_site).startswith("gs_alloc_req+"):
                frames = (FRAME.match(text) for _, text in k.stack_lines())
                traces.append([(frame[1], frame[2] or "") for frame in frames if frame])
                sizes.append(event.requested)

        k.events.listen(seen)
        k.open("/dev/ttyGS0")
        k.drain()
    assert len(traces) == 32  # sixteen for each direction
    assert set(sizes) == {512}  # wMaxPacketSize of a bulk endpoint at high speed
    assert traces[0] == [
        ("gs_alloc_req", "u_serial"),
        ("gs_alloc_requests", "u_serial"),
        ("gs_start_io.isra.0", "u_serial"),
        ("gs_open", "u_serial"),
        ("tty_open", ""),
        ("chrdev_open", ""),
        ("do_dentry_open", ""),
        ("path_openat", ""),
        ("do_filp_open", ""),
        ("do_sys_openat2", ""),
        ("__x64_sys_openat", ""),
        ("do_syscall_64", ""),
        ("entry_SYSCALL_64_after_hwframe", ""),
    ]


def test_a_corrupt_free_list_is_an_oops_in_that_allocation_with_that_trace(modules: Path) -> None:
    with machine(modules, *GADGET, config="plain") as k:
        victim = k.kmalloc(512, kmem.GFP_KERNEL)
        k.kfree(victim)
        k.write(victim + 256, (0x0D).to_bytes(8, "little"))  # where a free object points to the next one
        with pytest.raises(TaskDied):
            k.open("/dev/ttyGS0")
        said = k.dmesg()
    assert "BUG: kernel NULL pointer dereference, address: 000000000000010d" in said
    frames = [word for word in re.findall(r"\] +([\w.]+)\+0x", said) if not word.startswith("usb_")]
    at = frames.index("gs_alloc_req")
    assert frames[at : at + 5] == ["gs_alloc_req", "gs_alloc_requests", "gs_start_io.isra.0", "gs_open", "tty_open"]


def test_bytes_go_both_ways_and_everything_is_unloaded(modules: Path) -> None:
    with machine(modules, "cdc-acm", *GADGET, check="fast") as k:
        gadget, host = k.open("/dev/ttyGS0"), k.open("/dev/ttyACM0")
        assert gadget.write(b"from the gadget\n") == 16
        k.run_for(SECOND // 20)
        assert host.read(100) == b"from the gadget\n"
        assert host.write(b"from the host\n") == 14
        k.run_for(SECOND // 20)
        assert gadget.read(100) == b"from the host\n"
        gadget.close()
        host.close()
        k.run_for(SECOND // 10)
        for module in [*k.modules.values()][::-1]:
            LoadedModule(k, module, 0).rmmod()
        assert "usb 1-1: USB disconnect, device number 2" in k.dmesg()
        report_leaks(k)
        assert [str(finding) for finding in k.findings] == []
