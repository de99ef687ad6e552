"""The kernel that is asked: Debian's own image, fetched without root into the user's cache."""

from __future__ import annotations

import os
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

from kmem.abi.release import release
from kmem.lib.build import cache_dir

VERSION = release("6.1").version
DOWNLOAD_TIMEOUT = 600


class Unavailable(Exception):
    """This machine cannot boot a kernel; the message says what would mend that."""


def kernel_image(version: str = VERSION) -> Path:
    """Return the kernel to boot: the file that KMEM_KERNEL_IMAGE names (for 6.1), or Debian's, downloaded once."""
    own = os.environ.get("KMEM_KERNEL_IMAGE") if version == VERSION else None
    if own:
        if not Path(own).is_file():
            raise Unavailable(f"KMEM_KERNEL_IMAGE is {own}, which is no file")
        return Path(own)
    image = cache_dir() / "kernels" / f"vmlinuz-{version}"
    if not image.is_file():
        image.parent.mkdir(parents=True, exist_ok=True)
        _fetch(image, version)
    return image


def _fetch(image: Path, version: str) -> None:
    """Download the package and take the image out of it."""
    wanted = f"linux-image-{version}-unsigned"
    for tool, package in (("apt-get", "apt"), ("dpkg-deb", "dpkg")):
        if shutil.which(tool) is None:
            raise Unavailable(f"{tool} not found (Debian's {package}): set KMEM_KERNEL_IMAGE to a vmlinuz of {version}")
    with tempfile.TemporaryDirectory(dir=image.parent) as work:
        try:
            done = subprocess.run(
                ["apt-get", "download", wanted],
                cwd=work,
                capture_output=True,
                text=True,
                timeout=DOWNLOAD_TIMEOUT,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise Unavailable(f"apt-get download {wanted} took more than {DOWNLOAD_TIMEOUT} s") from None
        packages = list(Path(work).glob("*.deb"))
        if done.returncode or not packages:
            said = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise Unavailable(f"apt-get download {wanted} failed ({said}): apt-get update, or set KMEM_KERNEL_IMAGE")
        unpacked = Path(work, "vmlinuz")
        _unpack(packages[0], unpacked, version)
        os.replace(unpacked, image)


def _unpack(package: Path, target: Path, version: str) -> None:
    """Write the one file that is wanted out of several hundred megabytes; the rest is not unpacked."""
    wanted = f"./boot/vmlinuz-{version}"
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", package], stdout=subprocess.PIPE) as process:
        with tarfile.open(fileobj=process.stdout, mode="r|") as content:
            for member in content:
                if member.name == wanted and (data := content.extractfile(member)):
                    target.write_bytes(data.read())
                    break
        process.kill()
    if not target.is_file():
        raise Unavailable(f"{package.name} has no {wanted}")
