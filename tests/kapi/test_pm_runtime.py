"""Runtime power management: how often a device was disabled, who uses it, and what it is."""

from __future__ import annotations

from kmem.kapi.fields import at, get, put
from kmem.kernel import Kernel

EAGAIN, EACCES, EBUSY, EINVAL = -11, -13, -16, -22
ACTIVE, SUSPENDED, GET_PUT, ASYNC = 0, 2, 4, 1


def device(k: Kernel, parent: int = 0) -> int:
    dev: int = k.kzalloc(k.layout["device"].size)
    k.device_initialize(dev)
    put(k, "device", dev, "parent", parent)
    return dev


def power(k: Kernel, dev: int, member: str) -> int:
    return get(k, "dev_pm_info", at(k, "device", dev, "power"), member)


def call(k: Kernel, name: str, *args: int) -> int:
    return int(getattr(k, name)(*args) or 0)


def test_a_new_device_is_suspended_and_disabled(kernel: Kernel) -> None:
    dev = device(kernel)
    assert (power(kernel, dev, "runtime_status"), power(kernel, dev, "disable_depth")) == (SUSPENDED, 1)
    assert call(kernel, "__pm_runtime_resume", dev, GET_PUT) == EACCES
    assert power(kernel, dev, "usage_count") == 1


def test_an_enabled_device_is_resumed_once_and_its_parent_first(kernel: Kernel) -> None:
    parent = device(kernel)
    dev = device(kernel, parent)
    for each in (parent, dev):
        kernel.pm_runtime_enable(each)
    assert call(kernel, "__pm_runtime_resume", dev, 0) == 0
    assert (power(kernel, parent, "runtime_status"), power(kernel, parent, "child_count")) == (ACTIVE, 1)
    assert call(kernel, "__pm_runtime_resume", dev, 0) == 1


def test_the_status_is_set_by_hand_while_it_is_disabled(kernel: Kernel) -> None:
    parent = device(kernel)
    dev = device(kernel, parent)
    kernel.pm_runtime_enable(parent)
    assert call(kernel, "__pm_runtime_set_status", dev, ACTIVE) == EBUSY  # below a suspended parent
    assert call(kernel, "__pm_runtime_set_status", parent, ACTIVE) == EAGAIN
    assert call(kernel, "__pm_runtime_resume", parent, 0) == 0
    assert call(kernel, "__pm_runtime_set_status", dev, ACTIVE) == 0
    assert power(kernel, parent, "child_count") == 1


def test_users_that_were_never_there_are_complained_about(kernel: Kernel) -> None:
    dev = device(kernel)
    kernel.dev_set_name(dev, "lamp")
    assert call(kernel, "__pm_runtime_idle", dev, GET_PUT) == EINVAL
    assert "Runtime PM usage count underflow!" in kernel.dmesg()
    kernel.pm_runtime_enable(dev)
    kernel.pm_runtime_enable(dev)
    assert "Unbalanced pm_runtime_enable!" in kernel.dmesg()
    kernel.pm_runtime_forbid(dev)
    assert (power(kernel, dev, "usage_count"), power(kernel, dev, "runtime_status")) == (1, ACTIVE)
    kernel.pm_runtime_allow(dev)
    assert power(kernel, dev, "usage_count") == 0


def test_a_negative_delay_keeps_a_device_that_suspends_by_itself_awake(kernel: Kernel) -> None:
    dev = device(kernel)
    call(kernel, "__pm_runtime_use_autosuspend", dev, 1)
    kernel.pm_runtime_set_autosuspend_delay(dev, -1)
    assert power(kernel, dev, "usage_count") == 1
    kernel.pm_runtime_set_autosuspend_delay(dev, 2000)
    assert power(kernel, dev, "usage_count") == 0
