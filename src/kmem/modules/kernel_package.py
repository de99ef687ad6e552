"""The modules of Debian's kernel, fetched as a package without root: what ``kmem survey`` can be tried on."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from pathlib import Path

from kmem.errors import HeadersMissing
from kmem.lib.build import cache_dir
from kmem.modules.headers import FLAVOUR, Progress, run_tool, silent
from kmem.modules.vermagic import age_of, series_of

PREFIX = "linux-image-"


def modules_root() -> Path:
    """Where fetched modules are kept."""
    return cache_dir() / "modules"


def fetched(release: str) -> Path | None:
    """The directory with the newest fetched modules of *release*, None if there are none."""
    found = [path for path in modules_root().glob("*/lib/modules/*") if series_of(path.name) == (release, FLAVOUR)]
    return max(found, key=lambda path: age_of(path.name), default=None)


def require_modules(release: str, *, progress: Progress = silent) -> Path:
    """`fetched`, or else `fetch_modules`."""
    return fetched(release) or fetch_modules(release, progress=progress)


def fetch_modules(release: str, *, progress: Progress = silent) -> Path:
    """Download the newest kernel package of *release* with apt-get and unpack its modules into the cache; their
    directory.

    It appears under its final name at once or not at all. Raises HeadersMissing when apt or the package is missing, or
    the download fails.
    """
    package = _choose(release)
    root = modules_root()
    root.mkdir(parents=True, exist_ok=True)
    version = package.removeprefix(PREFIX)
    final = root / version
    with tempfile.TemporaryDirectory(prefix=f".{version}.", dir=root) as work:
        tree = Path(work, "tree")
        progress(f"downloading {package}")
        run_tool(["apt-get", "download", package], release, cwd=Path(work))
        for archive in sorted(Path(work).glob("*.deb")):
            progress(f"unpacking {archive.name}")
            run_tool(["dpkg-deb", "-x", str(archive), str(tree)], release)
        if not (tree / "lib/modules" / version).is_dir():
            raise HeadersMissing(f"{package} has no modules in it", remedy="report this, with what `kmem doctor` says")
        if final.exists():
            shutil.rmtree(final)
        os.rename(tree, final)
    return final / "lib/modules" / version


def _choose(release: str) -> str:
    pattern = f"^{PREFIX}{re.escape(release)}[.][0-9A-Za-z.+~-]*{FLAVOUR}$"
    text = run_tool(["apt-cache", "search", "--names-only", pattern], release)
    names = [line.split(" ")[0] for line in text.splitlines()]
    names = [name for name in names if series_of(name.removeprefix(PREFIX)) == (release, FLAVOUR)]
    if not names:
        raise HeadersMissing(
            f"apt knows no {PREFIX} package for {release}",
            remedy="run `apt-get update` as root, on a Debian with this kernel, or unpack a kernel package yourself",
        )
    return max(names, key=lambda name: age_of(name.removeprefix(PREFIX)))
