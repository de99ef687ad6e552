"""What .modinfo and __versions say, and files that lack them."""

from __future__ import annotations

import struct

import pytest

from kmem.errors import ModuleFormatError
from kmem.modules.elf import Elf
from kmem.modules.modinfo import Parameter, read_modinfo, read_versions
from tests.modules.elfmaker import ALLOC, Maker, modinfo, tiny


def info_of(raw: bytes):  # type: ignore[no-untyped-def]
    maker = tiny()
    maker.sections[4].data = raw
    return read_modinfo(Elf(maker.build()))


def test_tags_are_decoded() -> None:
    info = info_of(modinfo(license="Dual BSD/GPL", name="drv", depends="usbcore,led-class", intree="Y", retpoline="Y"))
    assert (info.name, info.license, info.gpl_compatible) == ("drv", "Dual BSD/GPL", True)
    assert info.depends == ("usbcore", "led-class")
    assert info.intree
    assert info.retpoline
    assert info.vermagic is None


def test_the_first_of_two_equal_tags_counts() -> None:
    info = info_of(b"alias=one\0alias=two\0\0\0noequals\0license=MIT\0")
    assert info.get("alias") == "one"
    assert info.get_all("alias") == ["one", "two"]
    assert not info.gpl_compatible
    assert info.get("noequals") is None


def test_module_without_licence_is_proprietary() -> None:
    assert not info_of(modinfo(name="drv")).gpl_compatible


def test_parameters_join_type_and_description() -> None:
    info = info_of(b"parm=count:how many: at most 9\0parmtype=count:int\0parmtype=who:charp\0parm=lost:no type\0")
    assert info.parameters == {
        "count": Parameter("count", "int", "how many: at most 9"),
        "lost": Parameter("lost", "", "no type"),
        "who": Parameter("who", "charp", ""),
    }


def test_broken_utf8_is_escaped() -> None:
    assert info_of(b"author=\xff\xfe\0").get("author") == "\\xff\\xfe"


def test_object_file_is_told_from_a_module() -> None:
    maker = Maker()
    maker.symbol("x", maker.section(".text", b"\xc3"))
    with pytest.raises(
        ModuleFormatError, match=r"no .modinfo / .gnu.linkonce.this_module section: an object file"
    ) as caught:
        read_modinfo(Elf(maker.build()))
    assert "kbuild" in caught.value.remedy


def test_versions_are_read() -> None:
    maker = tiny()
    maker.section(
        "__versions", struct.pack("<Q56s", 0x9060323F, b"module_layout") + struct.pack("<Q56s", 1, b"kfree"), ALLOC
    )
    assert read_versions(Elf(maker.build())) == {"module_layout": 0x9060323F, "kfree": 1}
    assert read_versions(Elf(tiny().build())) is None


def test_versions_of_odd_size_are_refused() -> None:
    maker = tiny()
    maker.section("__versions", bytes(65), ALLOC)
    with pytest.raises(ModuleFormatError, match="__versions has 65 bytes"):
        read_versions(Elf(maker.build()))
