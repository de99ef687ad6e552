"""Triggers of LEDs (drivers/leds/led-triggers.c), 6.1: known by name; no LED listens."""

from __future__ import annotations

from kmem.abi.gfp import __GFP_ZERO, GFP_KERNEL
from kmem.kapi import registry
from kmem.kapi.errno import EEXIST
from kmem.kapi.export import export, simplified
from kmem.kapi.fields import get, put, text
from kmem.kapi.host import Host

_NO_LED = simplified("known by name; there is no LED")


@export(_NO_LED)
def led_trigger_register(k: Host, trig: int) -> int:
    """``int led_trigger_register(struct led_trigger *trig)``

    drivers/leds/led-triggers.c, 6.1. -EEXIST for a name that is taken.
    """
    name = text(k, get(k, "led_trigger", trig, "name"))
    if name in {text(k, get(k, "led_trigger", other, "name")) for other in registry.things(k, "led_trigger")}:
        return -EEXIST
    registry.note(k, "led_trigger", trig)
    return 0


@export(_NO_LED)
def led_trigger_unregister(k: Host, trig: int) -> None:
    """``void led_trigger_unregister(struct led_trigger *trig)``

    drivers/leds/led-triggers.c, 6.1.
    """
    registry.remove(k, "led_trigger", trig)


@export(_NO_LED)
def led_trigger_register_simple(k: Host, name: int, tp: int) -> None:
    """``void led_trigger_register_simple(const char *name, struct led_trigger **tp)``

    drivers/leds/led-triggers.c, 6.1. *tp* gets NULL on failure.
    """
    trig = k.mm.kmalloc(k.layout["led_trigger"].size, GFP_KERNEL | __GFP_ZERO, -1, k.caller)
    if trig:
        put(k, "led_trigger", trig, "name", name)
        if led_trigger_register(k, trig):
            k.mm.kfree(trig)
            trig = 0
    k.mem.set_u64(tp, trig)


@export(_NO_LED)
def led_trigger_unregister_simple(k: Host, trig: int) -> None:
    """``void led_trigger_unregister_simple(struct led_trigger *trig)``

    drivers/leds/led-triggers.c, 6.1. NULL is allowed.
    """
    if trig:
        led_trigger_unregister(k, trig)
    k.mm.kfree(trig)
