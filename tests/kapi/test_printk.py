"""The log: records, levels, continuation, the text of dmesg."""

from __future__ import annotations

import pytest

from kmem.kapi.logbuf import DEBUG, ERR, INFO, LEVEL_NAMES, WARNING, LogBuf, parse_prefix
from kmem.machine.clock import Clock
from tests.kapi.fakehost import FakeHost


@pytest.fixture
def clock() -> Clock:
    return Clock(3_138_618_999)


@pytest.fixture
def log(clock: Clock) -> LogBuf:
    return LogBuf(clock)


def texts(log: LogBuf) -> list[tuple[int, str]]:
    return [(record.level, record.text) for record in log.records]


def test_a_line_of_dmesg(log: LogBuf) -> None:
    assert log.printk("\x016km1024: loaded\n") == len("km1024: loaded")
    assert log.text() == "[    3.138618] km1024: loaded\n"


def test_large_times_need_more_room(clock: Clock, log: LogBuf) -> None:
    clock.advance(123_456 * 10**9)
    log.printk("x\n")
    assert log.text() == "[123459.138618] x\n"


def test_each_line_gets_the_stamp(log: LogBuf) -> None:
    log.printk("\x014one\ntwo\n\nthree\n")
    assert log.text().splitlines() == [f"[    3.138618] {line}" for line in ("one", "two", "", "three")]
    assert len(log.records) == 1


def test_only_one_newline_is_taken_off(log: LogBuf) -> None:
    log.printk("a\n\n")
    assert log.text() == "[    3.138618] a\n[    3.138618] \n"


@pytest.mark.parametrize(
    ("message", "level", "text"),
    [
        ("plain\n", WARNING, "plain"),
        ("\x013error\n", ERR, "error"),
        ("\x013\x017first wins\n", ERR, "first wins"),
        ("\x01x not a level\n", WARNING, "\x01x not a level"),
        ("\x016\n", INFO, ""),
        ("", WARNING, ""),
    ],
)
def test_the_level_is_at_the_front(message: str, level: int, text: str, log: LogBuf) -> None:
    log.printk(message)
    assert texts(log) == [(level, text)]


def test_a_given_level_wins(log: LogBuf) -> None:
    log.printk("\x013text\n", DEBUG)
    assert texts(log) == [(DEBUG, "text")]
    assert LEVEL_NAMES[DEBUG] == "debug"


def test_a_continuation_goes_on_in_the_open_record(clock: Clock, log: LogBuf) -> None:
    log.printk("\x016values:")
    assert log.records[-1].open
    clock.advance(10**9)
    log.printk("\x01c 1")
    log.printk("\x01c 2\n")
    assert texts(log) == [(INFO, "values: 1 2")]
    assert log.records[0].ns == 3_138_618_999
    assert not log.records[0].open


def test_a_continuation_of_a_complete_record_is_a_record_of_its_own(log: LogBuf) -> None:
    log.printk("\x016done\n")
    log.printk("\x01c more\n")
    assert texts(log) == [(INFO, "done"), (WARNING, " more")]


def test_another_message_closes_an_open_record(log: LogBuf) -> None:
    log.printk("\x016open")
    log.printk("\x016next\n")
    log.printk("\x01c late\n")
    assert texts(log) == [(INFO, "open"), (INFO, "next"), (WARNING, " late")]
    assert [record.open for record in log.records] == [False, False, False]


def test_an_open_record_is_shown(log: LogBuf) -> None:
    log.printk("\x016no newline")
    assert log.text() == "[    3.138618] no newline\n"


def test_a_long_message_is_cut(log: LogBuf) -> None:
    log.printk("\x016" + "x" * 2000 + "\n")
    assert log.records[0].text == "x" * (991 - 2)
    assert log.records[0].open


def test_a_continuation_that_would_be_too_long_is_a_record_of_its_own(log: LogBuf) -> None:
    log.printk("\x016" + "x" * 900)
    log.printk("\x01c" + "y" * 200 + "\n")
    assert [len(record.text) for record in log.records] == [900, 200]


def test_bytes_that_are_no_utf8_are_escaped(log: LogBuf) -> None:
    log.printk(b"caf\xc3\xa9 \xff\n")
    assert log.records[0].text == "café \\xff"


def test_dmesg_from_a_record_on_and_up_to_a_level(log: LogBuf) -> None:
    for level in (3, 6, 7):
        log.printk(f"\x01{level}m{level}\n")
    assert log.text(since=1).split() == ["[", "3.138618]", "m6", "[", "3.138618]", "m7"]
    assert "m7" not in log.text(max_level=INFO)


def test_rewinding_forgets_what_came_after_the_mark(log: LogBuf) -> None:
    empty = log.mark()
    log.printk("\x016open")
    mark = log.mark()
    log.printk("\x01c and closed\n")
    log.printk("more\n")
    log.rewind(mark)
    assert texts(log) == [(INFO, "open")]
    assert log.records[0].open
    log.rewind(empty)
    assert log.records == []


def test_the_prefix_parser() -> None:
    assert parse_prefix(b"\x01c\x013x") == (3, True, b"x")
    assert parse_prefix(b"\x01") == (None, False, b"\x01")


# The exported functions


