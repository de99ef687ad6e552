"""What a device owns and gives back by itself (drivers/base/devres.c), 6.1.

A resource is a kmalloc object: a ``struct devres_node`` with the function that releases it, then the data. The device's
list holds them in the order in which they were added; they are released the other way round. A group is a pair of marks
in the list.
"""

from __future__ import annotations

from kmem.abi.gfp import __GFP_ZERO, GFP_KERNEL
from kmem.kapi.errno import ENODEV, ENOENT, ENOMEM
from kmem.kapi.export import data, export, faithful, simplified
from kmem.kapi.host import Call, Guest, Host, s32
from kmem.kapi.lists import add_tail, del_init, entries, init_list_head, is_empty
from kmem.kapi.printk import FORMAT_LIMIT
from kmem.kapi.varargs import VaArgs
from kmem.kapi.vsprintf import vsnprintf

FILE = "drivers/base/devres.c"
_NAMES = b"grp<\0grp>\0devm_kzalloc_release\0devm_krealloc_release\0"
data("devres_names", len(_NAMES), _NAMES, doc="Debugging names of resources. The model's own.", private=True)
ZERO_SIZE_PTR = 16
SIZE_MAX = (1 << 64) - 1
_RELEASE, _NAME, _SIZE = 16, 24, 32
"""Offsets in ``struct devres_node``."""


def data_offset(k: Host) -> int:
    """``offsetof(struct devres, data)``."""
    return k.layout["devres"].offset("data")


def devres_head(k: Host, dev: int) -> int:
    """``&dev->devres_head``."""
    return dev + k.layout["device"].offset("devres_head")


def _name(k: Host, text: bytes) -> int:
    """A string for the debugging names of resources."""
    return k.address_of("devres_names") + _NAMES.index(text + b"\0")


def alloc_dr(k: Host, release: int, size: int, gfp: int, node: int = -1) -> int:
    """``alloc_dr()``: the address of the data, or 0."""
    head = data_offset(k)
    if size + head > SIZE_MAX:
        return 0
    dr = k.mm.kmalloc(size + head, gfp, node, k.caller)
    if not dr:
        return 0
    if not gfp & __GFP_ZERO:
        k.mem.fill(dr, 0, head)
    init_list_head(k, dr)
    k.mem.set_u64(dr + _RELEASE, release)
    return dr + head


def own(k: Host, dev: int, release: str, size: int, gfp: int = GFP_KERNEL) -> int:
    """``devres_alloc()`` with one of the kernel's own release functions, not added yet."""
    return alloc_dr(k, k.address_of(release), size, gfp | __GFP_ZERO)


def add(k: Host, dev: int, node: int) -> None:
    """``add_dr()``."""
    if not is_empty(k, node):
        k.bug(FILE, 132, "devres_add")
    add_tail(k, node, devres_head(k, dev))


def _reversed(k: Host, head: int) -> list[int]:
    return list(entries(k, head))[::-1]


def find_dr(k: Host, dev: int, release: int, match: int, match_data: int) -> Guest:
    """``find_dr()``: the node of the latest resource of a kind that *match* agrees to; 0 if there is none."""
    head = data_offset(k)
    for node in _reversed(k, devres_head(k, dev)):
        if k.mem.u64(node + _RELEASE) != release:
            continue
        if match and not s32((yield Call(match, (dev, node + head, match_data)))):
            continue
        return node
    return 0


def take(k: Host, dev: int, release: str, wanted: int, offset: int = 0) -> int:
    """The data of the latest resource of one of the kernel's own kinds whose word at *offset* is *wanted*, taken out of
    the list; 0 if there is none. *offset* -1 stands for the address of the data itself.
    """
    function, head = k.address_of(release), data_offset(k)
    for node in _reversed(k, devres_head(k, dev)):
        if k.mem.u64(node + _RELEASE) != function:
            continue
        found = node + head if offset < 0 else k.mem.u64(node + head + offset)
        if found == wanted:
            del_init(k, node)
            return node + head
    return 0


