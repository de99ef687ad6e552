"""Interrupt lines that the driver core gives back (kernel/irq/devres.c), 6.1."""

from __future__ import annotations

from kmem.kapi.devres import devres_add, free, own, owned, take
from kmem.kapi.errno import ENOMEM
from kmem.kapi.export import export, faithful
from kmem.kapi.host import Guest, Host
from kmem.kapi.irq import free_irq, request_threaded_irq


@export(faithful, private=True)
def devm_irq_release(k: Host, dev: int, res: int) -> Guest:
    """``void devm_irq_release(struct device *dev, void *res)``

    kernel/irq/devres.c, 6.1.
    """
    yield from free_irq(k, k.mem.u32(res + 8), k.mem.u64(res))
    return 0


@export(faithful)
def devm_request_threaded_irq(
    k: Host, dev: int, irq: int, handler: int, thread_fn: int, irqflags: int, devname: int, dev_id: int
) -> int:
    """``int devm_request_threaded_irq(struct device *dev, unsigned int irq, irq_handler_t handler, irq_handler_t
    thread_fn, unsigned long irqflags, const char *devname, void *dev_id)``

    kernel/irq/devres.c, 6.1. What devm_request_irq() becomes; given back when the driver leaves *dev*.
    """
    res = own(k, dev, "devm_irq_release", 16)
    if not res:
        return -ENOMEM
    error = request_threaded_irq(k, irq, handler, thread_fn, irqflags, devname, dev_id)
    if error:
        free(k, res)
        return error
    k.mem.set_u64(res, dev_id)
    k.mem.set_u32(res + 8, irq)
    devres_add(k, dev, res)
    return 0


@export(faithful)
def devm_free_irq(k: Host, dev: int, irq: int, dev_id: int) -> Guest:
    """``void devm_free_irq(struct device *dev, unsigned int irq, void *dev_id)``

    kernel/irq/devres.c, 6.1.
    """
    ours = owned(k, dev, "devm_irq_release")
    res = next((res for res in ours if k.mem.u64(res) == dev_id and k.mem.u32(res + 8) == irq), 0)
    if res:
        free(k, take(k, dev, "devm_irq_release", res, -1))
    else:
        k.warn("kernel/irq/devres.c", 143, "devm_free_irq")
    yield from free_irq(k, irq, dev_id)
    return 0
