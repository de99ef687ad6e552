"""The quiz: its answers against rules of arithmetic and what real kernels did, its ways of asking."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from random import Random

import pytest

from kmem.commands.main import COMMANDS
from kmem.quiz import sizes
from kmem.quiz.ask import KINDS, questions
from kmem.quiz.question import Question, number
from kmem.quiz.room import CRASH, FREED, REPORT, Room
from tests.conftest import Kmem

CLASSES = [8, 16, 32, 64, 96, 128, 192, 256, 512, 1024, 2048, 4096, 8192]


@pytest.fixture(scope="module")
def asked() -> list[Question]:
    """Many of each kind."""
    return [question for seed in range(12) for question in questions(seed, len(KINDS), "6.1")]


def of(asked: list[Question], kind: str) -> list[tuple[list[int], Question]]:
    """The questions of a kind, each with the numbers in its text."""
    found = [question for question in asked if question.kind == kind]
    assert len(found) == 12
    return [([int(word, 0) for word in re.findall(r"0x[0-9a-f]+|\d+", q.text)], q) for q in found]


def test_every_kind_comes_once_before_any_comes_again() -> None:
    kinds = [question.kind for question in questions(5, 2 * len(KINDS), "6.1")]
    assert len(set(kinds[: len(KINDS)])) == len(KINDS)
    assert sorted(kinds[len(KINDS) :]) == sorted(kinds[: len(KINDS)])


def test_sizes_are_rounded_as_classes_are(asked: list[Question]) -> None:
    for (size,), question in of(asked, "cache"):
        fits = min(each for each in CLASSES if each >= size)
        assert question.answer == f"kmalloc-{fits if fits < 1024 else f'{fits // 1024}k'}"
    for (n, size), question in of(asked, "waste"):
        assert int(question.answer) == min(each for each in CLASSES if each >= n * size) - n * size
    for (pages, size), question in of(asked, "order"):
        assert size == pages * 4096
        assert int(question.answer) == (pages - 1).bit_length()
    for (size,), question in of(asked, "address-space"):
        assert int(question.answer) == -(-size // 4096) * 4096 + 4096
    for (address, base), question in of(asked, "physical"):
        assert int(question.answer, 16) == address - base


def test_debugging_makes_slabs_hold_fewer() -> None:
    found: dict[bool, set[str]] = {True: set(), False: set()}
    room = Room("6.1", 0)
    for seed in range(200):
        question = sizes.objects(room, Random(seed))
        if "kmalloc-64," in question.text:
            found["slub_debug" in question.text].add(question.answer)
    room.close()
    assert found[False] == {"64"}
    assert len(found[True]) == 1
    assert int(found[True].pop()) < 64


def test_wrong_frees_end_as_on_real_kernels(asked: list[Question]) -> None:
    for _, question in of(asked, "double-free"):
        if "slub_debug" in question.text:
            assert question.answer == REPORT
        elif "Debian" in question.text and "kfree(b)" not in question.text:
            assert question.answer == CRASH
        else:
            assert question.answer == "nothing is said"
    for _, question in of(asked, "wrong-free"):
        free, call = re.findall(r"(\w+)\(\)", question.text)
        if (free, call) == ("kfree", "vmalloc"):
            assert question.answer == CRASH
        if free == "kvfree" and "kmalloc" in call:
            assert question.answer == FREED
        if (free, call) == ("vfree", "kmalloc"):
            assert question.answer == REPORT


def test_odd_sizes_and_contexts(asked: list[Question]) -> None:
    for _, question in of(asked, "odd-size"):
        nothing = any(call in question.text for call in ("kmalloc(0", "kcalloc(0", "krealloc(p, 0"))
        null = any(call in question.text for call in ("SIZE_MAX", "vmalloc(0)", "1 TiB", "What does kmalloc(4 MiB + 1"))
        wanted = "an address" if nothing else "NULL" if null else "memory"
        assert question.answer.startswith(wanted), question
    for _, question in of(asked, "context"):
        may = "ATOMIC" in question.text or "in a system call" in question.text
        assert question.answer == ("yes" if may else "no"), question


def test_an_answer_may_be_given_in_several_ways() -> None:
    choice = Question("k", "?", "no", "", "", ("yes", "no"))
    assert [said for said in ("b", "B)", "(b)", "No", " no \n") if not choice.accepts(said)] == []
    assert [said for said in ("a", "yes", "", "c", "1") if choice.accepts(said)] == []
    free = Question("k", "?", "4096", "", "")
    assert [said for said in ("4096", "0x1000", "4K", "4 KiB", "4096 bytes", "4,096") if not free.accepts(said)] == []
    assert [said for said in ("4095", "4M", "", "x") if free.accepts(said)] == []
    assert number("0x0b") == 11
    assert Question("k", "?", "kmalloc-8k", "", "").accepts("KMALLOC-8K ")


def test_every_command_to_try_can_be_tried(asked: list[Question]) -> None:
    for command in {question.attempt for question in asked}:
        kmem, name, *words = shlex.split(command)
        assert (kmem, name in COMMANDS) == ("kmem", True)
        import_module(f"kmem.commands.{name}").parser().parse_args(words)


def test_the_same_seed_asks_the_same(kmem: Kmem) -> None:
    first, second = (kmem("quiz", "--json", "-n", "14", PYTHONHASHSEED=seed) for seed in ("1", "2"))
    assert first.returncode == 0, first.stderr
    assert first.stdout == second.stdout
    assert kmem("quiz", "--json", "-n", "14", "--seed", "1").stdout != first.stdout


def play(root: Path, answers: str, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "kmem", "quiz", *words],
        cwd=root,
        input=answers,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_answers_are_read_checked_and_explained(root: Path) -> None:
    asked = json.loads(play(root, "", "--json"))["questions"]
    right = "".join(f"{question['letter'] or question['answer']}\n" for question in asked)
    shown = play(root, right)
    assert shown.count("\n  right\n") == 5
    assert "5 of 5 right\n" in shown
    assert all(f"  try: {question['attempt']}\n" in shown for question in asked)
    assert "0 of 5 right\n" in play(root, "what\n" * 5)
    assert play(root, "what\n").count("\n  not answered\n") == 4


def test_the_teacher_gets_the_answers_and_is_asked_nothing(root: Path) -> None:
    asked = json.loads(play(root, "", "--json", "--seed", "3", "-n", "14"))["questions"]
    shown = play(root, "", "-c", "--seed", "3", "-n", "14")
    assert "> " not in shown
    assert [
        q["kind"] for q in asked if f"  answer: {q['letter'] and q['letter'] + ') '}{q['answer']}\n" not in shown
    ] == []
    assert shown.endswith("next: kmem quiz --seed 4 -c\n")
