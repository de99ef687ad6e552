"""``kmem shell``: code that is given, piped, or typed."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
import time
from pathlib import Path

import pytest

from kmem.commands.shell import history_file
from tests.conftest import Kmem

SMALL = ("--ram", "128M")


def test_code_is_run_on_a_booted_kernel(kmem: Kmem) -> None:
    done = kmem("shell", *SMALL, "-c", "p = k.kmalloc(60, GFP_KERNEL); print(k.x(p).live.size, len(k.slabs) > 20)")
    assert (done.returncode, done.stdout, done.stderr) == (0, "64 True\n", "")


@pytest.mark.parametrize(
    ("code", "status", "said"),
    [
        ("raise SystemExit(7)", 7, ""),
        ("raise SystemExit('so')", 1, "so\n"),
        ("1/0", 2, "ZeroDivisionError"),
        ("1 +", 2, "SyntaxError"),
        ("k.x(1)", 2, "[unknown-address]"),
        ("k.kzfree", 2, "kfree_sensitive"),
        ("k.kfree(k.kmalloc(8)); k.finding('leak', 'made')", 1, ""),
    ],
)
def test_exit_statuses(kmem: Kmem, code: str, status: int, said: str) -> None:
    done = kmem("shell", *SMALL, "-c", code)
    assert (done.returncode, done.stdout) == (status, "")
    assert said in done.stderr
    assert ".py" not in done.stderr or "Error" in done.stderr


def piped(text: str, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "kmem", "shell", *SMALL, *words]
    return subprocess.run(command, input=text, capture_output=True, text=True, check=False, timeout=120)


def test_a_script_is_read_from_a_pipe() -> None:
    done = piped("for size in (8, 16):\n    print(k.ksize(k.kmalloc(size)))\n")
    assert (done.returncode, done.stdout) == (0, "8\n16\n")


def test_a_script_of_nothing_does_nothing() -> None:
    assert piped("").returncode == 0


@pytest.mark.needs_headers
def test_a_module_is_loaded_first(kmem: Kmem) -> None:
    code = "print(m.name, k.module_list.column('module'), len(k.live) > 0); m.rmmod()"
    done = kmem("shell", "examples/name_driver", "name=abc", "-c", code)
    assert done.returncode == 1, done.stderr  # the example writes behind its string
    assert done.stdout == "name_driver ['name_driver'] True\n"


@pytest.mark.needs_headers
def test_a_module_that_kills_its_task_ends_the_script(kmem: Kmem) -> None:
    done = kmem("shell", "examples/freelist_corruption", "--config", "plain", "-c", "print('not reached')")
    assert (done.returncode, done.stdout) == (1, "")
    assert "the task that loaded freelist_corruption.ko died" in done.stderr


def test_a_file_that_is_not_there(kmem: Kmem) -> None:
    done = kmem("shell", *SMALL, "nowhere.ko", "-c", "1")
    assert done.returncode == 2
    assert "[bad-input]" in done.stderr


def test_lines_are_kept_where_xdg_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "/state")
    assert history_file() == Path("/state/kmem/shell_history")
    for wrong in ("", "relative"):
        monkeypatch.setenv("XDG_STATE_HOME", wrong)
        monkeypatch.setenv("HOME", "/home-of-one")
        assert history_file() == Path("/home-of-one/.local/state/kmem/shell_history")


def typed(lines: list[bytes], state: Path) -> tuple[str, int]:
    """What a terminal shows when *lines* are typed, each when the prompt is there; the exit status."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ |= {"TERM": "dumb", "XDG_STATE_HOME": str(state), "NO_COLOR": "1", "COLUMNS": "100"}
        os.execv(sys.executable, [sys.executable, "-m", "kmem", "shell", "--plain", *SMALL])
    shown, waiting, end = b"", list(lines), time.monotonic() + 60
    while time.monotonic() < end:
        ready, _, _ = select.select([terminal], [], [], 0.2)
        if ready:
            try:
                more = os.read(terminal, 1 << 16)
            except OSError:
                break
            shown += more
        elif waiting and shown.endswith(b">>> "):
            os.write(terminal, waiting.pop(0))
    _, status = os.waitpid(pid, 0)
    return shown.decode().replace("\r\n", "\n"), os.waitstatus_to_exitcode(status)


def test_a_prompt_shows_tables_completes_and_keeps_its_lines(tmp_path: Path) -> None:
    lines = [b"k.facts()\n", b"k.proc('buddyinfo')\n", b"k.free_bl\t.title\n", b"k.x(1)\n", b"k.kmalloc(8)\n", b"\x04"]
    shown, status = typed(lines, tmp_path)
    assert status == 0
    assert "k is the kernel. Try:" in shown
    assert "what" in shown
    assert "Linux 6.1 (debian)" in shown
    assert "\nNode 0, zone" in shown  # as text, not as a string
    assert "'free blocks by order'" in shown
    assert "kmem: 0x1: nothing was allocated" in shown
    assert "Traceback" not in shown
    assert "\n0xffff8880" in shown
    kept = (tmp_path / "kmem" / "shell_history").read_text()
    assert "k.free_blocks.title" in kept
