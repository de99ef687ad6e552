"""Addresses and messages of the network (net/ipv6/addrconf_core.c, net/core/dev.c), 6.1."""

from __future__ import annotations

from kmem.kapi.device import LEVELS, dev_print, format_message
from kmem.kapi.export import data, export, faithful, family
from kmem.kapi.fields import at, get, text
from kmem.kapi.host import Host
from kmem.kapi.registry import accepts
from kmem.kapi.varargs import VaArgs

UNICAST, MULTICAST, LOOPBACK, LINKLOCAL, SITELOCAL, COMPAT_V4, MAPPED = 0x1, 0x2, 0x10, 0x20, 0x40, 0x80, 0x1000
NODE, LINK, SITE, GLOBAL = 1, 2, 5, 14
_MULTICAST = {NODE: LOOPBACK, LINK: LINKLOCAL, SITE: SITELOCAL}


def ipv6_type(raw: bytes) -> int:
    """What kind of address it is, with its scope in the high half (RFC 4291, RFC 4193)."""
    top = int.from_bytes(raw[:2], "big")
    if raw[0] == 0xFF:
        scope = raw[1] & 15
        return MULTICAST | scope << 16 | _MULTICAST.get(scope, 0)
    if top & 0xFFC0 == 0xFE80:
        return UNICAST | LINKLOCAL | LINK << 16
    if top & 0xFFC0 == 0xFEC0:
        return UNICAST | SITELOCAL | SITE << 16
    if any(raw[:8]):
        return UNICAST | GLOBAL << 16
    if raw[8:12] == b"\0\0\xff\xff":
        return MAPPED | GLOBAL << 16
    if any(raw[8:12]):
        return UNICAST | GLOBAL << 16
    last = int.from_bytes(raw[12:], "big")
    if last > 1:
        return UNICAST | COMPAT_V4 | GLOBAL << 16
    return UNICAST | LOOPBACK | LINK << 16 if last else 0


for _address, _raw in (
    ("any", bytes(16)),
    ("loopback", bytes(15) + b"\1"),
    ("linklocal_allnodes", b"\xff\2" + bytes(13) + b"\1"),
    ("linklocal_allrouters", b"\xff\2" + bytes(13) + b"\2"),
    ("interfacelocal_allnodes", b"\xff\1" + bytes(13) + b"\1"),
    ("interfacelocal_allrouters", b"\xff\1" + bytes(13) + b"\2"),
    ("sitelocal_allrouters", b"\xff\5" + bytes(13) + b"\2"),
):
    data(f"in6addr_{_address}", 16, _raw, doc="A well-known address, net/ipv6/addrconf_core.c.")


@export(faithful)
def __ipv6_addr_type(k: Host, addr: int) -> int:
    """``int __ipv6_addr_type(const struct in6_addr *addr)``

    net/ipv6/addrconf_core.c, 6.1. The kind, and the scope in the high half.
    """
    return ipv6_type(k.mem.read(addr, 16))


accepts("net/ipv4/tcp_input.c", "void clean_acked_data_flush(void)", how="nothing is ever sent")
accepts(
    "drivers/net/phy/mdio-boardinfo.c",
    "void mdiobus_setup_mdiodev_from_board_info(struct mii_bus *bus, void *cb)",
    how="nothing is known of what is on the bus",
)


def _declare(name: str, level: int) -> None:
    def message(k: Host, dev: int, fmt: int, args: VaArgs) -> None:
        line = format_message(k, fmt, args)
        if not dev:
            k.log.printk(b"\x01%d(NULL net_device): %s" % (level, line))
            return
        label = text(k, at(k, "net_device", dev, "name")) or b"(unnamed net_device)"
        parent = get(k, "device", at(k, "net_device", dev, "dev"), "parent")
        if parent:
            dev_print(k, level, parent, label + b": " + line)
        else:
            k.log.printk(b"\x01%d%s: %s" % (level, label, line))

    prototype = f"void {name}(const struct net_device *dev, const char *format, ...)"
    family(faithful, prototype, "net/core/dev.c, 6.1. The message after the names of driver and device.", message)


for _name, _level in LEVELS.items():
    _declare(f"netdev_{_name}", _level)
