"""User-mode-linux as a second real kernel: whether it can run a program here, and if not, why."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

UML = shutil.which("linux.uml")
INIT = r"""
#include <sys/reboot.h>
#include <unistd.h>
int main(void) { write(1, "the program runs\n", 17); reboot(RB_POWER_OFF); return 0; }
"""


def boot(root: Path) -> str:
    """What user-mode-linux prints when it starts the only program of *root*."""
    words = f"mem=64M root=/dev/root rootfstype=hostfs rootflags={root} init=/init con=null con0=fd:0,fd:1".split()
    process = subprocess.Popen(
        [UML or "", *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        return process.communicate(timeout=20)[0]
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        return process.communicate()[0]


@pytest.mark.skipif(UML is None, reason="there is no linux.uml: apt-get install user-mode-linux")
def test_user_mode_linux_runs_a_program(tmp_path: Path) -> None:
    (tmp_path / "init.c").write_text(INIT)
    subprocess.run(["gcc", "-static", "-o", tmp_path / "init", tmp_path / "init.c"], check=True)
    said = boot(tmp_path)
    if "ptrace set fp regs failed" in said:
        pytest.skip(
            "user-mode-linux boots, but cannot start a program: it keeps floating point registers in a buffer that is "
            "smaller than what this host's CPU saves (PTRACE_SETFPREGS: EFAULT); no option of it changes that"
        )
    assert "the program runs" in said