def test_printk_formats_and_returns_the_length(k: FakeHost) -> None:
    assert k.run("_printk", "\x016%s: %d objects\n", "drv", 3) == len("drv: 3 objects")
    assert texts(k.log) == [(INFO, "drv: 3 objects")]


def test_a_level_may_come_from_an_argument(k: FakeHost) -> None:
    k.run("_printk", "%sbuilt\n", "\x013")
    assert texts(k.log) == [(ERR, "built")]


def test_vprintk_emit_with_a_level(k: FakeHost) -> None:
    area = k.put((5).to_bytes(8, "little"))
    va_list = k.put((48).to_bytes(4, "little") + bytes(4) + area.to_bytes(8, "little") + bytes(8))
    k.run("vprintk_emit", 0, 3, 0, "v%d\n", va_list)
    k.run("vprintk_emit", 0, -1, 0, "\x017v%d\n", va_list)
    k.run("vprintk", "w%d\n", va_list)
    assert texts(k.log) == [(ERR, "v5"), (DEBUG, "v5"), (WARNING, "w5")]


def descriptor(k: FakeHost, flags: int) -> int:
    words = b"".join(k.put(text).to_bytes(8, "little") for text in ("drv", "drv_init", "drv.c", "fmt"))
    return k.put(words + (flags << 24 | 42).to_bytes(4, "little") + bytes(20))


@pytest.mark.parametrize(
    ("flags", "prefix"),
    [
        (1, ""),
        (3, "drv: "),
        (7, "drv:drv_init: "),
        (15, "drv:drv_init:42: "),
        (17, "[0] "),
        (31, "[0] drv:drv_init:42: "),
    ],
)
def test_dynamic_debug_puts_a_prefix_before_the_message(flags: int, prefix: str, k: FakeHost) -> None:
    k.run("__dynamic_pr_debug", descriptor(k, flags), "x=%d\n", 1)
    assert texts(k.log) == [(DEBUG, prefix + "x=1")]


def device(k: FakeHost, *, driver: str = "", bus: str = "", name: str = "dev0") -> int:
    layout = k.layout["device"]
    dev = k.alloc(layout.size)
    k.mem.set_u64(dev + layout.offset("init_name"), k.put(name))
    for member, text in (("driver", driver), ("bus", bus)):
        if text:
            k.mem.set_u64(dev + layout.offset(member), k.put(k.put(text).to_bytes(8, "little")))
    return dev


def test_device_messages(k: FakeHost) -> None:
    k.run("_dev_info", device(k, driver="e1000"), "link %s\n", "up")
    k.run("_dev_err", device(k, bus="pci"), "failed: %d", -5)
    k.run("_dev_warn", device(k), "x\n")
    k.run("_dev_warn", 0, "x\n")
    k.run("_dev_printk", "\x015", device(k, driver="d"), "y\n")
    assert texts(k.log) == [
        (INFO, "e1000 dev0: link up"),
        (ERR, "pci dev0: failed: -5"),
        (WARNING, " dev0: x"),
        (WARNING, "(NULL device *): x"),
        (5, "d dev0: y"),
    ]
    assert not any(record.open for record in k.log.records)


def test_probe_errors_name_the_error_and_come_back(k: FakeHost) -> None:
    dev = device(k, driver="d")
    assert k.run("dev_err_probe", dev, -22, "no %s\n", "clock") == (1 << 64) - 22
    assert k.run("dev_err_probe", dev, -517, "later\n") == (1 << 64) - 517
    assert k.run("dev_warn_probe", dev, -5, "hm\n") == (1 << 64) - 5
    assert texts(k.log) == [(ERR, "d dev0: error -EINVAL: no clock"), (WARNING, "d dev0: error -EIO: hm")]


def test_the_driver_string_of_a_device_without_one_is_empty(k: FakeHost) -> None:
    assert k.text(k.run("dev_driver_string", device(k, driver="d"))) == "d"
    assert k.text(k.run("dev_driver_string", device(k))) == ""


def test_warnings_begin_with_a_cut_line(k: FakeHost) -> None:
    k.run("__warn_printk", "bad %d\n", 7)
    assert texts(k.log) == [(WARNING, "------------[ cut here ]------------"), (WARNING, "bad 7")]


# Rate limits


def test_ten_messages_in_five_seconds(k: FakeHost) -> None:
    assert [k.run("__printk_ratelimit", "f") for _ in range(12)] == [1] * 10 + [0, 0]
    k.clock.advance(5 * 10**9)
    assert k.run("__printk_ratelimit", "f") == 0
    k.clock.advance(10**9)
    assert k.run("__printk_ratelimit", "f") == 1
    assert texts(k.log) == [(WARNING, "f: 3 callbacks suppressed")]


def test_a_ratelimit_state_without_interval_never_limits(k: FakeHost) -> None:
    assert all(k.run("___ratelimit", k.put(bytes(40)), "f") for _ in range(50))


def test_a_timed_ratelimit(k: FakeHost) -> None:
    last = k.alloc(8)
    assert k.run("printk_timed_ratelimit", last, 1000) == 1
    assert k.run("printk_timed_ratelimit", last, 1000) == 0
    k.clock.advance(1_100_000_000)
    assert k.run("printk_timed_ratelimit", last, 1000) == 1
