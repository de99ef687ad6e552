"""``python -m kmem.abi.extract FILE``: writes the struct layouts of a kernel as in ``releases/*.structs.json``.

With ``--enums`` it writes the constants of enums, as in ``releases/*.enums.json``.

FILE is a vmlinux or vmlinuz with BTF, raw BTF bytes, or an ELF file (vmlinux, .ko, .o) with DWARF. Without ``--struct``
the structs of `STRUCTS` are written. Structs that these embed are written too, unless ``--no-embedded``. Names that
the file does not define are listed on standard error.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TypedDict

from kmem.abi.btf import Btf
from kmem.abi.ctype import Row, TypeSource, flatten
from kmem.abi.vmlinux import ELF_MAGIC, decompress_vmlinuz, elf_section, is_bzimage
from kmem.errors import InputError, KmemError

_STRUCTS = """
    page folio slab track kmem_obj_info list_head hlist_head hlist_node rb_node rb_root rb_root_cached callback_head
    zone free_area zoneref zonelist pglist_data per_cpu_pages per_cpu_zonestat per_cpu_nodestat lruvec mem_section
    mem_section_usage alloc_context page_frag page_frag_cache shrinker
    kmem_cache kmem_cache_cpu kmem_cache_node kmem_cache_order_objects reciprocal_value kmem_cache_args
    vm_struct vmap_area vmap_block vmap_block_queue vmap_node mempool_s dma_pool gen_pool gen_pool_chunk
    mm_struct vm_area_struct task_struct thread_info pt_regs pcpu_hot
    module module_layout module_memory module_kobject mod_tree_node kernel_param kernel_param_ops kparam_string
    kparam_array bug_entry exception_table_entry orc_entry alt_instr
    spinlock raw_spinlock mutex rw_semaphore semaphore completion wait_queue_head wait_queue_entry percpu_ref
    timer_list hrtimer work_struct delayed_work tasklet_struct irqaction notifier_block
    kobject kref kset kobj_type attribute resource device device_driver device_type bus_type class
    device_private platform_device platform_driver devres devres_node devres_group dma_page scatterlist sg_table
    file_operations file inode cdev miscdevice seq_file xarray idr ida
    subsys_private driver_private klist klist_node class_interface attribute_container transport_class
    platform_device_info platform_device_id attribute_group
    pci_driver pci_dev pci_bus pci_device_id pci_dynids i2c_driver i2c_adapter i2c_client spi_driver spi_mem_driver
    serio_driver acpi_driver pnp_driver pnp_card_driver auxiliary_driver serdev_device_driver coreboot_driver
    dax_device_driver cxl_driver
    blocking_notifier_head atomic_notifier_head raw_notifier_head srcu_notifier_head
    pernet_operations net_generic genl_family ctl_table_header ctl_table proto rtnl_link_ops
    crypto_alg crypto_template shash_alg crypto_shash crypto_tfm crypto_instance
    file_system_type tty_driver input_handler led_trigger x86_cpu_id cpuinfo_x86 dmi_system_id dmi_strmatch
    backing_dev_info
    xa_node interval_tree_node
"""
STRUCTS = tuple(_STRUCTS.split())

_SUBSYSTEMS = """
    net net_device dentry super_block vfsmount fs_context fs_context_operations lockref qstr
    gendisk request_queue block_device input_dev input_handle led_classdev tty_port netlink_kernel_cfg nls_table
    ahash_alg skcipher_alg aead_alg rng_alg scomp_alg acomp_alg akcipher_alg kpp_alg
    uart_driver uart_port miscdevice proc_ops tracepoint static_key acpi_device pci_host_bridge irq_data irq_desc
    sock sk_buff socket watchdog_device rtc_device hwrng power_supply thermal_zone_device
    usb_driver usb_device hid_device virtio_driver virtio_device mdio_driver phy_driver
    paravirt_patch_template pv_cpu_ops percpu_counter rhashtable xenbus_driver
    vc_data vc blk_mq_tag_set blk_mq_ops blk_mq_queue_map sk_buff_head inet_hashinfo console queue_limits
    block_device_operations
    bucket_table rhltable rhash_head rhlist_head rhashtable_iter rhashtable_walker rhashtable_compare_arg
    tty_struct tty_operations tty_port_operations tty_port_client_operations tty_file_private ktermios tty_ldisc
    tty_ldisc_ops __kfifo kobj_uevent_env sg_mapping_iter badblocks srcu_struct srcu_data gro_cells sysinfo
    kthread_worker kthread_work kthread_delayed_work kiocb iov_iter iovec device_type swait_queue_head
    dev_pm_ops dev_pm_domain tty_buffer
"""
SUBSYSTEMS = tuple(_SUBSYSTEMS.split())
"""Structs that only exported functions of subsystems touch: kept apart, so that a new one leaves the model as it is."""

# An anonymous enum goes by its first constant.
_ENUMS = """
    pageflags zone_type migratetype pageblock_bits zone_watermarks zone_flags pgdat_flags lru_list compound_dtor_id
    zone_stat_item node_stat_item numa_stat_item vm_event_item kmalloc_cache_type stat_item slab_state track_item
    oom_constraint compact_priority compact_result migrate_mode module_state bug_trap_type irqreturn
    hrtimer_restart hrtimer_mode kobj_ns_type fixed_addresses system_states HI_SOFTIRQ SECTION_MARKED_PRESENT_BIT
