"""Where ``kmem top`` gets its moments from: the /proc of a machine, or a replay that can be paused and moved."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, TypeVar

from kmem.errors import InputError, KmemError
from kmem.mm.proc_tree import Tree
from kmem.report.replay import span
from kmem.report.top import Moment, Site, parse_buddyinfo, parse_meminfo, parse_slabinfo
from kmem.trace.result import Options
from kmem.trace.schema import Recording, site_name
from kmem.trace.stepped import SteppedReplay

T = TypeVar("T")
USUAL = 30.0
"""Seconds that a trace takes unless it is near that anyway."""


class Source(Protocol):
    """Something that has moments."""

    def moment(self) -> Moment:
        """Memory now."""
        ...

    def close(self) -> None:
        """Nobody looks any more."""
        ...


class Proc:
    """A directory like /proc."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.moment()

    def moment(self) -> Moment:
        """Read it. InputError if slabinfo cannot be read; other files are left out."""
        path = self._directory / "slabinfo"
        try:
            caches = parse_slabinfo(path.read_text())
        except PermissionError:
            raise InputError(
                f"{path}: only root may read it",
                remedy="Run it as root: sudo kmem top. Or give a trace, or --proc DIR.",
            ) from None
        except FileNotFoundError:
            raise InputError(
                f"{path}: there is none",
                remedy="Give a directory like /proc (kmem boot --proc-dir writes one), or a trace, or a module.",
            ) from None
        except (OSError, ValueError) as error:
            raise InputError(
                f"{path}: {error}", remedy="Give a directory like /proc, or a trace, or a module."
            ) from None
        info = parse_meminfo(self._text("meminfo"))
        up = self._text("uptime").split()
        return Moment(
            str(path),
            f"up {float(up[0]):,.0f} s" if up else "",
            caches,
            self._sites(),
            parse_buddyinfo(self._text("buddyinfo")),
            info.get("MemTotal", 0),
            info.get("MemFree", 0),
        )

    def close(self) -> None:
        """There is nothing to stop."""

    def _text(self, name: str) -> str:
        try:
            return (self._directory / name).read_text()
        except OSError:
            return ""

    def _sites(self) -> list[Site]:
        """Who holds memory: allocinfo, of kernels with CONFIG_MEM_ALLOC_PROFILING, and callers of vmalloc."""
        found = []
        for line in self._text("allocinfo").splitlines():
            words = line.split()
            if len(words) >= 3 and words[0].isdecimal() and words[1].isdecimal() and int(words[1]):
                found.append(Site(" ".join(words[2:]), "alloc", int(words[0]), int(words[1])))
        areas: Counter[tuple[str, str]] = Counter()
        sizes: Counter[tuple[str, str]] = Counter()
        for line in self._text("vmallocinfo").splitlines():
            words = line.split()
            if len(words) >= 3 and words[1].isdecimal():
                kind = next((word for word in ("vmalloc", "ioremap", "vmap") if word in words[3:]), "vmalloc space")
                areas[words[2], kind] += 1
                sizes[words[2], kind] += int(words[1])
        return found + [Site(name, kind, sizes[name, kind], count) for (name, kind), count in areas.items()]


class _Ended(Exception):
    """Nobody looks any more."""


