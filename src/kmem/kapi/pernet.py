"""Network namespaces (net/core/net_namespace.c), 6.1: there is one, ``init_net``, and what modules keep in it.

Registering ``struct pernet_operations`` calls their init for it at once, as in the kernel; taking them out calls their
exits.
"""

from __future__ import annotations

from kmem.abi.gfp import __GFP_ZERO, GFP_KERNEL
from kmem.kapi import registry
from kmem.kapi.errno import EEXIST, ENOENT, ENOMEM
from kmem.kapi.export import data, export, simplified
from kmem.kapi.fields import at, get
from kmem.kapi.host import Call, Guest, Host, s32

_ONE = simplified("there is one network namespace, with no device in it")
IDS = 256
"""Room for generic pointers; nothing registers so many."""
NET_SIZE = 8192
"""Of ``struct net`` and more, in every release."""

data("net_generic_ids", 8, doc="The next id of a generic pointer of namespaces. The model's own.", private=True)


def _net(k: Host) -> bytes:
    layout, raw, own = k.layout["net"], bytearray(NET_SIZE), k.address_of("register_pernet_subsys")
    assert layout.size <= NET_SIZE

    def store(member: str, value: int) -> None:
        found = layout[member]
        raw[found.offset : found.offset + 8] = value.to_bytes(8, "little")

    for member, size in (("gen", 8 * IDS), ("dev_name_head", 2048), ("dev_index_head", 2048), ("loopback_dev", 4096)):
        store(member, k.mm.kmalloc(size, GFP_KERNEL | __GFP_ZERO, -1, own))
    k.mem.set_u32(int.from_bytes(raw[layout["gen"].offset :][:8], "little"), IDS)
    store("user_ns", k.address_of("init_user_ns"))
    store("proc_net", k.mm.kmalloc(64, GFP_KERNEL | __GFP_ZERO, -1, own))
    for member in ("list", "exit_list", "dev_base_head", "rules_ops"):
        offset = layout[member].offset
        raw[offset : offset + 16] = (k.address_of("init_net") + offset).to_bytes(8, "little") * 2
    raw[layout["passive"].offset] = 1
    raw[layout["ns"].offset + k.layout["ns_common"].offset("count")] = 1
    k.mem.set_u64(k.address_of("kmem_init_nsproxy") + NET_NS, k.address_of("init_net"))
    return bytes(raw)


data("init_net", NET_SIZE, _net, align=64, doc="The network namespace, net/core/net_namespace.c.", fidelity=_ONE)


UTS_LEN, UTS_SIZE = 65, 512
UTS_NS, NET_NS = 8, 40
"""In ``struct nsproxy``."""


def _uts(k: Host) -> bytes:
    names = ("Linux", "(none)", k.release.version, k.release.build, k.release.machine, "(none)")
    return b"".join(name.encode()[: UTS_LEN - 1].ljust(UTS_LEN, b"\0") for name in names)


def _nsproxy(k: Host) -> bytes:
    raw = bytearray(NSPROXY_SIZE)
    raw[0] = 1
    raw[UTS_NS : UTS_NS + 8] = k.address_of("init_uts_ns").to_bytes(8, "little")
    return bytes(raw)


NSPROXY_SIZE = 80
data("init_uts_ns", UTS_SIZE, _uts, doc="What uname() says, init/version.c.")
data(
    "kmem_init_nsproxy",
    NSPROXY_SIZE,
    _nsproxy,
    doc="The namespaces of every task, kernel/nsproxy.c; that of the network once somebody asks for it.",
    private=True,
)


def net(k: Host) -> int:
    """``&init_net``."""
    return k.address_of("init_net")