"""
ENUMS = tuple(_ENUMS.split())
SUBSYSTEM_ENUMS = ("cpuhp_state",)


class StructEntry(TypedDict):
    """One struct of the JSON file."""

    size: int
    members: dict[str, Row]


def open_types(path: Path) -> TypeSource:
    """The types in a file of any accepted kind; BTF is preferred to DWARF. Raises InputError."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}", remedy="name a readable file") from error
    if is_bzimage(data):
        data = decompress_vmlinuz(data)
    if not data.startswith(ELF_MAGIC):
        return Btf(data)
    section = elf_section(data, ".BTF")
    # A module's .BTF is split: its ids go on from the kernel's own, so it cannot be read alone.
    if section is not None and elf_section(data, ".gnu.linkonce.this_module") is None:
        return Btf(section)
    from kmem.abi.dwarf import Dwarf

    return Dwarf(data)


def extract(
    types: TypeSource, names: Iterable[str], *, embedded: bool = True
) -> tuple[dict[str, StructEntry], list[str], list[str]]:
    """Layouts of the named structs; then the names that are not defined, and those defined in differing ways.

    With `embedded`, the structs that these contain by value follow. Of differing definitions the first is taken.
    """
    queue = list(dict.fromkeys(names))
    structs: dict[str, StructEntry] = {}
    missing: list[str] = []
    ambiguous: list[str] = []
    for name in queue:
        variants: list[StructEntry] = []
        for struct in types.find_all(name):
            entry: StructEntry = {"size": struct.size, "members": flatten(struct)}
            if entry not in variants:
                variants.append(entry)
        if not variants:
            missing.append(name)
            continue
        if len(variants) > 1:
            ambiguous.append(name)
        structs[name] = variants[0]
        if embedded:
            queue += [inner for inner in _embedded(variants[0]) if inner not in queue]
    return structs, missing, ambiguous


def extract_enums(types: TypeSource, names: Iterable[str]) -> tuple[dict[str, dict[str, int]], list[str]]:
    """The constants of the named enums; then the names that are not defined."""
    found = {name: types.enum(name) for name in names}
    return {name: values for name, values in found.items() if values}, [name for name in found if not found[name]]


def _embedded(entry: StructEntry) -> list[str]:
    """Names of the structs that a struct contains by value, also as array elements."""
    spellings = [str(row[2]).rpartition("]")[2] for row in entry["members"].values()]
    return list(dict.fromkeys(s.removeprefix("struct ") for s in spellings if s.startswith("struct ")))


def dumps(entries: Mapping[str, object]) -> str:
    """The JSON text: one entry a line, in the order given."""
    lines = [f"{json.dumps(name)}: {json.dumps(entry)}" for name, entry in entries.items()]
    return "{\n" + ",\n".join(lines) + "\n}\n"


def main(argv: list[str] | None = None) -> int:
    """The command; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m kmem.abi.extract", description="write struct layouts as JSON")
    parser.add_argument("file", type=Path, help="vmlinux, vmlinuz, raw BTF, or an ELF file with DWARF")
    parser.add_argument("--struct", nargs="+", metavar="NAME", default=STRUCTS, help="the structs to write")
    parser.add_argument("--subsystems", action="store_true", help="those that only exported functions touch")
    parser.add_argument("--no-embedded", action="store_true", help="leave out structs that these contain by value")
    parser.add_argument("--enums", nargs="*", metavar="NAME", help="write these enums (default: all that kmem uses)")
    parser.add_argument("-o", "--output", type=Path, metavar="F", help="write to F instead of standard output")
    options = parser.parse_args(argv)
    ambiguous: list[str] = []
    entries: Mapping[str, object]
    try:
        types = open_types(options.file)
        if options.enums is not None:
            wanted = SUBSYSTEM_ENUMS if options.subsystems else ENUMS
            entries, missing = extract_enums(types, options.enums or wanted)
        else:
            names = SUBSYSTEMS if options.subsystems else options.struct
            entries, missing, ambiguous = extract(types, names, embedded=not options.no_embedded)
    except KmemError as error:
        print(f"error: {error.message}\nremedy: {error.remedy}", file=sys.stderr)
        return error.status
    if options.output:
        options.output.write_text(dumps(entries))
    else:
        sys.stdout.write(dumps(entries))
    print(f"{len(entries)} written", file=sys.stderr)
    if missing:
        print(f"not defined in {options.file}: {' '.join(missing)}", file=sys.stderr)
    if ambiguous:
        print(f"defined in more than one way, first taken: {' '.join(ambiguous)}", file=sys.stderr)
    return 0 if entries else InputError.status


if __name__ == "__main__":
    sys.exit(main())
