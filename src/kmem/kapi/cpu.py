"""Which CPU this is, and the callbacks for CPUs that come and go (arch/x86/kernel/cpu, kernel/cpu.c), 6.1."""

from __future__ import annotations

from kmem.abi.layout import enums
from kmem.kapi.errno import EBUSY, EINVAL
from kmem.kapi.export import data, export, faithful, simplified
from kmem.kapi.fields import get
from kmem.kapi.host import Call, Guest, Host, s32
from kmem.kapi.kthread import call_on_cpu

VENDOR_ANY, VALID = 0xFFFF, 1
XFEATURES = 3
"""The states that the emulated CPU saves: x87 and SSE."""
_STEPS = simplified("CPUs never come or go: what brings one up or down is called for those that are there")


def cpu_has(k: Host, feature: int) -> bool:
    """``boot_cpu_has()``."""
    word = k.address_of("boot_cpu_data") + k.layout["cpuinfo_x86"].offset("x86_capability") + feature // 8
    return bool(k.mem.u8(word) >> feature % 8 & 1)


@export(faithful)
def x86_match_cpu(k: Host, match: int) -> int:
    """``const struct x86_cpu_id *x86_match_cpu(const struct x86_cpu_id *match)``

    arch/x86/kernel/cpu/match.c, 6.1. The first entry of the table that the CPU fits, NULL if there is none.
    """
    cpu = k.address_of("boot_cpu_data")
    vendor, family, model, stepping = (
        get(k, "cpuinfo_x86", cpu, member) for member in ("x86_vendor", "x86", "x86_model", "x86_stepping")
    )
    size = k.layout["x86_cpu_id"].size
    while get(k, "x86_cpu_id", match, "flags" if "flags" in k.layout["x86_cpu_id"].members else "steppings"):
        wanted = {name: get(k, "x86_cpu_id", match, name) for name in ("vendor", "family", "model", "steppings")}
        feature = get(k, "x86_cpu_id", match, "feature")
        if (
            wanted["vendor"] in (VENDOR_ANY, vendor)
            and wanted["family"] in (0, family)
            and wanted["model"] in (0, model)
            and (not wanted["steppings"] or wanted["steppings"] >> stepping & 1)
            and (not feature or cpu_has(k, feature))
        ):
            return match
        match += size
    return 0


@export(faithful)
def cpu_has_xfeatures(k: Host, needed: int, name: int) -> int:
    """``int cpu_has_xfeatures(u64 xfeatures_needed, const char **feature_name)``

    arch/x86/kernel/fpu/xstate.c, 6.1. Whether the CPU has them all; the name of one that it lacks.
    """
    missing = needed & ~XFEATURES
    if name:
        number = min((missing or needed).bit_length() - 1, len(XFEATURE_NAMES) - 1)
        k.mem.set_u64(name, k.address_of(f"xfeature_name.{number}"))
    return int(not missing)


XFEATURE_NAMES = (
    "x87 floating point registers", "SSE registers", "AVX registers", "MPX bounds registers", "MPX CSR",
    "AVX-512 opmask", "AVX-512 Hi256", "AVX-512 ZMM_Hi256", "Processor Trace (unused)",
    "Protection Keys User registers", "PASID state", "unknown xstate feature",
)  # fmt: skip
for _number, _text in enumerate(XFEATURE_NAMES):
    data(
        f"xfeature_name.{_number}", len(_text) + 1, _text.encode() + b"\0",
        align=1, doc="The name of a state of the CPU.", private=True,
    )  # fmt: skip


# CPUs that come and go

data(
    "cpuhp_dynamic", 16, doc="How many dynamic states are taken: of prepare, of online. The model's own.", private=True
)


def _reserve(k: Host, state: int) -> int:
    """The state itself, or a free one for a request for any: a negative errno when there is none."""
    numbers = enums(k.release.name)["cpuhp_state"]
    for place, kind in enumerate(("CPUHP_BP_PREPARE_DYN", "CPUHP_AP_ONLINE_DYN")):
        if state == numbers[kind]:
            at = k.address_of("cpuhp_dynamic") + 8 * place
            taken, room = k.mem.u64(at), numbers[f"{kind}_END"] - state + 1
            free = next((number for number in range(room) if not taken >> number & 1), room)
            if free == room:
                return -EBUSY
            k.mem.set_u64(at, taken | 1 << free)
            return state + free
    return state


def _release(k: Host, state: int) -> None:
    numbers = enums(k.release.name)["cpuhp_state"]
    for place, kind in enumerate(("CPUHP_BP_PREPARE_DYN", "CPUHP_AP_ONLINE_DYN")):
        if numbers[kind] <= state <= numbers[f"{kind}_END"]:
            at = k.address_of("cpuhp_dynamic") + 8 * place
            k.mem.set_u64(at, k.mem.u64(at) & ~(1 << state - numbers[kind]))


data("cpuhp_steps", 256 * 24, doc="Startup, teardown and kind of each state. The model's own.", private=True)


def _call(k: Host, state: int, cpu: int, function: int) -> Guest:
    """Call a step's function: on the CPU itself, from the state on in which it is up."""
    if state <= enums(k.release.name)["cpuhp_state"]["CPUHP_BRINGUP_CPU"]:
        return (yield Call(function, (cpu,)))
    return (yield from call_on_cpu(k, cpu, function, cpu, f"cpuhp/{cpu}"))


