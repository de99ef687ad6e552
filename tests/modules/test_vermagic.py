"""Modules of this kernel, of an update of it, of another one."""

from __future__ import annotations

import pytest

from kmem.abi.exports import export
from kmem.abi.release import release
from kmem.errors import ModuleFormatError
from kmem.modules.modinfo import ModInfo
from kmem.modules.vermagic import age_of, check_vermagic, series_of
from tests.modules.elfmaker import VERMAGIC

RELEASE = release("6.1")


def check(vermagic: str | None, crc: int | None = None) -> str:
    tags = (("vermagic", vermagic),) if vermagic is not None else ()
    versions = None if crc is None else {"module_layout": crc}
    return check_vermagic("drv", ModInfo(tags), versions, RELEASE)


def test_own_version_magic_is_accepted() -> None:
    assert check(VERMAGIC) == ""


def test_update_with_the_same_module_interface_is_accepted() -> None:
    ours = export("module_layout", "6.1")
    assert ours is not None
    assert check("6.1.0-55-amd64 SMP preempt mod_unload modversions ", ours.crc) == ""


@pytest.mark.parametrize("crc", [None, 0x160C03AF])
def test_other_update_of_the_series_is_accepted_with_a_note(crc: int | None) -> None:
    note = check("6.1.0-47-amd64 SMP preempt mod_unload modversions ", crc)
    assert note.startswith("built for 6.1.0-47-amd64 and run as 6.1.0-56-amd64")


@pytest.mark.parametrize(
    "vermagic",
    [
        "6.12.9-1-amd64 SMP preempt mod_unload modversions ",
        "6.12.0-1-amd64 SMP preempt mod_unload modversions ",
        "5.10.0-30-amd64 SMP mod_unload modversions ",
        "6.1.0-56-rt-amd64 SMP preempt_rt mod_unload modversions ",
        "6.1.0-56-cloud-amd64 SMP preempt mod_unload modversions ",
        "6.1.99 SMP preempt mod_unload modversions ",
        "",
    ],
)
def test_other_kernels_are_refused_in_the_kernels_words(vermagic: str) -> None:
    with pytest.raises(ModuleFormatError) as caught:
        check(vermagic, 1)
    assert caught.value.message == f"drv: version magic '{vermagic}' should be '{VERMAGIC}'"
    assert "kmem run FILE.c" in caught.value.remedy
    assert "kmem headers 6.1" in caught.value.remedy


def test_module_without_version_magic_is_refused() -> None:
    with pytest.raises(ModuleFormatError, match="no version magic"):
        check(None)


def test_debian_kernel_names_are_taken_apart() -> None:
    assert series_of("6.1.0-56-amd64") == ("6.1", "amd64")
    assert series_of("6.1.0-56-rt-amd64") == ("6.1", "rt-amd64")
    assert series_of("6.12.41+deb13-amd64") == ("6.12", "amd64")
    assert series_of("6.12.9-1-cloud-amd64") == ("6.12", "cloud-amd64")
    assert series_of("6.1.99") is None
    assert age_of("6.1.0-9-amd64") < age_of("6.1.0-56-amd64") < age_of("6.1.0-100-amd64")
    assert age_of("6.12.9+deb13-amd64") < age_of("6.12.41+deb13-amd64")
    assert age_of("6.1.99") == ()
