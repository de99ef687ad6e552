"""``kmem x`` on traces: what it says of an address is what the events say."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

import kmem
from kmem.commands.main import main
from kmem.kapi.history import History, UnknownAddress
from kmem.modules.vmcoreinfo import dump_core
from kmem.trace.history import Moment, Reader
from kmem.trace.open import open_trace
from kmem.trace.simulated import RunTrace
from tests.trace import made


def numbers(history: History | UnknownAddress) -> list[int]:
    assert isinstance(history, History)
    return [step.number for step, _ in history.rows()]


def naive(events: list[made.Made], address: int) -> list[int]:
    """Numbers of the events that are about *address*."""
    found, live = [], {}
    for number, e in enumerate(events, 1):
        pages = e.kind.startswith("mm_page")
        start = made.BASE + e.ptr * 4096 if pages else e.ptr
        if e.kind.endswith("alloc") or e.kind == "kmalloc":
            live[pages, e.ptr] = (4096 << e.order) if pages else e.alloc
        if start <= address < start + live[pages, e.ptr]:
            found.append(number)
    return found


def test_every_event_of_an_address_is_found_and_no_other(tmp_path: Path) -> None:
    events = made.workload(3000)
    reader = Reader(open_trace(made.directory(tmp_path / "raw", events)))
    rng = random.Random(1)
    addresses = [e.ptr + rng.randrange(64) for e in rng.sample([e for e in events if e.alloc], 40)]
    for address, found in zip(addresses, reader.find(addresses), strict=True):
        assert numbers(found) == naive(events, address), hex(address)


def dentry(kind: str, number: int, slot: int = 0) -> made.Made:
    sizes = {"req": 192, "alloc": 192} if kind == "alloc" else {}
    ptr = made.BASE + 0x100000 + slot * 192
    return made.Made(10**9 + number * 1000, 0, 7, f"kmem_cache_{kind}", ptr, name="dentry", **sizes)


def test_the_state_at_a_moment(tmp_path: Path) -> None:
    events = [dentry("alloc", 1), dentry("free", 2), dentry("alloc", 3)]
    where = made.directory(tmp_path / "raw", events)

    def live(moment: Moment) -> bool:
        (found,) = Reader(open_trace(where)).find([events[0].ptr + 5], moment)
        assert isinstance(found, History)
        return found.live is not None

    assert [live(Moment(event=n)) for n in (1, 2, 3)] == [True, False, True]
    assert [live(Moment(time=10**9 + ns)) for ns in (1500, 2000, 2999, 3000)] == [True, False, False, True]
    assert live(Moment())


def test_an_object_that_lived_before_is_known_by_its_free(tmp_path: Path) -> None:
    where = made.directory(tmp_path / "raw", [dentry("free", 1)])
    row = "dentry 21 21 192 21 1 : tunables 0 0 0 : slabdata 1 1 0"
    (where / "slabinfo.before").write_text(f"slabinfo - version: 2.1\n{row}\n")
    (found,) = Reader(open_trace(where)).find([made.BASE + 0x100000 + 100])
    assert isinstance(found, History)
    assert [text for _, text in found.rows()] == ["freed dentry (allocated earlier than that)"]


def test_an_address_without_events_names_its_neighbours(tmp_path: Path) -> None:
    events = [dentry("alloc", 1, slot=0), dentry("alloc", 2, slot=2)]
    where = made.directory(tmp_path / "raw", events)
    (found,) = Reader(open_trace(where)).find([made.BASE + 0x100000 + 200])
    assert isinstance(found, UnknownAddress)
    assert "dentry at 0xffff888000100000, 192 bytes, 8 bytes before it: event 1" in found.remedy
    assert "dentry at 0xffff888000100180, 192 bytes, 184 bytes after it: event 2" in found.remedy
    (far,) = Reader(open_trace(where)).find([0xFFFFC90000000000])
    assert isinstance(far, UnknownAddress)
    assert "no objects within 1 GiB" in far.remedy


def test_the_direct_map_of_a_kernel_with_kaslr_is_found(tmp_path: Path) -> None:
    moved = 0xFFFF9A1480000000
    page = made.Made(10**9, 0, 7, "mm_page_alloc", 0x300, gfp=made.GFP_KERNEL)
    thing = made.Made(10**9 + 1000, 0, 7, "kmalloc", moved + 0x300000, req=60, alloc=64, gfp=made.GFP_KERNEL)
    where = made.directory(tmp_path / "raw", [page, thing])
    (found,) = Reader(open_trace(where)).find([moved + 0x300010])
    assert isinstance(found, History)
    assert numbers(found) == [1, 2]
    assert found.region == "direct map, page frame 0x300"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, int]:
    """A trace, a core, and the address of an object that was freed."""
    where = tmp_path_factory.mktemp("run")
    with kmem.boot(ram="128M", config="plain") as k:
        trace = RunTrace(k, where / "t.kmem")
        p = k.kmalloc(50)
        k.write(p, b"\0" * 48 + b"left")
        k.kfree(p)
        trace.close()
        dump_core(where / "t.core", k.mm, k.kallsyms)
    return where / "t.kmem", where / "t.core", p


def test_a_run_is_told_with_the_bytes_of_its_core(
    run: tuple[Path, Path, int], capsys: pytest.CaptureFixture[str]
) -> None:
    trace, core, p = run
    assert main(["x", f"{p + 48:#x}", str(trace), "--core", str(core)]) == 0
    said = capsys.readouterr().out
    assert "kmalloc-64: 50 of 64 bytes" in said
    assert "free since event" in said
    assert "6c 65 66 74" in said


def test_json_has_every_address_and_those_that_are_unknown(
    run: tuple[Path, Path, int], capsys: pytest.CaptureFixture[str]
) -> None:
    trace, _, p = run
    assert main(["x", f"{p:#x}", f"{p + 8:#x}", "0x10", str(trace), "--json"]) == 2
    said = capsys.readouterr()
    told = json.loads(said.out)
    assert [one["address"] for one in told["addresses"]] == [f"{p:#018x}", f"{p + 8:#018x}"]
    assert [step["kind"] for step in told["addresses"][0]["history"]][-2:] == ["kmalloc", "kfree"]
    assert told["addresses"][0]["live"] is False
    assert [one["slug"] for one in told["unknown"]] == ["unknown-address"]
    assert "[unknown-address]" in said.err


@pytest.mark.parametrize("when", ["0", "soon", "1.2.3", "0.0s", "-1"])
def test_a_moment_that_is_none_is_an_error(
    run: tuple[Path, Path, int], when: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["x", "0x1000", str(run[0]), f"--at={when}"]) == 2
    assert "[usage]" in capsys.readouterr().err


def test_rows_bounds_what_is_printed_and_says_so(
    run: tuple[Path, Path, int], capsys: pytest.CaptureFixture[str]
) -> None:
    trace, _, p = run
    assert main(["x", f"{p:#x}", str(trace), "--rows", "1"]) == 0
    said = capsys.readouterr().out
    assert "the last 1 of " in said
    assert said.count("kmalloc()") == 0
