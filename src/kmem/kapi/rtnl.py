"""The network's big lock and what is registered under it: protocols, socket families, generic netlink (net/core,
net/netlink, net/socket.c), 6.1."""

from __future__ import annotations

from kmem.abi.gfp import __GFP_ZERO, GFP_KERNEL
from kmem.kapi import registry
from kmem.kapi.errno import EEXIST, ENOBUFS, ENOENT
from kmem.kapi.export import data, export, simplified
from kmem.kapi.fields import at, get, put
from kmem.kapi.host import Host

NPROTO = 46
BUILT_IN_FAMILIES = frozenset((1, 2, 10, 16, 17))
"""unix, inet, inet6, netlink, packet."""
GENL_MIN_ID, NET_DM_GROUP = 0x10 + 3, 1
_ALONE = simplified("taken by nobody else: there is one task")
_UNUSED = simplified("it is known; no socket is ever made of it")

data("rtnl_held", 8, doc="Whether the lock of the network's configuration is held. The model's own.", private=True)


@export(_ALONE)
def rtnl_lock(k: Host) -> None:
    """``void rtnl_lock(void)``

    net/core/rtnetlink.c, 6.1.
    """
    k.context.might_sleep("rtnl_lock", "net/core/rtnetlink.c", 74)
    if k.mem.u64(k.address_of("rtnl_held")):
        k.finding("deadlock", "rtnl_lock() while it is held")
    k.mem.set_u64(k.address_of("rtnl_held"), 1)


@export(_ALONE)
def rtnl_lock_killable(k: Host) -> int:
    """``int rtnl_lock_killable(void)``

    net/core/rtnetlink.c, 6.1.
    """
    rtnl_lock(k)
    return 0


@export(_ALONE)
def rtnl_unlock(k: Host) -> None:
    """``void rtnl_unlock(void)``

    net/core/rtnetlink.c, 6.1.
    """
    k.mem.set_u64(k.address_of("rtnl_held"), 0)


@export(_ALONE)
def rtnl_trylock(k: Host) -> int:
    """``int rtnl_trylock(void)``

    net/core/rtnetlink.c, 6.1. 1 when it is taken.
    """
    at = k.address_of("rtnl_held")
    free = not k.mem.u64(at)
    k.mem.set_u64(at, 1)
    return int(free)


@export(_ALONE)
def rtnl_is_locked(k: Host) -> int:
    """``int rtnl_is_locked(void)``

    net/core/rtnetlink.c, 6.1.
    """
    return k.mem.u64(k.address_of("rtnl_held"))


# protocols and socket families


@export(_UNUSED)
def proto_register(k: Host, prot: int, alloc_slab: int) -> int:
    """``int proto_register(struct proto *prot, int alloc_slab)``

    net/core/sock.c, 6.1. With a cache for its sockets, if that is asked for. -ENOBUFS without memory.
    """
    if alloc_slab:
        name = k.mem.cstr(at(k, "proto", prot, "name"), 32).decode("utf-8", "replace")
        flags = get(k, "proto", prot, "slab_flags") | SLAB_HWCACHE_ALIGN | SLAB_ACCOUNT
        size = get(k, "proto", prot, "obj_size")
        slab = k.mm.kmem_cache_create(
            name, size, 0, flags, 0, get(k, "proto", prot, "useroffset"), get(k, "proto", prot, "usersize")
        )
        if not slab:
            return -ENOBUFS
        put(k, "proto", prot, "slab", slab)
    registry.note(k, "proto", prot)
    return 0


SLAB_HWCACHE_ALIGN, SLAB_ACCOUNT = 0x2000, 0x4000000


@export(_UNUSED)
def proto_unregister(k: Host, prot: int) -> None:
    """``void proto_unregister(struct proto *prot)``

    net/core/sock.c, 6.1.
    """
    registry.remove(k, "proto", prot)
    slab = get(k, "proto", prot, "slab")
    if slab:
        k.mm.kmem_cache_destroy(slab)
        put(k, "proto", prot, "slab", 0)


def _families(k: Host) -> dict[int, int]:
    """``struct net_proto_family`` by family, its first member."""
    return {k.mem.u32(ops): ops for ops in registry.things(k, "sock")}


@export(_UNUSED)
def sock_register(k: Host, ops: int) -> int:
    """``int sock_register(const struct net_proto_family *ops)``

    net/socket.c, 6.1. -EEXIST for a family that is taken.
    """
    number = k.mem.u32(ops)
    if number >= NPROTO:
        k.log.printk(f"\x012protocol {number} >= NPROTO({NPROTO})\n")
        return -ENOBUFS
    if number in BUILT_IN_FAMILIES or number in _families(k):
        return -EEXIST
    registry.note(k, "sock", ops)
    k.log.printk(f"\x016NET: Registered {FAMILIES.get(number, f'PF_{number}')} protocol family\n")
    return 0


FAMILIES = dict(
    enumerate(
        """PF_UNSPEC PF_UNIX/PF_LOCAL PF_INET PF_AX25 PF_IPX PF_APPLETALK PF_NETROM PF_BRIDGE PF_ATMPVC PF_X25 PF_INET6
        PF_ROSE PF_DECnet PF_NETBEUI PF_SECURITY PF_KEY PF_NETLINK/PF_ROUTE PF_PACKET PF_ASH PF_ECONET PF_ATMSVC PF_RDS
        PF_SNA PF_IRDA PF_PPPOX PF_WANPIPE PF_LLC PF_IB PF_MPLS PF_CAN PF_TIPC PF_BLUETOOTH PF_IUCV PF_RXRPC PF_ISDN
        PF_PHONET PF_IEEE802154 PF_CAIF PF_ALG PF_NFC PF_VSOCK PF_KCM PF_QIPCRTR PF_SMC PF_XDP PF_MCTP""".split()
    )
)


