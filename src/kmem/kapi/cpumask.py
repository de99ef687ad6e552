"""CPU masks and facts about CPUs (kernel/cpu.c, lib/cpumask.c, arch/x86/kernel/setup.c), 6.1."""

from __future__ import annotations

from kmem.kapi.export import data, export, faithful, simplified
from kmem.kapi.host import Host
from kmem.mm.nodes import cpu_to_node

NR_CPUS = 8192
NUMA_NO_NODE = -1
MASK_SIZE = NR_CPUS // 8


def _all_cpus(k: Host) -> bytes:
    return ((1 << k.nr_cpus) - 1).to_bytes(MASK_SIZE, "little")


def _number(k: Host) -> bytes:
    return k.nr_cpus.to_bytes(4, "little")


def _bit_bitmap(k: Host) -> bytes:
    """Rows of one word with one bit set; row 0 is empty, and the first column of a row is found by stepping back."""
    rows = [0, *(1 << bit for bit in range(64))]
    return b"".join(row.to_bytes(8, "little").ljust(MASK_SIZE, b"\0") for row in rows)


for _mask in ("__cpu_possible_mask", "__cpu_present_mask", "__cpu_online_mask", "__cpu_active_mask"):
    data(_mask, MASK_SIZE, _all_cpus, doc="All CPUs of the machine, kernel/cpu.c.")
data("__cpu_dying_mask", MASK_SIZE, doc="No CPU is going down, kernel/cpu.c.")
data("cpu_all_bits", MASK_SIZE, b"\xff" * MASK_SIZE, doc="All bits set, kernel/cpu.c.")
data("cpu_bit_bitmap", 65 * MASK_SIZE, _bit_bitmap, doc="Masks of one CPU each, kernel/cpu.c.")
data("nr_cpu_ids", 4, _number, align=4, doc="Number of possible CPUs, kernel/smp.c.")
data("__num_online_cpus", 4, _number, align=4, doc="Number of CPUs, kernel/cpu.c.")


def cpumask_of(k: Host, cpu: int) -> int:
    """``cpumask_of()``: the mask of one CPU."""
    return k.address_of("cpu_bit_bitmap") + (1 + cpu % 64) * MASK_SIZE - cpu // 64 * 8


def _cpus(k: Host, mask: int) -> list[int]:
    """The CPUs in a guest mask."""
    bits = int.from_bytes(k.mem.read(mask, -(-k.nr_cpus // 64) * 8), "little")
    return [cpu for cpu in range(k.nr_cpus) if bits >> cpu & 1]


@export(faithful)
def cpumask_next_wrap(k: Host, n: int, mask: int, start: int, wrap: bool) -> int:
    """``unsigned int cpumask_next_wrap(int n, const struct cpumask *mask, int start, bool wrap)``

    lib/cpumask.c, 6.1. The next CPU after *n*, going round once from *start*; nr_cpu_ids at the end.
    """
    cpus = _cpus(k, mask)
    while True:
        following = next((cpu for cpu in cpus if cpu > n), k.nr_cpus)
        if wrap and n < start <= following:
            return k.nr_cpus
        if following < k.nr_cpus:
            return following
        wrap, n = True, -1


@export(faithful)
def cpumask_local_spread(k: Host, i: int, node: int) -> int:
    """``unsigned int cpumask_local_spread(unsigned int i, int node)``

    lib/cpumask.c, 6.1. CPU number *i*, modulo their number, counted from those of *node*; -1 is no node.
    """
    cpus = _cpus(k, k.address_of("__cpu_online_mask"))
    near = [cpu for cpu in cpus if node in (NUMA_NO_NODE, cpu_to_node(cpu, k.nr_nodes))]
    cpus = near + [cpu for cpu in cpus if cpu not in near]
    return cpus[i % len(cpus)]


_NO_HOTPLUG = simplified("CPUs neither come nor go, so there is nothing to keep from it")


@export(_NO_HOTPLUG)
def cpu_hotplug_disable(k: Host) -> None:
    """``void cpu_hotplug_disable(void)``

    kernel/cpu.c, 6.1.
    """


@export(_NO_HOTPLUG)
def cpu_hotplug_enable(k: Host) -> None:
    """``void cpu_hotplug_enable(void)``

    kernel/cpu.c, 6.1.
    """


@export(faithful)
def alloc_cpumask_var_node(k: Host, mask: int, flags: int, node: int) -> bool:
    """``bool alloc_cpumask_var_node(cpumask_var_t *mask, gfp_t flags, int node)``

    lib/cpumask.c, 6.1. Room for the machine's CPUs in ``*mask``; false without memory.
    """
    made = k.mm.kmalloc(-(-k.nr_cpus // 64) * 8, flags, node, k.caller)
    k.mem.set_u64(mask, made)
    return bool(made)


@export(faithful)
def free_cpumask_var(k: Host, mask: int) -> None:
    """``void free_cpumask_var(cpumask_var_t mask)``

    lib/cpumask.c, 6.1.
    """
    k.mm.kfree(mask)
