"""Writing a tree: what is not ours is not touched, and a reader never finds half of a file."""

from __future__ import annotations

from pathlib import Path

import pytest

from kmem.errors import UsageError
from kmem.mm.proc_files import LIST, STAGE, prepare, write
from kmem.mm.proc_tree import Tree


def tree(links: dict[str, str] | None = None, **texts: str) -> Tree:
    return Tree({name.replace("_", "/"): text.__str__ for name, text in texts.items()}, links or {})


def found(path: Path) -> dict[str, str]:
    """Every file and link below *path*, but the list."""
    return {
        str(at.relative_to(path)): f"-> {at.readlink()}" if at.is_symlink() else at.read_text()
        for at in path.rglob("*")
        if (at.is_symlink() or at.is_file()) and at.name != LIST
    }


def test_what_was_written_is_replaced_and_what_is_gone_is_removed(tmp_path: Path) -> None:
    write(tree({"a/to": "x"}, a_x="1", a_y="2", b_z="3", top="4"), prepare(tmp_path))
    assert found(tmp_path) == {"a/x": "1", "a/y": "2", "a/to": "-> x", "b/z": "3", "top": "4"}
    write(tree({"b": "a"}, a_x="5", top="6"), prepare(tmp_path))
    assert found(tmp_path) == {"a/x": "5", "b": "-> a", "top": "6"}
    assert sorted(path.name for path in tmp_path.iterdir()) == [LIST, "a", "b", "top"]


def test_a_link_and_a_directory_change_places(tmp_path: Path) -> None:
    write(tree({"mine": "other"}, other_size="1"), prepare(tmp_path))
    write(tree({"other": "mine"}, mine_size="2"), prepare(tmp_path))
    assert found(tmp_path) == {"mine/size": "2", "other": "-> mine"}


@pytest.mark.parametrize("name", ["mine", "a/mine", ".kmemrc"])
def test_what_is_not_ours_is_refused_and_left(tmp_path: Path, name: str) -> None:
    write(tree(a_x="1"), prepare(tmp_path))
    (tmp_path / name).write_text("precious")
    with pytest.raises(UsageError, match=f"is not empty: it holds {name}, which is not kmem's"):
        prepare(tmp_path)
    assert found(tmp_path) == {"a/x": "1", name: "precious"}


def test_a_link_in_place_of_a_directory_of_ours_is_not_followed(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "x").write_text("precious")
    write(tree(a_x="1"), prepare(tmp_path / "tree"))
    (tmp_path / "tree" / "a" / "x").unlink()
    (tmp_path / "tree" / "a").rmdir()
    (tmp_path / "tree" / "a").symlink_to(elsewhere)
    with pytest.raises(UsageError, match="it holds a, which is not kmem's"):
        prepare(tmp_path / "tree")
    assert (elsewhere / "x").read_text() == "precious"


def test_a_file_and_a_place_that_cannot_be_written_are_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="cannot write there: File exists"):
        prepare(tmp_path / "file")
    with pytest.raises(UsageError, match="cannot write there: Not a directory"):
        prepare(tmp_path / "file" / "below")


def test_a_text_that_cannot_be_made_changes_nothing(tmp_path: Path) -> None:
    def fail() -> str:
        raise RuntimeError("no text")

    write(tree(a_x="1", b="2"), prepare(tmp_path))
    broken = tree(a_x="3")
    broken.files["z"] = fail
    with pytest.raises(RuntimeError, match="no text"):
        write(broken, prepare(tmp_path))
    assert found(tmp_path) == {"a/x": "1", "b": "2"}


def test_what_a_killed_writer_left_is_cleared_away(tmp_path: Path) -> None:
    write(tree(a_x="1"), prepare(tmp_path))
    (tmp_path / STAGE / "a").mkdir(parents=True)
    (tmp_path / STAGE / "a" / "x").write_text("half")
    write(tree(a_x="2"), prepare(tmp_path))
    assert found(tmp_path) == {"a/x": "2"}
