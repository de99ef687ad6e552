"""Plots of replays and sweeps: what they show, the same bytes each time, and what is said when they cannot be made."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from kmem.commands.main import main
from tests.trace import made

pytest.importorskip("matplotlib", reason="no matplotlib: pip install 'kmem[plot]'")


@pytest.fixture(scope="module")
def trace(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(made.directory(tmp_path_factory.mktemp("trace") / "raw", made.workload(3000)))


def words(svg: Path) -> list[str]:
    """The texts of a drawing; each is a comment before the paths of its letters."""
    return re.findall(r"<!-- (.*?) -->", svg.read_text())


def test_a_replay_shows_caches_free_blocks_and_fragmentation(trace: str, tmp_path: Path) -> None:
    file = tmp_path / "replay.svg"
    assert main(["replay", trace, "--release", "6.1", "--plot", str(file)]) == 0
    shown = words(file)
    assert {"Live objects by cache", "Free memory by the order of its blocks", "seconds"} <= set(shown)
    assert {f"order {n}" for n in range(11)} <= set(shown)
    named = {event.name or f"kmalloc-{event.alloc}" for event in made.workload(3000) if "alloc" in event.kind}
    assert len(named & set(shown)) > 3


@pytest.mark.parametrize("suffix", [".svg", ".pdf", ".png"])
def test_the_same_trace_is_the_same_file(trace: str, tmp_path: Path, suffix: str) -> None:
    files = [tmp_path / f"{n}{suffix}" for n in range(2)]
    for file in files:
        assert main(["replay", trace, "--release", "6.1", "--plot", str(file)]) == 0
    assert files[0].read_bytes() == files[1].read_bytes()
    assert files[0].read_bytes().startswith({".svg": b"<?xml", ".pdf": b"%PDF", ".png": b"\x89PNG"}[suffix])


def test_a_sweep_of_one_number_is_lines_and_of_several_settings_bars(trace: str, tmp_path: Path) -> None:
    lines, bars = tmp_path / "lines.svg", tmp_path / "bars.svg"
    sweep = ["sweep", trace, "--release", "6.1", "--jobs", "1", "--set"]
    assert main([*sweep, "slub_max_order=0,1,3", "--plot", str(lines)]) == 0
    assert main([*sweep, "slub_max_order=0,3", "--set", "min_partial=0,9", "--plot", str(bars)]) == 0
    assert {"slab pages at most", "waste", "unusable for order 3", "slub_max_order", "raw"} <= set(words(lines))
    assert 'id="line2d_' in lines.read_text()
    assert {"slub_max_order=0", "slub_max_order=3", "min_partial=9"} <= set(words(bars))


@pytest.mark.parametrize("command", [["replay", "x"], ["sweep", "x", "--set", "cpus=1,2"]])
def test_what_cannot_be_drawn_is_said_before_the_work(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    command = [word if word != "x" else str(made.directory(tmp_path / "raw", made.workload(10))) for word in command]
    assert main([*command, "--plot", str(tmp_path / "x.gif")]) == 2
    assert ".svg, .pdf, .png" in capsys.readouterr().err
    assert main([*command, "--plot", str(tmp_path / "no" / "x.svg")]) == 2
    assert "there is no directory" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert main([*command, "--plot", str(tmp_path / "x.svg")]) == 2
    assert "pip install 'kmem[plot]'" in capsys.readouterr().err
    assert not (tmp_path / "x.svg").exists()
