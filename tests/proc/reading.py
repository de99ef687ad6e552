"""What the tests of real programs share: a machine that has worked, its /proc in a directory, and texts taken apart.

Nothing of kmem's own parses here: a text of the kernel is split into words and numbers.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import kmem
from kmem.kapi.process import Process

PAGE = 4096


@dataclass
class Worked:
    """A machine, the directory that its tree was written into, and the process that it has."""

    kernel: kmem.Kernel
    tree: Path
    process: Process

    def text(self, name: str) -> str:
        """What the kernel says, which is what the directory must have."""
        return self.kernel.proc(name)


def work(where: Path) -> Worked:
    """A machine of two nodes whose caches, zones, vmalloc space and user memory have seen use."""
    k = kmem.boot(ram="384M", cpus=2, numa=2)
    k.fill_page_cache(8 << 20)
    mine = k.kmem_cache_create("clients_test", 328, 0, 0)
    kept = [k.kmem_cache_alloc(mine) for _ in range(300)]
    for at in kept[::3]:
        k.kmem_cache_free(mine, at)
    for order in (0, 1, 3, 5):
        k.alloc_pages(kmem.GFP_KERNEL, order, order % 2)
    for size in range(16, 8193, 520):
        k.kmalloc(size)
    k.vmalloc(1 << 20)
    process = k.process("clients")
    process.touch(process.mmap(3 << 20), 2 << 20)
    tree = where / "tree"
    k.write_proc(tree)
    return Worked(k, tree, process)


def meminfo(text: str) -> dict[str, int]:
    """Label to the number, in bytes where it is kilobytes."""
    rows = (line.rsplit(":", 1) for line in text.splitlines())
    return {name: int(rest.split()[0]) << (10 if rest.endswith("kB") else 0) for name, rest in rows}


def counters(text: str) -> dict[str, int]:
    """``name value`` lines."""
    return {name: int(value) for name, value in (line.split() for line in text.splitlines())}


def slabinfo(text: str) -> dict[str, list[int]]:
    """active_objs, num_objs, objsize, objperslab, pagesperslab, active_slabs, num_slabs by cache."""
    found = {}
    for line in text.splitlines()[2:]:
        name, *words = line.split()
        found[name] = [int(word) for word in (*words[:5], words[-3], words[-2])]
    return found


def buddyinfo(text: str) -> dict[tuple[str, str], list[int]]:
    """Free blocks by order, of a node and a zone."""
    return {
        (node, zone): [int(word) for word in rest.split()]
        for node, zone, rest in re.findall(r"Node (\d+), zone +(\w+) (.*)", text)
    }


@cache
def beside() -> tuple[str, ...] | str:
    """The words before a command that shall see other files in /proc; or why there are none."""
    unshare = shutil.which("unshare")
    if unshare is None:
        return "no unshare: apt-get install util-linux"
    problem = ""
    for words in ((unshare, "-m"), (unshare, "-rm")):
        tried = subprocess.run([*words, "mount", "--bind", "/", "/mnt"], check=False, capture_output=True, text=True)
        if tried.returncode == 0:
            return words
        problem = tried.stderr.strip()
    return f"no mount namespace for this user: {problem}"


def jail(root: Path, tree: Path, program: str) -> list[str]:
    """The words before a program's name where mounts are forbidden and root is allowed: a directory that has the
    program, its libraries, and *tree* as its /proc and /sys, is the root of all it sees.
    """
    linked = subprocess.run(["ldd", program], check=True, capture_output=True, text=True).stdout
    for file in {program, *re.findall(r"(/\S+) \(0x", linked)}:
        copy = root / file.lstrip("/")
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, copy)
    for name, source, without in (("proc", tree, "sys"), ("sys", tree / "sys", "slab")):
        shutil.copytree(source, root / name, symlinks=True, ignore=shutil.ignore_patterns(without))
    return ["chroot", str(root)]
