"""The pytest plugin, as the author of a driver uses it: a directory with a test, and pytest."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
NAME, FAILING, LEAK = "examples/name_driver", "tests/kmod/failing", "tests/kmod/bad/leak"
Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Runs pytest on *test*, which tests the driver in the directory *source*."""

    def call(test: str, source: str, *words: str) -> subprocess.CompletedProcess[str]:
        (tmp_path / "pytest.ini").write_text(f"[pytest]\nkmem_driver = {ROOT / source}\n")
        (tmp_path / "test_it.py").write_text(f"import pytest, kmem\n{test}\n")
        return subprocess.run(
            [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:hypothesispytest", *words],
            cwd=tmp_path,
            env={**os.environ, "NO_COLOR": "1", "COLUMNS": "200"},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    return call


def test_the_plugin_costs_nothing_until_a_test_asks_for_it() -> None:
    script = "import sys, kmem.testing, kmem.testing.plugin; print([m for m in sys.modules if m.startswith('kmem.')])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['kmem.abi', 'kmem.abi.ioctl', 'kmem.testing', 'kmem.testing.plugin']"


@pytest.mark.needs_headers
def test_a_finding_is_the_failure_with_the_drivers_lines(run: Run) -> None:
    done = run("def test_it(driver): pass", NAME)
    assert done.returncode == 1
    out = done.stdout
    assert "1 error" in out or "1 failed" in out
    assert "out-of-bounds: write of 1 byte 0 bytes right of 10 bytes at name_driver_init" in out
    source = (ROOT / NAME / "name_driver.c").read_text().splitlines()
    for text in ("copy[len] = '\\0';", "copy = kmalloc(len, GFP_KERNEL);"):
        [number] = [at for at, line in enumerate(source, 1) if text in line]
        assert f"> {number:5}  " in out
    assert "allocated here:" in out
    assert 'remembering "crankshaft"' in out
    assert "bench.py" not in out


@pytest.mark.needs_headers
@pytest.mark.parametrize(
    ("marker", "passed"),
    [
        ("", False),
        ("@pytest.mark.allow_leak(site='leak_init', reason='the hardware keeps it')", True),
        ("@pytest.mark.allow_leak(site='leak.c', reason='the hardware keeps it')", True),
        ("@pytest.mark.allow_leak(site='another', reason='the hardware keeps it')", False),
        ("@pytest.mark.allow_leak(site='leak_init')", False),
    ],
)
def test_a_leak_fails_the_test_unless_it_is_allowed_with_a_reason(run: Run, marker: str, passed: bool) -> None:
    done = run(f"{marker}\ndef test_it(driver): pass", LEAK)
    assert done.returncode == (0 if passed else 1), done.stdout
    if not passed:
        assert ("needs a reason" if "reason" not in marker and marker else "leak: ") in done.stdout


@pytest.mark.needs_headers
@pytest.mark.parametrize(("fault", "found"), [("none", ""), ("null", "null-dereference"), ("leak", "leak")])
def test_every_allocation_fails_in_turn(run: Run, fault: str, found: str) -> None:
    test = f"@pytest.mark.driver('{ROOT / FAILING}', fault='{fault}')\n@pytest.mark.fail_each_alloc(max=20)\n"
    done = run(test + "def test_it(driver): assert driver.init == 0", FAILING)
    assert done.returncode == (1 if found else 0), done.stdout
    assert "1 passed" in done.stdout or found
    if found:
        assert f"{found}: " in done.stdout
        assert "failed: vmalloc at " in done.stdout or "failed: kmalloc at " in done.stdout


@pytest.mark.needs_headers
def test_a_test_that_does_not_hold_when_memory_is_short_fails(run: Run) -> None:
    test = """
@pytest.mark.fail_each_alloc
def test_it(driver, kernel):
    assert kernel.kmalloc(64, kmem.GFP_KERNEL)
"""
    done = run(test, "examples/notes_driver")
    assert done.returncode == 1
    assert "assert 0" in done.stdout
    assert "failed: one of the kernel's own" in done.stdout


@pytest.mark.needs_headers
def test_each_schedule_is_a_test(run: Run) -> None:
    test = "@pytest.mark.schedules(3)\ndef test_it(driver, kernel): assert kernel.boot_config.seed in range(3)"
    done = run(test, "examples/notes_driver", "-v", "-n", "2")
    assert "3 passed" in done.stdout
    assert all(f"test_it[seed{seed}]" in done.stdout for seed in range(3))


@pytest.mark.needs_headers
def test_the_markers_say_which_machine_is_booted(run: Run) -> None:
    test = """
pytestmark = pytest.mark.kernel(release="6.12", ram="256M")
@pytest.mark.kernel(cpus=4, numa=2, config="debug", cmdline="slab_nomerge")
def test_it(kernel, insmod):
    assert (kernel.release.name, kernel.nr_cpus, kernel.nr_nodes) == ("6.12", 4, 2)
    assert kernel.boot_config.config == "debug" and kernel.mm.ram.size == 256 << 20
    assert insmod("%s", room=9).name == "notes_driver"
"""
    done = run(test % (ROOT / "examples" / "notes_driver"), "examples/notes_driver")
    assert "1 passed" in done.stdout, done.stdout
    done = run("@pytest.mark.kernel(relase='6.12')\ndef test_it(kernel): pass", NAME)
    assert "has no relase" in done.stdout


@pytest.mark.needs_headers
def test_an_assertion_of_the_test_is_shown_with_what_was_found(run: Run) -> None:
    test = "def test_it(driver): assert driver.name == 'other'"
    done = run(test, NAME)
    assert "assert 'name_driver' == 'other'" in done.stdout
    assert "out-of-bounds: write of 1 byte" in done.stdout


@pytest.mark.needs_headers
def test_what_cannot_be_built_is_told_by_the_compiler(run: Run, tmp_path: Path) -> None:
    (tmp_path / "broken.c").write_text("int broken(\n")
    done = run("@pytest.mark.driver('broken.c')\ndef test_it(driver): pass", NAME)
    assert "1 error" in done.stdout
    assert "broken.c:" in done.stdout


@pytest.mark.needs_headers
def test_every_copy_from_and_to_the_user_fails_in_turn(run: Run) -> None:
    test = """
import errno
@pytest.mark.fail_each_alloc(max=2, copies=True)
def test_it(driver, kernel):
    with kernel.open("/dev/notes") as note:
        note.write(b"hello")
        try:
            note.read(1, offset=0)
        except OSError as error:
            assert error.errno == %s
"""
    assert "1 passed" in run(test % "errno.EFAULT", "examples/notes_driver").stdout
    done = run(test % "errno.EIO", "examples/notes_driver")
    assert "1 failed" in done.stdout
    assert "copy 2 failed: " in done.stdout
