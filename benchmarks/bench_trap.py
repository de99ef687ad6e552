"""What calls between guest code and Python cost, and what the instruction budget costs guest code.

One table; times are the best of several turns, ratios are against a bare ctypes callback measured in the same process.
"""

from __future__ import annotations

import ctypes
import sys
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any
from unittest import mock

ROOT = Path(__file__).resolve().parent.parent
TURNS = 40
LOOPS = 2_000
# push %rbx; mov %rdi,%rbx; 1: mov %rbx,%rdi; movabs $…,%r10; call *%r10; dec %rbx; jnz 1b; pop %rbx; ret
LOOP = "53 4889fb 4889df 49ba{} 41ffd2 48ffcb 75eb 5b c3"

GUEST_CODE = {
    # fills and compares a list node and calls a function that adds up two fields: 31 instructions in six blocks a turn
    "ordinary code": """
        53 4154 4155 4889fb 4989cd 488b4308 48894310 4c8d6320 4c896318 48837b1800 7420 488b5318 49891424 ff4328
        4889df e818000000 85c0 7809 8b4328 83e007 89432c 49ffcd 75c4 415d 415c 5b c3
        53 4883ec08 8b07 034704 894730 25ff000000 4883c408 5b c3""",
    # 1: movzbl (%rsi),%eax; imul $31,%edx,%edx; add %eax,%edx; inc %rsi; and $~0xf000,%rsi; dec %rcx; jnz 1b
    "a hash of bytes": "53 4889fe 0fb606 6bd21f 01c2 48ffc6 4881e6ff0fffff 48ffc9 75e9 89d0 5b c3",
    "an empty loop": "48ffc9 75fb c3",  # 1: dec %rcx; jnz 1b
}


def best(action: Callable[[], object], turns: int = TURNS) -> float:
    """Seconds that *action* takes at its best."""
    times = []
    for _ in range(turns):
        begin = time.perf_counter()
        action()
        times.append(time.perf_counter() - begin)
    return min(times)


def callback() -> float:
    """A C function (qsort) calling a Python function with two arguments: seconds a call."""
    libc = ctypes.CDLL(None)
    calls = 0

    def compare(_one: int | None, _other: int | None) -> int:
        nonlocal calls
        calls += 1
        return 0

    function = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)(compare)
    array = (ctypes.c_int * 4096)()
    seconds = best(lambda: libc.qsort(array, 4096, 4, function))
    return seconds / (calls / TURNS)


def traps() -> dict[str, float]:
    """Seconds of one call of each kind."""
    from kmem.machine.cpu import Returned
    from kmem.machine.trap import Call
    from tests.machine.cpu_guest import CODE, DIRECT, STACK2_TOP, Guest

    guest = Guest()
    nothing = guest.code("c3", CODE + 0x800)

    def call_back(_mailbox: memoryview) -> Generator[Any, int, int]:
        return (yield Call(nothing))

    def no_call(mailbox: memoryview) -> Generator[Any, Any, int]:
        if mailbox[0] == 0:
            yield Call(nothing)
        return 0

    def nested(_mailbox: memoryview) -> None:
        guest.call(nothing, stack=DIRECT + STACK2_TOP)

    handlers: dict[str, tuple[Any, bool]] = {
        "trap, handler does nothing": (lambda _mailbox: None, False),
        "trap, argument and result": (lambda mailbox: mailbox[0] + 1, False),
        "trap, exact registers": (lambda mailbox: mailbox[0] + 1, True),
        "trap, generator without a call": (no_call, False),
        "trap that calls guest code (yield Call)": (call_back, False),
        "trap that runs the CPU (nested)": (nested, False),
    }
    results = {}
    for name, (handler, exact) in handlers.items():
        export = guest.export(handler, exact=exact)
        loops = LOOPS // 10 if "nested" in name else LOOPS
        code = guest.code(LOOP.format(export.to_bytes(8, "little").hex()))

        def run(code: int = code, loops: int = loops) -> None:
            assert isinstance(guest.call(code, (loops,), budget=1 << 40), Returned)

        results[name] = best(run) / loops
    results["Cpu.run of a function that returns"] = best(lambda: [guest.call(nothing) for _ in range(1000)]) / 1000
    guest.close()
    return results


def budget() -> dict[str, float]:
    """What counting adds to guest code, as a fraction."""
    from kmem.machine import cpu
    from kmem.machine.meter import Meter
    from tests.machine.cpu_guest import DIRECT, HEAP, Guest

    class Uncounted(Meter):
        """No hook: nothing is counted."""

        def __init__(self, _engine: object) -> None:
            self._counter = (ctypes.c_int64 * 4)()
            self._limit = self._done = self._depth = 0

    args = (DIRECT + HEAP, DIRECT + HEAP, 0, 20_000)
    results = {}
    for name, code in GUEST_CODE.items():
        seconds = []
        for meter in (Meter, Uncounted):
            with mock.patch.object(cpu, "Meter", meter):
                guest = Guest()
            entry = guest.code(code)
            outcomes = [guest.call(entry, args, budget=1 << 40)]
            seconds.append(best(lambda: outcomes.append(guest.call(entry, args, budget=1 << 40))))  # noqa: B023
            assert all(isinstance(outcome, cpu.Returned) for outcome in outcomes), outcomes[0]
            guest.close()
        results[name] = seconds[0] / seconds[1] - 1
    return results


def machines() -> float:
    """Seconds to make a machine and run one instruction on it."""
    from tests.machine.cpu_guest import Guest

    def one() -> None:
        guest = Guest()
        guest.run("c3")
        guest.close()

    return best(one)


def main() -> None:
    """Print the table."""
    sys.path.insert(0, str(ROOT))
    unit = callback()
    print(f"{'ctypes callback from C':44} {unit * 1e6:7.2f} us   1.0 x")
    for name, seconds in traps().items():
        print(f"{name:44} {seconds * 1e6:7.2f} us {seconds / unit:5.1f} x")
    print(f"{'machine: make, run once, close':44} {machines() * 1e6:7.0f} us")
    for name, more in budget().items():
        print(f"{'instruction budget on ' + name:44} {more * 100:+7.0f} %")


if __name__ == "__main__":
    main()
