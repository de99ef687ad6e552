"""``struct klist`` in guest memory (lib/klist.c): the lists of a bus, of a class and of a driver."""

from __future__ import annotations

from kmem.kapi import lists
from kmem.kapi.fields import at, put
from kmem.kapi.host import Host


def init(k: Host, klist: int) -> None:
    """``klist_init()`` without callbacks."""
    lists.init_list_head(k, at(k, "klist", klist, "k_list"))


def add_tail(k: Host, node: int, klist: int) -> None:
    """``klist_add_tail()``."""
    put(k, "klist_node", node, "n_klist", klist)
    lists.add_tail(k, at(k, "klist_node", node, "n_node"), at(k, "klist", klist, "k_list"))


def attached(k: Host, node: int) -> bool:
    """``klist_node_attached()``."""
    return k.mem.u64(at(k, "klist_node", node, "n_klist")) != 0


def remove(k: Host, node: int) -> None:
    """``klist_remove()``: out of its list, if it is in one."""
    if attached(k, node):
        lists.del_init(k, at(k, "klist_node", node, "n_node"))
        put(k, "klist_node", node, "n_klist", 0)


def nodes(k: Host, klist: int) -> list[int]:
    """The nodes as they stand now, first to last."""
    offset = k.layout["klist_node"].offset("n_node")
    return [entry - offset for entry in lists.entries(k, at(k, "klist", klist, "k_list"))]
