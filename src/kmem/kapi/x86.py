"""Variables of the kernel that modules read and that do not change here (arch/x86, mm, kernel/sched), 6.1."""

from __future__ import annotations

import struct

from kmem.kapi.errno import EIO
from kmem.kapi.export import code, data, export, simplified
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
    # CPUID 1, ecx: pclmulqdq ssse3 sse4_1 sse4_2 movbe aes hypervisor; CPUID 7, ebx: bmi1 bmi2
    *(128 + 1, 128 + 9, 128 + 19, 128 + 20, 128 + 22, 128 + 25, 128 + 31, 288 + 3, 288 + 8),
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
_NATIVE = {"cpuid": "native_cpuid", "read_msr": "native_read_msr", "read_msr_safe": "native_read_msr_safe",
           "write_msr": "native_write_msr", "write_msr_safe": "native_write_msr_safe"}  # fmt: skip


def _pv_ops(k: Host) -> bytes:
    raw, cpu = bytearray(_PV_OPS_SIZE), k.layout["paravirt_patch_template"].offset("cpu")
    for member, function in _NATIVE.items():
        start = cpu + k.layout["pv_cpu_ops"].offset(member)
        raw[start : start + 8] = k.address_of(function).to_bytes(8, "little")
    return bytes(raw)


_PV_OPS_SIZE = 672
data(
    "pv_ops",
    _PV_OPS_SIZE,
    _pv_ops,
    fidelity=simplified("CPUID and model-specific registers only: the loader replaces the other calls through it"),
    doc="Paravirtual operations, arch/x86/kernel/paravirt.c.",
)
code(
    "native_cpuid",
    bytes.fromhex("53 4989d0 4989c9 4989f2 8b07 418b08 0fa2 8907 41891a 418908 418911 5b c3"),
    """push rbx
mov r8, rdx
mov r9, rcx
mov r10, rsi
mov eax, dword ptr [rdi]
mov ecx, dword ptr [r8]
cpuid
mov dword ptr [rdi], eax
mov dword ptr [r10], ebx
mov dword ptr [r8], ecx
mov dword ptr [r9], edx
pop rbx
ret""",
    private=True,
)
_NO_MSR = simplified("the emulated CPU has none of these registers")


@export(_NO_MSR, private=True)
def native_read_msr(k: Host, msr: int) -> int:
    """``u64 native_read_msr(unsigned int msr)``

    arch/x86/include/asm/msr.h, 6.1.
    """
    return 0


@export(_NO_MSR, private=True)
def native_read_msr_safe(k: Host, msr: int, err: int) -> int:
    """``u64 native_read_msr_safe(unsigned int msr, int *err)``

    arch/x86/include/asm/msr.h, 6.1. *err* is -EIO: the access faulted.
    """
    k.mem.set_u32(err, -EIO & 0xFFFFFFFF)
    return 0


@export(_NO_MSR, private=True)
def native_write_msr(k: Host, msr: int, low: int, high: int) -> None:
    """``void native_write_msr(unsigned int msr, u32 low, u32 high)``

    arch/x86/include/asm/msr.h, 6.1.
    """


@export(_NO_MSR, private=True)
def native_write_msr_safe(k: Host, msr: int, low: int, high: int) -> int:
    """``int native_write_msr_safe(unsigned int msr, u32 low, u32 high)``

    arch/x86/include/asm/msr.h, 6.1. -EIO: the access faulted.
    """
    return -EIO


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
