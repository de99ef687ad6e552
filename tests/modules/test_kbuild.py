"""Building with the real kbuild where there are headers; what can go wrong, everywhere."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from kmem.errors import BuildError
from kmem.modules import kbuild
from kmem.modules.headers import Headers
from kmem.modules.kbuild import KbuildError, build, is_source

VERSION = "6.1.0-56-amd64"
MODULE = '#include <linux/module.h>\n{}\nMODULE_LICENSE("GPL");\n'
NO_HEADERS = Headers(Path("/nonexistent"), "6.1.0-1-amd64", "test")


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KMEM_CACHE", str(tmp_path / "cache"))


def snapshot(directory: Path) -> dict[str, tuple[int, bytes]]:
    return {str(path): (path.stat().st_mtime_ns, path.read_bytes()) for path in directory.rglob("*") if path.is_file()}


def test_sources_are_c_files_and_directories(tmp_path: Path) -> None:
    assert is_source(tmp_path)
    assert is_source(Path("drv.c"))
    assert not is_source(Path("drv.ko"))


@pytest.mark.needs_headers
def test_c_file_is_built_once_and_with_its_local_headers(tmp_path: Path) -> None:
    directory = tmp_path / "drv"
    directory.mkdir()
    (directory / "my-drv.c").write_text(MODULE.format('#include "sub/limits.h"\nint limit = LIMIT;'))
    (directory / "sub").mkdir()
    (directory / "sub/limits.h").write_text('#include "more.h"\n')
    (directory / "sub/more.h").write_text("#define LIMIT 4\n")
    (directory / "unrelated.c").write_text("this is not C")
    before = snapshot(directory)
    first = build(directory / "my-drv.c", version=VERSION)
    assert [path.name for path in first.modules] == ["my-drv.ko"]
    assert not first.cached
    second = build(directory / "my-drv.c", version=VERSION)
    assert second.modules == first.modules
    assert second.cached
    assert snapshot(directory) == before
    (directory / "sub/more.h").write_text("#define LIMIT 5\n")
    third = build(directory / "my-drv.c", version=VERSION)
    assert not third.cached
    assert third.modules != first.modules


@pytest.mark.needs_headers
def test_directory_gives_all_its_modules_and_stays_clean(tmp_path: Path) -> None:
    directory = tmp_path / "two drivers"
    (directory / "sub").mkdir(parents=True)
    (directory / "Makefile").write_text(
        "ifneq ($(KERNELRELEASE),)\nobj-m := one.o two.o\none-y := a.o sub/b.o\nelse\nall:\n\tfalse\nendif\n"
    )
    (directory / "a.c").write_text(MODULE.format("int b(void);\nint a(void);\nint a(void) { return b(); }"))
    (directory / "sub/b.c").write_text("int b(void);\nint b(void) { return 1; }\n")
    (directory / "two.c").write_text(MODULE.format(""))
    (directory / "stale.o").write_text("left over from another build")
    before = snapshot(directory)
    built = build(directory, version=VERSION)
    assert [path.name for path in built.modules] == ["one.ko", "two.ko"]
    assert snapshot(directory) == before


@pytest.mark.needs_headers
def test_compilers_lines_name_the_users_file(tmp_path: Path) -> None:
    source = tmp_path / "bad.c"
    source.write_text(MODULE.format("int f(void);\nint f(void) { return undefined_thing; }"))
    with pytest.raises(BuildError) as caught:
        build(source, version=VERSION)
    lines = caught.value.message.splitlines()
    assert lines[0].endswith("kbuild refused the source")
    assert lines[1] == f"{source}: In function ‘f’:"
    assert lines[2].startswith(f"{source}:3:")
    assert "error: ‘undefined_thing’ undeclared" in lines[2]
    assert not any(line.startswith("make") for line in lines)
    assert not list((tmp_path / "cache/build").iterdir())


@pytest.mark.needs_headers
def test_symbol_that_nobody_exports_is_named(tmp_path: Path) -> None:
    source = tmp_path / "lost.c"
    source.write_text(
        MODULE.format("int nobody_has_this(void);\nint f(void);\nint f(void) { return nobody_has_this(); }")
    )
    with pytest.raises(KbuildError, match='ERROR: modpost: "nobody_has_this"') as caught:
        build(source, version=VERSION)
    assert "does not export nobody_has_this" in caught.value.remedy
    assert "MODPOST" in caught.value.output


@pytest.mark.needs_headers
def test_directory_that_makes_no_module_says_so(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty/Kbuild").write_text("# nothing\n")
    with pytest.raises(KbuildError, match="kbuild made no module"):
        build(tmp_path / "empty", version=VERSION)


@pytest.mark.needs_headers
def test_callers_make_variables_do_not_leak_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("ARCH", "arm64"), ("CROSS_COMPILE", "nothing-"), ("MAKEFLAGS", "-n"), ("KCFLAGS", "-Wrong")):
        monkeypatch.setenv(name, value)
    (tmp_path / "plain.c").write_text(MODULE.format(""))
    assert build(tmp_path / "plain.c", version=VERSION).modules


@pytest.mark.needs_headers
def test_flags_reach_the_compiler_and_make_another_build(tmp_path: Path) -> None:
    source = tmp_path / "flagged.c"
    source.write_text(MODULE.format("#ifndef WANTED\n#error not wanted\n#endif"))
    with pytest.raises(BuildError, match="not wanted"):
        build(source, version=VERSION)
    assert build(source, version=VERSION, flags=["-DWANTED"]).modules


@pytest.mark.needs_headers
def test_oldest_builds_are_dropped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kbuild, "MAX_KEPT", 2)
    kept = tmp_path / "cache/build"
    for number, name in enumerate(("old", "older")):
        (kept / name).mkdir(parents=True)
        os.utime(kept / name, (1000 - number, 1000 - number))
    (tmp_path / "plain.c").write_text(MODULE.format(""))
    built = build(tmp_path / "plain.c", version=VERSION)
    assert sorted(entry.name for entry in kept.iterdir()) == sorted(["old", built.modules[0].parent.name])


@pytest.mark.parametrize(("missing", "tools"), [("gcc", ["make"]), ("make", ["gcc"]), ("gcc and make", [])])
def test_missing_tools_are_named(
    missing: str, tools: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bin").mkdir()
    for tool in tools:
        (tmp_path / "bin" / tool).write_text("#!/bin/sh\n")
        (tmp_path / "bin" / tool).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    (tmp_path / "plain.c").write_text(MODULE.format(""))
    with pytest.raises(KbuildError, match=f"cannot build a module: {missing} missing") as caught:
        build(tmp_path / "plain.c", headers=NO_HEADERS)
    assert "apt-get install" in caught.value.remedy


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("none.c", "no such file"),
        ("two words.c", "cannot take this file name"),
        ("a$b.c", "cannot take this file name"),
    ],
)
def test_files_that_cannot_be_built_are_named(name: str, says: str, tmp_path: Path) -> None:
    if name != "none.c":
        (tmp_path / name).write_text("")
    with pytest.raises(KbuildError, match=says):
        build(tmp_path / name, headers=NO_HEADERS)


def test_directory_without_kbuild_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "drv.c").write_text("")
    with pytest.raises(KbuildError, match="neither Kbuild nor Makefile") as caught:
        build(tmp_path, headers=NO_HEADERS)
    assert "obj-m := NAME.o" in caught.value.remedy


def test_whole_source_tree_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kbuild, "MAX_FILES", 3)
    for name in ("Kbuild", "a.c", "b.c", "c.c"):
        (tmp_path / name).write_text("")
    with pytest.raises(KbuildError, match="more than 3 files"):
        build(tmp_path, headers=NO_HEADERS)


def test_includes_that_go_in_circles_end(tmp_path: Path) -> None:
    (tmp_path / "a.c").write_text('#include "b.h"\n#include "../outside.h"\n#include "none.h"\n')
    (tmp_path / "b.h").write_text('#include "b.h"\n#include "a.c"\n')
    assert sorted(kbuild._collect(tmp_path / "a.c")) == ["a.c", "b.h"]


def test_cache_that_make_cannot_work_in_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KMEM_CACHE", str(tmp_path / "my cache"))
    monkeypatch.setattr(kbuild, "_tools", lambda: "true")
    (tmp_path / "plain.c").write_text(MODULE.format(""))
    with pytest.raises(KbuildError, match="characters that make does not take") as caught:
        build(tmp_path / "plain.c", headers=NO_HEADERS)
    assert "without spaces" in caught.value.remedy
