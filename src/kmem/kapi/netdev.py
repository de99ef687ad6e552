"""Network devices (net/core/dev.c), 6.1: made, named, registered and freed; no packet ever comes or goes."""

from __future__ import annotations

from kmem.abi.gfp import __GFP_ZERO, GFP_KERNEL
from kmem.kapi import lists, registry
from kmem.kapi.errno import EEXIST, ENOMEM
from kmem.kapi.export import data, export, simplified
from kmem.kapi.fields import at, get, has, put
from kmem.kapi.host import Call, Guest, Host, s32
from kmem.kapi.pernet import net

ALIGN, QUEUE_SIZE = 32, 512
REGISTERED, UNREGISTERED, RELEASED = 1, 3, 4
NDO_INIT, NDO_UNINIT = 0, 8
_NO_PACKET = simplified("no packet comes or goes; no notifier is told, no sysfs")

data("netdev_index", 8, doc="The index of the newest network device. The model's own.", private=True)


def devices(k: Host) -> dict[bytes, int]:
    """Every device that is registered, by name."""
    return {k.mem.cstr(at(k, "net_device", dev, "name"), 16): dev for dev in registry.things(k, "netdev")}


def _alloc(k: Host, private: int, name: int, setup: int, txqs: int, rxqs: int) -> Guest:
    size = -(-k.layout["net_device"].size // ALIGN) * ALIGN + private
    dev = k.mm.kmalloc(size, GFP_KERNEL | __GFP_ZERO, -1, k.caller)
    if not dev:
        return 0
    for member in ("napi_list", "unreg_list", "close_list", "link_watch_list", "ptype_all", "ptype_specific",
                   "dev_list", "net_notifier_list"):  # fmt: skip
        if has(k, "net_device", member) and k.layout["net_device"][member].size == 16:
            lists.init_list_head(k, at(k, "net_device", dev, member))
    put(k, "net_device", dev, "nd_net", net(k))
    if has(k, "net_device", "pcpu_refcnt"):
        put(k, "net_device", dev, "pcpu_refcnt", k.mm.alloc_percpu(4, 4))
        if not get(k, "net_device", dev, "pcpu_refcnt"):
            k.mm.kfree(dev)
            return 0
    put(k, "net_device", dev, "dev_addr", k.mm.kmalloc(32, GFP_KERNEL | __GFP_ZERO, -1, k.caller))
    if not get(k, "net_device", dev, "dev_addr"):
        free_netdev(k, dev)
        return 0
    for member, count in (("tx", txqs), ("rx", rxqs)):
        put(k, "net_device", dev, f"num_{member}_queues", count)
        put(k, "net_device", dev, f"real_num_{member}_queues", count)
    if setup:
        yield Call(setup, (dev,))
    for member, count in (("_tx", txqs), ("_rx", rxqs)):
        queues = k.mm.kmalloc(count * QUEUE_SIZE, GFP_KERNEL | __GFP_ZERO, -1, k.caller)
        put(k, "net_device", dev, member, queues)
        if not queues:
            free_netdev(k, dev)
            return 0
    k.mem.write(at(k, "net_device", dev, "name"), k.mem.cstr(name)[:15] + b"\0")
    return dev


@export(_NO_PACKET)
def alloc_netdev_mqs(k: Host, sizeof_priv: int, name: int, assign: int, setup: int, txqs: int, rxqs: int) -> Guest:
    """``struct net_device *alloc_netdev_mqs(int sizeof_priv, const char *name, unsigned char name_assign_type,
    void *setup, unsigned int txqs, unsigned int rxqs)``

    net/core/dev.c, 6.1. NULL without memory.
    """
    return (yield from _alloc(k, sizeof_priv, name, setup, txqs, rxqs))


@export(_NO_PACKET)
def alloc_etherdev_mqs(k: Host, sizeof_priv: int, txqs: int, rxqs: int) -> Guest:
    """``struct net_device *alloc_etherdev_mqs(int sizeof_priv, unsigned int txqs, unsigned int rxqs)``

    net/ethernet/eth.c, 6.1.
    """
    setup, name = k.address_of("ether_setup"), k.address_of("netdev_eth_name")
    return (yield from _alloc(k, sizeof_priv, name, setup, txqs, rxqs))


data("netdev_eth_name", 8, b"eth%d\0", doc="How Ethernet devices are named.", private=True)


@export(_NO_PACKET)
def ether_setup(k: Host, dev: int) -> None:
    """``void ether_setup(struct net_device *dev)``

    net/ethernet/eth.c, 6.1.
    """
    values = {"type": 1, "hard_header_len": 14, "min_header_len": 14, "mtu": 1500, "min_mtu": 68, "max_mtu": 1500,
              "addr_len": 6, "tx_queue_len": 1000, "flags": 0x1002}  # fmt: skip
    for member, value in values.items():
        put(k, "net_device", dev, member, value)


def _register(k: Host, dev: int) -> Guest:
    name, known = k.mem.cstr(at(k, "net_device", dev, "name"), 16), devices(k)
    if b"%d" in name:
        number = next(free for free in range(1 << 15) if name.replace(b"%d", b"%d" % free) not in known)
        name = name.replace(b"%d", b"%d" % number)
        k.mem.write(at(k, "net_device", dev, "name"), name[:15] + b"\0")
    elif name in known or name == b"lo":
        return -EEXIST
    ops = get(k, "net_device", dev, "netdev_ops")
    init = k.mem.u64(ops + NDO_INIT) if ops else 0
    error = s32((yield Call(init, (dev,)))) if init else 0
    if error:
        return error if error < 0 else -5
    if not registry.add(k, "netdev", dev):
        yield from _uninit(k, dev)
        return -ENOMEM
    counter = k.address_of("netdev_index")
    k.mem.set_u32(counter, max(k.mem.u32(counter), 1) + 1)
    put(k, "net_device", dev, "ifindex", k.mem.u32(counter))
    put(k, "net_device", dev, "reg_state", REGISTERED)
    lists.add_tail(k, at(k, "net_device", dev, "dev_list"), at(k, "net", net(k), "dev_base_head"))
    return 0


def _uninit(k: Host, dev: int) -> Guest:
    """The driver's own undoing."""
    ops = get(k, "net_device", dev, "netdev_ops")
    uninit = k.mem.u64(ops + NDO_UNINIT) if ops else 0
    if uninit:
        yield Call(uninit, (dev,))
    destructor = get(k, "net_device", dev, "priv_destructor")
    if destructor:
        yield Call(destructor, (dev,))
    return 0


def _unregister(k: Host, dev: int) -> Guest:
    if not registry.remove(k, "netdev", dev):
        return 0
    lists.del_init(k, at(k, "net_device", dev, "dev_list"))
    put(k, "net_device", dev, "reg_state", UNREGISTERED)
    yield from _uninit(k, dev)
    if get(k, "net_device", dev, "needs_free_netdev") & 1:
        free_netdev(k, dev)
    return 0


@export(_NO_PACKET)
def register_netdevice(k: Host, dev: int) -> Guest:
    """``int register_netdevice(struct net_device *dev)``

    net/core/dev.c, 6.1. -EEXIST for a name that is taken; what the driver's init returned.
    """
    return (yield from _register(k, dev))


@export(_NO_PACKET)
def register_netdev(k: Host, dev: int) -> Guest:
    """``int register_netdev(struct net_device *dev)``

    net/core/dev.c, 6.1.
    """
    return (yield from _register(k, dev))


@export(_NO_PACKET)
def unregister_netdev(k: Host, dev: int) -> Guest:
    """``void unregister_netdev(struct net_device *dev)``

    net/core/dev.c, 6.1.
    """
    return (yield from _unregister(k, dev))


@export(_NO_PACKET)
def unregister_netdevice_queue(k: Host, dev: int, head: int) -> Guest:
    """``void unregister_netdevice_queue(struct net_device *dev, struct list_head *head)``

    net/core/dev.c, 6.1. At once, also with a list.
    """
    return (yield from _unregister(k, dev))


@export(_NO_PACKET)
def unregister_netdevice_many(k: Host, head: int) -> None:
    """``void unregister_netdevice_many(struct list_head *head)``

    net/core/dev.c, 6.1. They are gone already.
    """


@export(_NO_PACKET)
def free_netdev(k: Host, dev: int) -> None:
    """``void free_netdev(struct net_device *dev)``

    net/core/dev.c, 6.1.
    """
    for member in ("_tx", "_rx", "dev_addr"):
        k.mm.kfree(get(k, "net_device", dev, member))
    if has(k, "net_device", "pcpu_refcnt"):
        k.mm.free_percpu(get(k, "net_device", dev, "pcpu_refcnt"))
    k.mm.kfree(dev)


def _carrier(k: Host, dev: int, off: bool) -> None:
    where = at(k, "net_device", dev, "state")
    k.mem.set_u64(where, k.mem.u64(where) & ~4 | (4 if off else 0))


@export(_NO_PACKET)
def netif_carrier_on(k: Host, dev: int) -> None:
    """``void netif_carrier_on(struct net_device *dev)``

    net/sched/sch_generic.c, 6.1.
    """
    _carrier(k, dev, False)


@export(_NO_PACKET)
def netif_carrier_off(k: Host, dev: int) -> None:
    """``void netif_carrier_off(struct net_device *dev)``

    net/sched/sch_generic.c, 6.1.
    """
    _carrier(k, dev, True)


@export(_NO_PACKET)
def __rtnl_link_register(k: Host, ops: int) -> int:
    """``int __rtnl_link_register(struct rtnl_link_ops *ops)``

    net/core/rtnetlink.c, 6.1. -EEXIST for a kind that is there. A kind of devices that can be made can be unmade.
    """
    kind = k.mem.cstr(get(k, "rtnl_link_ops", ops, "kind"))
    if any(kind == k.mem.cstr(get(k, "rtnl_link_ops", one, "kind")) for one in registry.things(k, "rtnl_link")):
        return -EEXIST
    if get(k, "rtnl_link_ops", ops, "setup") and not get(k, "rtnl_link_ops", ops, "dellink"):
        put(k, "rtnl_link_ops", ops, "dellink", k.address_of("unregister_netdevice_queue"))
    return 0 if registry.add(k, "rtnl_link", ops) else -ENOMEM


@export(_NO_PACKET)
def rtnl_link_register(k: Host, ops: int) -> int:
    """``int rtnl_link_register(struct rtnl_link_ops *ops)``

    net/core/rtnetlink.c, 6.1.
    """
    return __rtnl_link_register(k, ops)


@export(_NO_PACKET)
def __rtnl_link_unregister(k: Host, ops: int) -> Guest:
    """``void __rtnl_link_unregister(struct rtnl_link_ops *ops)``

    net/core/rtnetlink.c, 6.1. The devices of that kind go with it.
    """
    if registry.remove(k, "rtnl_link", ops):
        for dev in registry.things(k, "netdev"):
            if get(k, "net_device", dev, "rtnl_link_ops") == ops:
                yield Call(get(k, "rtnl_link_ops", ops, "dellink"), (dev, 0))
    return 0


@export(_NO_PACKET)
def rtnl_link_unregister(k: Host, ops: int) -> Guest:
    """``void rtnl_link_unregister(struct rtnl_link_ops *ops)``

    net/core/rtnetlink.c, 6.1.
    """
    return (yield from __rtnl_link_unregister(k, ops))