def owned(k: Host, dev: int, release: str) -> list[int]:
    """The data of a device's resources of one of the kernel's own kinds, the latest first."""
    function, head = k.address_of(release), data_offset(k)
    return [node + head for node in _reversed(k, devres_head(k, dev)) if k.mem.u64(node + _RELEASE) == function]


def free(k: Host, res: int) -> None:
    """``kfree(dr)`` by the address of its data."""
    k.mm.kfree(res - data_offset(k))


@export(faithful)
def __devres_alloc_node(k: Host, release: int, size: int, gfp: int, nid: int, name: int) -> int:
    """``void *__devres_alloc_node(dr_release_t release, size_t size, gfp_t gfp, int nid, const char *name)``

    drivers/base/devres.c, 6.1. Zeroed.
    """
    res = alloc_dr(k, release, size, gfp | __GFP_ZERO, nid)
    if res:
        node = res - data_offset(k)
        k.mem.set_u64(node + _NAME, name)
        k.mem.set_u64(node + _SIZE, size)
    return res


@export(faithful)
def devres_free(k: Host, res: int) -> None:
    """``void devres_free(void *res)``

    drivers/base/devres.c, 6.1. Not while a device has it.
    """
    if res:
        if not is_empty(k, res - data_offset(k)):
            k.bug(FILE, 225, "devres_free")
        free(k, res)


@export(faithful)
def devres_add(k: Host, dev: int, res: int) -> None:
    """``void devres_add(struct device *dev, void *res)``

    drivers/base/devres.c, 6.1.
    """
    add(k, dev, res - data_offset(k))


@export(faithful)
def devres_for_each_res(k: Host, dev: int, release: int, match: int, match_data: int, fn: int, data_: int) -> Guest:
    """``void devres_for_each_res(struct device *dev, dr_release_t release, dr_match_t match, void *match_data, void
    (*fn)(struct device *, void *, void *), void *data)``

    drivers/base/devres.c, 6.1. The latest first.
    """
    head = data_offset(k)
    for node in _reversed(k, devres_head(k, dev)) if fn else ():
        if k.mem.u64(node + _RELEASE) != release:
            continue
        if match and not s32((yield Call(match, (dev, node + head, match_data)))):
            continue
        yield Call(fn, (dev, node + head, data_))
    return 0


@export(faithful)
def devres_find(k: Host, dev: int, release: int, match: int, match_data: int) -> Guest:
    """``void *devres_find(struct device *dev, dr_release_t release, dr_match_t match, void *match_data)``

    drivers/base/devres.c, 6.1.
    """
    node = yield from find_dr(k, dev, release, match, match_data)
    return node + data_offset(k) if node else 0


@export(faithful)
def devres_get(k: Host, dev: int, new_res: int, match: int, match_data: int) -> Guest:
    """``void *devres_get(struct device *dev, void *new_res, dr_match_t match, void *match_data)``

    drivers/base/devres.c, 6.1. What is there already, else *new_res*, which is freed otherwise.
    """
    new = new_res - data_offset(k)
    node = yield from find_dr(k, dev, k.mem.u64(new + _RELEASE), match, match_data)
    if not node:
        add(k, dev, new)
        return new_res
    devres_free(k, new_res)
    return node + data_offset(k)


@export(faithful)
def devres_remove(k: Host, dev: int, release: int, match: int, match_data: int) -> Guest:
    """``void *devres_remove(struct device *dev, dr_release_t release, dr_match_t match, void *match_data)``

    drivers/base/devres.c, 6.1. Neither released nor freed.
    """
    node = yield from find_dr(k, dev, release, match, match_data)
    if not node:
        return 0
    del_init(k, node)
    return node + data_offset(k)


@export(faithful)
def devres_destroy(k: Host, dev: int, release: int, match: int, match_data: int) -> Guest:
    """``int devres_destroy(struct device *dev, dr_release_t release, dr_match_t match, void *match_data)``

    drivers/base/devres.c, 6.1. Freed, not released; -ENOENT if there is none.
    """
    res = yield from devres_remove(k, dev, release, match, match_data)
    if not res:
        return -ENOENT
    devres_free(k, res)
    return 0


