"""Whatever a log holds: no exception, and time that grows with its length only."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from kmem.oops.explain import explain
from kmem.report.oops import oops_json, oops_text

LOGS = [path.read_text() for path in sorted((Path(__file__).parent / "logs").glob("*.txt"))]
MEGABYTE = 1 << 20


def mutated(log: str, chance: random.Random) -> str:
    for _ in range(chance.randint(1, 6)):
        if len(log) < 4:
            return log
        start = chance.randrange(len(log))
        end = min(len(log), start + chance.randrange(1, 200))
        match chance.randrange(8):
            case 0:
                log = log[:start] + log[end:]
            case 1:
                log = log[:start] + log[start:end] * 3 + log[end:]
            case 2:
                log = (
                    log[:start]
                    + chr(chance.choice([0, 9, 10, 32, 40, 60, 91, 93, 48, 102, 255, 0x2028]))
                    + log[start + 1 :]
                )
            case 3:
                log = log.replace("\n", " ")
            case 4:
                other = chance.choice(LOGS)
                log = log[:start] + other[chance.randrange(len(other)) :][:2000] + log[start:]
            case 5:
                log = log.replace("<", "&lt;").replace(">", "&gt;")
            case 6:
                rows = log.split("\n")
                chance.shuffle(rows)
                log = "\n".join(rows)
            case _:
                log = "".join(
                    chance.choice("0f7d") if char in "0123456789abcdef" and chance.random() < 0.1 else char
                    for char in log
                )
    return log[:20000]


@pytest.mark.slow
def test_mutated_logs_raise_nothing() -> None:
    chance = random.Random(5)
    for _ in range(2000):
        log = mutated(chance.choice(LOGS), chance)
        found = explain(log)
        assert oops_text([("log", found)], {}, every=True)
        assert oops_json([("log", found)], {})


@pytest.mark.parametrize(
    "piece",
    ["BUG: KASAN: x in y\n",
     "list_add corruption prev->next ", "[ ", "<br ", "Code: 00 00 00\n", "a_b.", " foo+0x1/0x2\n",
     "Unable to handle kernel paging request at virtual address 00000000 ", *LOGS[:3]],
)  # fmt: skip
def test_a_megabyte_takes_no_more_than_seconds(piece: str) -> None:
    log = (piece * (MEGABYTE // len(piece) + 1))[:MEGABYTE]
    start = time.process_time()
    explain(log)
    assert time.process_time() - start < 4
