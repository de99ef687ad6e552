"""/proc of a machine as a file system: a tree (`kmem.mm.proc_tree`) mounted by FUSE, read as it is at that moment.

A thread serves the requests. While it makes a file, the main thread, which uses the machine, stands still between two
of its operations, so that no file has two moments in it. What is opened keeps the text that it had then, as with the
kernel's seq_file.
"""

from __future__ import annotations

import _thread
import ctypes
import errno
import os
import shutil
import signal
import stat
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, TypeVar

from kmem.errors import UsageError
from kmem.mm.proc_tree import Tree

FRESH = 0.1
"""Seconds for which it is known which files there are."""
PATIENCE = 10.0
AWAY = 0.003
"""Seconds after which a main thread that has not stopped is taken to be in a system call."""
T = TypeVar("T")


class Rest(Protocol):
    """Calls a function while the machine stands still; returns what it returns."""

    def __call__(self, read: Callable[[], T]) -> T: ...


def _fuse() -> Any:
    """The module mfusepy. UsageError says what is missing."""
    try:
        import mfusepy
    except ImportError:
        raise UsageError("mounting needs mfusepy", remedy="pip install 'kmem[fuse]'") from None
    except OSError:
        raise UsageError("mounting needs libfuse", remedy="apt-get install fuse3") from None
    return mfusepy


class _Stop:
    """One request to the main thread: it stands, it may go on, it has gone on."""

    def __init__(self) -> None:
        self.stands, self.go, self.gone = threading.Event(), threading.Event(), threading.Event()


class Standstill:
    """Makes the main thread stand still between two bytecodes while another thread reads what it changes.

    The interpreter runs a pending call in the main thread at the next bytecode boundary; ours waits there. A main
    thread that is in a system call, perhaps reading the very file, cannot stop and changes nothing; should it come back
    while something is read, it stops then, and the reading is done again.
    """

    def __init__(self) -> None:
        self._stop: _Stop | None = None
        self._interrupted = False
        self._call = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_void_p)(self._stand)

    def _stand(self, _: int) -> int:
        """In the main thread. An exception could not leave this call: Ctrl-C is given back by the other thread."""
        try:
            stop = self._stop
            assert stop is not None
            stop.stands.set()
            while not stop.go.is_set():
                try:
                    stop.go.wait()
                except KeyboardInterrupt:
                    self._interrupted = True
            stop.gone.set()
        except KeyboardInterrupt:
            self._interrupted = True
        return 0

    def while_reading(self, read: Callable[[], T]) -> T:
        """What *read* returns. Not to be called in the main thread, nor by two threads at once."""
        stop, stood = self._stop, False
        if stop is not None and not stop.stands.is_set():  # it has been in a system call since the last time
            stop.go = threading.Event()
        else:
            stop = self._stop = _Stop()
            if ctypes.pythonapi.Py_AddPendingCall(self._call, None):
                raise RuntimeError("too many pending calls")
            stood = stop.stands.wait(AWAY)
        try:
            try:
                found = read()
            except Exception:
                if stood or not stop.stands.is_set():
                    raise
            else:
                if stood or not stop.stands.is_set():
                    return found
            return read()
        finally:
            stop.go.set()
            if stop.stands.is_set():
                stop.gone.wait(1)
            if self._interrupted:
                self._interrupted = False
                _thread.interrupt_main()


