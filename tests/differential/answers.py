"""Has allocation scripts carried out, by the real kernel and by kmem, and makes facts of what they say."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import kmem
from kmem.abi.release import release
from kmem.modules.kbuild import build
from tests.differential.boot import Load, boot
from tests.differential.scripts import Script
from tests.truth.facts import Fact
from tests.truth.log import steps_of_serial
from tests.truth.modules import KMOD

MODULE = "script"
PER_BOOT = 120
TIMEOUT = 400.0


@dataclass(frozen=True, slots=True)
class Setting:
    """One way to boot: the real kernel's command line, and the same for kmem. *merges*: caches may become one."""

    name: str
    append: str
    config: str
    slab_nomerge: bool = False
    merges: bool = False
    release: str = "6.1"

    @property
    def version(self) -> str:
        """``uname -r`` of the kernel that is asked."""
        return release(self.release).version


SETTINGS = (
    Setting("debian", "", "debian", merges=True),
    Setting("nomerge", "slab_nomerge", "debian", slab_nomerge=True),
    Setting("debug", "slub_debug=FZPU", "debug"),
    Setting("debian-6.12", "", "debian", merges=True, release="6.12"),
    Setting("nomerge-6.12", "slab_nomerge", "debian", slab_nomerge=True, release="6.12"),
    Setting("debug-6.12", "slub_debug=FZPU", "debug", release="6.12"),
)


def module(setting: Setting) -> Path:
    """The module that carries out scripts."""
    (path,) = build(KMOD / MODULE, release=setting.release, version=setting.version).modules
    return path


def of_real_kernel(setting: Setting, scripts: Sequence[Script]) -> list[Fact]:
    """Boot as often as is needed; Unavailable where that cannot be done."""
    path = module(setting)
    facts = []
    for start in range(0, len(scripts), PER_BOOT):
        some = scripts[start : start + PER_BOOT]
        answer = boot(
            [Load(path, each.parameters) for each in some], setting.append, TIMEOUT, ("slabinfo",), setting.version
        )
        steps = steps_of_serial(answer.console)
        for number, (each, step) in enumerate(zip(some, steps, strict=True)):
            facts += _facts(setting, each, step.lines, answer.files.get(f"loaded.{number}/slabinfo", ""))
    return facts


def of_kmem(setting: Setting, scripts: Iterable[Script]) -> list[Fact]:
    """The same on one simulated machine, which is as new for each script."""
    image = module(setting).read_bytes()
    facts = []
    with kmem.boot(release=setting.release, config=setting.config, slab_nomerge=setting.slab_nomerge) as k:
        # What the machine places for a module at its first load must be there before the snapshot.
        k.insmod(image).rmmod()
        k.snapshot()
        for each in scripts:
            loaded = k.insmod(image, id=each.id, s=each.text)
            lines = [line.split("] ", 1)[-1] for line in k.dmesg().splitlines()]
            facts += _facts(setting, each, lines, k.proc("slabinfo"))
            loaded.rmmod()
            k.rollback()
    return facts


def _facts(setting: Setting, script: Script, lines: Iterable[str], slabinfo: str) -> list[Fact]:
    """What the module printed, an operation a fact, and the lines of its caches in /proc/slabinfo."""
    facts = []
    for line in lines:
        words, _, answer = line.removeprefix(f"{MODULE}: ").partition(": ")
        if line.startswith(f"{MODULE}: ") and words[:1].isdigit() and _certain(setting, script, words.split()[-1]):
            facts.append(Fact(setting.name, MODULE, str(script.id), words, answer))
    facts.append(Fact(setting.name, MODULE, str(script.id), "reached its end", int(f"{MODULE}: end" in lines)))
    for line in sorted(slabinfo.splitlines()):
        name, *values = line.split() or [""]
        if name.startswith(f"{MODULE}{script.id}_") and (not setting.merges or int(name[-1]) in script.own):
            facts.append(Fact(setting.name, MODULE, str(script.id), f"slabinfo {name}", " ".join(values)))
    return facts


def _certain(setting: Setting, script: Script, operation: str) -> bool:
    """Whether the answer does not depend on what else the kernel has done.

    A cache that is merged with another has the other's size and slabs. A debugged kmalloc cache hands out from its
    first partial slab, and which that is depends on who has used it before.
    """
    kind, first = operation[0], int(operation[1:].split(".")[0], 16)
    if kind == "u":
        return setting.config != "debug"
    return not (setting.merges and kind in "ch" and first not in script.own)
