"""Random code: whatever it does, a run ends in an outcome, alike on every machine, and the next run is not harmed."""

from __future__ import annotations

from collections.abc import Generator
from random import Random

import pytest

from kmem.machine.cpu import Faulted, Outcome, OutOfBudget, Returned, Stopped
from kmem.machine.fault import Regs
from kmem.machine.trap import Call
from tests.machine.cpu_guest import (
    CODE,
    COMMON,
    DIRECT,
    HEAP,
    IMAGE,
    PAGES,
    STACK2_TOP,
    STACK_TOP,
    Guest,
    call_to,
    movabs,
)

PRIVILEGED = """
    0f22d8 0f22c0 0f22e0 0f30 0f01f8 f4 fa fb 9d cf 48cf 0f00d8 8ed8 8ee8 0f01d0 e7eb cd80 f3a4 f3ab 0f05 0f07 0f34 0f35
    0f31 0fa2 0fc7f0 dbe3 9b d9c0 0f77 0fae00 0fae08 c3 cb ca0800 ff20 ff10 ff28 ff18 cc ce f1 62 c4e17858 c5fc58c0
""".split()


class Program:
    """A machine with three exports, and random code for it."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.guest = guest = Guest()
        plain = guest.export(lambda mailbox: mailbox[0])

        def generator(mailbox: memoryview) -> Generator[Call, int, int]:
            return (yield Call(plain, (mailbox[0],)))

        def nested(_mailbox: memoryview) -> int:
            guest.call(plain, (1,), stack=DIRECT + STACK2_TOP, budget=100)
            return 3

        self.exports = (plain, guest.export(generator), guest.export(nested))

    def code(self) -> bytes:
        random, code = self.random, b""
        while len(code) < random.randrange(1, 80):
            kind = random.random()
            if kind < 0.5:
                code += random.randbytes(random.randrange(1, 8))
            elif kind < 0.75:
                code += bytes.fromhex(random.choice(PRIVILEGED))
            elif kind < 0.9:
                inside = IMAGE + COMMON + random.randrange(len(self.guest.traps.code))
                code += call_to(random.choice((*self.exports, inside)))
            else:
                place = random.choice((DIRECT + HEAP, IMAGE + CODE, PAGES, random.getrandbits(64)))
                code += movabs(random.randrange(16), place)
        return code

    def step(self) -> Outcome:
        random = self.random
        entry = self.guest.code(self.code())
        numbers = [random.choice((DIRECT + HEAP, random.getrandbits(64), IMAGE + CODE)) for _ in range(16)]
        regs = Regs(*numbers, rip=entry, eflags=random.getrandbits(22))
        if random.random() < 0.8:
            regs.rsp = DIRECT + STACK_TOP - 64
        return self.guest.cpu.resume(regs, budget=2000)


@pytest.mark.parametrize("seed", range(12))
def test_random_code(seed: int) -> None:
    outcomes = []
    for _ in range(2):
        program = Program(seed)
        log = []
        for _ in range(25):
            outcome = program.step()
            assert isinstance(outcome, Faulted | Stopped | OutOfBudget | Returned)
            assert program.guest.cpu.depth == 0
            log.append(outcome)
        outcomes.append((log, program.guest.ram.hash()))
        program.guest.close()
    assert outcomes[0] == outcomes[1]


def test_the_next_machine_is_not_harmed() -> None:
    guest = Guest()
    assert guest.run("488d0437 c3", (2, 3)) == Returned(5)
    guest.close()