class Player:
    """A replay in a thread of its own, which goes as far as it is let."""

    def __init__(
        self, recording: Recording, options: Options, name: str, done: Callable[[], None] = lambda: None
    ) -> None:
        self._recording, self._options, self._name, self._done = recording, options, name, done
        self._changed = threading.Condition()
        self._moment: Moment | None = None
        self._error: BaseException | None = None
        self.begin = self.end = self.now = 0
        self._limit = 0
        self._stop = self._over = self._asked = self._still = False
        self._start(0)

    def _start(self, limit: int) -> None:
        self._limit, self._stop, self._over, self._moment = limit, False, False, None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        self._reached()

    def _run(self) -> None:
        self._replay = SteppedReplay(self._recording, self._options, self._wait)
        try:
            self._replay.run()
        except _Ended:
            pass
        except Exception as error:
            self._error = error
        finally:
            with self._changed:
                self._over = True
                self._changed.notify_all()

    def _wait(self, now: int) -> int:
        """In the thread: go on, or let others look and wait until there is something to do."""
        with self._changed:
            self.begin, self.end, self.now = self._replay.begin, self._replay.end, now
            if self._stop:
                raise _Ended
            on_the_way = now < min(self._limit, self.end)
            if not on_the_way or self._asked:
                self._moment, self._asked = self._look(), False
                self._changed.notify_all()
            if on_the_way:
                return self._limit
            self._still = True
            while not self._stop and (now >= self._limit or now >= self.end):
                self._changed.wait()
            self._still = False
            if self._stop:
                raise _Ended
            return self._limit

    def _look(self) -> Moment:
        replay = self._replay
        replay.tell_apart()
        kernel, info = replay.kernel, self._recording.info
        proc = {name: kernel.proc(name) for name in ("slabinfo", "buddyinfo", "meminfo")}
        memory = parse_meminfo(proc["meminfo"])
        known = [c for c in parse_slabinfo(proc["slabinfo"]) if not c.name.startswith("model:")]
        sites = [
            Site(site_name(info, site.key), site.cache, site.bytes, site.live, site.allocs, site.frees)
            for site in replay.call_sites()[1:]
        ]
        return Moment(
            self._name, "", known, sites, parse_buddyinfo(proc["buddyinfo"]), memory["MemTotal"], memory["MemFree"]
        )

    def _reached(self) -> None:
        """Wait until the replay is where it may go. What went wrong in it is raised here."""
        with self._changed:
            while not self._over and (self._moment is None or self.now < min(self._limit, self.end)):
                self._changed.wait()
            if self._error:
                raise (
                    self._error if isinstance(self._error, KmemError) else RuntimeError(str(self._error))
                ) from self._error

    @property
    def duration(self) -> float:
        """Seconds of the trace."""
        return (self.end - self.begin) / 1e9

    @property
    def at(self) -> float:
        """Seconds since it began."""
        return max(self.now - self.begin, 0) / 1e9

    def speed(self) -> float:
        """Seconds of the trace in a second, so that it is neither over at once nor takes an hour."""
        return 1.0 if USUAL / 5 < self.duration < USUAL * 4 else max(self.duration, 1e-9) / USUAL

    def seek(self, second: float) -> None:
        """Go to *second* of the trace, back or forth; going back begins again."""
        wanted = self.begin + int(min(max(second, 0.0), self.duration) * 1e9)
        if wanted < self.now:
            self._halt()
            self._start(0)
        with self._changed:
            self._limit = max(wanted, self.begin)
            self._changed.notify_all()
        self._reached()

    def moment(self) -> Moment:
        """The model as it is."""
        with self._changed:
            assert self._moment is not None
            self._asked = True
            share = self.at / self.duration if self.duration else 1.0
            self._moment.clock = (
                f"at {span(self.now - self.begin) or '0 s'} of {span(self.end - self.begin)} ({share:.0%})"
            )
            return self._moment

    def tree(self) -> Tree:
        """The model's /proc; its files are to be read `at_rest`."""
        kernel = self._replay.kernel
        kernel.clock.set(self.now)
        return kernel.proc_tree()

    def at_rest(self, read: Callable[[], T]) -> T:
        """Read the model between two events of the trace."""
        with self._changed:
            while not self._still and not self._over:
                self._changed.wait()
            return read()

    def close(self) -> None:
        """End the replay; *done* clears away what was made for it."""
        self._halt()
        self._done()

    def _halt(self) -> None:
        with self._changed:
            self._stop = True
            self._changed.notify_all()
        self._thread.join()
        self._replay.kernel.close()
