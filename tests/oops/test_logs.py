"""The project's own logs: title and cause of each, and the invariants that every explanation keeps."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kmem.oops.explain import explain, main_of

HERE = Path(__file__).parent
EXPECTED = json.loads((HERE / "expected.json").read_text())


def text(name: str) -> str:
    return (HERE / "logs" / name).read_text()


def everything(name: str) -> str:
    return "\n".join(f"{note.label}: {note.text}" for each in explain(text(name)) for note in each.notes)


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_title_and_cause(name: str) -> None:
    main = main_of(explain(text(name)))
    found = {"title": main.report.title, "cause": main.verdict.cause} if main else {"title": None, "cause": None}
    assert found == EXPECTED[name]


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_evidence_is_in_the_log(name: str) -> None:
    last = text(name).count("\n") + 1
    for each in explain(text(name)):
        assert each.verdict.evidence or each.verdict.rule == 0
        assert all(1 <= line <= last for note in each.notes for line in note.evidence)


def test_old_slub_on_arm_is_read_from_its_registers() -> None:
    told = everything("arm-freelist.txt")
    assert "cache kmalloc-128" in told
    assert "entry 7 of kmalloc_caches (sizeof(struct kmem_cache) = 0x94)" in told
    assert "GFP_ATOMIC (r6 and r1 = 0x20, not a size)" in told
    assert "interrupts were off before the call" in told
    assert "slub_debug was off" in told
    assert "slub_debug=FZPU,kmalloc-128" in told
    assert "vmalloc() may sleep and is forbidden" in told


@pytest.mark.parametrize(
    "damage",
    [
        lambda log: log.replace("\n", " "),
        lambda log: "".join(f"<4>[   12.{n:06}] {line}\n" for n, line in enumerate(log.splitlines())),
        lambda log: "".join(f"May  4 23:43:34 host kernel: {line}\n" for line in log.splitlines()),
        lambda log: log.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;"),
        lambda log: "".join(f"> {line}\n" for line in log.splitlines()),
        lambda log: "I have a problem with my driver:\n" + log + "What can I do?\n",
        lambda log: log.replace("\n", "\r\n"),
    ],
    ids=["joined", "serial", "syslog", "html", "quoted", "post", "crlf"],
)
@pytest.mark.parametrize("name", ["arm-freelist.txt", "x86-list-poison.txt", "arm64-err-ptr.txt"])
def test_damaged_text_gives_the_same_answer(name: str, damage) -> None:  # type: ignore[no-untyped-def]
    main = main_of(explain(damage(text(name))))
    assert main is not None
    assert {"title": main.report.title, "cause": main.verdict.cause} == EXPECTED[name]


def test_two_reports_are_kept_apart_and_the_second_is_doubted() -> None:
    found = explain(text("arm64-err-ptr.txt") + text("x86-list-poison.txt"))
    assert [each.verdict.cause for each in found] == ["err_pointer", "use_after_free"]
    alone = explain(text("x86-list-poison.txt"))[0]
    assert found[1].secondary
    assert found[1].confidence < alone.confidence


def test_reports_interleaved_by_caller_are_separated() -> None:
    left = [f"[    1.000000][   T11] {line.partition('] ')[2]}" for line in text("arm64-err-ptr.txt").splitlines()]
    right = [f"[    1.000000][   T22] {line.partition('] ')[2]}" for line in text("x86-list-poison.txt").splitlines()]
    mixed = [line for pair in zip(left, right, strict=False) for line in pair] + left[len(right) :] + right[len(left) :]
    found = explain("\n".join(mixed))
    assert [each.verdict.cause for each in found] == ["err_pointer", "use_after_free"]
    assert [each.report.function for each in found] == ["demo_probe", "demo_exit"]


def test_instruction_that_disagrees_with_the_address_lowers_confidence() -> None:
    log = text("arm64-err-ptr.txt")
    other = log.replace("x0 : fffffffffffffff4", "x0 : ffff000012345670")
    whole, doubted = explain(log)[0], explain(other)[0]
    assert not whole.doubts
    assert [doubt.rule for doubt in doubted.doubts] == [33]
    assert doubted.confidence < whole.confidence


def test_second_oops_asks_for_the_first() -> None:
    found = explain(text("x86-list-poison.txt").replace("[#1]", "[#3]"))[0]
    assert any(doubt.rule == 30 and "ask for the first" in doubt.text for doubt in found.doubts)
