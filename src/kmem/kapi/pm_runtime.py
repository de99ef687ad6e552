"""Runtime power management of devices (drivers/base/power), 6.1: counts, states, and resuming.

A device starts out suspended and disabled, as in the kernel, and is resumed by its callbacks when it is first needed.
Simplified: a device that is idle stays active, so no suspend or idle callback is called.
"""

from __future__ import annotations

from kmem.kapi.device import dev_print
from kmem.kapi.errno import EACCES, EAGAIN, EBUSY, EINVAL
from kmem.kapi.export import export, faithful, simplified
from kmem.kapi.fields import at, get, put
from kmem.kapi.host import Call, Guest, Host, s32
from kmem.kapi.registry import accepts, answers

RPM_ACTIVE, RPM_RESUMING, RPM_SUSPENDED, RPM_INVALID = 0, 1, 2, 0xFFFFFFFF
RPM_ASYNC, RPM_GET_PUT = 0x01, 0x04
_STAYS_ACTIVE = simplified("a device that is idle stays active: nothing is suspended")


def _power(k: Host, dev: int, member: str) -> int:
    return get(k, "dev_pm_info", at(k, "device", dev, "power"), member)


def _set(k: Host, dev: int, member: str, value: int) -> None:
    put(k, "dev_pm_info", at(k, "device", dev, "power"), member, value)


def _count(k: Host, dev: int, member: str, by: int) -> int:
    """Change a counter; what it is afterwards."""
    value = s32(_power(k, dev, member)) + by
    _set(k, dev, member, value)
    return value


def pm_init(k: Host, dev: int) -> None:
    """``pm_runtime_init()``."""
    for member, value in (("runtime_status", RPM_SUSPENDED), ("last_status", RPM_INVALID), ("disable_depth", 1),
                          ("runtime_auto", 1)):  # fmt: skip
        _set(k, dev, member, value)


def pm_remove(k: Host, dev: int) -> None:
    """``pm_runtime_remove()``: a device that goes is suspended."""
    __pm_runtime_disable(k, dev, 0)
    if _power(k, dev, "runtime_status") == RPM_ACTIVE:
        __pm_runtime_set_status(k, dev, RPM_SUSPENDED)


def _callback(k: Host, dev: int, name: str) -> int:
    """``__rpm_get_callback()``: of the power domain, the type, the class or the bus; or else of the driver."""
    owners = (("pm_domain", "dev_pm_domain", "ops"), ("type", "device_type", "pm"), ("class", "class", "pm"),
              ("bus", "bus_type", "pm"))  # fmt: skip
    found = 0
    for member, struct, ops in owners:
        owner, table = get(k, "device", dev, member), 0
        if owner:
            table = at(k, struct, owner, ops) if struct == "dev_pm_domain" else get(k, struct, owner, ops)
        if table:
            found = get(k, "dev_pm_ops", table, name)
            break
    driver = get(k, "device", dev, "driver")
    table = get(k, "device_driver", driver, "pm") if driver else 0
    return found or (get(k, "dev_pm_ops", table, name) if table else 0)


def _resume(k: Host, dev: int) -> Guest:
    """``rpm_resume()``: 1 for a device that is active, 0 for one that is now, or the errno."""
    if _power(k, dev, "runtime_error"):
        return -EINVAL
    active = _power(k, dev, "runtime_status") == RPM_ACTIVE
    if _power(k, dev, "disable_depth"):
        return 1 if active and _power(k, dev, "last_status") == RPM_ACTIVE else -EACCES
    if active:
        return 1
    parent = get(k, "device", dev, "parent")
    if parent:
        if not _power(k, parent, "disable_depth") and not _power(k, parent, "ignore_children"):
            yield from _resume(k, parent)
            if _power(k, parent, "runtime_status") != RPM_ACTIVE:
                return -EBUSY
        _count(k, parent, "child_count", 1)
    callback = 0 if _power(k, dev, "no_callbacks") else _callback(k, dev, "runtime_resume")
    if callback:
        _set(k, dev, "runtime_status", RPM_RESUMING)
        error = s32((yield Call(callback, (dev,))))
        if error:
            _set(k, dev, "runtime_status", RPM_SUSPENDED)
            if error not in (-EAGAIN, -EBUSY):
                _set(k, dev, "runtime_error", error)
            if parent:
                _count(k, parent, "child_count", -1)
            return error
    _set(k, dev, "runtime_status", RPM_ACTIVE)
    return 0


def _drop(k: Host, dev: int) -> int:
    """``rpm_drop_usage_count()``: what is left, or -EINVAL."""
    left = _count(k, dev, "usage_count", -1)
    if left < 0:
        _count(k, dev, "usage_count", 1)
        dev_print(k, 4, dev, b"Runtime PM usage count underflow!\n")
        return -EINVAL
    return left


