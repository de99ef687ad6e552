from __future__ import annotations

import json
from pathlib import Path

import pytest

from kmem.commands.main import main
from kmem.trace.sweep import combinations
from tests.trace import made


def test_every_combination_once() -> None:
    assert combinations([("a", [1, 2]), ("b", [3])]) == [(("a", 1), ("b", 3)), (("a", 2), ("b", 3))]


def test_the_command_tries_all_and_puts_the_cheapest_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = str(made.directory(tmp_path / "raw", made.workload(3000)))
    words = ["sweep", where, "--release", "6.1", "--set", "slub_max_order=0,3", "--set", "ram=256M", "--json"]
    assert main(words) == 0
    outcomes = json.loads(capsys.readouterr().out)["outcomes"]
    assert sorted(o["settings"]["slub_max_order"] for o in outcomes) == [0, 3]
    assert [o["pages"] for o in outcomes] == sorted(o["pages"] for o in outcomes)
    assert outcomes[0]["pages"] < outcomes[1]["pages"]
    assert outcomes[0]["live_bytes"] == outcomes[1]["live_bytes"]


def test_nothing_to_vary(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sweep", str(tmp_path)]) == 2
    assert "nothing to vary" in capsys.readouterr().err


@pytest.mark.parametrize("words", ["slub_max_order", "colour=1", "cpus=x"])
def test_settings_that_are_none(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["sweep", "x", "--set", words])
    assert ended.value.code == 2
    assert words.split("=")[0] in capsys.readouterr().err
