"""The lists of exported symbols."""

from __future__ import annotations

from pathlib import Path

import pytest

from kmem.abi.exports import Export, export, exports, module_owner
from kmem.abi.release import release
from kmem.errors import UsageError

SYMVERS = Path("/lib/modules/6.1.0-56-amd64/build/Module.symvers")


def test_the_family_that_modules_allocate_with_is_exported() -> None:
    names = "kfree __kmalloc kmalloc_trace kmalloc_caches vmalloc vfree kvmalloc_node __alloc_pages page_offset_base"
    assert set(names.split()) <= exports("6.1")


def test_what_the_kernel_keeps_to_itself_is_not() -> None:
    assert "__vmalloc_node" not in exports("6.1")
    assert export("__vmalloc_node", "6.1") is None


def test_an_export_has_its_crc_address_and_size() -> None:
    assert export("kfree", "6.1") == Export("kfree", 0x037A0CBA, "T", 0xFFFFFFFF812B8F60, 0x110, gpl_only=False)
    assert export("__preempt_count", "6.1") == Export("__preempt_count", 0x4629334C, "A", 0x1FB40, 4, gpl_only=False)


def test_a_name_is_found_whole_or_not_at_all() -> None:
    assert export("kfre", "6.1") is None
    assert export("free", "6.1") is None
    assert module_owner("usb_register_drive", "6.1") is None


def test_every_line_can_be_read() -> None:
    found = [export(name, "6.1") for name in sorted(exports("6.1"))]
    assert all(found)
    text, end = release("6.1").addresses.text, release("6.1").addresses.image_end
    functions = [one for one in found if one and one.kind == "T"]
    assert all(text <= one.address < end for one in functions)
    assert len(functions) > 8000
    assert sum(one.gpl_only for one in found if one) > 4000


def test_an_export_of_a_module_has_its_owner() -> None:
    assert module_owner("usb_register_driver", "6.1") == "drivers/usb/core/usbcore"
    assert module_owner("kfree", "6.1") is None
    assert "usb_register_driver" not in exports("6.1")


def test_a_module_name_is_no_export() -> None:
    assert module_owner("[drivers/usb/core/usbcore]", "6.1") is None


def test_a_release_that_is_not_modelled() -> None:
    with pytest.raises(UsageError):
        exports("2.4")


@pytest.mark.skipif(not SYMVERS.exists(), reason=f"no {SYMVERS}: the exports are NOT compared with the distribution's")
def test_the_exports_are_those_of_the_distribution() -> None:
    ours = exports("6.1")
    rows = [line.split("\t") for line in SYMVERS.read_text().splitlines()]
    assert {row[1] for row in rows if row[2] == "vmlinux"} == ours
    for crc, name, owner, licence, *_ in rows:
        if owner == "vmlinux":
            found = export(name, "6.1")
            assert found is not None
            assert (found.crc, found.gpl_only) == (int(crc, 16), licence == "EXPORT_SYMBOL_GPL"), name
    for _, name, owner, *_ in rows[::50]:
        if owner != "vmlinux":
            assert module_owner(name, "6.1") is not None
