"""What a module registers with subsystems: workers, input devices, disks, steps for CPUs."""

from __future__ import annotations

import pytest

import kmem
from kmem.kernel import Kernel
from tests.run.running import module

pytestmark = pytest.mark.needs_headers


def said(k: Kernel, name: str) -> list[str]:
    """What the module *name* has printed."""
    return [r.text.partition(": ")[2].rstrip() for r in k.log.records if r.text.startswith(f"{name}: ")][2:]


def test_a_worker_executes_its_works_in_order_and_none_that_was_cancelled() -> None:
    with kmem.boot(ram="128M") as k:
        loaded = k.insmod(module("tests/kmod/worker"))
        loaded.rmmod()
        lines = said(k, "worker")
        jobs = [int(line.split()[1]) for line in lines if line.startswith("job")]
        assert jobs == [0, 0, 1, 2, 0, 1]
        assert [line for line in lines if not line.startswith("job")] == [
            *("queued: 1", "queued: 1", "queued: 1", "queued again: 0", "flushed"),
            *("cancelled: 1", "moved: 1", "later", "cancelled: 0", "destroyed"),
        ]
        assert all("jobs-7" in line for line in lines if line.startswith("job"))
        assert not list(k.findings)
        assert not k.leaks.live()


@pytest.mark.parametrize("cpu", [0, 1])
def test_a_worker_of_a_cpu_runs_there(cpu: int) -> None:
    with kmem.boot(ram="128M", cpus=2) as k:
        k.insmod(module("tests/kmod/worker"), cpu=cpu).rmmod()
        jobs = [line for line in said(k, "worker") if line.startswith("job")]
        assert jobs
        assert all(line.endswith(f"in jobs/{cpu} on CPU {cpu}") for line in jobs)


def test_subsystems_keep_what_a_module_tells_them() -> None:
    with kmem.boot(ram="128M", cpus=3) as k:
        loaded = k.insmod(module("tests/kmod/subsystems"))
        assert "input: Two keys as /devices/virtual/input/input0" in k.dmesg()
        assert said(k, "subsystems") == [
            "keys 110, x from -5",
            "disk nothing: 0, 2048 sectors of 4096",
            *("CPU 0: 100", "CPU 1: 101", "CPU 2: 102"),
            *("any: 0x0", "loopback: 0x20011", "all nodes: 0x20022"),
            *("file: -2", "memory: 1", "Linux x86_64"),
        ]
        loaded.rmmod()
        assert said(k, "subsystems")[-3:] == ["offline 0: 100", "offline 1: 101", "offline 2: 102"]
        assert not list(k.findings)
        assert not k.leaks.live()


def test_calls_of_which_drivers_make_one_or_two() -> None:
    with kmem.boot(ram="128M") as k:
        k.insmod(module("tests/kmod/odds")).rmmod()
        assert said(k, "odds") == [
            *("refcount: 0 1, locked 1", "atomic: 0 1, locked 1", "not one: 0, if one: 1, now 0"),
            *("packets: 3, first 0, last 2", "taken: 0 2, none left: 1"),
            *("ports: 1 1", "DMA 5: 0, again -16, 4 -16, 9 -22", "DMA 5 freed: 0"),
            *("interrupts: 0 0, again 0", "charset default: 1 41, none: 1", "bad blocks: 0, 0 of them, enabled 1"),
        ]
        assert not list(k.findings)
        assert not k.leaks.live()