def _release(k: Host, dev: int, rpmflags: int) -> int:
    """What idling or suspending answers where nothing is ever suspended."""
    if rpmflags & RPM_GET_PUT:
        left = _drop(k, dev)
        if left:
            return min(left, 0)
    if _power(k, dev, "runtime_error"):
        return -EINVAL
    if _power(k, dev, "disable_depth"):
        return -EACCES
    if s32(_power(k, dev, "usage_count")):
        return -EAGAIN
    if s32(_power(k, dev, "child_count")) and not _power(k, dev, "ignore_children"):
        return -EBUSY
    if _power(k, dev, "runtime_status") == RPM_SUSPENDED:
        return 1
    return 0 if rpmflags & RPM_ASYNC else -EBUSY


@export(_STAYS_ACTIVE)
def __pm_runtime_resume(k: Host, dev: int, rpmflags: int) -> Guest:
    """``int __pm_runtime_resume(struct device *dev, int rpmflags)``

    drivers/base/power/runtime.c, 6.1. 1 for a device that was active; -EACCES for one that is disabled.
    """
    if rpmflags & RPM_GET_PUT:
        _count(k, dev, "usage_count", 1)
    result: int = yield from _resume(k, dev)
    return min(result, 0) if rpmflags & RPM_ASYNC and result != 1 else result


@export(_STAYS_ACTIVE)
def __pm_runtime_idle(k: Host, dev: int, rpmflags: int) -> int:
    """``int __pm_runtime_idle(struct device *dev, int rpmflags)``

    drivers/base/power/runtime.c, 6.1. With RPM_GET_PUT one user less.
    """
    return _release(k, dev, rpmflags)


@export(_STAYS_ACTIVE)
def __pm_runtime_suspend(k: Host, dev: int, rpmflags: int) -> int:
    """``int __pm_runtime_suspend(struct device *dev, int rpmflags)``

    drivers/base/power/runtime.c, 6.1. With RPM_GET_PUT one user less.
    """
    return _release(k, dev, rpmflags)


@export(faithful)
def __pm_runtime_set_status(k: Host, dev: int, status: int) -> int:
    """``int __pm_runtime_set_status(struct device *dev, unsigned int status)``

    drivers/base/power/runtime.c, 6.1. -EAGAIN for a device whose power management is enabled, -EBUSY for an active one
    below a suspended parent.
    """
    if status not in (RPM_ACTIVE, RPM_SUSPENDED):
        return -EINVAL
    if not _power(k, dev, "runtime_error") and not _power(k, dev, "disable_depth"):
        return -EAGAIN
    parent, before = get(k, "device", dev, "parent"), _power(k, dev, "runtime_status")
    if parent and before != status:
        if status == RPM_SUSPENDED:
            _count(k, parent, "child_count", -1 if s32(_power(k, parent, "child_count")) else 0)
        elif (
            not _power(k, parent, "disable_depth")
            and not _power(k, parent, "ignore_children")
            and _power(k, parent, "runtime_status") != RPM_ACTIVE
        ):
            return -EBUSY
        elif before == RPM_SUSPENDED:
            _count(k, parent, "child_count", 1)
    _set(k, dev, "runtime_status", status)
    _set(k, dev, "runtime_error", 0)
    return 0


@export(faithful)
def pm_runtime_enable(k: Host, dev: int) -> None:
    """``void pm_runtime_enable(struct device *dev)``

    drivers/base/power/runtime.c, 6.1. Once for every time that it was disabled.
    """
    depth = _power(k, dev, "disable_depth")
    if not depth:
        dev_print(k, 4, dev, b"Unbalanced pm_runtime_enable!\n")
        return
    _set(k, dev, "disable_depth", depth - 1)
    if depth == 1:
        _set(k, dev, "last_status", RPM_INVALID)


@export(faithful)
def __pm_runtime_disable(k: Host, dev: int, check_resume: int) -> None:
    """``void __pm_runtime_disable(struct device *dev, bool check_resume)``

    drivers/base/power/runtime.c, 6.1.
    """
    depth = _power(k, dev, "disable_depth")
    _set(k, dev, "disable_depth", depth + 1)
    if not depth:
        _set(k, dev, "last_status", _power(k, dev, "runtime_status"))


@export(faithful)
def pm_runtime_forbid(k: Host, dev: int) -> Guest:
    """``void pm_runtime_forbid(struct device *dev)``

    drivers/base/power/runtime.c, 6.1. Keeps it active until pm_runtime_allow().
    """
    if _power(k, dev, "runtime_auto"):
        _set(k, dev, "runtime_auto", 0)
        _count(k, dev, "usage_count", 1)
        yield from _resume(k, dev)
    return 0


@export(_STAYS_ACTIVE)
def pm_runtime_allow(k: Host, dev: int) -> None:
    """``void pm_runtime_allow(struct device *dev)``

    drivers/base/power/runtime.c, 6.1.
    """
    if not _power(k, dev, "runtime_auto"):
        _set(k, dev, "runtime_auto", 1)
        _drop(k, dev)


