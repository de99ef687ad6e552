"""kmem top: what it shows of a machine, of a trace at any moment, and what its keys do."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import kmem
from kmem.commands import top as command
from kmem.commands.main import main
from kmem.errors import InputError
from kmem.report.table import Ink
from kmem.report.top import Cache, Moment, Shown, Site, head, parse_slabinfo, rows, summary, top_text
from kmem.report.top_sources import Player, Proc
from kmem.trace.open import open_trace
from kmem.trace.replay import Replay
from kmem.trace.result import Options
from tests.conftest import Kmem
from tests.trace import made

OPTIONS = Options.of({"ram": 256 << 20, "cpus": 2}, "6.1")

# what is shown


def moment(*caches: Cache, sites: tuple[Site, ...] = ()) -> Moment:
    return Moment("here", "now", list(caches), list(sites), [("Node 0 DMA", [3, 0, 1])], 1 << 20, 1 << 19)


BIG, SMALL = Cache("big", 3, 4, 4096, 4, 4, 1), Cache("small", 60, 128, 32, 128, 1, 1)
MORE = Cache("small", 256, 256, 32, 128, 1, 2)


def test_a_row_has_what_slabinfo_has_and_what_follows_from_it() -> None:
    assert head("caches") == "cache,objects,active,use %,size,slabs,pages,KiB,waste KiB,change KiB".split(",")
    assert rows(moment(BIG, SMALL), Shown()) == [
        ["big", 4, 3, 75, 4096, 1, 4, 16, 4, None],
        ["small", 128, 60, 46, 32, 1, 1, 4, 2, None],
    ]


@pytest.mark.parametrize(
    ("letter", "falling", "first"),
    [("n", True, "big"), ("o", True, "small"), ("z", True, "big"), ("u", True, "big"), ("b", False, "small")],
)
def test_a_letter_sorts(letter: str, falling: bool, first: str) -> None:
    shown = Shown(sort={"caches": letter}, falling=falling)
    assert rows(moment(BIG, SMALL), shown)[0][0] == first


def test_changes_are_counted_from_the_base() -> None:
    shown = Shown(sort={"caches": "c"}, base=moment(SMALL))
    assert [(row[0], row[-1]) for row in rows(moment(BIG, MORE), shown)] == [("big", 16), ("small", 4)]


def test_call_sites_are_found_by_their_cache_too() -> None:
    sites = (Site("drv_init+0x1", "kmalloc-64", 128, 2, 3, 1), Site("other", "dentry", 192, 1, 1, 0))
    shown = Shown("sites", filter="KMALLOC")
    assert rows(moment(sites=sites), shown) == [["drv_init+0x1", "kmalloc-64", 128, 2, 3, 1, None]]
    assert rows(moment(sites=sites), Shown("sites", filter="oth"))[0][0] == "other"


def test_free_blocks_stand_by_order() -> None:
    assert rows(moment(), Shown("free")) == [["Node 0 DMA", 3, 0, 1, *[0] * 8, 0.0, "100 %"]]


def test_the_summary_adds_up_and_the_text_says_what_is_left_out() -> None:
    text = top_text(moment(BIG, SMALL), Shown(), 1, Ink(False))
    assert summary(moment(BIG, SMALL)) == text.splitlines()[:2]
    assert "20 KiB in 2 slabs of 2 caches, 30.6 % of it not in use; 63 of 132 objects; 512 of 1,024 KiB free" in text
    assert text.endswith("… and 1 more (--rows shows more)")
    assert "no name has 'x' in it" in top_text(moment(BIG), Shown(filter="x"), 9, Ink(False))


def test_a_text_that_is_no_slabinfo_is_refused() -> None:
    for text in ("", "meminfo", "slabinfo - version: 1.1\n", "slabinfo - version: 2.1\nkmalloc-8 1 2 3\n"):
        with pytest.raises(ValueError, match="slabinfo"):
            parse_slabinfo(text)


# the /proc of a machine


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("top")
    with kmem.boot(ram="96M") as k:
        k.vmalloc(1 << 20)
        k.write_proc(directory)
    return directory


def test_a_machine_is_what_its_proc_says(tree: Path) -> None:
    now = Proc(tree).moment()
    lines = (tree / "slabinfo").read_text().splitlines()[2:]
    assert [cache.name for cache in now.caches] == [line.split()[0] for line in lines]
    assert sum(cache.bytes for cache in now.caches) >> 10 == int(
        next(line for line in (tree / "meminfo").read_text().splitlines() if line.startswith("Slab:")).split()[1]
    )
    assert [(site.what, site.bytes, site.live) for site in now.sites] == [("vmalloc", (1 << 20) + 4096, 1)]
    assert [zone for zone, _ in now.free] == ["Node 0 DMA", "Node 0 DMA32"]
    assert now.clock == "up 1 s"


def test_a_kernel_that_counts_allocations_tells_its_call_sites(tmp_path: Path) -> None:
    (tmp_path / "slabinfo").write_text("slabinfo - version: 2.1\n# name\n")
    (tmp_path / "allocinfo").write_text(
        "allocinfo - version: 1.0\n#     <size>  <calls> <tag info>\n"
        "           0        0 init/main.c:1314 func:do_initcalls\n"
        "       86016       21 fs/dcache.c:1608 [ext4] func:__d_alloc\n"
    )
    [site] = Proc(tmp_path).moment().sites
    assert (site.name, site.bytes, site.live) == ("fs/dcache.c:1608 [ext4] func:__d_alloc", 86016, 21)


def test_what_cannot_be_read_is_said_with_what_helps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="there is none") as missing:
        Proc(tmp_path)
    assert "kmem boot --proc-dir" in missing.value.remedy
    (tmp_path / "slabinfo").write_text("junk")
    with pytest.raises(InputError, match="no slabinfo of version 2"):
        Proc(tmp_path)

    def refuse(path: Path) -> str:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_text", refuse)
    with pytest.raises(InputError, match="only root may read it") as refused:
        Proc(Path("/proc"))
    assert "sudo kmem top" in refused.value.remedy


# a trace


@pytest.fixture(scope="module")
def trace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made.directory(tmp_path_factory.mktemp("top") / "raw", made.workload(6000))


@pytest.fixture
def player(trace: Path) -> Iterator[Player]:
    started = Player(open_trace(trace), OPTIONS, "made")
    yield started
    started.close()


def test_at_the_end_it_shows_what_a_replay_finds(trace: Path, player: Player) -> None:
    whole = Replay(open_trace(trace), OPTIONS)
    result = whole.run()
    player.seek(player.duration)
    shown = player.moment()
    assert {c.name: c.slabs for c in shown.caches if c.slabs} == {c.name: c.slabs for c in result.caches if c.slabs}
    assert sorted((s.what, s.bytes, s.live, s.allocs) for s in shown.sites) == sorted(
        (s.cache, s.bytes, s.live, s.allocs) for s in result.sites[1:]
    )
    assert shown.clock.endswith("(100%)")
    whole.kernel.close()


def test_a_moment_is_the_same_however_it_was_reached(trace: Path, player: Player) -> None:
    middle = player.duration / 2
    player.seek(middle)
    first = player.moment()
    assert player.at == pytest.approx(middle, abs=1e-8)
    player.seek(player.duration)
    assert sum(s.allocs or 0 for s in player.moment().sites) > sum(s.allocs or 0 for s in first.sites) > 0
    player.seek(middle)
    assert player.moment() == first
    events = [e for e in made.workload(6000) if e.kind in ("kmalloc", "kmem_cache_alloc")]
    begin = min(e.time for e in made.workload(6000))
    passed = sum(e.time - begin <= middle * 1e9 for e in events)
    assert sum(s.allocs or 0 for s in first.sites) == passed


def test_a_trace_of_one_event_has_a_moment_before_and_one_after(tmp_path: Path) -> None:
    event = made.Made(5000, 0, 7, "kmem_cache_alloc", made.BASE, req=192, alloc=192, name="dentry")
    player = Player(open_trace(made.directory(tmp_path / "raw", [event])), OPTIONS, "made")
    assert player.moment().sites == []
    player.seek(player.duration)
    assert [(site.what, site.live) for site in player.moment().sites] == [("dentry", 1)]
    player.close()


def test_an_empty_trace_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "trace.txt").write_text("# tracer: nop\n#\n")
    assert main(["top", str(tmp_path / "trace.txt"), "--once"]) == 0
    assert "0 KiB in 0 slabs" in capsys.readouterr().out


def test_it_can_be_left_at_any_time(trace: Path) -> None:
    player = Player(open_trace(trace), OPTIONS, "made")
    player.seek(player.duration / 3)
    player.close()
    assert not player._thread.is_alive()


# the command


def test_once_prints_a_table(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["top", "--proc", str(tree), "--once", "--rows", "3", "--filter", "kmalloc"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[3].split()[:3] == ["cache", "objects", "active"]
    assert len(lines) == 8


def test_a_trace_is_shown_at_a_second(trace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["top", str(trace), "--once", "--view", "sites", "--release", "6.1"]
    assert main([*words, "--at", "0"]) == 0
    begun = capsys.readouterr().out
    assert main(words) == 0
    ended = capsys.readouterr().out
    assert "(0%)" in begun
    assert "(100%)" in ended
    assert len(ended.splitlines()) > len(begun.splitlines())


@pytest.mark.needs_headers
def test_a_module_is_run_first(kmem: Kmem, root: Path) -> None:
    done = kmem("top", root / "examples" / "kmalloc_driver", "--view", "sites")
    assert done.returncode == 0, done.stderr
    assert "kmalloc_driver (clean)" in done.stdout
    row = next(line.split() for line in done.stdout.splitlines() if "kmalloc_driver_init" in line)
    assert row[-6:] == ["kmalloc-1k", "0", "0", "1", "1", "0"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--sort", "x"], "--sort x: caches have no such column"),
        (["--at", "-1"], "--at lies before the beginning"),
        (["--at", "1", "--once", "--proc", "TREE"], "--at and --speed are for a trace or a run"),
        (["nowhere"], "nowhere: no such file or directory"),
        (["TREE/meminfo"], "this is no trace that is known"),
        (["TREE", "--proc", "TREE"], "two things to look at"),
    ],
)
def test_what_makes_no_sense_is_refused(
    tree: Path, words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["top", *(word.replace("TREE", str(tree)) for word in words)]) == 2
    assert said in capsys.readouterr().err


def test_without_textual_it_says_what_installs_it(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setitem(sys.modules, "textual", None)
    for stream in ("stdin", "stdout", "stderr"):
        monkeypatch.setattr(getattr(sys, stream), "isatty", lambda: True, raising=False)
    assert main(["top"]) == 2
    told = capsys.readouterr().err
    assert "pip install 'kmem[top]'" in told
    assert "kmem top --once" in told


def test_the_screen_is_not_loaded_for_a_table(kmem: Kmem, tree: Path) -> None:
    done = kmem("top", "--proc", tree, PYTHONPROFILEIMPORTTIME="1")
    assert done.returncode == 0
    assert "kmem.report.top" in done.stderr
    assert " textual" not in done.stderr


# the screen


def screen(app: Any) -> str:
    return "\n".join("".join(s.text for s in strip).rstrip() for strip in app.screen._compositor.render_strips())


def names(app: Any) -> list[str]:
    return [str(app.table.get_row_at(number)[0]) for number in range(app.table.row_count)]


def play(source: Any, act: Callable[[Any, Any], Awaitable[None]], **more: Any) -> None:
    """Open the screen of *source* and let *act* use its keys."""
    pytest.importorskip("textual", reason="textual is missing: pip install 'kmem[top]'")
    from kmem.report.top_app import TopApp

    async def session() -> None:
        app = TopApp(source, Shown(), more.get("delay", 60.0), more.get("speed", 0.0), more.get("paused", False))
        async with app.run_test(size=more.get("size", (140, 30))) as pilot:
            await pilot.pause()
            await act(app, pilot)

    asyncio.run(session())


async def arrive(app: Any, pilot: Any) -> None:
    """Wait until the replay is where it was sent."""
    for _ in range(500):
        await pilot.pause(0.01)
        if app._aim is None:
            return
    raise AssertionError("the replay never arrived")


def test_keys_sort_turn_filter_and_change_the_view(tree: Path) -> None:
    async def act(app: Any, pilot: Any) -> None:
        assert "KiB (b) *" in screen(app)
        await pilot.press("o")
        objects = [int(str(app.table.get_row_at(n)[1]).replace(",", "")) for n in range(app.table.row_count)]
        assert objects == sorted(objects, reverse=True)
        await pilot.press("o")
        assert "by objects, reversed" in screen(app)
        await pilot.press("n", "r", "r")
        assert names(app) == sorted(names(app))
        await pilot.press("slash", *"kmalloc-1")
        assert names(app)
        assert all("kmalloc-1" in name for name in names(app))
        await pilot.press("enter", "down", "tab")
        assert "call site (n)" in screen(app)
        assert "no name has 'kmalloc-1' in it" in screen(app)
        await pilot.press("escape", "3")
        assert names(app) == ["Node 0 DMA", "Node 0 DMA32"]
        await pilot.press("1")
        assert len(names(app)) == len(Proc(tree).moment().caches)

    play(Proc(tree), act)


def test_the_cursor_stays_on_its_cache(tree: Path) -> None:
    async def act(app: Any, pilot: Any) -> None:
        await pilot.press("n", "down", "down", "down")
        name = names(app)[app.table.cursor_row]
        await pilot.press("b")
        assert names(app)[app.table.cursor_row] == name
        app.look()
        await pilot.pause()
        assert names(app)[app.table.cursor_row] == name

    play(Proc(tree), act)


def test_a_machine_that_changes_is_looked_at_again(tmp_path: Path) -> None:
    with kmem.boot(ram="96M") as k:
        k.write_proc(tmp_path)

        async def act(app: Any, pilot: Any) -> None:
            for _ in range(40):
                k.kmalloc(4096)
            k.write_proc(tmp_path)
            await pilot.pause(0.3)
            row = next(app.table.get_row_at(n) for n, name in enumerate(names(app)) if name == "kmalloc-4k")
            assert int(row[-1].replace(",", "")) == 160
            await pilot.press("d")
            row = next(app.table.get_row_at(n) for n, name in enumerate(names(app)) if name == "kmalloc-4k")
            assert int(row[-1]) == 0
            await pilot.press("space")
            before = screen(app)
            k.kmalloc(4096)
            k.write_proc(tmp_path)
            await pilot.pause(0.3)
            assert screen(app) == before
            assert "PAUSED" in before

        play(Proc(tmp_path), act, delay=0.1)


def test_a_machine_that_goes_away_ends_it(tmp_path: Path) -> None:
    with kmem.boot(ram="96M") as k:
        k.write_proc(tmp_path)

    async def act(app: Any, pilot: Any) -> None:
        (tmp_path / "slabinfo").unlink()
        app.look()
        await pilot.pause()
        assert "there is none" in app.problem.message

    play(Proc(tmp_path), act)


def test_a_trace_is_stepped_through_and_jumped_in(player: Player) -> None:
    async def act(app: Any, pilot: Any) -> None:
        assert "(0%)" in screen(app)
        assert "PAUSED" in screen(app)
        await pilot.press("right")
        await arrive(app, pilot)
        assert player.at == pytest.approx(player.duration / 60, rel=0.01)
        await pilot.press("end")
        await arrive(app, pilot)
        assert "(100%)" in screen(app)
        await pilot.press("left")
        await arrive(app, pilot)
        assert player.at == pytest.approx(player.duration * 59 / 60, rel=0.01)
        await pilot.press("home")
        await arrive(app, pilot)
        assert player.at == 0
        await pilot.press("plus")
        assert f"speed {2 * player.speed():.3g}" in screen(app)

    play(player, act, paused=True)


def test_a_key_is_not_lost_while_it_plays(player: Player) -> None:
    async def act(app: Any, pilot: Any) -> None:
        await pilot.pause(0.1)
        app.go(player.duration / 3)
        await pilot.press("end", "space")
        await arrive(app, pilot)
        assert player.at == player.duration
        app.go(0.0)
        await pilot.press("right", "right", "right")
        await arrive(app, pilot)
        assert player.at == pytest.approx(player.duration * 3 / 60, rel=0.01)

    play(player, act, delay=0.01)


def test_a_trace_plays_by_itself(player: Player) -> None:
    async def act(app: Any, pilot: Any) -> None:
        for _ in range(500):
            await pilot.pause(0.02)
            if "the end" in screen(app):
                return
        raise AssertionError(screen(app))

    play(player, act, delay=0.02, speed=player.duration * 20)


def test_a_small_terminal_keeps_the_keys(tree: Path) -> None:
    async def act(app: Any, pilot: Any) -> None:
        await pilot.resize_terminal(50, 12)
        await pilot.pause()
        lines = screen(app).splitlines()
        assert len(lines) == 12
        assert "view" in lines[-1]
        assert any(line.strip().startswith("kmalloc-2k") for line in lines)

    play(Proc(tree), act)


def test_the_default_speed_fits_the_trace(player: Player) -> None:
    assert player.duration / player.speed() == pytest.approx(30)
    assert command.parser().parse_args(["--delay", "0.5"]).delay == 0.5
