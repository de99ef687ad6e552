"""Kernel headers to build modules against: found on the machine, or fetched as Debian packages without root.

Looked for in this order: the directory that ``KMEM_HEADERS`` names, the kernels installed under /lib/modules, the
user's cache (``~/.cache/kmem/headers``), which `fetch` fills.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from kmem.errors import HeadersMissing
from kmem.lib.build import cache_dir
from kmem.modules.vermagic import age_of, series_of

INSTALLED = Path("/lib/modules")
FLAVOUR = "amd64"
_UTS_RELEASE = re.compile(r'#define\s+UTS_RELEASE\s+"([^"]+)"')
_TIMEOUT = 900

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Headers:
    """A prepared build directory (``make -C path M=…``), the kernel release it is for, and where it was found."""

    path: Path
    version: str
    source: str


def silent(text: str) -> None:
    """A progress callback that says nothing."""


def headers_root() -> Path:
    """Where fetched headers are kept."""
    return cache_dir() / "headers"


def find(release: str = "6.1", version: str | None = None) -> Headers | None:
    """Headers for *release*: those of kernel *version* if they are there, else the newest of the same flavour; None if
    none.

    Raises HeadersMissing when ``KMEM_HEADERS`` is set and names no usable directory.
    """
    own = os.environ.get("KMEM_HEADERS")
    if own:
        found = read_version(Path(own))
        if found is None:
            raise HeadersMissing(
                f"KMEM_HEADERS is {own}, which has no prepared kernel headers",
                remedy="let it name a build directory (with Makefile and include/generated/utsrelease.h), or unset it",
            )
        return Headers(Path(own), found, "KMEM_HEADERS")
    candidates = [headers for headers in _candidates() if series_of(headers.version) == (release, FLAVOUR)]
    if not candidates:
        return None
    # The first of equals is the installed one.
    return max(candidates, key=lambda headers: (headers.version == version, age_of(headers.version)))


def require(
    release: str = "6.1", version: str | None = None, *, progress: Progress = silent, download: bool = True
) -> Headers:
    """`find`, or else `fetch` when *download* allows. HeadersMissing when there is no way."""
    found = find(release, version)
    if found is not None:
        return found
    if not download:
        raise HeadersMissing(f"no kernel headers for {release}", remedy=f"run `kmem headers {release}`")
    return fetch(release, version, progress=progress)


def read_version(path: Path) -> str | None:
    """The kernel release (UTS_RELEASE) that the build directory *path* is for; None when it is none."""
    try:
        text = (path / "include/generated/utsrelease.h").read_text("ascii", "replace")
    except OSError:
        return None
    match = _UTS_RELEASE.search(text)
    return match[1] if match and (path / "Makefile").is_file() else None


def _candidates() -> Iterator[Headers]:
    for parent, pattern, source in (
        (INSTALLED, "*/build", "system"),
        (headers_root(), "*/usr/src/linux-headers-*", "cache"),
    ):
        for path in sorted(parent.glob(pattern)):
            version = read_version(path)
            if version is not None:
                yield Headers(path, version, source)


def fetch(release: str = "6.1", version: str | None = None, *, progress: Progress = silent) -> Headers:
    """Download the header packages with apt-get, unpack them into the cache and make them usable where they lie. No
    root needed.

    The result appears under its final name at once or not at all. Raises HeadersMissing when apt or the packages are
    missing, or the download fails.
    """
    for tool in ("apt-cache", "apt-get", "dpkg-deb"):
        if shutil.which(tool) is None:
            raise HeadersMissing(
                f"no kernel headers for {release}, and {tool} is missing to fetch them",
                remedy=f"set KMEM_HEADERS to a prepared {release} build directory, "
                f"or unpack Debian's linux-headers packages of {release} yourself",
            )
    package = _choose(release, version)
    kernel = package.removeprefix("linux-headers-")
    packages = [package, *_needed(package)]
    root = headers_root()
    root.mkdir(parents=True, exist_ok=True)
    final = root / kernel
    with tempfile.TemporaryDirectory(prefix=f".{kernel}.", dir=root) as work:
        downloads, tree = Path(work, "deb"), Path(work, "tree")
        downloads.mkdir()
        tree.mkdir()
        progress(f"downloading {', '.join(packages)}")
        run_tool(["apt-get", "download", *packages], release, cwd=downloads)
        for archive in sorted(downloads.glob("*.deb")):
            progress(f"unpacking {archive.name}")
            run_tool(["dpkg-deb", "-x", str(archive), str(tree)], release)
        build = Path("usr/src", package)
        relocate(tree, build, final)
        if read_version(tree / build) is None:
            raise HeadersMissing(
                f"{package} has no kernel headers in it", remedy="report this, with the output of `kmem doctor`"
            )
        if final.exists():
            shutil.rmtree(final)
        os.rename(tree, final)
    progress(f"headers of {kernel} are in {final}")
    return Headers(final / build, kernel, "cache")


def relocate(tree: Path, build: Path, final: Path) -> None:
    """Make an unpacked package *tree* usable as *final*: absolute paths in its Makefiles, and links into /usr, follow
    it there.
    """
    for makefile in (tree / build / "Makefile", tree / build / ".kernelvariables"):
        if makefile.is_file():
            text = makefile.read_text("utf-8", "surrogateescape")
            text = re.sub(r"(?<![\w./])/usr/(src|lib)/", lambda match: f"{final}/usr/{match[1]}/", text)
            makefile.write_text(text, "utf-8", "surrogateescape")
    for link in sorted(tree.glob("usr/src/*/*")):
        if link.is_symlink() and os.readlink(link).startswith("/usr/"):
            target = f"{final}{os.readlink(link)}"
            link.unlink()
            link.symlink_to(target)


def _choose(release: str, version: str | None) -> str:
    """The package to fetch: of kernel *version* if apt knows it, else the newest of *release*."""
    pattern = f"^linux-headers-{re.escape(release)}[.][0-9A-Za-z.+~-]*{FLAVOUR}$"
    text = run_tool(["apt-cache", "search", "--names-only", pattern], release)
    names = [line.split(" ")[0] for line in text.splitlines() if line.startswith("linux-headers-")]
    names = [name for name in names if series_of(name.removeprefix("linux-headers-")) == (release, FLAVOUR)]
    if not names:
        raise HeadersMissing(
            f"apt knows no linux-headers package for {release}",
            remedy="run `apt-get update` as root, on a Debian with this kernel, or set KMEM_HEADERS",
        )
    return max(
        names, key=lambda name: (name == f"linux-headers-{version}", age_of(name.removeprefix("linux-headers-")))
    )


def _needed(package: str) -> list[str]:
    """The packages that *package* needs for building: the common headers and kbuild's programs."""
    text = run_tool(["apt-cache", "show", "--no-all-versions", package], package)
    depends = next((line[8:] for line in text.splitlines() if line.startswith("Depends:")), "")
    names = [entry.strip().split(" ")[0] for entry in depends.split(",")]
    return [name for name in names if name.startswith(("linux-headers-", "linux-kbuild-"))]


def run_tool(command: Sequence[str], what: str, cwd: Path | None = None) -> str:
    """Run a packaging tool; what it prints. HeadersMissing, about *what*, when it fails."""
    try:
        done = subprocess.run(
            command, cwd=cwd, env=dict(os.environ, LC_ALL="C"), stdin=subprocess.DEVNULL, capture_output=True,
            text=True, errors="replace", timeout=_TIMEOUT, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise HeadersMissing(
            f"fetching the headers of {what}: {error}", remedy="check the network, then try again"
        ) from error
    if done.returncode:
        errors = [
            line for line in done.stderr.splitlines() if line.startswith(("E:", "dpkg-deb:"))
        ] or done.stderr.splitlines()
        raise HeadersMissing(
            f"fetching the headers of {what}: {' '.join(command[:2])} failed: {' / '.join(errors[-3:])}",
            remedy="check the network and `apt-get update`, or set KMEM_HEADERS to a prepared build directory",
        )
    return done.stdout
