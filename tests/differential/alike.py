"""A module that prints no addresses, loaded on the real kernel and on kmem: its lines must be the same."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import kmem
from kmem.modules.kbuild import build
from tests.differential.boot import Load, boot
from tests.differential.image import VERSION
from tests.truth.modules import KMOD


def module(name: str) -> Path:
    """The module of tests/kmod/*name*, built for the kernel that is booted."""
    (path,) = build(KMOD / name, version=VERSION).modules
    return path


def lines_of(name: str, log: Iterable[str]) -> list[str]:
    """What the module said itself, without the times: numbered lines, and the end."""
    said = (line.split("] ", 1)[-1] for line in log)
    lines = [line.removeprefix(f"{name}: ") for line in said if line.startswith(f"{name}: ")]
    return [line for line in lines if line[0].isdigit() or line == "end"]


def of_real_kernel(names: Iterable[str]) -> dict[str, list[str]]:
    """What each module says when it is loaded and unloaded; one boot. Unavailable where that cannot be done."""
    console = boot([Load(module(name)) for name in names]).console.splitlines()
    return {name: lines_of(name, console) for name in names}


def of_kmem(name: str) -> list[str]:
    """The same on a simulated machine."""
    with kmem.boot() as k:
        k.insmod(module(name)).rmmod()
        return lines_of(name, k.dmesg().splitlines())
