"""kmem compare, boot, headers and doctor: what they print and how they end."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kmem.abi.data import releases
from kmem.commands import doctor
from kmem.commands import main as cli
from tests.conftest import Kmem


def test_compare_prints_the_rows_that_json_has(kmem: Kmem) -> None:
    words = ["compare", "--size", "3000", "--config", "plain"]
    rows = json.loads(kmem(*words, "--json").stdout)["rows"]
    assert {row["asked"] for row in rows} == {3000}
    text = kmem(*words).stdout
    for row in rows:
        line = next(line for line in text.splitlines() if line.startswith(f"{row['call']} "))
        assert row["address"] in line
        assert row["region"] in line
    assert "\n3000 bytes\n" in text


def test_a_program_s_malloc_takes_nothing_until_it_is_touched(kmem: Kmem) -> None:
    rows = json.loads(kmem("compare", "--size", "1M", "--json").stdout)["rows"]
    kernel, user = ({row["call"]: row for row in rows}[call] for call in ("kmalloc", "malloc (user)"))
    assert (kernel["buddy_pages"], kernel["touched_pages"], kernel["faults"]) == (256, 256, 0)
    assert user["buddy_pages"] == 0
    assert user["faults"] == user["pages"] == 257
    assert user["touched_pages"] == user["pages"] + user["table_pages"]
    assert (kernel["runs"], user["region"], user["content"]) == (1, "user", "zeroed")
    assert user["runs"] > 1


def test_boot_prints_the_proc_files_that_were_asked_for(kmem: Kmem) -> None:
    done = kmem("boot", "--proc", "slabinfo", "buddyinfo", "--ram", "256M")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("==> /proc/slabinfo <==\nslabinfo - version: 2.1\n")
    assert "==> /proc/buddyinfo <==\nNode 0, zone      DMA" in done.stdout


def test_an_unknown_proc_file_is_a_usage_error(kmem: Kmem) -> None:
    done = kmem("boot", "--proc", "kcore")
    assert done.returncode == 2
    assert "invalid choice: 'kcore'" in done.stderr


@pytest.mark.needs_headers
def test_headers_lists_and_finds(kmem: Kmem) -> None:
    listed, found = kmem("headers"), kmem("headers", "6.1")
    assert f"6.1  {found.stdout}" in listed.stdout
    assert [line.split()[0] for line in listed.stdout.splitlines()] == list(releases())
    assert found.stdout.startswith("6.1.0-")


def test_doctor_names_a_remedy_for_everything_that_is_missing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("KMEM_CACHE", str(tmp_path))
    monkeypatch.setenv("KMEM_HEADERS", str(tmp_path / "none"))
    assert cli.main(["doctor", "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    checks = {check["name"]: check for check in report["checks"]}
    assert report["healthy"] is False
    assert (checks["gcc"]["state"], checks["gcc"]["remedy"]) == ("missing", "apt-get install gcc")
    assert (checks["headers"]["state"], checks["core"]["state"]) == ("missing", "absent")
    assert all(check["remedy"] for check in report["checks"] if check["state"] != "ok")


def test_doctor_is_content_when_only_what_is_optional_is_absent(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        doctor, "look", lambda: [doctor.Check("gcc", "ok", "here"), doctor.Check("qemu", "absent", "", "get it")]
    )
    assert cli.main(["doctor"]) == 0
    assert capsys.readouterr().out == (
        f"gcc         ok       here\nqemu        absent\n{'':20} get it\n\nEverything that kmem needs is there.\n"
    )


def test_doctor_notices_too_little_memory_and_an_unusable_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "NEEDED_MEMORY", 1 << 60)
    monkeypatch.setattr(doctor, "NEEDED_DISK", 1 << 60)
    states = {check.name: check.state for check in doctor.look()}
    assert (states["memory"], states["disk"]) == ("missing", "missing")