def generic_id(k: Host, ops: int) -> int:
    """Give *ops* an id and the namespace its memory for it: 0 or -ENOMEM."""
    pointer, size = get(k, "pernet_operations", ops, "id"), get(k, "pernet_operations", ops, "size")
    if not pointer:
        return 0
    counter = k.address_of("net_generic_ids")
    number = k.mem.u32(counter) or 2  # the first two words hold the length and the callback
    k.mem.set_u32(counter, number + 1)
    k.mem.set_u32(pointer, number)
    memory = k.mm.kmalloc(size, GFP_KERNEL | __GFP_ZERO, -1, k.caller) if size else 0
    if size and not memory:
        return -ENOMEM
    k.mem.set_u64(slot(k, number), memory)
    return 0


def slot(k: Host, number: int) -> int:
    """Where the namespace keeps its generic pointer *number*."""
    return get(k, "net", net(k), "gen") + 8 * number


def _register(k: Host, kind: str, ops: int) -> Guest:
    error = generic_id(k, ops)
    if error:
        return error
    init = get(k, "pernet_operations", ops, "init")
    error = s32((yield Call(init, (net(k),)))) if init else 0
    if error:
        _free(k, ops)
        return error
    registry.note(k, kind, ops)
    return 0


def _free(k: Host, ops: int) -> None:
    pointer = get(k, "pernet_operations", ops, "id")
    if pointer:
        where = slot(k, k.mem.u32(pointer))
        k.mm.kfree(k.mem.u64(where))
        k.mem.set_u64(where, 0)


def _unregister(k: Host, kind: str, ops: int) -> Guest:
    own = net(k)
    for member in ("pre_exit", "exit"):
        callback = get(k, "pernet_operations", ops, member)
        if callback:
            yield Call(callback, (own,))
    batch = get(k, "pernet_operations", ops, "exit_batch")
    if batch:
        head, entry = k.address_of("net_exit_list"), at(k, "net", own, "exit_list")
        for address, value in ((head, entry), (head + 8, entry), (entry, head), (entry + 8, head)):
            k.mem.set_u64(address, value)
        yield Call(batch, (head,))
    _free(k, ops)
    registry.remove(k, kind, ops)
    return 0


data("net_exit_list", 16, doc="The list of namespaces that an exit_batch is given. The model's own.", private=True)


@export(_ONE)
def register_pernet_subsys(k: Host, ops: int) -> Guest:
    """``int register_pernet_subsys(struct pernet_operations *ops)``

    net/core/net_namespace.c, 6.1. What init returned.
    """
    return (yield from _register(k, "pernet_subsys", ops))


@export(_ONE)
def unregister_pernet_subsys(k: Host, ops: int) -> Guest:
    """``void unregister_pernet_subsys(struct pernet_operations *ops)``

    net/core/net_namespace.c, 6.1.
    """
    return (yield from _unregister(k, "pernet_subsys", ops))


@export(_ONE)
def register_pernet_device(k: Host, ops: int) -> Guest:
    """``int register_pernet_device(struct pernet_operations *ops)``

    net/core/net_namespace.c, 6.1. What init returned.
    """
    return (yield from _register(k, "pernet_device", ops))


@export(_ONE)
def unregister_pernet_device(k: Host, ops: int) -> Guest:
    """``void unregister_pernet_device(struct pernet_operations *ops)``

    net/core/net_namespace.c, 6.1.
    """
    return (yield from _unregister(k, "pernet_device", ops))


@export(_ONE)
def tcf_register_action(k: Host, act: int, ops: int) -> Guest:
    """``int tcf_register_action(struct tc_action_ops *act, struct pernet_operations *ops)``

    net/sched/act_api.c, 6.1. -EEXIST for one that is registered.
    """
    if registry.holds(k, "tcf_action", act):
        return -EEXIST
    error: int = yield from _register(k, "pernet_subsys", ops)
    if not error:
        registry.note(k, "tcf_action", act)
    return error


@export(_ONE)
def tcf_unregister_action(k: Host, act: int, ops: int) -> Guest:
    """``int tcf_unregister_action(struct tc_action_ops *act, struct pernet_operations *ops)``

    net/sched/act_api.c, 6.1. -ENOENT for one that is not registered.
    """
    if not registry.remove(k, "tcf_action", act):
        return -ENOENT
    yield from _unregister(k, "pernet_subsys", ops)
    return 0
