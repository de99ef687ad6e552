"""What modules have registered with the kernel: by kind (the registering function), the objects in order.

For the many registrations that the kernel only remembers until somebody asks, and nobody does in the model: a network
protocol, a file system, an I/O scheduler. `registers` declares such a pair of exports in one line. The list is in the
simulated RAM: ``kmem_registry`` points to the newest of its nodes, which are {next, kind, object, caller}.
"""

from __future__ import annotations

from zlib import crc32

from kmem.abi.gfp import __GFP_NOFAIL, __GFP_ZERO, GFP_KERNEL
from kmem.kapi.errno import ENOMEM, err_ptr, is_err
from kmem.kapi.export import data, family, simplified
from kmem.kapi.host import Host

NODE_SIZE = 40
LEFT = {
    "proc": "an entry of /proc",
    "debugfs": "an entry of debugfs",
    "misc": "a misc device",
    "cdev": "a character device",
    "chrdev_region": "a region of device numbers",
    "netdev": "a network device",
    "filesystem": "a file system",
    "tty_driver": "a TTY driver",
}
"""What a module must take out again before it goes, by kind."""
REMEMBERED = simplified("it is remembered that the object is registered; nothing ever calls it")
FORGOTTEN = simplified("it is forgotten that the object was registered")

data("kmem_registry", 8, doc="The newest registration. The model's own.", private=True)


def note(k: Host, kind: str, thing: int) -> None:
    """Remember *thing*, for which a kernel needs no memory: an injected fault does not meet it."""
    add(k, kind, thing, __GFP_NOFAIL)


def add(k: Host, kind: str, thing: int, more: int = 0) -> bool:
    """Remember *thing*; False without memory. *more* are further GFP flags."""
    head = k.address_of("kmem_registry")
    node = k.mm.kmalloc(NODE_SIZE, GFP_KERNEL | more, -1, head)  # the kernel's own: no module has to free it
    if node:
        values = (k.mem.u64(head), crc32(kind.encode()), thing, k.caller, k.owner_of(k.caller))
        for number, value in enumerate(values):
            k.mem.set_u64(node + 8 * number, value)
        k.mem.set_u64(head, node)
    return bool(node)


def _find(k: Host, kind: str, thing: int) -> int:
    """Address of the pointer to the node, 0 if there is none."""
    link, number = k.address_of("kmem_registry"), crc32(kind.encode())
    while node := k.mem.u64(link):
        if k.mem.u64(node + 8) == number and k.mem.u64(node + 16) == thing:
            return link
        link = node
    return 0


def holds(k: Host, kind: str, thing: int) -> bool:
    """Whether *thing* is registered as that."""
    return bool(_find(k, kind, thing))


def remove(k: Host, kind: str, thing: int) -> bool:
    """Forget *thing*; whether it was there."""
    link = _find(k, kind, thing)
    if link:
        node = k.mem.u64(link)
        k.mem.set_u64(link, k.mem.u64(node))
        k.mm.kfree(node)
    return bool(link)


def things(k: Host, kind: str) -> list[int]:
    """What is registered as *kind*, oldest first."""
    node, number, found = k.mem.u64(k.address_of("kmem_registry")), crc32(kind.encode()), []
    while node:
        if k.mem.u64(node + 8) == number:
            found.append(k.mem.u64(node + 16))
        node = k.mem.u64(node)
    return found[::-1]


def left(k: Host, owner: int) -> list[tuple[str, int, int]]:
    """Of what *owner*, a ``struct module``, must take out again: what it is, the object, and the return address of the
    call that put it in."""
    if not k.symbols.placed("kmem_registry"):
        return []
    words = {crc32(kind.encode()): what for kind, what in LEFT.items()}
    node, found = k.mem.u64(k.address_of("kmem_registry")), []
    while node:
        what = words.get(k.mem.u64(node + 8))
        if what and k.mem.u64(node + 32) == owner:
            found.append((what, k.mem.u64(node + 16), k.mem.u64(node + 24)))
        node = k.mem.u64(node)
    return found[::-1]


def registers(file: str, prototype: str, undo: str = "", *, twice: int = 0, absent: int = 0, which: int = 0) -> None:
    """Declare a function that registers the object in parameter number *which*, and the one that takes it out again.

    *twice* is the errno for an object that is registered already, *absent* that of taking out one that is not.
    """
    kind = prototype[: prototype.index("(")].split()[-1].lstrip("*")

    def register(k: Host, *args: int) -> int:
        if twice and holds(k, kind, args[which]):
            return -twice
        return 0 if add(k, kind, args[which]) else -ENOMEM

    def unregister(k: Host, *args: int) -> int:
        return 0 if remove(k, kind, args[min(which, len(args) - 1)]) else -absent

    family(REMEMBERED, prototype, f"{file}, 6.1. Remembered until it is taken out again.", register)
    if undo:
        family(FORGOTTEN, undo, f"{file}, 6.1. Takes out what {kind}() registered.", unregister)


def accepts(file: str, *prototypes: str, how: str) -> None:
    """Declare functions that do nothing and return 0: *how* says what they leave out."""
    for prototype in prototypes:

        def nothing(k: Host, *args: object) -> int:
            return 0

        family(simplified(how), prototype, f"{file}, 6.1.", nothing)


def answers(value: int, file: str, *prototypes: str, how: str) -> None:
    """Declare functions that always return *value*."""
    for prototype in prototypes:

        def answer(k: Host, *args: object) -> int:
            return value

        family(simplified(how), prototype, f"{file}, 6.1.", answer)


def makes(
    file: str, prototype: str, *undo: str, size: int, how: str, error: bool = False, kept: bool = False, count: int = 0
) -> None:
    """Declare a function that makes an opaque object of *size* bytes, all zero, and those that take it back.

    Without memory it returns NULL, or with *error* the error pointer. *kept* is what the kernel keeps for itself, so
    that nobody has to give it back; *count* goes to the first four bytes, of what is counted there.
    """

    def make(k: Host, *args: object) -> int:
        caller = k.address_of("kmem_registry") if kept else k.caller
        made = k.mm.kmalloc(size, GFP_KERNEL | __GFP_ZERO, -1, caller)
        if made and count:
            k.mem.set_u32(made, count)
        return made or (err_ptr(-ENOMEM) if error else 0)

    def take_back(k: Host, thing: int, *args: object) -> None:
        if thing and not is_err(thing):
            k.mm.kfree(thing)

    family(simplified(how), prototype, f"{file}, 6.1.", make)
    for back in undo:
        family(simplified(how), back, f"{file}, 6.1. Frees what was made.", take_back)