@export(faithful)
def devres_release(k: Host, dev: int, release: int, match: int, match_data: int) -> Guest:
    """``int devres_release(struct device *dev, dr_release_t release, dr_match_t match, void *match_data)``

    drivers/base/devres.c, 6.1. -ENOENT if there is none.
    """
    res = yield from devres_remove(k, dev, release, match, match_data)
    if not res:
        return -ENOENT
    yield Call(release, (dev, res))
    devres_free(k, res)
    return 0


# groups


@export(faithful, private=True)
def group_open_release(k: Host, dev: int, res: int) -> None:
    """``void group_open_release(struct device *dev, void *res)``

    drivers/base/devres.c, 6.1. Marks a group's first node.
    """


@export(faithful, private=True)
def group_close_release(k: Host, dev: int, res: int) -> None:
    """``void group_close_release(struct device *dev, void *res)``

    drivers/base/devres.c, 6.1. Marks a group's second node.
    """


def _group_of(k: Host, node: int) -> int:
    """``node_to_group()``."""
    release = k.mem.u64(node + _RELEASE)
    if release == k.address_of("group_open_release"):
        return node
    if release == k.address_of("group_close_release"):
        return node - k.layout["devres_node"].size
    return 0


@export(faithful)
def devres_open_group(k: Host, dev: int, id: int, gfp: int) -> int:
    """``void *devres_open_group(struct device *dev, void *id, gfp_t gfp)``

    drivers/base/devres.c, 6.1. *id*, or a new one; NULL on failure.
    """
    group, half = k.layout["devres_group"], k.layout["devres_node"].size
    grp = k.mm.kmalloc(group.size, gfp, -1, k.caller)
    if not grp:
        return 0
    for node, release, name in (
        (grp, "group_open_release", b"grp<"),
        (grp + half, "group_close_release", b"grp>"),
    ):
        k.mem.set_u64(node + _RELEASE, k.address_of(release))
        init_list_head(k, node)
        k.mem.set_u64(node + _NAME, _name(k, name))
        k.mem.set_u64(node + _SIZE, 0)
    k.mem.set_u64(grp + group.offset("id"), id or grp)
    k.mem.set_u32(grp + group.offset("color"), 0)
    add(k, dev, grp)
    return id or grp


def _find_group(k: Host, dev: int, id: int) -> int:
    """``find_group()``: by *id*, or the latest that is open."""
    group, half = k.layout["devres_group"], k.layout["devres_node"].size
    opening = k.address_of("group_open_release")
    for node in _reversed(k, devres_head(k, dev)):
        if k.mem.u64(node + _RELEASE) != opening:
            continue
        if k.mem.u64(node + group.offset("id")) == id if id else is_empty(k, node + half):
            return node
    return 0


@export(faithful)
def devres_close_group(k: Host, dev: int, id: int) -> None:
    """``void devres_close_group(struct device *dev, void *id)``

    drivers/base/devres.c, 6.1.
    """
    grp = _find_group(k, dev, id)
    if grp:
        add(k, dev, grp + k.layout["devres_node"].size)
    else:
        k.warn(FILE, 618, "devres_close_group")


@export(faithful)
def devres_remove_group(k: Host, dev: int, id: int) -> None:
    """``void devres_remove_group(struct device *dev, void *id)``

    drivers/base/devres.c, 6.1. The marks go, what is between them stays.
    """
    grp = _find_group(k, dev, id)
    if grp:
        del_init(k, grp)
        del_init(k, grp + k.layout["devres_node"].size)
    else:
        k.warn(FILE, 646, "devres_remove_group")
    k.mm.kfree(grp)


def _remove_nodes(k: Host, nodes: list[int]) -> tuple[int, list[int]]:
    """``remove_nodes()``: take the resources out of the list, and the groups that lie wholly inside; how many
    resources, and what is to be released, in the order of the list.
    """
    color: dict[int, int] = {}
    half = k.layout["devres_node"].size
    resources, groups = [], []
    for node in nodes:
        if _group_of(k, node):
            groups.append(node)
        else:
            resources.append(node)
            del_init(k, node)
    todo = list(resources)
    for node in groups:
        grp = _group_of(k, node)
        color[grp] = color.get(grp, 0) + 1 + is_empty(k, grp + half)
        if color[grp] == 2:
            del_init(k, grp)
            del_init(k, grp + half)
            todo.append(grp)
    return len(resources), todo


