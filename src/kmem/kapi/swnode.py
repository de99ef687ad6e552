"""Nodes that describe devices where no firmware does (drivers/base/swnode.c), 6.1: their names and who is above whom.

A node's handle begins with the kernel's ``struct fwnode_handle``, whose operations tell it from those of firmware.
Simplified: properties and references are not kept, and there is no sysfs.
"""

from __future__ import annotations

from kmem.abi.gfp import __GFP_ZERO, GFP_KERNEL
from kmem.kapi import registry
from kmem.kapi.errno import EEXIST, EINVAL, ENOMEM
from kmem.kapi.export import data, export, simplified
from kmem.kapi.fields import text
from kmem.kapi.host import Host
from kmem.kapi.lists import init_list_head

NODE_NAME, NODE_PARENT, NODE_SIZE = 0, 8, 24
"""In ``struct software_node``."""
SECONDARY, OPS, LISTS, NODE, SIZE = 0, 8, 24, 64, 80
"""In a handle: ``secondary`` and ``ops``, two lists of links, and what it was made of."""
_KIND = "software_node"
_NAMES = simplified("properties and references are not kept, no sysfs")

data("software_node_ops", 160, doc="Tells a software node, drivers/base/swnode.c; nobody calls it.", private=True)


def _handle(k: Host, node: int) -> int:
    """The handle of a ``struct software_node``; 0 for one that is not registered, and for NULL."""
    return next((handle for handle in registry.things(k, _KIND) if k.mem.u64(handle + NODE) == node), 0) if node else 0


def path_of(k: Host, handle: int) -> list[bytes] | None:
    """Names from the topmost node down to *handle*'s; None for a handle that is no software node's."""
    if handle not in registry.things(k, _KIND):
        return None
    names, node = [], k.mem.u64(handle + NODE)
    while node:
        names.append(text(k, k.mem.u64(node + NODE_NAME)))
        node = k.mem.u64(node + NODE_PARENT)
    return names[::-1]


@export(_NAMES)
def software_node_fwnode(k: Host, node: int) -> int:
    """``struct fwnode_handle *software_node_fwnode(const struct software_node *node)``

    drivers/base/swnode.c, 6.1. NULL for a node that is not registered.
    """
    return _handle(k, node)


@export(_NAMES)
def is_software_node(k: Host, fwnode: int) -> int:
    """``bool is_software_node(const struct fwnode_handle *fwnode)``

    drivers/base/swnode.c, 6.1.
    """
    return int(fwnode in registry.things(k, _KIND))


@export(_NAMES)
def to_software_node(k: Host, fwnode: int) -> int:
    """``const struct software_node *to_software_node(const struct fwnode_handle *fwnode)``

    drivers/base/swnode.c, 6.1. NULL for what is none.
    """
    return k.mem.u64(fwnode + NODE) if is_software_node(k, fwnode) else 0


@export(_NAMES)
def software_node_register(k: Host, node: int) -> int:
    """``int software_node_register(const struct software_node *node)``

    drivers/base/swnode.c, 6.1. -EEXIST for one that is, -EINVAL if its parent is not.
    """
    parent = k.mem.u64(node + NODE_PARENT)
    if _handle(k, node):
        return -EEXIST
    if parent and not _handle(k, parent):
        return -EINVAL
    handle = k.mm.kmalloc(SIZE, GFP_KERNEL | __GFP_ZERO, -1, k.caller)
    if not handle or not registry.add(k, _KIND, handle):
        k.mm.kfree(handle)
        return -ENOMEM
    k.mem.set_u64(handle + OPS, k.address_of("software_node_ops"))
    for at in (handle + LISTS, handle + LISTS + 16):
        init_list_head(k, at)
    k.mem.set_u64(handle + NODE, node)
    return 0


@export(_NAMES)
def software_node_unregister(k: Host, node: int) -> None:
    """``void software_node_unregister(const struct software_node *node)``

    drivers/base/swnode.c, 6.1.
    """
    handle = _handle(k, node)
    if registry.remove(k, _KIND, handle):
        k.mm.kfree(handle)


def _undo(k: Host, nodes: list[int]) -> None:
    for node in reversed(nodes):
        software_node_unregister(k, node)


def _register_all(k: Host, nodes: list[int]) -> int:
    for number, node in enumerate(nodes):
        error = software_node_register(k, node)
        if error:
            _undo(k, nodes[:number])
            return error
    return 0


def _array(k: Host, nodes: int) -> list[int]:
    """The nodes of an array that one without a name ends."""
    found = []
    while k.mem.u64(nodes + NODE_NAME):
        found.append(nodes)
        nodes += NODE_SIZE
    return found


def _group(k: Host, nodes: int) -> list[int]:
    """The nodes of an array of pointers that NULL ends."""
    found = []
    while nodes and k.mem.u64(nodes):
        found.append(k.mem.u64(nodes))
        nodes += 8
    return found


@export(_NAMES)
def software_node_register_nodes(k: Host, nodes: int) -> int:
    """``int software_node_register_nodes(const struct software_node *nodes)``

    drivers/base/swnode.c, 6.1. All of them, or none.
    """
    return _register_all(k, _array(k, nodes))


@export(_NAMES)
def software_node_unregister_nodes(k: Host, nodes: int) -> None:
    """``void software_node_unregister_nodes(const struct software_node *nodes)``

    drivers/base/swnode.c, 6.1. The last one first.
    """
    _undo(k, _array(k, nodes))


@export(_NAMES)
def software_node_register_node_group(k: Host, node_group: int) -> int:
    """``int software_node_register_node_group(const struct software_node **node_group)``

    drivers/base/swnode.c, 6.1. All of them, or none.
    """
    return _register_all(k, _group(k, node_group))


@export(_NAMES)
def software_node_unregister_node_group(k: Host, node_group: int) -> None:
    """``void software_node_unregister_node_group(const struct software_node **node_group)``

    drivers/base/swnode.c, 6.1. The last one first.
    """
    _undo(k, _group(k, node_group))