class _Files:
    """What the file system answers (the methods are FUSE's)."""

    use_ns = True

    def __init__(self, tree: Callable[[], Tree], failure: Callable[[int], Exception], rest: Rest) -> None:
        self._make, self._failure, self._rest = tree, failure, rest
        self._tree, self._folders, self._until = Tree(), dict[str, set[str]](), 0.0
        self._open: dict[int, bytes] = {}
        self._number = 0
        self._home = os.getcwd()
        self.there = threading.Event()

    def init(self, path: str) -> None:
        """The file system is there. libfuse has gone to ``/``: the process goes back to where it was."""
        os.chdir(self._home)
        self.there.set()

    def destroy(self, path: str) -> None:
        """It is gone."""

    def _look(self, path: str) -> str:
        """Find out which files there are; *path* as the tree has it."""
        if time.monotonic() >= self._until:
            self._tree, self._folders = self._rest(self._make), {"": set()}
            for name in (*self._tree.files, *self._tree.links):
                while name:
                    folder, _, last = name.rpartition("/")
                    known = folder in self._folders
                    self._folders.setdefault(folder, set()).add(last)
                    if known:
                        break
                    name = folder
            self._until = time.monotonic() + FRESH
        return path.strip("/")

    def getattr(self, path: str, fh: Any = None) -> dict[str, int]:
        """``stat()``. A file's size is 0, as in /proc: it is made when it is opened."""
        name = self._look(path)
        if name in self._folders:
            return {"st_mode": stat.S_IFDIR | 0o555, "st_nlink": 2}
        if name in self._tree.links:
            return {"st_mode": stat.S_IFLNK | 0o777, "st_nlink": 1, "st_size": len(self._tree.links[name])}
        if name in self._tree.files:
            return {"st_mode": stat.S_IFREG | 0o444, "st_nlink": 1, "st_size": 0}
        raise self._failure(errno.ENOENT)

    def readdir(self, path: str, fh: Any) -> list[str]:
        """Names in a directory."""
        return [".", "..", *sorted(self._folders.get(self._look(path), ()))]

    def readlink(self, path: str) -> str:
        """Where a link leads."""
        return self._tree.links[self._look(path)]

    def open(self, path: str, info: Any) -> int:
        """Make the text."""
        give = self._tree.files.get(self._look(path))
        if give is None:
            raise self._failure(errno.ENOENT)
        if info.flags & os.O_ACCMODE != os.O_RDONLY:
            raise self._failure(errno.EACCES)
        try:
            text = self._rest(give)
        except Exception:
            self._until = 0.0  # a cache or a process that is gone since
            raise self._failure(errno.EIO) from None
        self._number += 1
        self._open[self._number] = text.encode("utf-8", "backslashreplace")
        info.fh, info.direct_io = self._number, True
        return 0

    def read(self, path: str, size: int, offset: int, info: Any) -> bytes:
        """Some of it."""
        return self._open[info.fh][offset : offset + size]

    def release(self, path: str, info: Any) -> int:
        """It is closed."""
        self._open.pop(info.fh, None)
        return 0


class Mount:
    """A tree at a directory until `close`. UsageError if it cannot be mounted there.

    *rest* calls what reads the machine while nobody changes it; by default it is the main thread that does.
    """

    def __init__(self, tree: Callable[[], Tree], where: str | Path, rest: Rest | None = None) -> None:
        self._fuse = _fuse()
        self.path = Path(where).absolute()
        self._ended = ""
        self._prepare(where)
        self._files = _Files(tree, self._fuse.FuseOSError, rest or Standstill().while_reading)
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()
        try:
            self._wait(where)
        except BaseException:
            self.close()
            raise
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGHUP, signal.SIGTERM):  # libfuse has taken those that nobody had
                if signal.getsignal(number) is signal.SIG_DFL:
                    signal.signal(number, signal.SIG_DFL)

    def _wait(self, where: str | Path) -> None:
        until = time.monotonic() + PATIENCE
        while not (os.path.ismount(self.path) and self._files.there.is_set()):
            if not self.alive or time.monotonic() > until:
                raise UsageError(
                    f"{where}: cannot be mounted: {self._ended or 'it takes too long'}",
                    remedy="Without root FUSE needs fusermount3 (apt-get install fuse3). --proc-dir needs nothing.",
                )
            time.sleep(0.01)

    def _prepare(self, where: str | Path) -> None:
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            taken = next(self.path.iterdir(), None)
        except OSError as error:
            raise UsageError(
                f"{where}: cannot mount there: {error.strerror}",
                remedy="Name a directory that is empty or not there yet; umount one that was left mounted.",
            ) from None
        if taken is not None:
            raise UsageError(f"{where}: is not empty: it holds {taken.name}", remedy="Name an empty directory.")
        if not os.path.exists("/dev/fuse"):
            raise UsageError("there is no /dev/fuse here", remedy="modprobe fuse; or write files with --proc-dir.")

    def _serve(self) -> None:
        how: dict[str, Any] = {"foreground": True, "nothreads": True, "ro": True, "fsname": "kmem"}
        how |= {"attr_timeout": 0, "entry_timeout": 0}
        if os.geteuid() == 0:
            how["allow_other"] = True  # what monitors runs as a user of its own
        try:
            self._fuse.FUSE(self._files, str(self.path), raw_fi=True, **how)
        except Exception as error:
            self._ended = f"FUSE ended with {error}"

    @property
    def alive(self) -> bool:
        """Whether it is still mounted."""
        return self._thread.is_alive()

    def close(self) -> None:
        """Unmount it, even while somebody reads."""
        if self.alive:
            root = os.geteuid() == 0
            words = ["umount", "-l"] if root else [shutil.which("fusermount3") or "fusermount", "-uz"]
            subprocess.run([*words, str(self.path)], check=False, capture_output=True)
        self._thread.join(PATIENCE)

    def __enter__(self) -> Mount:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