def _release_nodes(k: Host, dev: int, todo: list[int]) -> Guest:
    """``release_nodes()``: the last one first."""
    for node in reversed(todo):
        yield Call(k.mem.u64(node + _RELEASE), (dev, node + data_offset(k)))
        k.mm.kfree(node)
    return 0


def release_all(k: Host, dev: int) -> Guest:
    """``devres_release_all()``: what a device that goes away gives back; how many resources."""
    head = devres_head(k, dev)
    if not k.mem.u64(head):
        k.warn(FILE, 521, "devres_release_all")
        return -ENODEV
    count, todo = _remove_nodes(k, list(entries(k, head)))
    yield from _release_nodes(k, dev, todo)
    return count


@export(faithful)
def devres_release_group(k: Host, dev: int, id: int) -> Guest:
    """``int devres_release_group(struct device *dev, void *id)``

    drivers/base/devres.c, 6.1. Releases what was added since the group was opened, or until it was closed; how many.
    """
    grp = _find_group(k, dev, id)
    nodes = list(entries(k, devres_head(k, dev)))
    if not grp:
        if nodes:
            k.warn(FILE, 695, "devres_release_group")
        return 0
    first = nodes.index(grp)
    closing = grp + k.layout["devres_node"].size
    last = nodes.index(closing) + 1 if not is_empty(k, closing) else len(nodes)
    count, todo = _remove_nodes(k, nodes[first:last])
    yield from _release_nodes(k, dev, todo)
    return count


# actions


@export(faithful, private=True)
def devm_action_release(k: Host, dev: int, res: int) -> Guest:
    """``void devm_action_release(struct device *dev, void *res)``

    drivers/base/devres.c, 6.1. Calls the action.
    """
    yield Call(k.mem.u64(res + 8), (k.mem.u64(res),))
    return 0


@export(faithful, alias="__devm_add_action")
def devm_add_action(k: Host, dev: int, action: int, data_: int) -> int:
    """``int devm_add_action(struct device *dev, void (*action)(void *), void *data)``

    drivers/base/devres.c, 6.1. 0 or -ENOMEM. devm_add_action_or_reset() is an inline that calls the action on failure.
    """
    res = own(k, dev, "devm_action_release", 16)
    if not res:
        return -ENOMEM
    k.mem.set_u64(res, data_)
    k.mem.set_u64(res + 8, action)
    devres_add(k, dev, res)
    return 0


def _find_action(k: Host, dev: int, action: int, data_: int) -> int:
    head, kind = data_offset(k), k.address_of("devm_action_release")
    for node in _reversed(k, devres_head(k, dev)):
        res = node + head
        if k.mem.u64(node + _RELEASE) == kind and (k.mem.u64(res), k.mem.u64(res + 8)) == (data_, action):
            del_init(k, node)
            return res
    return 0


@export(faithful)
def devm_remove_action(k: Host, dev: int, action: int, data_: int) -> None:
    """``void devm_remove_action(struct device *dev, void (*action)(void *), void *data)``

    drivers/base/devres.c, 6.1. The action is not called.
    """
    res = _find_action(k, dev, action, data_)
    if res:
        free(k, res)
    else:
        k.warn(FILE, 771, "devm_remove_action")


@export(faithful)
def devm_release_action(k: Host, dev: int, action: int, data_: int) -> Guest:
    """``void devm_release_action(struct device *dev, void (*action)(void *), void *data)``

    drivers/base/devres.c, 6.1. The action is called now.
    """
    res = _find_action(k, dev, action, data_)
    if res:
        yield Call(action, (data_,))
        free(k, res)
    else:
        k.warn(FILE, 793, "devm_release_action")
    return 0


# memory


