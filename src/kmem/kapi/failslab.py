"""Allocations and copies that fail now and then (lib/fault-inject.c, mm/failslab.c, mm/page_alloc.c,
lib/fault-inject-usercopy.c; 6.1), without a kernel that was built for it.

A call of the module is looked at before it is served: it fails as *probability*, *interval*, *times* and *space* say,
if the filters let it. Simplified: the calls of the module are what can fail, not what the kernel allocates in them.
"""

from __future__ import annotations

import re
from collections.abc import Generator
from dataclasses import dataclass, fields
from fnmatch import fnmatch
from random import Random
from typing import Any

from kmem.abi.gfp import __GFP_DIRECT_RECLAIM, __GFP_NOFAIL
from kmem.errors import UsageError
from kmem.kapi.bind import Bound, RawArgs
from kmem.kapi.export import Export, lookup
from kmem.kapi.host import Call, Host
from kmem.mm.mm_types import kmem_cache

SLAB, PAGES, USERCOPY = "failslab", "fail_page_alloc", "fail_usercopy"
ROOMS = (8, 16, 32, 64, 96, 128, 192, 256, 512, 1024, 2048, 4096, 8192)
NEVER = -1
NOFAIL, MAY_WAIT = __GFP_NOFAIL, __GFP_DIRECT_RECLAIM
_GFP = re.compile(r"\bgfp_t\b")
_RETURNS = re.compile(r"unsigned long |[^(]*\*")
"""What a function that allocates returns: an address."""


@dataclass
class Attributes:
    """``struct fault_attr``, and filters. *probability* in percent; every *interval*-th chance; *times* at most (-1:
    without end); not before *space* bytes (pages, calls) went by. *cache* is a pattern of names, *min* and *max* bytes,
    *min_order* an order; *wait=0* spares what may sleep, as the kernel does by default.
    """

    probability: int = 100
    interval: int = 1
    times: int = -1
    space: int = 0
    cache: str = ""
    min: int = 0
    max: int = 1 << 63
    min_order: int = 0
    wait: int = 1

    @classmethod
    def parse(cls, text: str) -> Attributes:
        """``probability=10,times=3,cache=kmalloc-64``. UsageError for what is none."""
        made, names = cls(), {field.name for field in fields(cls)}
        for word in text.split(",") if text else ():
            name, _, value = word.partition("=")
            name = name.replace("-", "_")
            if name not in names or not (name == "cache" or re.fullmatch(r"-?\d+", value)):
                raise UsageError(f"{word!r} is no fault attribute", remedy=f"there are {', '.join(sorted(names))}")
            setattr(made, name, value if name == "cache" else int(value))
        return made


class Faults:
    """What fails on one kernel: attributes by kind (`SLAB`, `PAGES`, `USERCOPY`)."""

    def __init__(self, k: Any, attributes: dict[str, Attributes], seed: int) -> None:
        self.k, self.attributes, self._random = k, attributes, Random(f"faults {seed}")
        self._chances = dict.fromkeys(attributes, 0)
        self.seen = dict.fromkeys(attributes, 0)
        """How often each kind could have failed."""
        self.injected: list[tuple[str, str, str]] = []
        """What has failed: its kind, the function, the place of the call."""

    def told(self) -> list[dict[str, str]]:
        """What has failed, for a report."""
        return [{"kind": kind, "call": call, "site": site} for kind, call, site in self.injected]

    def should_fail(self, kind: str, size: int) -> bool:
        """``should_fail()``."""
        attr = self.attributes[kind]
        self.seen[kind] += 1
        if not attr.probability or not attr.times:
            return False
        if attr.space > size:
            attr.space -= size
            return False
        if attr.interval > 1:
            self._chances[kind] += 1
            if self._chances[kind] % attr.interval:
                return False
        if attr.probability <= self._random.randrange(100):
            return False
        if attr.times > 0:
            attr.times -= 1
        return True

    def wrap(self, name: str, bound: Bound) -> Bound:
        """The function that serves *name*, which may fail from now on."""
        entry = lookup(name)
        prototype = entry.prototype if isinstance(entry, Export) else ""
        if not _RETURNS.match(prototype) or not (_GFP.search(prototype) or "vmalloc" in name):
            return bound
        kind = PAGES if "order" in prototype or "page" in name or "vmalloc" in name else SLAB
        return self._allocation(name, kind, prototype, bound) if kind in self.attributes else bound

    def _allocation(self, name: str, kind: str, prototype: str, bound: Bound) -> Bound:
        arguments = [word.split()[-1].lstrip("*") for word in _parameters(prototype)]
        attr, private = self.attributes[kind], self.k.mm.core.private

        def at(*names: str) -> int:
            return next((arguments.index(one) for one in names if one in arguments), -1)

        sizes, gfps = at("size", "new_size", "len"), at("gfp", "gfpflags", "gfp_mask", "flags")
        orders = at("order")
        caches = 0 if "(struct kmem_cache *" in prototype else -1

        def applies(words: RawArgs) -> int:
            """How much it counts for, 0 if it is not to fail."""
            gfp = words[gfps] if gfps >= 0 else MAY_WAIT
            order = words[orders] if orders >= 0 else 0
            if gfp & NOFAIL or (not attr.wait and gfp & MAY_WAIT) or order < attr.min_order:
                return 0
            cache, size = "", words[sizes] if sizes >= 0 else 4096 << order if kind == PAGES else 1
            if caches >= 0:
                s = self.k.mm.view.ptr(kmem_cache, words[caches])
                cache, size = self.k.mm.view.cache_name(s), int(s.object_size) if sizes < 0 else size
            elif kind == SLAB and sizes >= 0:
                room = next((room for room in ROOMS if room >= size), 0)
                cache = f"kmalloc-{room if room < 1024 else f'{room >> 10}k'}" if room else ""
            if (attr.cache and not fnmatch(cache, attr.cache)) or not attr.min <= size <= attr.max:
                return 0
            return (1 << order) if kind == PAGES else size or 1

        def served(k: Host, words: RawArgs) -> int | Generator[Call, int, int]:
            amount = applies(words)
            if not amount or not self.should_fail(kind, amount):
                return bound(k, words)
            self.injected.append((kind, name, str(self.k.site.call_site(self.k.caller))))
            private.fail_after = 0
            try:
                return bound(k, words)
            finally:
                private.fail_after = NEVER

        return served

    def usercopy(self, name: str) -> bool:
        """``should_fail_usercopy()`` in the function *name*."""
        failed = USERCOPY in self.attributes and self.should_fail(USERCOPY, 1)
        if failed:
            self.injected.append((USERCOPY, name, str(self.k.site.call_site(self.k.caller))))
        return failed


def _parameters(prototype: str) -> list[str]:
    inside = prototype[prototype.index("(") + 1 : prototype.rindex(")")]
    return [part.strip() for part in inside.split(",") if part.strip() and part.strip() != "void"]


def arm(k: Any, texts: dict[str, str], seed: int) -> Faults | None:
    """Let calls on *k* fail as the texts say, by kind; before its modules are loaded."""
    attributes: dict[str, Attributes] = {kind: Attributes.parse(text) for kind, text in texts.items() if text}
    k.faults = Faults(k, attributes, seed) if attributes else None
    found: Faults | None = k.faults
    return found
