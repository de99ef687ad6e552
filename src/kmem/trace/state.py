"""What a kernel says of its memory: slabinfo, buddyinfo, /sys/kernel/slab, as a recording kept them."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from pathlib import Path

from kmem.trace.errors import TraceError
from kmem.trace.schema import Info

FILES = ("slabinfo", "buddyinfo", "zoneinfo", "pagetypeinfo", "meminfo", "vmstat", "cmdline", "version")


@dataclass(frozen=True)
class CacheState:
    """One cache at one moment. *slabs_cpu_partial* and *partial* count slabs, *in_partial* objects in those of the
    nodes' lists.
    """

    name: str
    size: int
    per_slab: int
    order: int
    slabs: int
    objects: int
    object_size: int
    partial: int = 0
    in_partial: int = 0
    cpu_slabs: int = 0
    cpu_partial: int = 0
    cpu_partial_slabs: int = 0
    cpu_partial_free: int = 0
    min_partial: int = 5
    sheaves: int = 0
    reclaimable: bool = False
    exact: bool = False

    @property
    def pages(self) -> int:
        """Pages of all its slabs."""
        return self.slabs << self.order


def parse_slabinfo(text: str) -> dict[str, CacheState]:
    """``/proc/slabinfo``, version 2.1."""
    found = {}
    for line in text.splitlines():
        words = line.split()
        if len(words) < 16 or words[0].startswith("#") or words[6] != ":":
            continue
        try:
            objects, _, size, per_slab, pages = map(int, words[1:6])
            slabs = int(words[14])
        except ValueError:
            continue
        if size and per_slab and pages:
            order = pages.bit_length() - 1
            found[words[0]] = CacheState(words[0], size, per_slab, order, slabs, objects, size)
    return found


def _first(text: str) -> int:
    number = re.match(r"\d+", text)
    return int(number[0]) if number else 0


def parse_sysfs(text: str) -> tuple[dict[str, CacheState], dict[str, str]]:
    """/sys/kernel/slab as JSON (``caches``: the files of each, ``links``: where a name leads): caches by their own
    name, and the own name of each name.
    """
    try:
        raw = json.loads(text)
        caches, links = raw["caches"], {name: str(to).rsplit("/", 1)[-1] for name, to in raw.get("links", {}).items()}
        made: dict[str, CacheState] = {}
        for name, files in caches.items():
            if links.get(name, name) != name:
                continue
            size, per_slab = _first(files["slab_size"]), _first(files["objs_per_slab"])
            free = re.match(r"(\d+)\((\d+)\)", files.get("slabs_cpu_partial", ""))
            if size < 8 or not per_slab:
                continue
            made[name] = CacheState(
                name,
                size,
                per_slab,
                _first(files["order"]),
                _first(files["slabs"]),
                _first(files["objects"]),
                _first(files["object_size"]),
                _first(files["partial"]),
                _first(files.get("objects_partial", "0")),
                _first(files.get("cpu_slabs", "0")),
                _first(files.get("cpu_partial", "0")),
                int(free[2]) if free else 0,
                int(free[1]) if free else 0,
                _first(files.get("min_partial", "5")),
                _first(files.get("sheaf_capacity", "0")),
                files.get("reclaim_account", "0").startswith("1"),
                exact=True,
            )
    except (ValueError, KeyError, TypeError, AttributeError):
        raise TraceError("the state of /sys/kernel/slab is malformed", remedy="Record the trace again.") from None
    return made, {name: links.get(name, name) for name in {*caches, *links}}


def caches_of(files: dict[str, str]) -> tuple[dict[str, CacheState], dict[str, str]]:
    """Caches by name, and aliases, from what a recording kept at one moment."""
    info = parse_slabinfo(files.get("slabinfo", ""))
    if "slab" not in files:
        return info, {}
    made, aliases = parse_sysfs(files["slab"])
    readable = {aliases.get(name, name): name for name in info}
    named = {readable.get(name, name): replace(c, name=readable.get(name, name)) for name, c in made.items()}
    return named, {alias: readable.get(name, name) for alias, name in aliases.items()}


def parse_buddyinfo(text: str) -> dict[tuple[int, str], list[int]]:
    """``/proc/buddyinfo``: free blocks by order, of each node and zone."""
    found = {}
    for node, zone, counts in re.findall(r"(?m)^Node\s+(\d+), zone\s+(\S+)\s+([\d ]+)$", text):
        found[int(node), zone] = [int(count) for count in counts.split()]
    return found


def memory_kib(text: str) -> int:
    """``MemTotal`` of meminfo, 0 if it does not say."""
    found = re.search(r"MemTotal:\s+(\d+) kB", text)
    return int(found[1]) if found else 0


def read_states(directory: Path, info: Info) -> None:
    """Take the kernel's files that lie beside a trace: ``NAME.before``, ``before/NAME``, ``snap/before/NAME``."""
    for when, into in (("before", info.before), ("after", info.after)):
        for name in FILES:
            for path in (directory / f"{name}.{when}", directory / when / name, directory / "snap" / when / name):
                if path.is_file():
                    into[name] = path.read_text(errors="replace")
                    break
        for path in sorted(directory.glob(f"sysslab.{when}*.json"))[:1]:
            into["slab"] = path.read_text(errors="replace")