@export(faithful, private=True)
def devm_kmalloc_release(k: Host, dev: int, res: int) -> None:
    """``void devm_kmalloc_release(struct device *dev, void *res)``

    drivers/base/devres.c, 6.1. Nothing: the memory goes with the resource.
    """


@export(faithful)
def devm_kmalloc(k: Host, dev: int, size: int, gfp: int) -> int:
    """``void *devm_kmalloc(struct device *dev, size_t size, gfp_t gfp)``

    drivers/base/devres.c, 6.1. ZERO_SIZE_PTR for nothing; devm_kzalloc() and its kin are inlines.
    """
    if not size:
        return ZERO_SIZE_PTR
    res = alloc_dr(k, k.address_of("devm_kmalloc_release"), size, gfp)
    if res:
        node = res - data_offset(k)
        k.mem.set_u64(node + _NAME, _name(k, b"devm_kzalloc_release"))
        k.mem.set_u64(node + _SIZE, size)
        add(k, dev, node)
    return res


@export(simplified("no string lies in the kernel's own read-only data"))
def devm_krealloc(k: Host, dev: int, ptr: int, new_size: int, gfp: int) -> int:
    """``void *devm_krealloc(struct device *dev, void *ptr, size_t new_size, gfp_t gfp)``

    drivers/base/devres.c, 6.1. The same place if the object is large enough; NULL and a warning for what the device
    does not have.
    """
    if not new_size:
        devm_kfree(k, dev, ptr)
        return ZERO_SIZE_PTR
    if ptr <= ZERO_SIZE_PTR:
        return devm_kmalloc(k, dev, new_size, gfp)
    head = data_offset(k)
    old_size = k.mm.ksize(ptr - head)
    if new_size + head <= old_size:
        return ptr
    new = alloc_dr(k, k.address_of("devm_kmalloc_release"), new_size, gfp)
    if not new:
        return 0
    k.mem.set_u64(new - head + _NAME, _name(k, b"devm_krealloc_release"))
    k.mem.set_u64(new - head + _SIZE, new_size)
    old, kind = ptr - head, k.address_of("devm_kmalloc_release")
    nodes = list(entries(k, devres_head(k, dev)))
    if old not in nodes or k.mem.u64(old + _RELEASE) != kind:
        k.mm.kfree(new - head)
        k.warn(FILE, 924, "devm_krealloc", "Memory chunk not managed or managed by a different device.")
        return 0
    following = k.mem.u64(old)
    del_init(k, old)
    add_tail(k, new - head, following)
    k.mem.write(new, k.mem.read(ptr, old_size - head))
    k.mm.kfree(old)
    return new


@export(simplified("no string lies in the kernel's own read-only data"))
def devm_kfree(k: Host, dev: int, p: int) -> None:
    """``void devm_kfree(struct device *dev, const void *p)``

    drivers/base/devres.c, 6.1. NULL and ZERO_SIZE_PTR are allowed; what the device does not have warns.
    """
    if p <= ZERO_SIZE_PTR:
        return
    res = take(k, dev, "devm_kmalloc_release", p, -1)
    if res:
        free(k, res)
    else:
        k.warn(FILE, 1073, "devm_kfree")


def _copy(k: Host, dev: int, raw: bytes, gfp: int) -> int:
    p = devm_kmalloc(k, dev, len(raw), gfp)
    if p > ZERO_SIZE_PTR:
        k.mem.write(p, raw)
    return p


@export(faithful)
def devm_kmemdup(k: Host, dev: int, src: int, len_: int, gfp: int) -> int:
    """``void *devm_kmemdup(struct device *dev, const void *src, size_t len, gfp_t gfp)``

    drivers/base/devres.c, 6.1.
    """
    p = devm_kmalloc(k, dev, len_, gfp)
    if p > ZERO_SIZE_PTR:
        k.mem.write(p, k.mem.read(src, len_))
    return p


@export(faithful)
def devm_kstrdup(k: Host, dev: int, s: int, gfp: int) -> int:
    """``char *devm_kstrdup(struct device *dev, const char *s, gfp_t gfp)``

    drivers/base/devres.c, 6.1. NULL for NULL.
    """
    return _copy(k, dev, k.mem.cstr(s, 1 << 20) + b"\0", gfp) if s else 0