@export(_UNUSED)
def sock_unregister(k: Host, number: int) -> None:
    """``void sock_unregister(int family)``

    net/socket.c, 6.1.
    """
    ops = _families(k).get(number)
    if ops:
        registry.remove(k, "sock", ops)
        k.log.printk(f"\x016NET: Unregistered {FAMILIES.get(number, f'PF_{number}')} protocol family\n")


# generic netlink

data("genl_groups", 8, doc="The next multicast group of a generic family. The model's own.", private=True)
data("genl_ids", 8, doc="The next number of a family of generic netlink. The model's own.", private=True)


def _genl_name(k: Host, genl: int) -> bytes:
    return k.mem.cstr(genl + k.layout["genl_family"].offset("name"), 16)


@export(_UNUSED)
def genl_register_family(k: Host, genl: int) -> int:
    """``int genl_register_family(struct genl_family *family)``

    net/netlink/genetlink.c, 6.1. Gives it a number. -EEXIST for a name that is taken.
    """
    if _genl_name(k, genl) in {_genl_name(k, other) for other in registry.things(k, "genl")}:
        return -EEXIST
    counter = k.address_of("genl_ids")
    number = k.mem.u32(counter) or GENL_MIN_ID
    k.mem.set_u32(counter, number + 1)
    put(k, "genl_family", genl, "id", number)
    put(k, "genl_family", genl, "mcgrp_offset", _groups(k, genl, number))
    registry.note(k, "genl", genl)
    return 0


def _groups(k: Host, genl: int, number: int) -> int:
    """``genl_validate_assign_mc_groups()``: the first of a family's multicast groups; some are known by number."""
    count = get(k, "genl_family", genl, "n_mcgrps")
    if not count:
        return get(k, "genl_family", genl, "mcgrp_offset")
    if _genl_name(k, genl) == b"NET_DM":
        return NET_DM_GROUP
    counter = k.address_of("genl_groups")
    first = k.mem.u32(counter) or GENL_MIN_ID + 1
    k.mem.set_u32(counter, first + count)
    return first


@export(_UNUSED)
def genl_unregister_family(k: Host, genl: int) -> int:
    """``int genl_unregister_family(const struct genl_family *family)``

    net/netlink/genetlink.c, 6.1. -ENOENT for one that is not registered.
    """
    return 0 if registry.remove(k, "genl", genl) else -ENOENT


# /proc/sys


def _sysctl(k: Host, table: int) -> int:
    size = k.layout["ctl_table_header"].size
    header = k.mm.kmalloc(size, GFP_KERNEL | __GFP_ZERO, -1, k.caller)
    if header:
        put(k, "ctl_table_header", header, "ctl_table", table)
        put(k, "ctl_table_header", header, "ctl_table_arg", table)
    return header


_NO_SYSCTL = simplified("nobody reads or writes the values")


@export(_NO_SYSCTL)
def register_sysctl(k: Host, path: int, table: int) -> int:
    """``struct ctl_table_header *register_sysctl(const char *path, struct ctl_table *table)``

    fs/proc/proc_sysctl.c, 6.1. NULL without memory.
    """
    return _sysctl(k, table)


@export(_NO_SYSCTL)
def register_sysctl_table(k: Host, table: int) -> int:
    """``struct ctl_table_header *register_sysctl_table(struct ctl_table *table)``

    fs/proc/proc_sysctl.c, 6.1.
    """
    return _sysctl(k, table)


@export(_NO_SYSCTL)
def register_sysctl_sz(k: Host, path: int, table: int, size: int) -> int:
    """``struct ctl_table_header *register_sysctl_sz(const char *path, struct ctl_table *table, size_t table_size)``

    fs/proc/proc_sysctl.c, 6.12.
    """
    return _sysctl(k, table)


@export(_NO_SYSCTL)
def register_net_sysctl(k: Host, net: int, path: int, table: int) -> int:
    """``struct ctl_table_header *register_net_sysctl(struct net *net, const char *path, struct ctl_table *table)``

    net/sysctl_net.c, 6.1.
    """
    return _sysctl(k, table)


@export(_NO_SYSCTL)
def register_net_sysctl_sz(k: Host, net: int, path: int, table: int, size: int) -> int:
    """``struct ctl_table_header *register_net_sysctl_sz(struct net *net, const char *path, struct ctl_table *table,
    size_t table_size)``

    net/sysctl_net.c, 6.12.
    """
    return _sysctl(k, table)


@export(_NO_SYSCTL)
def unregister_sysctl_table(k: Host, header: int) -> None:
    """``void unregister_sysctl_table(struct ctl_table_header *header)``

    fs/proc/proc_sysctl.c, 6.1. NULL is allowed.
    """
    k.mm.kfree(header)


@export(_NO_SYSCTL)
def unregister_net_sysctl_table(k: Host, header: int) -> None:
    """``void unregister_net_sysctl_table(struct ctl_table_header *header)``

    net/sysctl_net.c, 6.1.
    """
    k.mm.kfree(header)
