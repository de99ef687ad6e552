"""UTF-8 to and from UTF-16, as file systems and USB strings have them."""

from __future__ import annotations

import pytest

from kmem.kernel import Kernel

EINVAL, HOST, BIG = -22, 0, 2


@pytest.mark.parametrize("text", ["plain", "\u00e9\u4e2d", "a\U0001f600b"])
def test_there_and_back(text: str, kernel: Kernel) -> None:
    source, wide, back = (kernel.kzalloc(64) for _ in range(3))
    raw = text.encode()
    kernel.write(source, raw)
    count = kernel.utf8s_to_utf16s(source, len(raw), HOST, wide, 32)
    assert kernel.read(wide, 2 * count) == text.encode("utf-16-le")
    assert kernel.utf16s_to_utf8s(wide, count, HOST, back, 64) == len(raw)
    assert kernel.read(back, len(raw)) == raw


def test_a_nul_ends_it_and_a_pair_without_room_is_left_out(kernel: Kernel) -> None:
    source, wide = kernel.kzalloc(64), kernel.kzalloc(64)
    kernel.write(source, b"ab\0cd")
    assert kernel.utf8s_to_utf16s(source, 5, BIG, wide, 32) == 2
    assert kernel.read(wide, 4) == b"\0a\0b"
    kernel.write(source, "a\U0001f600".encode())
    assert kernel.utf8s_to_utf16s(source, 5, HOST, wide, 2) == 1


@pytest.mark.parametrize("raw", [b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\xe2\x82"])
def test_bytes_that_are_no_utf8_are_refused(raw: bytes, kernel: Kernel) -> None:
    source = kernel.kzalloc(64)
    kernel.write(source, raw)
    assert kernel.utf8s_to_utf16s(source, len(raw), HOST, kernel.kzalloc(64), 32) == EINVAL


def test_half_a_pair_is_left_out(kernel: Kernel) -> None:
    wide, out = kernel.kzalloc(64), kernel.kzalloc(64)
    kernel.write(wide, b"a\0\x00\xdcb\0\x00\xd8c\0")
    assert kernel.utf16s_to_utf8s(wide, 5, HOST, out, 64) == 3
    assert kernel.read(out, 3) == b"abc"