@export(simplified("no string lies in the kernel's own read-only data: every one is copied"))
def devm_kstrdup_const(k: Host, dev: int, s: int, gfp: int) -> int:
    """``const char *devm_kstrdup_const(struct device *dev, const char *s, gfp_t gfp)``

    drivers/base/devres.c, 6.1.
    """
    return devm_kstrdup(k, dev, s, gfp)


@export(faithful)
def devm_kasprintf(k: Host, dev: int, gfp: int, fmt: int, args: VaArgs) -> int:
    """``char *devm_kasprintf(struct device *dev, gfp_t gfp, const char *fmt, ...)``

    drivers/base/devres.c, 6.1.
    """
    return _copy(k, dev, vsnprintf(k, k.mem.cstr(fmt, FORMAT_LIMIT), args) + b"\0", gfp)


@export(faithful)
def devm_kvasprintf(k: Host, dev: int, gfp: int, fmt: int, args: VaArgs) -> int:
    """``char *devm_kvasprintf(struct device *dev, gfp_t gfp, const char *fmt, va_list ap)``

    drivers/base/devres.c, 6.1.
    """
    return _copy(k, dev, vsnprintf(k, k.mem.cstr(fmt, FORMAT_LIMIT), args) + b"\0", gfp)


@export(faithful, private=True)
def devm_pages_release(k: Host, dev: int, res: int) -> None:
    """``void devm_pages_release(struct device *dev, void *res)``

    drivers/base/devres.c, 6.1.
    """
    k.mm.free_pages_addr(k.mem.u64(res), k.mem.u32(res + 8))


@export(faithful)
def devm_get_free_pages(k: Host, dev: int, gfp_mask: int, order: int) -> int:
    """``unsigned long devm_get_free_pages(struct device *dev, gfp_t gfp_mask, unsigned int order)``

    drivers/base/devres.c, 6.1. 0 on failure.
    """
    addr = k.mm.get_free_pages(gfp_mask, order)
    if not addr:
        return 0
    res = own(k, dev, "devm_pages_release", 16)
    if not res:
        k.mm.free_pages_addr(addr, order)
        return 0
    k.mem.set_u64(res, addr)
    k.mem.set_u32(res + 8, order)
    devres_add(k, dev, res)
    return addr


@export(faithful)
def devm_free_pages(k: Host, dev: int, addr: int) -> None:
    """``void devm_free_pages(struct device *dev, unsigned long addr)``

    drivers/base/devres.c, 6.1.
    """
    res = take(k, dev, "devm_pages_release", addr)
    if not res:
        k.warn(FILE, 1169, "devm_free_pages")
        return
    devm_pages_release(k, dev, res)
    free(k, res)


@export(faithful, private=True)
def devm_percpu_release(k: Host, dev: int, pdata: int) -> None:
    """``void devm_percpu_release(struct device *dev, void *pdata)``

    drivers/base/devres.c, 6.1.
    """
    k.mm.free_percpu(k.mem.u64(pdata))


@export(faithful)
def __devm_alloc_percpu(k: Host, dev: int, size: int, align: int) -> int:
    """``void __percpu *__devm_alloc_percpu(struct device *dev, size_t size, size_t align)``

    drivers/base/devres.c, 6.1.
    """
    pcpu = k.mm.alloc_percpu(size, align)
    if not pcpu:
        return 0
    res = own(k, dev, "devm_percpu_release", 8)
    if not res:
        k.mm.free_percpu(pcpu)
        return 0
    k.mem.set_u64(res, pcpu)
    devres_add(k, dev, res)
    return pcpu


@export(faithful)
def devm_free_percpu(k: Host, dev: int, pdata: int) -> None:
    """``void devm_free_percpu(struct device *dev, void __percpu *pdata)``

    drivers/base/devres.c, 6.1.
    """
    res = take(k, dev, "devm_percpu_release", pdata)
    if res:
        devm_percpu_release(k, dev, res)
        free(k, res)
    else:
        k.warn(FILE, 1238, "devm_free_percpu")