def _setup(k: Host, state: int, invoke: bool, startup: int, teardown: int, multi: bool) -> Guest:
    asked, state = state, _reserve(k, state)
    if state < 0 or state > 255:
        return state if state < 0 else -EINVAL
    step = k.address_of("cpuhp_steps") + 24 * state
    if not multi and invoke and startup:
        for cpu in range(k.nr_cpus):
            error = s32((yield from _call(k, state, cpu, startup)))
            if error:
                for before in reversed(range(cpu)) if teardown else ():
                    yield from _call(k, state, before, teardown)
                _release(k, state)
                return error
    for offset, value in ((0, startup), (8, teardown), (16, multi)):
        k.mem.set_u64(step + offset, value)
    return state if asked in _dynamic(k) else 0


def _dynamic(k: Host) -> tuple[int, ...]:
    numbers = enums(k.release.name)["cpuhp_state"]
    return numbers["CPUHP_BP_PREPARE_DYN"], numbers["CPUHP_AP_ONLINE_DYN"]


def _remove(k: Host, state: int, invoke: bool) -> Guest:
    step = k.address_of("cpuhp_steps") + 24 * state
    teardown, multi = k.mem.u64(step + 8), k.mem.u64(step + 16)
    for cpu in range(k.nr_cpus) if invoke and teardown and not multi else ():
        yield from _call(k, state, cpu, teardown)
    k.mem.fill(step, 0, 24)
    _release(k, state)
    return 0


@export(_STEPS)
def __cpuhp_setup_state(
    k: Host, state: int, name: int, invoke: bool, startup: int, teardown: int, multi_instance: bool
) -> Guest:
    """``int __cpuhp_setup_state(enum cpuhp_state state, const char *name, bool invoke, void *startup, void *teardown,
    bool multi_instance)``

    kernel/cpu.c, 6.1. The state that was chosen, if any was asked for; what startup returned if that is an error.
    """
    return (yield from _setup(k, state, invoke, startup, teardown, multi_instance))


@export(_STEPS)
def __cpuhp_setup_state_cpuslocked(
    k: Host, state: int, name: int, invoke: bool, startup: int, teardown: int, multi_instance: bool
) -> Guest:
    """``int __cpuhp_setup_state_cpuslocked(enum cpuhp_state state, const char *name, bool invoke, void *startup,
    void *teardown, bool multi_instance)``

    kernel/cpu.c, 6.1.
    """
    return (yield from _setup(k, state, invoke, startup, teardown, multi_instance))


@export(_STEPS)
def __cpuhp_remove_state(k: Host, state: int, invoke: bool) -> Guest:
    """``void __cpuhp_remove_state(enum cpuhp_state state, bool invoke)``

    kernel/cpu.c, 6.1.
    """
    return (yield from _remove(k, state, invoke))


@export(_STEPS)
def __cpuhp_remove_state_cpuslocked(k: Host, state: int, invoke: bool) -> Guest:
    """``void __cpuhp_remove_state_cpuslocked(enum cpuhp_state state, bool invoke)``

    kernel/cpu.c, 6.1.
    """
    return (yield from _remove(k, state, invoke))


@export(_STEPS)
def __cpuhp_state_add_instance(k: Host, state: int, node: int, invoke: bool) -> Guest:
    """``int __cpuhp_state_add_instance(enum cpuhp_state state, struct hlist_node *node, bool invoke)``

    kernel/cpu.c, 6.1. -EINVAL for a state without instances.
    """
    step = k.address_of("cpuhp_steps") + 24 * state
    if not k.mem.u64(step + 16):
        return -EINVAL
    for cpu in range(k.nr_cpus) if invoke and k.mem.u64(step) else ():
        error = s32((yield Call(k.mem.u64(step), (cpu, node))))
        if error:
            return error
    return 0


@export(_STEPS)
def __cpuhp_state_remove_instance(k: Host, state: int, node: int, invoke: bool) -> Guest:
    """``int __cpuhp_state_remove_instance(enum cpuhp_state state, struct hlist_node *node, bool invoke)``

    kernel/cpu.c, 6.1.
    """
    teardown = k.mem.u64(k.address_of("cpuhp_steps") + 24 * state + 8)
    for cpu in range(k.nr_cpus) if invoke and teardown else ():
        yield Call(teardown, (cpu, node))
    return 0


# model-specific registers

_NO_MSRS = simplified("the emulated CPU has no such register: reading gives 0, as where a fault was caught")


@export(_NO_MSRS)
def msrs_alloc(k: Host) -> int:
    """``struct msr *msrs_alloc(void)``

    arch/x86/lib/msr.c, 6.1.
    """
    return k.mm.alloc_percpu(16, 8)


@export(_NO_MSRS)
def msrs_free(k: Host, msrs: int) -> None:
    """``void msrs_free(struct msr *msrs)``

    arch/x86/lib/msr.c, 6.1.
    """
    k.mm.free_percpu(msrs)


# the floating point unit in the kernel


@export(simplified("nothing is saved: no program uses it"))
def kernel_fpu_begin_mask(k: Host, kfpu_mask: int) -> None:
    """``void kernel_fpu_begin_mask(unsigned int kfpu_mask)``

    arch/x86/kernel/fpu/core.c, 6.1. Pre-emption is off until the end.
    """
    k.context.preempt_disable()


@export(simplified("nothing is restored: no program uses it"))
def kernel_fpu_end(k: Host) -> None:
    """``void kernel_fpu_end(void)``

    arch/x86/kernel/fpu/core.c, 6.1.
    """
    k.context.preempt_enable()


@export(faithful)
def irq_fpu_usable(k: Host) -> bool:
    """``bool irq_fpu_usable(void)``

    arch/x86/kernel/fpu/core.c, 6.1.
    """
    return True
