"""Debian's linux-source-6.1: found on the machine, or fetched without root into the user's cache.

``python -m tests.selftest.source`` fetches it. Only what the tests build is unpacked.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from kmem.lib.build import cache_dir

RELEASE = "6.1"
PACKAGE = f"linux-source-{RELEASE}"
INSTALLED = Path(f"/usr/src/{PACKAGE}.tar.xz")
WANTED = (
    *("lib/*.c", "lib/*.h", "lib/math/*.c", "lib/kunit/*.c", "mm/slab.h", "mm/kasan/kasan.h", "mm/kasan/kasan_test.c"),
    "tools/testing/selftests/kselftest_module.h",
    *("drivers/net/dummy.c", "drivers/net/ifb.c", "drivers/net/tun.c"),
    *("drivers/char/ppdev.c", "drivers/scsi/scsi_debug.c"),
)
"""What is unpacked, as tar's patterns below the top of the source."""


class NoSource(Exception):
    """There is no kernel source; the message says what would mend that."""


def kept() -> Path:
    """Where the unpacked source is kept: what is wanted decides."""
    what = hashlib.sha256(" ".join(WANTED).encode()).hexdigest()[:8]
    return cache_dir() / "source" / f"{RELEASE}-{what}"


def find() -> Path:
    """The top of the source. Raises NoSource where it is missing."""
    own = os.environ.get("KMEM_KERNEL_SOURCE")
    if own:
        if not Path(own, "lib", "test_meminit.c").is_file():
            raise NoSource(f"KMEM_KERNEL_SOURCE is {own}, which is no unpacked kernel source")
        return Path(own)
    if not kept().is_dir() and INSTALLED.is_file():
        unpack(INSTALLED)
    if not kept().is_dir():
        raise NoSource(f"no kernel source: python -m tests.selftest.source fetches Debian's {PACKAGE}")
    return kept()


def unpack(archive: Path) -> None:
    """Unpack what is wanted of *archive*, unless another process did so meanwhile; it appears at once or not at all."""
    top = kept().parent
    top.mkdir(parents=True, exist_ok=True)
    with (
        open(top / f".{RELEASE}.lock", "w") as lock,
        tempfile.TemporaryDirectory(dir=top, prefix=f".{RELEASE}.") as work,
    ):
        fcntl.flock(lock, fcntl.LOCK_EX)
        if kept().is_dir():
            return
        patterns = [f"{PACKAGE}/{pattern}" for pattern in WANTED]
        command = ["tar", "xJf", str(archive), "-C", work, "--no-wildcards-match-slash", "--wildcards", *patterns]
        subprocess.run(command, check=True)
        os.rename(Path(work, PACKAGE), kept())


def fetch() -> Path:
    """Download the package and unpack it; the top of the source."""
    for tool in ("apt-get", "dpkg-deb", "tar", "xz"):
        if shutil.which(tool) is None:
            raise NoSource(f"{tool} is missing: set KMEM_KERNEL_SOURCE to an unpacked {RELEASE} source")
    with tempfile.TemporaryDirectory() as work:
        try:
            subprocess.run(["apt-get", "download", PACKAGE], cwd=work, check=True)
            [package] = Path(work).glob("*.deb")
            subprocess.run(["dpkg-deb", "-x", str(package), f"{work}/tree"], check=True)
        except subprocess.CalledProcessError as error:
            raise NoSource(f"{' '.join(error.cmd[:2])} failed: check the network and `apt-get update`") from None
        unpack(Path(work, "tree", *INSTALLED.parts[1:]))
    return kept()


if __name__ == "__main__":
    try:
        print(find() if kept().is_dir() or INSTALLED.is_file() else fetch())
    except NoSource as missing:
        sys.exit(f"source: {missing}")
