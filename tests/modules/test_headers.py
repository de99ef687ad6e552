"""Finding headers, and fetching them from a Debian archive that is made of scripts."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from kmem.errors import HeadersMissing
from kmem.modules import headers
from kmem.modules.headers import Headers, fetch, find, read_version, relocate, require


def prepared(path: Path, version: str) -> Path:
    """A directory that looks like prepared headers."""
    (path / "include/generated").mkdir(parents=True)
    (path / "include/generated/utsrelease.h").write_text(f'#define UTS_RELEASE "{version}"\n')
    (path / "Makefile").write_text("include /usr/src/linux-headers-6.1.0-60-common/Makefile\n")
    return path


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No headers anywhere: an empty /lib/modules, an empty cache."""
    monkeypatch.delenv("KMEM_HEADERS", raising=False)
    monkeypatch.setenv("KMEM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(headers, "INSTALLED", tmp_path / "modules")
    return tmp_path


def install(machine: Path, *versions: str) -> None:
    for version in versions:
        prepared(machine / "modules" / version / "build", version)


def test_nothing_is_found_on_an_empty_machine() -> None:
    assert find("6.1") is None
    with pytest.raises(HeadersMissing, match=r"no kernel headers for 6\.1") as caught:
        require("6.1", download=False)
    assert "kmem headers 6.1" in caught.value.remedy


def test_newest_headers_of_the_series_and_flavour_win(machine: Path) -> None:
    install(
        machine,
        "6.1.0-9-amd64",
        "6.1.0-56-amd64",
        "6.1.0-60-rt-amd64",
        "6.1.0-61-cloud-amd64",
        "6.12.0-1-amd64",
        "6.1.99",
    )
    assert find("6.1") == Headers(machine / "modules/6.1.0-56-amd64/build", "6.1.0-56-amd64", "system")


def test_names_without_a_counter_are_sorted_by_version(machine: Path) -> None:
    install(machine, "6.12.9+deb13-amd64", "6.12.41+deb13-amd64", "6.12.50+deb13-cloud-amd64")
    found = find("6.12")
    assert found is not None
    assert found.version == "6.12.41+deb13-amd64"


def test_wanted_version_wins_over_a_newer_one(machine: Path) -> None:
    install(machine, "6.1.0-55-amd64", "6.1.0-56-amd64")
    found = find("6.1", "6.1.0-55-amd64")
    assert found is not None
    assert found.version == "6.1.0-55-amd64"


def test_directory_that_is_not_prepared_is_passed_over(machine: Path) -> None:
    install(machine, "6.1.0-56-amd64")
    (machine / "modules/6.1.0-56-amd64/build/Makefile").unlink()
    (machine / "modules/6.1.0-57-amd64/build").mkdir(parents=True)
    assert find("6.1") is None


def test_installed_headers_win_over_fetched_ones_of_the_same_kernel(machine: Path) -> None:
    prepared(machine / "cache/headers/6.1.0-56-amd64/usr/src/linux-headers-6.1.0-56-amd64", "6.1.0-56-amd64")
    found = find("6.1")
    assert found is not None
    assert found.source == "cache"
    install(machine, "6.1.0-56-amd64")
    found = find("6.1")
    assert found is not None
    assert found.source == "system"


def test_environment_names_the_headers(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = prepared(machine / "own", "6.1.77-custom")
    install(machine, "6.1.0-56-amd64")
    monkeypatch.setenv("KMEM_HEADERS", str(own))
    assert find("6.1") == Headers(own, "6.1.77-custom", "KMEM_HEADERS")
    assert require("6.1").path == own
    monkeypatch.setenv("KMEM_HEADERS", str(machine / "nowhere"))
    with pytest.raises(HeadersMissing, match="nowhere, which has no prepared kernel headers"):
        find("6.1")


class Archive:
    """apt-cache, apt-get and dpkg-deb as shell scripts that know three packages; every call is written to a log."""

    def __init__(self, machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.bin = machine / "bin"
        self.bin.mkdir()
        self.log = machine / "apt.log"
        self.tree = machine / "archive"
        src = self.tree / "usr/src"
        prepared(src / "linux-headers-6.1.0-60-amd64", "6.1.0-60-amd64")
        (src / "linux-headers-6.1.0-60-amd64/.kernelvariables").write_text("CC = gcc-12\n")
        (src / "linux-headers-6.1.0-60-common").mkdir()
        (src / "linux-headers-6.1.0-60-common/Makefile").write_text("all:\n")
        (src / "linux-headers-6.1.0-60-amd64/tools").symlink_to("/usr/lib/linux-kbuild-6.1/tools")
        (src / "linux-headers-6.1.0-60-amd64/scripts").symlink_to("../../lib/linux-kbuild-6.1/scripts")
        self.script(
            "apt-cache",
            'if [ "$1" = search ]; then\n'
            'printf "linux-headers-6.1.0-60-amd64 - Headers\\nlinux-headers-6.1.0-58-amd64 - Headers\\n'
            'linux-headers-6.1.0-60-rt-amd64 - Headers\\n"\n'
            'else printf "Package: x\\nDepends: linux-headers-6.1.0-60-common (= 6.1.1), linux-kbuild-6.1, gcc\\n"; fi',
        )
        self.script("apt-get", 'shift; for name in "$@"; do echo "$name" > "$name.deb"; done')
        self.script("dpkg-deb", f'case "$2" in *amd64.deb) cp -a {self.tree}/. "$3";; esac')
        monkeypatch.setenv("PATH", f"{self.bin}:/usr/bin:/bin")

    def script(self, name: str, body: str) -> None:
        path = self.bin / name
        path.write_text(f'#!/bin/sh\necho "{name} $*" >> {self.log}\n{body}\n')
        path.chmod(path.stat().st_mode | stat.S_IXUSR)


@pytest.fixture
def archive(machine: Path, monkeypatch: pytest.MonkeyPatch) -> Archive:
    return Archive(machine, monkeypatch)


def test_headers_are_fetched_without_root_and_found_again(machine: Path, archive: Archive) -> None:
    said: list[str] = []
    got = fetch("6.1", progress=said.append)
    final = machine / "cache/headers/6.1.0-60-amd64"
    assert got == Headers(final / "usr/src/linux-headers-6.1.0-60-amd64", "6.1.0-60-amd64", "cache")
    assert find("6.1") == got
    assert require("6.1") == got
    assert (
        "apt-get download linux-headers-6.1.0-60-amd64 linux-headers-6.1.0-60-common linux-kbuild-6.1\n"
        in archive.log.read_text()
    )
    assert said[0].startswith("downloading linux-headers-6.1.0-60-amd64, ")
    assert said[-1] == f"headers of 6.1.0-60-amd64 are in {final}"


def test_fetched_headers_refer_to_themselves_only(machine: Path, archive: Archive) -> None:
    path = fetch("6.1").path
    root = machine / "cache/headers/6.1.0-60-amd64"
    assert (path / "Makefile").read_text() == f"include {root}/usr/src/linux-headers-6.1.0-60-common/Makefile\n"
    assert os.readlink(path / "tools") == f"{root}/usr/lib/linux-kbuild-6.1/tools"
    assert os.readlink(path / "scripts") == "../../lib/linux-kbuild-6.1/scripts"


def test_wanted_version_is_fetched_when_the_archive_has_it(archive: Archive) -> None:
    with pytest.raises(HeadersMissing):
        fetch("6.1", "6.1.0-58-amd64")
    assert "apt-get download linux-headers-6.1.0-58-amd64 " in archive.log.read_text()


def test_second_fetch_replaces_the_first(machine: Path, archive: Archive) -> None:
    path = fetch("6.1").path
    (path / "leftover").write_text("")
    assert fetch("6.1").path == path
    assert not (path / "leftover").exists()
    assert [entry.name for entry in (machine / "cache/headers").iterdir()] == ["6.1.0-60-amd64"]


def test_failed_download_leaves_nothing_and_tells_why(machine: Path, archive: Archive) -> None:
    archive.script("apt-get", 'echo "E: Failed to fetch linux-headers  Could not resolve host" >&2; exit 100')
    with pytest.raises(HeadersMissing, match="apt-get download failed: E: Failed to fetch") as caught:
        fetch("6.1")
    assert "network" in caught.value.remedy
    assert list((machine / "cache/headers").iterdir()) == []
    assert find("6.1") is None


def test_damaged_package_leaves_nothing(machine: Path, archive: Archive) -> None:
    archive.script("dpkg-deb", 'echo "dpkg-deb: error: not a Debian format archive" >&2; exit 2')
    with pytest.raises(HeadersMissing, match="not a Debian format archive"):
        fetch("6.1")
    assert list((machine / "cache/headers").iterdir()) == []


def test_archive_without_the_kernel_says_what_to_do(archive: Archive) -> None:
    archive.script("apt-cache", "true")
    with pytest.raises(HeadersMissing, match=r"apt knows no linux-headers package for 6\.1") as caught:
        fetch("6.1")
    assert "apt-get update" in caught.value.remedy


@pytest.mark.parametrize("tool", ["apt-cache", "apt-get", "dpkg-deb"])
def test_machine_without_apt_is_told_so(tool: str, archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    (archive.bin / tool).unlink()
    monkeypatch.setenv("PATH", str(archive.bin))
    with pytest.raises(HeadersMissing, match=f"{tool} is missing") as caught:
        fetch("6.1")
    assert "KMEM_HEADERS" in caught.value.remedy


def test_paths_that_only_look_like_ours_are_kept(tmp_path: Path) -> None:
    build = Path("usr/src/linux-headers-x")
    (tmp_path / build).mkdir(parents=True)
    (tmp_path / build / "Makefile").write_text("A = /usr/src/x\nB = /opt/usr/src/y ./usr/lib/z\nC=/usr/lib/w\n")
    relocate(tmp_path, build, Path("/final"))
    assert (tmp_path / build / "Makefile").read_text() == (
        "A = /final/usr/src/x\nB = /opt/usr/src/y ./usr/lib/z\nC=/final/usr/lib/w\n"
    )


def test_version_is_read_from_the_headers(tmp_path: Path) -> None:
    assert read_version(tmp_path) is None
    assert read_version(prepared(tmp_path / "x", "6.1.0-1-amd64")) == "6.1.0-1-amd64"
