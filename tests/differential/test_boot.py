"""Booting, without a kernel: what is missing is named, a boot that hangs is given up, an answer is kept."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from tests.differential import boot as booting
from tests.differential.boot import Boot, Load, boot
from tests.differential.image import Unavailable, kernel_image

ANSWERS = """#!/bin/sh
echo run >> "$0.runs"
for word; do case $word in file:*) cp "$0.tar" "${word#file:}";; esac; done
echo '[    0.000000] Linux version 6.1'
"""
HANGS = "#!/bin/sh\necho '[    0.000000] Linux version 6.1'\nexec sleep 60\n"
SAYS_NOTHING = "#!/bin/sh\necho no such machine\n"


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in for QEMU, with a kernel and an empty cache; the test writes the script."""
    qemu = tmp_path / "qemu"
    qemu.write_text(ANSWERS)
    qemu.chmod(0o755)
    for name in ("kernel", "driver.ko"):
        (tmp_path / name).write_bytes(name.encode())
    with tarfile.open(f"{qemu}.tar", "w:gz") as tar:
        member = tarfile.TarInfo("./before/meminfo")
        member.size = 3
        tar.addfile(member, io.BytesIO(b"few"))
    monkeypatch.setattr(booting, "QEMU", str(qemu))
    monkeypatch.setattr(
        booting, "_initramfs", lambda loads, *wanted: b"".join(load.module.read_bytes() for load in loads)
    )
    monkeypatch.setenv("KMEM_KERNEL_IMAGE", str(tmp_path / "kernel"))
    monkeypatch.setenv("KMEM_CACHE", str(tmp_path / "cache"))
    return qemu


def test_what_came_back_is_kept_as_long_as_nothing_changes(machine: Path) -> None:
    load = Load(machine.with_name("driver.ko"))
    first = boot([load])
    assert first == Boot("[    0.000000] Linux version 6.1\n", {"before/meminfo": "few"})
    assert boot([load]) == first
    assert Path(f"{machine}.runs").read_text().split() == ["run"]
    boot([load], "slub_debug=FZPU")
    load.module.write_bytes(b"changed")
    boot([load])
    assert Path(f"{machine}.runs").read_text().split() == ["run"] * 3


def test_a_kernel_that_died_leaves_the_console_and_is_asked_again(machine: Path) -> None:
    whole = Path(f"{machine}.tar").read_bytes()
    for cut in (b"", b"noise", whole[:50], whole[:-9]):
        Path(f"{machine}.tar").write_bytes(cut)
        assert boot([]) == Boot("[    0.000000] Linux version 6.1\n", {})
    Path(f"{machine}.tar").write_bytes(whole)
    assert boot([]).files == {"before/meminfo": "few"}
    assert Path(f"{machine}.runs").read_text().split() == ["run"] * 5


def test_a_kernel_that_died_of_a_module_has_answered(machine: Path) -> None:
    Path(f"{machine}.tar").write_bytes(b"")
    machine.write_text(
        f"{ANSWERS}echo '@@STEP 0 m:/modules/bug.ko'\necho 'Kernel panic - not syncing: Fatal exception'\n"
    )
    assert boot([]) == boot([])
    assert Path(f"{machine}.runs").read_text().split() == ["run"]


def test_a_boot_that_hangs_is_given_up(machine: Path) -> None:
    machine.write_text(HANGS)
    with pytest.raises(Unavailable, match="did not finish within 0 s"):
        boot([], timeout=0.4)


def test_a_machine_that_does_not_start_is_quoted(machine: Path) -> None:
    machine.write_text(SAYS_NOTHING)
    with pytest.raises(Unavailable, match="no such machine"):
        boot([])


def test_only_the_newest_answers_are_kept(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(booting, "MAX_KEPT", 2)
    for number in range(4):
        boot([], str(number))
    assert len(list(machine.with_name("cache").rglob("*.json"))) == 2


def test_what_is_missing_is_named(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(booting, "QEMU", str(machine.with_name("none")))
    with pytest.raises(Unavailable, match="apt-get install qemu-system-x86"):
        boot([])
    monkeypatch.setenv("KMEM_KERNEL_IMAGE", "nowhere")
    with pytest.raises(Unavailable, match="KMEM_KERNEL_IMAGE is nowhere"):
        kernel_image()


def test_a_busybox_that_needs_libraries_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "busybox").write_bytes(b"\x7fELF /lib64/ld-linux-x86-64.so.2")
    (tmp_path / "busybox").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Unavailable, match="apt-get install busybox-static"):
        booting._initramfs([])
