"""A directory of modules, as below /lib/modules: which file holds a module, and what must be loaded before it.

What a module depends on is in ``modules.dep`` when depmod has been run, and in the file's own ``depends=`` otherwise.
The order is modprobe's: a module comes after everything that it depends on.
"""

from __future__ import annotations

import os
import re
from functools import cached_property
from pathlib import Path

from kmem.errors import InputError, KmemError

SUFFIXES = (".ko", ".ko.xz", ".ko.zst", ".ko.gz")
_MARKS = ("modules.dep", "modules.order", "modules.builtin")
"""Files at the top of an installed kernel's modules."""
_DEPENDS = re.compile(rb"\0depends=([^\0]*)\0")


def module_name(path: str | Path) -> str:
    """The module's name by its file's: without the suffix, and with dashes as underscores."""
    return os.path.basename(path).partition(".ko")[0].replace("-", "_")


def is_module(name: str) -> bool:
    """Whether a file of that name is a module."""
    return name.endswith(SUFFIXES)


def root_of(path: Path) -> Path:
    """The directory that the dependencies of *path* (a module, or a directory of some) are looked for in: the kernel's
    modules that it belongs to, or else its own directory.
    """
    here = path.absolute()
    own = here if here.is_dir() else here.parent
    for directory in (own, *own.parents):
        if any((directory / mark).is_file() for mark in _MARKS):
            return directory
    return own


class ModuleTree:
    """The modules below *root*."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @cached_property
    def files(self) -> dict[str, Path]:
        """Every module by its name; of two files of one name the first in the order of the paths."""
        return {module_name(path): path for path in reversed(modules_below(self.root))}

    @cached_property
    def _listed(self) -> dict[str, list[str]]:
        """The lines of ``modules.dep``: a module's name, and those that it needs, by name."""
        try:
            text = (self.root / "modules.dep").read_text("utf-8", "surrogateescape")
        except OSError:
            return {}
        listed = {}
        for line in text.splitlines():
            head, colon, tail = line.partition(":")
            if colon:
                listed[module_name(head)] = [module_name(word) for word in tail.split()]
        return listed

    def depends(self, name: str, path: Path | None = None) -> list[str]:
        """What the module *name* (at *path*, if not in the tree) needs directly, or all that it needs."""
        if name in self._listed:
            return self._listed[name]
        file = path or self.files.get(name)
        return depends_of(file) if file else []

    def order(self, path: Path) -> tuple[list[Path], list[str]]:
        """Files to load before *path*, in that order, and the names of the modules that are not there."""
        order: list[Path] = []
        lacking: list[str] = []
        seen = {module_name(path)}

        def visit(name: str, file: Path | None) -> None:
            for needed in self.depends(name, file):
                if needed in seen:
                    continue
                seen.add(needed)
                found = self.files.get(needed)
                if found is None:
                    lacking.append(needed)
                    continue
                visit(needed, found)
                order.append(found)

        visit(module_name(path), path)
        return order, lacking


def modules_below(directory: Path) -> list[Path]:
    """Every module file below *directory*, in the order of the paths. InputError when there is none."""
    found = []
    for where, directories, names in os.walk(directory):
        directories.sort()
        found += [Path(where, name) for name in names if is_module(name)]
    return sorted(found)


def depends_of(path: Path) -> list[str]:
    """``depends=`` of the module at *path*; nothing for a file that cannot be read: loading it will say why."""
    from kmem.modules.image import read_module

    try:
        found = _DEPENDS.search(read_module(path))
    except (KmemError, OSError):
        return []
    return [name.replace("-", "_") for name in found[1].decode("ascii", "replace").split(",") if name] if found else []


def survey_files(directory: Path) -> list[Path]:
    """As `modules_below`, for a directory that was asked for."""
    if not directory.is_dir():
        raise InputError(
            f"{directory}: {'not a directory' if directory.exists() else 'no such directory'}",
            remedy="give a directory with kernel modules below it, as /lib/modules/VERSION",
        )
    found = modules_below(directory)
    if not found:
        raise InputError(
            f"{directory}: no kernel module below it",
            remedy="give a directory with .ko, .ko.xz, .ko.zst or .ko.gz files below it, as /lib/modules/VERSION",
        )
    return found
