"""Variables of the kernel that modules read and that do not change here (arch/x86, mm, kernel/sched), 6.1."""

from __future__ import annotations

import struct

from kmem.kapi.export import data, export, simplified
from kmem.kapi.host import Host

_X86_FAMILY, _X86_VENDOR, _X86_MODEL, _X86_STEPPING, _X86_VIRT_BITS, _X86_PHYS_BITS, _X86_CAPABILITY = (
    0,
    1,
    2,
    3,
    28,
    29,
    40,
)
_VENDOR_ID, _MODEL_ID, _LOOPS_PER_JIFFY, _CLFLUSH_SIZE, _CACHE_ALIGNMENT = 136, 152, 240, 262, 220
_CPUINFO_SIZE = 288
"""Members of ``struct cpuinfo_x86`` in the 6.1 amd64 configuration."""

_FEATURES = (
    # CPUID 1, edx: fpu pse tsc msr pae cx8 pge cmov clflush mmx fxsr sse sse2
    *(0, 3, 4, 5, 6, 8, 13, 15, 19, 23, 24, 25, 26),
    # CPUID 80000001, edx: syscall nx lm
    *(32 + 11, 32 + 20, 32 + 29),
    # Linux: rep_good nopl; CPUID 1, ecx: pni cx16 popcnt
    *(96 + 16, 96 + 20, 128 + 0, 128 + 13, 128 + 23),
    # CPUID 1, ecx: pclmulqdq ssse3 sse4_1 sse4_2 movbe aes hypervisor; CPUID 7, ebx: bmi1 bmi2 adx
    *(128 + 1, 128 + 9, 128 + 19, 128 + 20, 128 + 22, 128 + 25, 128 + 31, 288 + 3, 288 + 8, 288 + 19),
)
"""X86_FEATURE_… numbers of the emulated CPU."""
_MODEL = b"QEMU TCG CPU version 2.5+"


def _boot_cpu_data(k: Host) -> bytes:
    cpu = bytearray(_CPUINFO_SIZE)
    cpu[_X86_FAMILY], cpu[_X86_VENDOR], cpu[_X86_MODEL], cpu[_X86_STEPPING] = 0xF, 2, 0x6B, 1
    cpu[_X86_VIRT_BITS], cpu[_X86_PHYS_BITS] = 48, 40
    for feature in _FEATURES:
        cpu[_X86_CAPABILITY + feature // 8] |= 1 << feature % 8
    cpu[_VENDOR_ID : _VENDOR_ID + 12] = b"AuthenticAMD"
    cpu[_MODEL_ID : _MODEL_ID + len(_MODEL)] = _MODEL
    struct.pack_into("<Q", cpu, _LOOPS_PER_JIFFY, 8_000_000)
    struct.pack_into("<H", cpu, _CLFLUSH_SIZE, 64)
    struct.pack_into("<i", cpu, _CACHE_ALIGNMENT, 64)
    return bytes(cpu)


data(
    "boot_cpu_data",
    _CPUINFO_SIZE,
    _boot_cpu_data,
    fidelity=simplified("the features that the emulated CPU has; no topology, no bugs"),
    doc="The boot CPU, arch/x86/kernel/setup.c.",
)
data(
    "pv_ops",
    672,
    fidelity=simplified("empty: the loader replaces every call through it"),
    doc="Paravirtual operations, arch/x86/kernel/paravirt.c.",
)
data("physical_mask", 8, ((1 << 52) - 1).to_bytes(8, "little"), doc="Physical address bits of a page table entry.")
data("sme_me_mask", 8, doc="No memory encryption.")
data("system_state", 4, (3).to_bytes(4, "little"), align=4, doc="SYSTEM_RUNNING, init/main.c.")
data("static_key_initialized", 1, b"\1", align=1, doc="Static keys work, init/main.c.")
for _key in ("devmap_managed_key", "hugetlb_optimize_vmemmap_key"):
    data(_key, 16, doc="A static key that is off.")


@export(simplified("there are no device pages"))
def __put_devmap_managed_page_refs(k: Host, page: int, refs: int) -> bool:
    """``bool __put_devmap_managed_page_refs(struct page *page, int refs)``

    mm/memremap.c, 6.1.
    """
    return False
