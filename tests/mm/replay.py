"""A fixed sequence of calls of every kind, for comparing the engines.

``python -m tests.mm.replay RELEASE CONFIG SEED STEPS`` prints what each call returned and, now and then, the hash of
RAM.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator

from kmem.abi.gfp import __GFP_NORETRY, __GFP_NOWARN, __GFP_RECLAIMABLE, __GFP_ZERO, GFP_ATOMIC, GFP_KERNEL
from kmem.abi.slab_flags import slab_flags
from tests.mm.booted import MIB, BootedMm

QUIET = __GFP_NOWARN | __GFP_NORETRY
SIZES = (8, 33, 64, 100, 192, 512, 1000, 4096, 8192, 9000, 70000)
MASKS = (GFP_KERNEL, GFP_KERNEL | __GFP_ZERO, GFP_ATOMIC, GFP_KERNEL | 0x01, GFP_KERNEL | __GFP_RECLAIMABLE)


class Replay:
    """The calls and what they gave."""

    def __init__(self, config: str, seed: int, release: str = "6.1") -> None:
        self.mm = BootedMm(config, ram=96 * MIB, seed=seed, release=release)
        self.random = random.Random(seed)
        self.objects: list[int] = []
        self.pages: list[tuple[int, int]] = []
        self.areas: list[int] = []
        self.caches: list[int] = []
        self.of_cache: list[tuple[int, int]] = []

    def run(self, steps: int) -> Iterator[str]:
        """One line a call."""
        calls = [getattr(self, name) for name in sorted(dir(type(self))) if name.startswith("do_")]
        for step in range(steps):
            self.mm.on_cpu(self.random.randrange(2))
            call = self.random.choice(calls)
            yield f"{step} {call.__name__} {call()}"
            if step % 100 == 99:
                yield f"ram {self.mm.ram.hash()}"
        yield f"told {self.mm.told}"
        yield f"ram {self.mm.ram.hash()}"

    def _pop(self, things: list[int]) -> int:
        return things.pop(self.random.randrange(len(things)))

    def do_kmalloc(self) -> list[int]:
        size, gfp = self.random.choice(SIZES), self.random.choice(MASKS) | QUIET
        got = [self.mm.kmalloc(size, gfp) for _ in range(self.random.randrange(1, 20))]
        self.objects += filter(None, got)
        return got

    def do_kfree(self) -> list[int]:
        gone = [self._pop(self.objects) for _ in range(min(len(self.objects), self.random.randrange(1, 20)))]
        for obj in gone:
            self.mm.kfree(obj)
        return gone

    def do_krealloc(self) -> int:
        if not self.objects:
            return 0
        got = self.mm.krealloc(self._pop(self.objects), self.random.choice(SIZES), GFP_KERNEL)
        self.objects.append(got)
        return got

    def do_pages(self) -> int:
        order = self.random.randrange(7)
        page = self.mm.alloc_pages(self.random.choice(MASKS) | QUIET | (0x40000 if order % 2 else 0), order)
        if page:
            self.pages.append((page, order))
        return page

    def do_free_pages(self) -> int:
        if self.pages:
            self.mm.free_pages(*self.pages.pop(self.random.randrange(len(self.pages))))
        return self.mm.zone_free()

    def do_vmalloc(self) -> int:
        got = self.mm.vmalloc(self.random.choice((1, 5000, 100_000, 3_000_000)), GFP_KERNEL | QUIET)
        self.areas += [got] if got else []
        return got

    def do_kvmalloc(self) -> int:
        got = self.mm.kvmalloc(self.random.choice((3000, 5 * MIB)), GFP_KERNEL | QUIET)
        self.mm.kvfree(got)
        return got

    def do_vfree(self) -> int:
        area = self._pop(self.areas) if self.areas else 0
        self.mm.vfree(area)
        return area

    def do_vmap(self) -> int:
        pages = [self.mm.alloc_pages(GFP_KERNEL | QUIET, 0) for _ in range(5)]
        if 0 in pages:
            return 0
        got = self.mm.vmap(pages)
        self.mm.vunmap(got)
        for page in pages:
            self.mm.free_pages(page, 0)
        return got

    def do_ioremap(self) -> int:
        got = self.mm.ioremap(0xFEB00000, 0x1000)
        self.mm.iounmap(got)
        return got

    def do_percpu(self) -> int:
        got = self.mm.alloc_percpu(self.random.randrange(1, 300), self.random.choice((8, 64)))
        if self.random.randrange(2):
            self.mm.free_percpu(got)
        return got

    def do_create(self) -> int:
        f = slab_flags(self.mm.config.release)
        flags = self.random.choice((0, f.SLAB_HWCACHE_ALIGN, f.SLAB_RECLAIM_ACCOUNT))
        made = self.mm.kmem_cache_create(f"c{len(self.caches)}", self.random.randrange(1, 2000), 0, flags)
        self.caches.append(made)
        return made

    def do_cache_alloc(self) -> list[int]:
        if not self.caches:
            return []
        cache = self.random.choice(self.caches)
        got = [self.mm.kmem_cache_alloc(cache, GFP_KERNEL) for _ in range(10)]
        self.of_cache += [(cache, obj) for obj in got]
        return got

    def do_cache_free(self) -> int:
        gone = self.of_cache[:: self.random.randrange(1, 4)]
        self.of_cache = [pair for pair in self.of_cache if pair not in gone]
        for pair in gone:
            self.mm.kmem_cache_free(*pair)
        return len(gone)

    def do_shrink(self) -> int:
        return self.mm.kmem_cache_shrink(self.random.choice(self.caches)) if self.caches else 0

    def do_destroy(self) -> int:
        busy = {cache for cache, _ in self.of_cache}
        idle = [cache for cache in self.caches if cache not in busy]
        if idle:
            self.caches.remove(idle[0])
            self.mm.kmem_cache_destroy(idle[0])
        return idle[0] if idle else 0

    def do_drain(self) -> int:
        return self.mm.drain()


def main() -> None:
    release, config, seed, steps = sys.argv[1:]
    for line in Replay(config, int(seed), release).run(int(steps)):
        print(line)


if __name__ == "__main__":
    main()
