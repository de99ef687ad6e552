"""Notifier chains (kernel/notifier.c), 6.1: lists of callbacks by priority, those of modules and the kernel's own."""

from __future__ import annotations

from kmem.kapi.errno import EEXIST, ENOENT
from kmem.kapi.export import data, export, faithful, family, simplified
from kmem.kapi.host import Call, Guest, Host, s32

BLOCKING, ATOMIC, RAW, SRCU = (f"{kind}_notifier_head" for kind in ("blocking", "atomic", "raw", "srcu"))
NOTIFY_STOP_MASK = 0x8000
NEXT, PRIORITY = 8, 16
"""Offsets in ``struct notifier_block``; the callback comes first."""


def chain_register(k: Host, head: int, nb: int, unique: bool = False) -> int:
    """``notifier_chain_register()`` on the pointer at *head*: 0, -EEXIST for one that is in it."""
    link, priority = head, k.mem.s32(nb + PRIORITY)
    while at := k.mem.u64(link):
        if at == nb:
            name = k.kallsyms.sprint_name(k.mem.u64(nb))
            k.warn("kernel/notifier.c", 28, "notifier_chain_register", f"notifier callback {name} already registered")
            return -EEXIST
        if priority > k.mem.s32(at + PRIORITY):
            break
        if unique and priority == k.mem.s32(at + PRIORITY):
            return -16
        link = at + NEXT
    k.mem.set_u64(nb + NEXT, k.mem.u64(link))
    k.mem.set_u64(link, nb)
    return 0


def chain_unregister(k: Host, head: int, nb: int) -> int:
    """``notifier_chain_unregister()``: 0, or -ENOENT."""
    link = head
    while at := k.mem.u64(link):
        if at == nb:
            k.mem.set_u64(link, k.mem.u64(nb + NEXT))
            return 0
        link = at + NEXT
    return -ENOENT


def call_chain(k: Host, head: int, value: int, argument: int) -> Guest:
    """``notifier_call_chain()``: what the last callback returned."""
    result, nb = 0, k.mem.u64(head)
    while nb:
        following = k.mem.u64(nb + NEXT)
        result = s32((yield Call(k.mem.u64(nb), (nb, value, argument))))
        if result & NOTIFY_STOP_MASK:
            break
        nb = following
    return result


def _declare(kind: str) -> None:
    struct = f"{kind}_notifier_head"

    def at(k: Host, head: int) -> int:
        return head + k.layout[struct].offset("head")

    def register(k: Host, nh: int, nb: int) -> int:
        return chain_register(k, at(k, nh), nb)

    def unregister(k: Host, nh: int, nb: int) -> int:
        return chain_unregister(k, at(k, nh), nb)

    def call(k: Host, nh: int, val: int, v: int) -> Guest:
        return (yield from call_chain(k, at(k, nh), val, v))

    where = "kernel/notifier.c, 6.1."
    pair = f"struct {struct} *nh, struct notifier_block *nb"
    family(faithful, f"int {kind}_notifier_chain_register({pair})", where, register)
    family(faithful, f"int {kind}_notifier_chain_unregister({pair})", where, unregister)
    family(faithful, f"int {kind}_notifier_call_chain(struct {struct} *nh, unsigned long val, void *v)", where, call)


for _kind in ("blocking", "atomic", "raw", "srcu"):
    _declare(_kind)


@export(faithful)
def srcu_init_notifier_head(k: Host, nh: int) -> None:
    """``void srcu_init_notifier_head(struct srcu_notifier_head *nh)``

    kernel/notifier.c, 6.1.
    """
    k.mem.set_u64(nh + k.layout[SRCU].offset("head"), 0)


@export(faithful)
def blocking_notifier_chain_register_unique_prio(k: Host, nh: int, n: int) -> int:
    """``int blocking_notifier_chain_register_unique_prio(struct blocking_notifier_head *nh, struct notifier_block *n)``

    kernel/notifier.c, 6.1. -EBUSY for a priority that is taken.
    """
    return chain_register(k, nh + k.layout[BLOCKING].offset("head"), n, unique=True)


# The kernel's own chains. They are in the model's memory: the kernel's heads are not exported.

_QUIET = simplified("the callback is remembered; what it would be told of does not happen in the model")


def chain(file: str, stem: str, *, undo: str = "", void: bool = False) -> None:
    """Declare ``register_STEM()`` and ``unregister_STEM()``, or the two names *stem* and *undo*, for a chain."""
    name, back = (stem, undo) if undo else (f"register_{stem}", f"unregister_{stem}")
    head = f"kmem_chain_{name}"
    data(head, 8, doc=f"The chain of {name}(). The model's own.", private=True)

    def register(k: Host, nb: int) -> int:
        return chain_register(k, k.address_of(head), nb)

    def unregister(k: Host, nb: int) -> int:
        return chain_unregister(k, k.address_of(head), nb)

    result = "void" if void else "int"
    family(_QUIET, f"{result} {name}(struct notifier_block *nb)", f"{file}, 6.1.", register)
    family(_QUIET, f"{result} {back}(struct notifier_block *nb)", f"{file}, 6.1.", unregister)


chain("kernel/reboot.c", "reboot_notifier")
chain("kernel/power/main.c", "pm_notifier")
chain("kernel/module/main.c", "module_notifier")
chain("kernel/notifier.c", "die_notifier")
chain("mm/oom_kill.c", "oom_notifier")
chain("mm/vmscan.c", "vmap_purge_notifier")
chain("drivers/base/memory.c", "memory_notifier")
chain("net/core/dev.c", "netdevice_notifier")
chain("net/core/netevent.c", "netevent_notifier")
chain("net/ipv4/devinet.c", "inetaddr_notifier")
chain("net/ipv4/devinet.c", "inetaddr_validator_notifier")
chain("net/ipv6/addrconf_core.c", "inet6addr_notifier")
chain("net/ipv6/addrconf_core.c", "inet6addr_validator_notifier")
chain("net/switchdev/switchdev.c", "switchdev_notifier")
chain("net/switchdev/switchdev.c", "switchdev_blocking_notifier")
chain("net/dcb/dcbevent.c", "dcbevent_notifier")
chain("drivers/video/fbdev/core/fb_notify.c", "fb_register_client", undo="fb_unregister_client")
chain("drivers/tty/vt/vt.c", "vt_notifier")
chain("drivers/tty/vt/keyboard.c", "keyboard_notifier")
chain("drivers/acpi/event.c", "acpi_notifier")
chain("crypto/algapi.c", "crypto_register_notifier", undo="crypto_unregister_notifier")
chain("net/netlink/af_netlink.c", "netlink_register_notifier", undo="netlink_unregister_notifier")
chain("arch/x86/kernel/cpu/mce/core.c", "mce_register_decode_chain", undo="mce_unregister_decode_chain", void=True)
chain("drivers/power/supply/power_supply_core.c", "power_supply_reg_notifier", undo="power_supply_unreg_notifier")
chain("security/security.c", "register_blocking_lsm_notifier", undo="unregister_blocking_lsm_notifier")