@export(faithful)
def pm_runtime_no_callbacks(k: Host, dev: int) -> None:
    """``void pm_runtime_no_callbacks(struct device *dev)``

    drivers/base/power/runtime.c, 6.1.
    """
    _set(k, dev, "no_callbacks", 1)


@export(faithful)
def pm_runtime_irq_safe(k: Host, dev: int) -> Guest:
    """``void pm_runtime_irq_safe(struct device *dev)``

    drivers/base/power/runtime.c, 6.1. Keeps the parent active.
    """
    parent = get(k, "device", dev, "parent")
    if parent:
        _count(k, parent, "usage_count", 1)
        yield from _resume(k, parent)
    _set(k, dev, "irq_safe", 1)
    return 0


@export(_STAYS_ACTIVE)
def pm_runtime_set_autosuspend_delay(k: Host, dev: int, delay: int) -> None:
    """``void pm_runtime_set_autosuspend_delay(struct device *dev, int delay)``

    drivers/base/power/runtime.c, 6.1.
    """
    _autosuspend(k, dev, delay, _power(k, dev, "use_autosuspend"))


@export(_STAYS_ACTIVE)
def __pm_runtime_use_autosuspend(k: Host, dev: int, use: int) -> None:
    """``void __pm_runtime_use_autosuspend(struct device *dev, bool use)``

    drivers/base/power/runtime.c, 6.1.
    """
    _autosuspend(k, dev, s32(_power(k, dev, "autosuspend_delay")), use)


def _autosuspend(k: Host, dev: int, delay: int, use: int) -> None:
    """``update_autosuspend()``: a negative delay is a user."""
    before = _power(k, dev, "use_autosuspend") and s32(_power(k, dev, "autosuspend_delay")) < 0
    after = use and delay < 0
    _set(k, dev, "autosuspend_delay", delay)
    _set(k, dev, "use_autosuspend", use)
    if before and not after:
        _count(k, dev, "usage_count", -1)
    elif after and not before:
        _count(k, dev, "usage_count", 1)


@export(faithful)
def device_set_wakeup_capable(k: Host, dev: int, capable: int) -> None:
    """``void device_set_wakeup_capable(struct device *dev, bool capable)``

    drivers/base/power/wakeup.c, 6.1.
    """
    _set(k, dev, "can_wakeup", capable)


_NO_SLEEP = simplified("the machine is never put to sleep: no wakeup source is made")


@export(_NO_SLEEP)
def device_wakeup_enable(k: Host, dev: int) -> int:
    """``int device_wakeup_enable(struct device *dev)``

    drivers/base/power/wakeup.c, 6.1. -EINVAL for a device that cannot wake the machine.
    """
    return 0 if dev and _power(k, dev, "can_wakeup") else -EINVAL


@export(_NO_SLEEP)
def device_wakeup_disable(k: Host, dev: int) -> int:
    """``int device_wakeup_disable(struct device *dev)``

    drivers/base/power/wakeup.c, 6.1. -EINVAL for a device that cannot wake the machine.
    """
    return 0 if dev and _power(k, dev, "can_wakeup") else -EINVAL


@export(_NO_SLEEP)
def device_set_wakeup_enable(k: Host, dev: int, enable: int) -> int:
    """``int device_set_wakeup_enable(struct device *dev, bool enable)``

    drivers/base/power/wakeup.c, 6.1.
    """
    return device_wakeup_enable(k, dev)


accepts(
    "drivers/base/power",
    "void pm_wakeup_dev_event(struct device *dev, unsigned int msec, bool hard)",
    "void pm_wakeup_ws_event(struct wakeup_source *ws, unsigned int msec, bool hard)",
    "int device_pm_wait_for_dev(struct device *subordinate, struct device *dev)",
    "void __suspend_report_result(const char *function, struct device *dev, void *fn, int ret)",
    how="the machine is never put to sleep",
)
accepts(
    "drivers/base/power/runtime.c",
    "int pm_runtime_barrier(struct device *dev)",
    how="nothing is ever pending",
)
answers(
    -1,
    "drivers/base/power/qos.c",
    "enum pm_qos_flags_status dev_pm_qos_flags(struct device *dev, s32 mask)",
    how="requests are not kept: undefined",
)
accepts(
    "drivers/base/power/qos.c",
    "int dev_pm_qos_expose_flags(struct device *dev, s32 value)",
    "void dev_pm_qos_hide_flags(struct device *dev)",
    "int dev_pm_qos_expose_latency_limit(struct device *dev, s32 value)",
    "void dev_pm_qos_hide_latency_limit(struct device *dev)",
    "int dev_pm_qos_add_request(struct device *dev, struct dev_pm_qos_request *req, enum dev_pm_qos_req_type type, "
    "s32 value)",
    "int dev_pm_qos_update_request(struct dev_pm_qos_request *req, s32 new_value)",
    "int dev_pm_qos_remove_request(struct dev_pm_qos_request *req)",
    how="requests are not kept",
)
