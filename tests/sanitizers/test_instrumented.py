"""Variables on the stack and of the module, in ``.c`` input that is built with the compiler's instrumentation."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import kmem
from kmem.errors import InputError
from kmem.kapi.executor import TaskDied
from kmem.kernel import Kernel
from kmem.modules.kbuild import INSTRUMENT, build
from kmem.sanitizers.instrumented import HEADER, Instrumented, shadow_of
from kmem.sanitizers.report import Finding, Findings
from tests.run.running import run

KMOD = Path(__file__).resolve().parent.parent / "kmod"
SOURCE = (KMOD / "local" / "local.c").read_text().splitlines()
PLACES = ("stack", "second", "alloca", "global", "static", "constant")
WRITABLE = PLACES[:-1]
SIZE = 20

pytestmark = pytest.mark.needs_headers


@pytest.fixture(scope="module")
def machine() -> Iterator[tuple[Kernel, bytes]]:
    [path] = build(KMOD / "local", flags=INSTRUMENT).modules
    with kmem.boot(ram="128M", check="fast") as kernel:
        kernel.insmod(path).rmmod()
        kernel.snapshot()
        yield kernel, path.read_bytes()


def tried(machine: tuple[Kernel, bytes], **parameters: Any) -> list[Finding]:
    kernel, image = machine
    kernel.rollback()
    kernel.findings = Findings()
    with suppress(TaskDied):
        kernel.insmod(image, **parameters).rmmod()
    kernel.drain()
    return list(kernel.findings)


def line_of(text: str) -> int:
    return next(number for number, line in enumerate(SOURCE, 1) if text in line)


def place(op: str, width: int) -> int:
    if op == "read":
        return line_of(f"case {width}: (void)" if width < 8 else "default: (void)")
    return line_of(f"case {width}: *(" if width < 8 else "default: *(")


def expect(found: list[Finding], line: int) -> Finding:
    [finding] = found
    assert (str(finding.kind), Path(finding.file).name, finding.line) == ("out-of-bounds", "local.c", line), finding
    return finding


@pytest.mark.parametrize("start", PLACES)
@pytest.mark.parametrize("width", [1, 2, 4, 8])
def test_variable_oob_right(machine: tuple[Kernel, bytes], start: str, width: int) -> None:
    parameters = {"from": start, "width": width, "op": "read"}
    finding = expect(tried(machine, **parameters, at=SIZE), place("read", width))
    if start != "alloca":
        assert f"0 bytes right of {SIZE} bytes of the variable " in finding.message
    assert tried(machine, **parameters, at=SIZE - width) == []


@pytest.mark.parametrize("start", ["stack", "second", "alloca"])
@pytest.mark.parametrize("op", ["read", "write"])
def test_stack_oob_left(machine: tuple[Kernel, bytes], start: str, op: str) -> None:
    expect(tried(machine, **{"from": start}, at=-1, op=op), place(op, 1))


@pytest.mark.parametrize("start", WRITABLE)
@pytest.mark.parametrize(
    ("op", "text"), [("set", "memset((void *)p"), ("copy", "memcpy(text"), ("text", "strscpy((char *)p")]
)
def test_functions_that_go_beyond_a_variable(machine: tuple[Kernel, bytes], start: str, op: str, text: str) -> None:
    parameters = {"from": start, "op": op}
    expect(tried(machine, **parameters, width=SIZE + 1), line_of(text))
    assert tried(machine, **parameters, width=SIZE - (op == "text")) == []


@pytest.mark.parametrize("size", [1, 7, 8, 9, 31, 32, 33, 100])
def test_alloca_oob_right(machine: tuple[Kernel, bytes], size: int) -> None:
    parameters = {"from": "alloca", "size": size, "op": "write"}
    expect(tried(machine, **parameters, at=size), place("write", 1))
    assert tried(machine, **parameters, at=size - 1) == []


def test_the_report_is_kasans(machine: tuple[Kernel, bytes]) -> None:
    text = tried(machine, **{"from": "stack"}, at=SIZE, op="write")[0].text
    assert text[1].startswith("BUG: KASAN: stack-out-of-bounds in touch+0x")
    assert "The buggy address belongs to stack of task insmod/97" in text
    assert any(line.endswith("'mine'") for line in text)
    text = tried(machine, **{"from": "global"}, at=SIZE, op="write")[0].text
    assert text[1].startswith("BUG: KASAN: global-out-of-bounds in touch+0x")
    at = text.index("The buggy address belongs to the variable:")
    assert text[at + 1].startswith(" room+0x0/0x14 [local]")


def test_the_heap_is_checked_once(machine: tuple[Kernel, bytes]) -> None:
    [path] = build(KMOD / "access", flags=INSTRUMENT).modules
    kernel = machine[0]
    kernel.rollback()
    kernel.findings = Findings()
    kernel.insmod(path, size=20, at=20, op="write").rmmod()
    [finding] = kernel.findings
    assert (str(finding.kind), finding.function) == ("out-of-bounds", "touch")
    assert "kmalloc-32 object" in str(finding)


@pytest.mark.parametrize("flags", [(), INSTRUMENT])
def test_a_module_that_is_loaded_again_lies_elsewhere_in_memory(flags: tuple[str, ...]) -> None:
    [path] = build(KMOD / "local", flags=flags).modules
    with kmem.boot(ram="128M", check="fast") as kernel:
        for _ in range(3):
            kernel.insmod(path, **{"from": "global"}, op="read").rmmod()
        assert list(kernel.findings) == []


def test_instrumented_code_needs_checks() -> None:
    [path] = build(KMOD / "local", flags=INSTRUMENT).modules
    with kmem.boot(ram="128M") as kernel, pytest.raises(InputError, match="-fsanitize=kernel-address"):
        kernel.insmod(path)


def test_full_checks_instrument_source_and_fast_ones_do_not() -> None:
    parameters = ("from=stack", f"at={SIZE}", "op=read")
    full = run(KMOD / "local", *parameters, "--json", "--check", "full")
    assert [finding["line"] for finding in full.json["findings"]] == [place("read", 1)]
    assert run(KMOD / "local", *parameters, "--json").json["findings"] == []


def test_the_shadow_is_zero_where_no_stack_and_no_module_is() -> None:
    assert shadow_of(0xFFFF800000000000) == HEADER
    shadow = Instrumented(1 << 39)
    shadow.poison(0xFFFF888000000000, 64, 0xF1)
    assert shadow.first_bad(0xFFFF888000000000, 64) == -1
    shadow.poison(0xFFFFC90000000040, 64, 0xF1)
    assert shadow.first_bad(0xFFFFC90000000000, 64) == -1
    assert shadow.first_bad(0xFFFFC90000000000, 65) == 0xFFFFC90000000040
    shadow.unpoison(0xFFFFC90000000040, 13)
    assert shadow.first_bad(0xFFFFC90000000040, 14) == 0xFFFFC9000000004D
    shadow.ram.rollback()
    assert shadow.first_bad(0xFFFFC90000000000, 4096) == -1
