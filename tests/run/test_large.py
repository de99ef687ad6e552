"""A machine of a tebibyte boots in two seconds and two gibibytes, with one node or many, and works."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import resource, sys, time
import kmem
start = time.process_time()  # another load of the machine does not count
k = kmem.boot(ram=sys.argv[1], numa=int(sys.argv[2]), cpus=8)
seconds = time.process_time() - start
resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
blocks = [k.alloc_pages(0xCC0, 10) for _ in range(600)]
assert all(blocks) and k.kmalloc(4096) and k.vmalloc(8 << 20)
total = int(k.mm.view.kdata.totalram_pages) >> 18
zones = sum(int(z.managed_pages) for z in k.mm.view.zones()) >> 18
print(seconds, resident, total, zones, k.mm.ram.size >> 30)
"""


@pytest.mark.slow
@pytest.mark.parametrize(("ram", "nodes"), [("64G", 1), ("1022G", 1), ("1022G", 8)])
def test_a_large_machine_boots_fast_and_small(ram: str, nodes: int) -> None:
    subprocess.run([sys.executable, "-m", "kmem.lib.build"], check=True)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, ram, str(nodes)], capture_output=True, text=True, check=True, timeout=200
    )
    seconds, resident, total, zones, size = map(float, done.stdout.split())
    assert seconds < 2
    assert resident < 2048
    assert total == zones
    assert int(ram[:-1]) * 0.96 < total < int(ram[:-1])
    assert size == int(ram[:-1]) + 1
