"""Writing a tree of /proc (`kmem.mm.proc_tree`) into a directory.

The directory must be new, empty, or hold what was written there before and nothing else; a list of what was written,
``.kmem``, tells. Every file is made in full beside the old ones and then takes its place, so that a reader finds the
old text or the new one, and a writer that fails leaves the old ones.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

from kmem.errors import UsageError
from kmem.mm.proc_tree import Tree

LIST, STAGE = ".kmem", ".kmem-new"
_HEAD = "# What kmem has written here. It replaces these files, and only these, when it writes here again."
_REMEDY = "Name a directory that is empty or not there yet, or one that kmem wrote and nothing was added to."


def prepare(where: str | Path) -> Path:
    """Make the directory, or see that it may be written to; UsageError if not."""
    path = Path(where).absolute()
    try:
        path.mkdir(parents=True, exist_ok=True)
        probe = path / STAGE
        shutil.rmtree(probe, ignore_errors=True)
        probe.mkdir()
        probe.rmdir()
        ours = _written(path)
        foreign = next((name for name in _below(path) if name not in ours and name != LIST), None)
    except OSError as error:
        raise UsageError(f"{where}: cannot write there: {error.strerror}", remedy=_REMEDY) from None
    if foreign is not None:
        raise UsageError(f"{where}: is not empty: it holds {foreign}, which is not kmem's", remedy=_REMEDY)
    return path


def write(tree: Tree, path: Path) -> int:
    """Write the whole tree into the directory *path*, which `prepare` has seen; the number of files."""
    stage = path / STAGE
    try:
        try:
            for name, text in tree.files.items():
                (stage / name).parent.mkdir(parents=True, exist_ok=True)
                (stage / name).write_text(text())
            for name, target in tree.links.items():
                (stage / name).symlink_to(target)
            before, now = _written(path), {*tree.files, *tree.links}
            _list(path, before | now)
            for name in sorted(before - now, reverse=True):
                (path / name).unlink(missing_ok=True)
                _prune((path / name).parent, path)
            for name in sorted(now):
                (path / name).parent.mkdir(parents=True, exist_ok=True)
                os.replace(stage / name, path / name)
            _list(path, now)
        finally:
            shutil.rmtree(stage, ignore_errors=True)
    except OSError as error:
        raise UsageError(f"{path}: cannot write there: {error.strerror}", remedy=_REMEDY) from None
    return len(tree.files)


def _written(path: Path) -> set[str]:
    """What the list in *path* says was written there."""
    try:
        return set((path / LIST).read_text().splitlines()[1:])
    except (FileNotFoundError, UnicodeDecodeError):
        return set()


def _list(path: Path, names: Iterable[str]) -> None:
    """Write the list."""
    new = path / STAGE / LIST
    new.write_text("\n".join([_HEAD, *sorted(names)]) + "\n")
    os.replace(new, path / LIST)


def _below(path: Path) -> Iterator[str]:
    """Every file and link below *path*, and every empty directory."""
    for directory, folders, files in os.walk(path):
        links = [name for name in folders if os.path.islink(os.path.join(directory, name))]
        if not folders and not files and directory != str(path):
            yield os.path.relpath(directory, path)
        for name in [*files, *links]:
            yield os.path.relpath(os.path.join(directory, name), path)


def _prune(directory: Path, top: Path) -> None:
    """Remove *directory* and those above it that are empty."""
    while directory != top:
        try:
            directory.rmdir()
        except OSError:
            return
        directory = directory.parent
