"""Which module must be loaded before which."""

from __future__ import annotations

from pathlib import Path

import pytest

from kmem.errors import InputError
from kmem.modules.tree import ModuleTree, module_name, root_of, survey_files


def tree(at: Path, **depends: str) -> Path:
    """Files that look like modules to whoever reads ``depends=``; a name's ``__`` is a directory."""
    for name, needed in depends.items():
        path = at / (name.replace("__", "/") + ".ko")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"\0depends=%s\0" % needed.encode())
    return at


def names(paths: list[Path]) -> list[str]:
    return [module_name(path) for path in paths]


def test_a_module_comes_after_all_that_it_depends_on(tmp_path: Path) -> None:
    tree(tmp_path, a="b,c", b="c", c="", other="")
    assert names(ModuleTree(tmp_path).order(tmp_path / "a.ko")[0]) == ["c", "b"]


def test_a_dash_in_a_file_name_is_an_underscore_of_the_module(tmp_path: Path) -> None:
    tree(tmp_path, a="snd_pcm")
    (tmp_path / "snd-pcm.ko").write_bytes(b"\0depends=\0")
    assert ModuleTree(tmp_path).order(tmp_path / "a.ko") == ([tmp_path / "snd-pcm.ko"], [])


def test_a_circle_ends(tmp_path: Path) -> None:
    tree(tmp_path, a="b", b="a")
    assert names(ModuleTree(tmp_path).order(tmp_path / "a.ko")[0]) == ["b"]


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    tree(tmp_path, a="gone")
    assert ModuleTree(tmp_path).order(tmp_path / "a.ko") == ([], ["gone"])


def test_modules_dep_is_believed(tmp_path: Path) -> None:
    tree(tmp_path, kernel__a="", kernel__b="")
    (tmp_path / "modules.dep").write_text("kernel/a.ko: kernel/b.ko\nkernel/b.ko:\n")
    assert names(ModuleTree(tmp_path).order(tmp_path / "kernel/a.ko")[0]) == ["b"]


def test_dependencies_are_looked_for_in_the_whole_kernel_that_a_directory_belongs_to(tmp_path: Path) -> None:
    tree(tmp_path, kernel__net__a="", kernel__lib__b="")
    assert root_of(tmp_path / "kernel/net") == tmp_path / "kernel/net"
    (tmp_path / "modules.order").touch()
    assert root_of(tmp_path / "kernel/net") == root_of(tmp_path / "kernel/net/a.ko") == tmp_path


def test_compressed_modules_are_found(tmp_path: Path) -> None:
    for name in ("a.ko", "b.ko.xz", "c.ko.zst", "d.ko.gz", "e.o", "f.kopie"):
        (tmp_path / name).touch()
    assert [path.name for path in survey_files(tmp_path)] == ["a.ko", "b.ko.xz", "c.ko.zst", "d.ko.gz"]


@pytest.mark.parametrize("where", [".", "nowhere"])
def test_a_directory_without_modules_is_refused_with_a_remedy(tmp_path: Path, where: str) -> None:
    with pytest.raises(InputError) as refused:
        survey_files(tmp_path / where)
    assert ".ko" in refused.value.remedy or "kernel modules" in refused.value.remedy
