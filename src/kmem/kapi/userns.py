"""User namespaces (kernel/user_namespace.c), 6.1: there is one, in which every number stands for itself."""

from __future__ import annotations

from kmem.abi.gfp import __GFP_ZERO, GFP_KERNEL
from kmem.kapi.errno import ENOMEM
from kmem.kapi.export import export, family, simplified
from kmem.kapi.host import Host

_ONE = simplified("there is one user namespace: every number stands for itself")


def _declare() -> None:
    where = "kernel/user_namespace.c, 6.1."
    family(_ONE, "u32 make_kuid(struct user_namespace *ns, u32 uid)", where, lambda k, ns, number: number)
    family(_ONE, "u32 make_kgid(struct user_namespace *ns, u32 gid)", where, lambda k, ns, number: number)
    family(_ONE, "u32 from_kuid(struct user_namespace *ns, u32 uid)", where, lambda k, ns, number: number)
    family(_ONE, "u32 from_kgid(struct user_namespace *ns, u32 gid)", where, lambda k, ns, number: number)
    family(_ONE, "u32 from_kuid_munged(struct user_namespace *ns, u32 uid)", where, lambda k, ns, number: number)
    family(_ONE, "u32 from_kgid_munged(struct user_namespace *ns, u32 gid)", where, lambda k, ns, number: number)


_declare()

FQDIR_SIZE = 256


@export(simplified("an opaque object: there are no fragments"))
def fqdir_init(k: Host, fqdirp: int, f: int, net: int) -> int:
    """``int fqdir_init(struct fqdir **fqdirp, struct inet_frags *f, struct net *net)``

    net/ipv4/inet_fragment.c, 6.1. -ENOMEM without memory.
    """
    made = k.mm.kmalloc(FQDIR_SIZE, GFP_KERNEL | __GFP_ZERO, -1, k.caller)
    if not made:
        return -ENOMEM
    k.mem.set_u64(fqdirp, made)
    return 0


@export(simplified("an opaque object: there are no fragments"))
def fqdir_exit(k: Host, fqdir: int) -> None:
    """``void fqdir_exit(struct fqdir *fqdir)``

    net/ipv4/inet_fragment.c, 6.1.
    """
    k.mm.kfree(fqdir)
