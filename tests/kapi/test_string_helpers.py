"""Helpers for strings, hexadecimal dumps."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmem.kapi.string_helpers import ESCAPE_APPEND, ESCAPE_HEX, ESCAPE_NAP, ESCAPE_NP, size_text, string_escape
from tests.kapi.fakehost import FakeHost

EINVAL = (1 << 64) - 22


@given(st.lists(st.sampled_from(list(b"ab \t\n\xa0")), max_size=12).map(bytes))
def test_trimming(text: bytes) -> None:
    k = FakeHost()
    s = k.put(text + b"\0")
    spaces = b" \t\n\xa0"
    assert k.mem.cstr(k.run("skip_spaces", s)) == text.lstrip(spaces)
    assert k.mem.cstr(k.run("strim", s)) == text.strip(spaces)


@pytest.mark.parametrize(
    ("a", "b", "equal"),
    [
        *(("on", "on", 1), ("on\n", "on", 1), ("on", "on\n", 1), ("on\n", "on\n", 1)),
        *(("on\n\n", "on", 0), ("o", "on", 0), ("", "\n", 1)),
    ],
)
def test_sysfs_streq_ignores_one_newline(a: str, b: str, equal: int, k: FakeHost) -> None:
    assert k.run("sysfs_streq", a, b) == equal


def test_looking_a_string_up_in_a_table(k: FakeHost) -> None:
    table = k.put(b"".join(k.put(name).to_bytes(8, "little") for name in ("zero", "one", "two")) + bytes(8))
    assert k.run("match_string", table, -1, "two") == 2
    assert k.run("match_string", table, 2, "two") == EINVAL
    assert k.run("match_string", table, -1, "two\n") == EINVAL
    assert k.run("__sysfs_match_string", table, -1, "two\n") == 2
    assert k.run("__sysfs_match_string", table, 0, "zero") == EINVAL


def test_replacing_characters(k: FakeHost) -> None:
    s = k.put("a-b-c")
    assert k.run("strreplace", s, ord("-"), ord("_")) == s + 5
    assert k.text(s) == "a_b_c"


def test_memcpy_and_pad(k: FakeHost) -> None:
    dest = k.put(b"$" * 8)
    k.run("memcpy_and_pad", dest, 6, b"abc", 3, ord("."))
    assert k.mem.read(dest, 8) == b"abc...$$"
    k.run("memcpy_and_pad", dest, 2, b"xyz", 3, ord("."))
    assert k.mem.read(dest, 8) == b"xyc...$$"


def test_escaping_only_some_characters() -> None:
    assert string_escape(b"a\nb", ESCAPE_HEX, b"\n") == rb"a\x0ab"
    assert string_escape(b"a\0", ESCAPE_HEX, b"b") == rb"a\x00"
    assert string_escape(b"a/b", ESCAPE_HEX | ESCAPE_NAP | ESCAPE_APPEND, b"/") == rb"a\x2fb"
    assert string_escape(b"\xe9", ESCAPE_HEX | ESCAPE_NAP) == rb"\xe9"
    assert string_escape(b"\xe9", ESCAPE_HEX | ESCAPE_NP) == b"\xe9"


def test_string_escape_mem_stores_what_fits(k: FakeHost) -> None:
    dst = k.put(b"$" * 8)
    assert k.run("string_escape_mem", b"\n\n", 2, dst, 3, 1, 0) == 4
    assert k.mem.read(dst, 5) == b"\\n\\$$"


@pytest.mark.parametrize(
    ("size", "blk_size", "units", "expected"),
    [
        (0, 1, 1, "0 B"),
        (1, 0, 1, "0 B"),
        (512, 1, 1, "512 B"),
        (1024, 1, 1, "1.00 KiB"),
        (1100, 1, 1, "1.07 KiB"),
        (8192, 512, 1, "4.00 MiB"),
        (8192, 512, 0, "4.19 MB"),
        (1999, 1, 0, "2.00 kB"),
        (4096, (1 << 64) - 1, 1, "64.0 ZiB"),
        (123456789, 1, 0, "123 MB"),
    ],
)
def test_sizes_for_people(size: int, blk_size: int, units: int, expected: str, k: FakeHost) -> None:
    assert size_text(size, blk_size, units) == expected
    buf = k.put(b"$" * 16)
    k.run("string_get_size", size, blk_size, units, buf, 5)
    assert k.mem.read(buf, 16) == (expected.encode()[:4] + b"\0").ljust(16, b"$")


# Hexadecimal


@pytest.mark.parametrize(
    ("ch", "value"), [("0", 0), ("9", 9), ("a", 10), ("F", 15), ("g", -1), ("/", -1), (":", -1), ("@", -1)]
)
def test_a_hexadecimal_digit(ch: str, value: int, k: FakeHost) -> None:
    assert k.run("hex_to_bin", ord(ch)) == value % (1 << 64)


@given(st.binary(max_size=20))
def test_hexadecimal_text_and_back(content: bytes) -> None:
    k = FakeHost()
    text, back = k.alloc(64), k.alloc(64)
    assert k.run("bin2hex", text, content, len(content)) == text + 2 * len(content)
    assert k.mem.cstr(text) == content.hex().encode()
    assert k.run("hex2bin", back, text, len(content)) == 0
    assert k.mem.read(back, len(content)) == content


def test_hex2bin_stops_at_a_bad_digit(k: FakeHost) -> None:
    back = k.put(b"$$$")
    assert k.run("hex2bin", back, "0a1x", 2) == EINVAL
    assert k.mem.read(back, 3) == b"\x0a$$"


DATA = bytes(range(0x30, 0x50))


@pytest.mark.parametrize(
    ("length", "rowsize", "groupsize", "ascii", "expected"),
    [
        (4, 16, 1, 0, "30 31 32 33"),
        (4, 16, 1, 1, "30 31 32 33                                      0123"),
        (8, 16, 2, 0, "3130 3332 3534 3736"),
        (8, 16, 4, 0, "33323130 37363534"),
        (16, 16, 8, 0, "3736353433323130 3f3e3d3c3b3a3938"),
        (16, 16, 8, 1, "3736353433323130 3f3e3d3c3b3a3938  0123456789:;<=>?"),
        (6, 16, 4, 0, "30 31 32 33 34 35"),
        (40, 16, 1, 0, " ".join(f"{c:02x}" for c in DATA[:16])),
        (32, 32, 4, 0, "33323130 37363534 3b3a3938 3f3e3d3c 43424140 47464544 4b4a4948 4f4e4d4c"),
        (4, 99, 3, 0, "30 31 32 33"),
        (0, 16, 1, 1, ""),
    ],
)
def test_a_line_of_a_dump(length: int, rowsize: int, groupsize: int, ascii: int, expected: str, k: FakeHost) -> None:
    buf = k.put(DATA + bytes(16))
    line = k.alloc(160)
    assert k.run("hex_dump_to_buffer", buf, length, rowsize, groupsize, line, 160, ascii) == len(expected)
    assert k.text(line) == expected


@pytest.mark.parametrize("size", [0, 1, 5, 11, 12])
def test_a_line_that_does_not_fit_is_cut_and_its_length_told(size: int, k: FakeHost) -> None:
    line = k.put(b"$" * 32)
    assert k.run("hex_dump_to_buffer", k.put(DATA), 4, 16, 1, line, size, 0) == 11
    stored = b"30 31 32 33"[: max(size - 1, 0)] + (b"\0" if size else b"")
    assert k.mem.read(line, 32) == stored.ljust(32, b"$")


def test_nothing_to_dump_and_nowhere_to_dump_it(k: FakeHost) -> None:
    assert k.run("hex_dump_to_buffer", k.put(DATA), 0, 16, 1, 0, 0, 1) == 49
    assert k.run("hex_dump_to_buffer", k.put(DATA), 0, 16, 1, 0, 0, 0) == (1 << 64) - 1


def test_dumps_go_to_the_log(k: FakeHost) -> None:
    buf = k.put(DATA)
    k.run("print_hex_dump", "\x016", "drv: ", 2, 16, 1, buf, 20, 1)
    k.run("print_hex_dump", "\x017", "", 0, 16, 4, buf, 8, 0)
    k.run("print_hex_dump", "\x017", "p ", 1, 16, 4, buf, 8, 0)
    texts = [record.text for record in k.log.records]
    assert texts[0] == "drv: 00000000: " + " ".join(f"{c:02x}" for c in DATA[:16]) + "  0123456789:;<=>?"
    assert texts[1] == "drv: 00000010: 40 41 42 43                                      @ABC"
    assert texts[2] == "33323130 37363534"
    assert texts[3].startswith("p 00000000")
    assert texts[3].endswith(": 33323130 37363534")
    assert [record.level for record in k.log.records] == [6, 6, 7, 7]


@pytest.mark.parametrize(
    ("text", "size", "flags", "expected"),
    [
        (rb"a\tb\q", 0, 1, b"a\tb\\q"),
        (rb"\101\7\477\400", 0, 2, b"A\x07'7 0"),
        (rb"\x41\x4g\xg", 0, 4, b"A\x04g\\xg"),
        (rb"\"\\\a\e\t", 0, 8, b'"\\\x07\x1b\\t'),
        (rb"\n\t", 4, 1, b"\n\\"),
        (b"abcdef", 4, 15, b"abc"),
        (b"end\\", 0, 15, b"end\\"),
    ],
)
def test_unescaping(text: bytes, size: int, flags: int, expected: bytes, k: FakeHost) -> None:
    dst = k.put(b"$" * 20)
    assert k.run("string_unescape", text + b"\0", dst, size, flags) == len(expected)
    assert k.mem.read(dst, 20) == (expected + b"\0").ljust(20, b"$")
