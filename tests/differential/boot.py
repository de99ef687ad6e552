"""Asks a real kernel: boots it in QEMU without root and without KVM, loads modules, brings back its log and /proc.

``boot([Load(path)])`` takes about seven seconds; the answer of a kernel that lived to the end, or died of a module, is
kept in the user's cache under a hash of all that it depends on (kernel, initial file system with the modules in it,
command line, machine). The same log for the same hash is what makes the answers usable in tests: another boot may have
other addresses.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import shutil
import subprocess
import tarfile
import tempfile
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from kmem.lib.build import cache_dir
from tests.differential.cpio import archive
from tests.differential.image import VERSION, Unavailable, kernel_image

QEMU = "qemu-system-x86_64"
MACHINE = ("-accel", "tcg,thread=multi", "-cpu", "max,la57=off", "-m", "512M", "-smp", "2")
COMMAND_LINE = "console=ttyS0 ignore_loglevel panic=-1 tsc=unstable log_buf_len=8M no_hash_pointers nokaslr"
PROC = ("slabinfo", "buddyinfo", "vmallocinfo", "meminfo", "pagetypeinfo", "zoneinfo", "vmstat", "modules")
TIMEOUT = 120.0
"""Seconds after which a boot is given up."""
STEP, PANIC = "@@STEP ", "Kernel panic - not syncing"
"""What the console says before each module, and of a kernel that stops."""
MAX_KEPT = 96
"""Answers that stay in the cache."""

INIT = """#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
echo 8 > /proc/sys/kernel/printk
echo 0 > /proc/sys/kernel/kptr_restrict
stty -F /dev/ttyS1 raw -echo
mkdir /out
exec > /out/steps 2>&1
snap() {
    mkdir -p /out/$1
    for f in $2; do cat /proc/$f > /out/$1/$f 2> /dev/null; done
}
load() {
    echo "@@STEP $1 m:/modules/$2.ko ${3:0:200}" > /dev/kmsg
    taskset 1 insmod /modules/$2.ko $3
    echo "insmod $2 $3: $?"
    snap loaded.$1 '%(loaded)s'
    grep -q "^$2 .* Live " /proc/modules && taskset 1 rmmod $2
}
snap before '%(proc)s'
%(loads)s
%(script)ssnap after '%(proc)s'
%(sys)scd /out && tar czf /dev/ttyS1 .
sync
poweroff -f
"""


SYS = """for f in %s; do
    [ -f $f ] && mkdir -p /out${f%%/*} && cat $f > /out$f 2> /dev/null
done
"""


@dataclass(frozen=True, slots=True)
class Load:
    """One module to load and to unload, with its parameters as on insmod's command line."""

    module: Path
    parameters: str = ""

    @property
    def name(self) -> str:
        """The module's own name."""
        return self.module.stem.replace("-", "_")


@dataclass(frozen=True, slots=True)
class Boot:
    """What came back: the console, where only the kernel writes, and files.

    The files are ``steps``, what insmod said, /proc in ``before/``, ``loaded.N/`` and ``after/``, and in the end what
    was wanted of /sys under its own name. A kernel that dies takes them with it; the console always comes.
    """

    console: str
    files: dict[str, str] = field(default_factory=dict)


def boot(
    loads: Sequence[Load],
    append: str = "",
    timeout: float = TIMEOUT,
    loaded: Sequence[str] = PROC,
    version: str = VERSION,
    machine: Sequence[str] = (),
    sys: Sequence[str] = (),
    script: str = "",
) -> Boot:
    """Boot Debian's kernel, load the modules one after the other on CPU 0, and return what it said. *loaded* are the
    files of /proc that are wanted of each load; a boot with hundreds of loads had better not bring all. *machine* are
    more words for QEMU (a later one wins), *sys* files of /sys, for the shell to match, to read at the end; *script*
    are lines for the shell after the loads, which may write into /out.

    Raises Unavailable, with the way out, where this machine cannot do it, and when the boot took too long.
    """
    if shutil.which(QEMU) is None:
        raise Unavailable(f"{QEMU} not found: apt-get install qemu-system-x86")
    kernel = kernel_image(version)
    initramfs = _initramfs(loads, loaded, sys, script)
    key = hashlib.sha256(kernel.read_bytes())
    for part in (initramfs, append.encode(), " ".join((*MACHINE, *machine, COMMAND_LINE)).encode()):
        key.update(hashlib.sha256(part).digest())
    kept = cache_dir() / "boots" / f"{key.hexdigest()[:32]}.json"
    if kept.is_file():
        return Boot(**json.loads(kept.read_text()))
    answer = _run(kernel, initramfs, append, timeout, machine)
    if not answer.files and not (STEP in answer.console and PANIC in answer.console):
        return answer  # it ended before it came to a module, or without a word: the next boot need not
    kept.parent.mkdir(parents=True, exist_ok=True)
    temporary = kept.with_suffix(f".{os.getpid()}")
    temporary.write_text(json.dumps(asdict(answer)))
    os.replace(temporary, kept)
    for old in sorted(kept.parent.glob("*.json"), key=lambda path: path.stat().st_mtime_ns)[:-MAX_KEPT]:
        old.unlink(missing_ok=True)
    return answer


def _initramfs(loads: Sequence[Load], loaded: Sequence[str] = PROC, sys: Sequence[str] = (), script: str = "") -> bytes:
    """The initial file system: busybox, the modules, and a script that loads them in order."""
    busybox = shutil.which("busybox")
    if busybox is None or b"/ld-linux" in Path(busybox).read_bytes()[:4096]:
        raise Unavailable("no static busybox found: apt-get install busybox-static")
    calls = "\n".join(f"load {number} {load.name} '{load.parameters}'" for number, load in enumerate(loads))
    files = {
        "init": (
            INIT
            % {
                "proc": " ".join(PROC),
                "loaded": " ".join(loaded),
                "loads": calls,
                "script": script,
                "sys": SYS % " ".join(sys) if sys else "",
            }
        ).encode(),
        "bin/busybox": Path(busybox).read_bytes(),
        **{f"modules/{load.name}.ko": load.module.read_bytes() for load in loads},
    }
    return archive(files, ("dev", "proc", "sys"))


def _run(kernel: Path, initramfs: bytes, append: str, timeout: float, machine: Sequence[str]) -> Boot:
    with tempfile.TemporaryDirectory() as work:
        initrd, second_serial = Path(work, "initrd"), Path(work, "out.tar")
        initrd.write_bytes(initramfs)
        command = [QEMU, *MACHINE, *machine, "-kernel", str(kernel), "-initrd", str(initrd)]
        command += ["-append", f"{COMMAND_LINE} {append}", "-display", "none", "-monitor", "none", "-net", "none"]
        command += ["-no-reboot", "-serial", "stdio", "-serial", f"file:{second_serial}"]
        try:
            done = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=timeout,
                check=False,
            )
        except subprocess.TimeoutExpired as late:
            last = (late.stdout or b"").decode(errors="replace").splitlines()[-3:]
            raise Unavailable(f"the kernel did not finish within {timeout:.0f} s; its last lines: {last}") from None
        console = done.stdout.decode(errors="replace")
        if "Linux version" not in console:
            raise Unavailable(f"{QEMU} did not boot {kernel.name}: {console.strip()[-300:]}")
        return Boot(console, _files(second_serial.read_bytes()))


def _files(tar: bytes) -> dict[str, str]:
    """Unpack what came over the second serial line; nothing if the kernel died before it had sent all."""
    files: dict[str, str] = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(gzip.decompress(tar))) as content:
            for member in content:
                if member.isfile() and (data := content.extractfile(member)):
                    files[member.name.removeprefix("./")] = data.read().decode(errors="replace")
    except (tarfile.TarError, OSError, EOFError, zlib.error):
        return {}
    return files
