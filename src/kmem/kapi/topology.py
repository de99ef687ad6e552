"""Nodes, and which CPU belongs to which (mm/page_alloc.c, arch/x86/mm/numa.c), 6.1.

``numa_node`` and ``x86_cpu_to_node_map`` are per-CPU variables that boot fills in (`kmem.mm.boot`), ``node_data`` and
``nr_node_ids`` lie in ``kdata``.
"""

from __future__ import annotations

from kmem.kapi.cpumask import MASK_SIZE
from kmem.kapi.export import data, export, faithful
from kmem.kapi.host import Host
from kmem.mm.nodes import LOCAL_DISTANCE, REMOTE_DISTANCE, cpu_to_node

MAX_NUMNODES = 1024
NR_NODE_STATES, N_GENERIC_INITIATOR = 6, 5
"""``enum node_states``: possible, online, with normal memory, with memory, with CPUs, generic initiators."""


def _node_states(k: Host) -> bytes:
    size = MAX_NUMNODES // 8
    all_nodes = ((1 << k.nr_nodes) - 1).to_bytes(size, "little")
    with_cpus = {cpu_to_node(cpu, k.nr_nodes) for cpu in range(k.nr_cpus)}
    mask = sum(1 << node for node in with_cpus).to_bytes(size, "little")
    return all_nodes * 4 + mask + bytes(size)


def _number(k: Host) -> bytes:
    return k.nr_nodes.to_bytes(4, "little")


def _masks(k: Host) -> bytes:
    """A pointer to each node's mask of CPUs."""
    first = k.address_of("kmem_node_cpumasks")
    return b"".join((first + node * MASK_SIZE).to_bytes(8, "little") for node in range(k.nr_nodes))


def _cpumasks(k: Host) -> bytes:
    masks = [0] * k.nr_nodes
    for cpu in range(k.nr_cpus):
        masks[cpu_to_node(cpu, k.nr_nodes)] |= 1 << cpu
    return b"".join(mask.to_bytes(MASK_SIZE, "little") for mask in masks)


data("nr_online_nodes", 4, _number, align=4, doc="Number of nodes, mm/page_alloc.c.")
data("node_states", NR_NODE_STATES * MAX_NUMNODES // 8, _node_states, doc="Masks of nodes, mm/page_alloc.c.")
data("node_to_cpumask_map", 8 * MAX_NUMNODES, _masks, doc="Mask of CPUs by node, arch/x86/mm/numa.c.")
data("kmem_node_cpumasks", 64 * MASK_SIZE, _cpumasks, private=True, doc="What node_to_cpumask_map points to.")


@export(faithful)
def __node_distance(k: Host, from_node: int, to_node: int) -> int:
    """``int __node_distance(int from, int to)``

    arch/x86/mm/numa.c, 6.1. 10 within a node, 20 between two.
    """
    return LOCAL_DISTANCE if from_node == to_node else REMOTE_DISTANCE
