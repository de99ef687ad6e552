"""The parts of ``kmem oops`` that its users see: exit status, JSON, deduplication, rules, and its cost."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from kmem.commands.oops import main
from kmem.errors import InputError, UsageError

LOGS = Path(__file__).parent / "logs"
POISON = str(LOGS / "x86-list-poison.txt")
CLEAN = str(LOGS / "clean.txt")


def test_exit_status(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([POISON]) == 1
    assert main([CLEAN]) == 0
    assert "no report of a kernel is in this log" in capsys.readouterr().out


def test_missing_file_is_bad_input() -> None:
    with pytest.raises(InputError) as error:
        main(["/nonexistent/log"])
    assert error.value.status == 2


def test_standard_input(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(Path(POISON).read_bytes())))
    assert main(["-"]) == 1
    assert "LIST_POISON1 +0x8" in capsys.readouterr().out


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--json", POISON, CLEAN])
    logs = json.loads(capsys.readouterr().out)["logs"]
    report = logs[0]["reports"][logs[0]["main"]]
    assert report["cause"] == "use_after_free"
    assert report["address"] == "0xdead000000000108"
    assert report["access"] == "write"
    assert report["trace"][0] == {
        "function": "demo_exit", "offset": 28, "module": "demo", "reliable": True, "line": 6, "where": None,
    }  # fmt: skip
    assert logs[1] == {"file": CLEAN, "main": None, "reports": []}


def test_dedup_groups_by_title(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--dedup", POISON, str(LOGS / "sleep.txt"), POISON, CLEAN])
    rows = capsys.readouterr().out.splitlines()
    assert rows[0].split()[0] == "2"
    assert "demo_exit" in rows[0]
    assert "no report" in rows[-1]


def test_rules_explain_themselves(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--explain", "9"]) == 0
    assert "free" in capsys.readouterr().out
    with pytest.raises(UsageError):
        main(["--explain", "999"])


def test_nothing_heavy_is_loaded() -> None:
    code = (
        "import sys; from kmem.commands.oops import main; main(sys.argv[1:]);"
        "print([name for name in ('numpy', 'numba', 'unicorn', 'elftools', 'rich', 'kmem.mm') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, POISON], capture_output=True, text=True, check=True, timeout=60,
        env={"PYTHONPATH": str(Path(__file__).resolve().parents[2] / "src")},
    )  # fmt: skip
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.needs_headers
@pytest.mark.slow
def test_module_gives_source_lines(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from kmem.modules.kbuild import build

    module = build(root / "tests/kmod/bug").modules[0]
    main(["--json", "--module", str(module), str(LOGS / "kmem-null.txt")])
    report = json.loads(capsys.readouterr().out)["logs"][0]["reports"][0]
    assert report["trace"][0]["where"].endswith("bug.c:109")
