"""Places inside the kernel image that reports name: where WARN and BUG stand, and the frames between them and a caller.

The model runs no kernel code, so a report about a kernel function takes its numbers from the real image of the release:
``abi/releases/<release>.sites``, which says what its lines mean. Addresses are those of a kernel without KASLR.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

from kmem.abi.data import read
from kmem.kapi.regs import Frame

MODULE_INIT, MODULE_EXIT = "@module-init", "@module-exit"
"""Where the kernel calls a module's init and exit function; the inner end of the system call's frames."""
SYSCALL_ENTRY = "entry_SYSCALL_64_after_hwframe"


@dataclass(frozen=True, slots=True)
class Site:
    """One place. *slug* names some of them; *file* and *line* are empty and 0 for an instruction that merely faults."""

    slug: str
    file: str
    line: int
    function: str
    offset: int
    address: int
    size: int
    once: bool = False

    @property
    def text(self) -> str:
        """As ``%pS`` prints the address: ``__alloc_pages+0x2a9/0x330``."""
        return f"{self.function}+{self.offset:#x}/{self.size:#x}"


class KernelText:
    """The places and the call graph of one release."""

    def __init__(self, text: str) -> None:
        self._functions: dict[str, tuple[int, int]] = {}
        self._sites: list[Site] = []
        self._calls: dict[str, list[tuple[int | None, str]]] = {}
        for line in text.splitlines():
            words = line.split()
            if words and words[0] != "#":
                self._add(words[0], words[1:])

    def _add(self, keyword: str, words: list[str]) -> None:
        if keyword == "function":
            name, address, size = words
            self._functions[name] = int(address, 16), int(size, 16)
        elif keyword == "jump":
            caller, callee = words
            self._calls.setdefault(caller, []).append((None, callee))
        elif keyword == "call":
            caller, offset = words[0].rsplit("+", 1)
            self._calls.setdefault(caller, []).append((int(offset, 16), words[1]))
        else:
            where = words[1] if len(words) == 3 else ":0"
            file, line = where.rsplit(":", 1)
            function, at = words[-1].rsplit("+", 1)
            start, length = self._functions[function]
            once = keyword.endswith("-once")
            offset_in = int(at, 16)
            self._sites.append(
                Site(words[0].strip("-"), file, int(line), function, offset_in, start + offset_in, length, once)
            )

    def site(self, slug: str, function: str = "") -> Site:
        """The place called *slug*, in *function* if it has several. Raises KeyError."""
        for site in self._sites:
            if site.slug == slug and (not function or site.function == function):
                return site
        raise KeyError(slug)

    def caller(self, slug: str) -> Site | None:
        """Who asks for an area of the kernel's own; None if the release's data do not say."""
        return next((site for site in self._sites if site.slug == slug), None)

    def has(self, slug: str, function: str) -> bool:
        """Whether there is a place called *slug* in *function*."""
        return any(site.slug == slug and site.function == function for site in self._sites)

    def at_line(self, file: str, line: int, function: str = "") -> Site | None:
        """The WARN or BUG that stands in *file* at *line*; of several, the one in *function*, else the first."""
        found = [site for site in self._sites if site.file == file and site.line == line]
        return next((site for site in found if site.function.split(".")[0] == function), found[0] if found else None)

    def frame(self, function: str, offset: int) -> Frame:
        """A return address inside *function*."""
        start, size = self._functions[function]
        return Frame(start + offset, True, f"{function}+{offset:#x}/{size:#x}")

    def frames(self, *path: str) -> list[Frame]:
        """The frames that a call through all functions of *path* leaves, innermost first.

        Between two names the shortest way is taken; with no way between them nothing is known, and the answer is empty.
        """
        found: list[Frame] = []
        for outer, inner in pairwise(path):
            way = self._way(outer, inner)
            if way is None:
                return []
            found += way
        return found[::-1]

    def syscall(self, inner: str) -> list[Frame]:
        """The frames below a module's init (`MODULE_INIT`) or exit (`MODULE_EXIT`), innermost first."""
        return self.frames(SYSCALL_ENTRY, inner)

    def _way(self, outer: str, inner: str) -> list[Frame] | None:
        queue: deque[tuple[str, list[Frame]]] = deque([(outer, [])])
        seen = {outer}
        while queue:
            name, way = queue.popleft()
            if name == inner:
                return way
            for offset, callee in self._calls.get(name, ()):
                if callee not in seen:
                    seen.add(callee)
                    queue.append((callee, way if offset is None else [*way, self.frame(name, offset)]))
        return None


@cache
def kernel_text(release: str) -> KernelText:
    """The places of *release* ("6.1")."""
    return KernelText(read(release, "sites"))
