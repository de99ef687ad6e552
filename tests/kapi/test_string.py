"""String and memory functions against Python."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmem.machine.fault import AccessFault
from tests.kapi.fakehost import BASE, SIZE, FakeBug, FakeHost

U64 = 1 << 64
E2BIG = U64 - 7

# A small alphabet, so that things are found; a letter above 0x7f, so that signedness would show.
texts = st.lists(st.sampled_from(list(b"abA \xe9")), max_size=20).map(bytes)
characters = st.sampled_from(list(b"abA \xe9z\0"))
counts = st.integers(0, 24)


def c_str(k: FakeHost, text: bytes) -> int:
    """*text* with its NUL, and junk behind it."""
    return k.put(text + b"\0junk")


def signed(rax: int) -> int:
    """An int result."""
    return ((rax & 0xFFFFFFFF) ^ 0x80000000) - 0x80000000


def offset(rax: int, start: int) -> int:
    """A pointer result relative to *start*; -1 for NULL."""
    return rax - start if rax else -1


def sign(number: int) -> int:
    return (number > 0) - (number < 0)


@given(text=texts, count=counts)
def test_lengths(text: bytes, count: int) -> None:
    k = FakeHost()
    s = c_str(k, text)
    assert k.run("strlen", s) == len(text)
    assert k.run("strnlen", s, count) == min(len(text), count)


@given(a=texts, b=texts, count=counts)
def test_comparisons(a: bytes, b: bytes, count: int) -> None:
    k = FakeHost()
    x, y = c_str(k, a), c_str(k, b)
    assert signed(k.run("strcmp", x, y)) == (a > b) - (a < b)
    assert signed(k.run("strncmp", x, y, count)) == (a[:count] > b[:count]) - (a[:count] < b[:count])
    low_a, low_b = (text.decode("latin-1").lower() for text in (a, b))
    assert sign(signed(k.run("strcasecmp", x, y))) == sign((low_a > low_b) - (low_a < low_b))
    equal = low_a[:count] == low_b[:count]
    assert (signed(k.run("strncasecmp", x, y, count)) == 0) == equal


@given(a=texts, b=texts)
def test_memcmp_is_the_difference_of_the_first_unlike_bytes(a: bytes, b: bytes) -> None:
    k = FakeHost()
    n = min(len(a), len(b))
    expected = next((x - y for x, y in zip(a, b, strict=False) if x != y), 0)
    assert signed(k.run("memcmp", k.put(a), k.put(b), n)) == expected


def test_strncasecmp_does_not_lower_the_character_behind_an_end(k: FakeHost) -> None:
    assert signed(k.run("strncasecmp", "A", "", 5)) == ord("A")
    assert signed(k.run("strcasecmp", "A", "")) == ord("a")


FINDERS: dict[str, Callable[[bytes, int], int]] = {
    "strchr": lambda s, c: (s + b"\0").find(c),
    "strrchr": lambda s, c: (s + b"\0").rfind(c),
    "strchrnul": lambda s, c: (s + b"\0").find(c) if c in s else len(s),
}


@pytest.mark.parametrize("name", sorted(FINDERS))
@given(text=texts, c=characters)
def test_finding_a_character(name: str, text: bytes, c: int) -> None:
    k = FakeHost()
    s = c_str(k, text)
    # a negative char is sign-extended to int
    assert offset(k.run(name, s, c - 256 if c > 127 else c), s) == FINDERS[name](text, c)


@given(text=texts, count=counts, c=characters)
def test_strnchr_looks_at_count_characters_and_no_further_than_the_end(text: bytes, count: int, c: int) -> None:
    k = FakeHost()
    s = c_str(k, text)
    assert offset(k.run("strnchr", s, count, c), s) == (text + b"\0")[:count].find(c)


@given(content=texts, c=characters)
def test_finding_in_memory(content: bytes, c: int) -> None:
    k = FakeHost()
    s = k.put(content)
    found = content.find(c)
    assert offset(k.run("memchr", s, c, len(content)), s) == found
    assert k.run("memscan", s, c, len(content)) - s == (found if found >= 0 else len(content))
    other = next((at for at, x in enumerate(content) if x != c), -1)
    assert offset(k.run("memchr_inv", s, c, len(content)), s) == other


@given(a=texts, b=texts, count=counts)
def test_finding_a_string(a: bytes, b: bytes, count: int) -> None:
    k = FakeHost()
    x, y = c_str(k, a), c_str(k, b)
    assert offset(k.run("strstr", x, y), x) == a.find(b)
    buffer = k.put(a.ljust(24, b"\0"))
    assert offset(k.run("strnstr", buffer, y, count), buffer) == a.ljust(24, b"\0")[:count].find(b)


@given(text=texts, accept=texts)
def test_spans(text: bytes, accept: bytes) -> None:
    k = FakeHost()
    s, a = c_str(k, text), c_str(k, accept)
    inside = next((at for at, c in enumerate(text) if c not in accept), len(text))
    outside = next((at for at, c in enumerate(text) if c in accept), len(text))
    assert k.run("strspn", s, a) == inside
    assert k.run("strcspn", s, a) == outside
    assert offset(k.run("strpbrk", s, a), s) == (outside if outside < len(text) else -1)


@given(text=texts)
def test_strsep_takes_a_string_apart(text: bytes) -> None:
    k = FakeHost()
    s = c_str(k, text)
    cursor = k.put(s.to_bytes(8, "little"))
    parts = []
    while part := k.run("strsep", cursor, " a"):
        parts.append(k.mem.cstr(part))
    assert parts == text.replace(b"a", b" ").split(b" ")


def copied(name: str, src: bytes, size: int, dest: bytes = b"") -> tuple[int, bytes]:
    """What *name*(dest, src, size) returns (relative to dest for a pointer) and leaves in a buffer of 64 bytes."""
    k = FakeHost()
    buf = k.put(dest.ljust(64, b"$") if not dest else (dest + b"\0").ljust(64, b"$"))
    rax = k.run(name, buf, c_str(k, src), size)
    return rax - buf if buf <= rax < buf + 64 else rax, k.mem.read(buf, 64)


@given(src=texts, size=counts)
def test_bounded_copies(src: bytes, size: int) -> None:
    assert copied("strncpy", src, size) == (0, src[:size].ljust(size, b"\0").ljust(64, b"$"))
    cut = (src[: size - 1] + b"\0") if size else b""
    assert copied("strlcpy", src, size) == (len(src), cut.ljust(64, b"$"))
    result, left = copied("strscpy", src, size)
    assert result == (len(src) if len(src) < size else E2BIG)
    assert left.startswith(cut)
    # up to seven bytes behind the NUL become zero, never one behind the buffer
    assert left[max(len(cut), size) :] == b"$" * (64 - max(len(cut), size))
    assert left[len(cut) : size].strip(b"\0").strip(b"$") == b""
    assert copied("strscpy_pad", src, size)[1] == cut.ljust(size, b"\0").ljust(64, b"$")


def test_strscpy_zeroes_to_the_end_of_the_word(k: FakeHost) -> None:
    assert copied("strscpy", b"abc", 16)[1][:10] == b"abc\0\0\0\0\0$$"
    assert copied("strscpy", b"abc", 7)[1][:8] == b"abc\0$$$$"


def test_strscpy_refuses_an_absurd_size(k: FakeHost) -> None:
    assert k.run("strscpy", k.alloc(8), "x", 1 << 31) == E2BIG
    assert k.warnings == ["lib/string.c:181 strscpy: "]


@given(dest=texts, src=texts, count=counts)
def test_concatenation(dest: bytes, src: bytes, count: int) -> None:
    k = FakeHost()
    buf = k.put((dest + b"\0").ljust(64, b"$"))
    assert k.run("strcat", buf, c_str(k, src)) == buf
    assert k.mem.read(buf, 64) == (dest + src + b"\0").ljust(64, b"$")
    buf = k.put((dest + b"\0").ljust(64, b"$"))
    assert k.run("strncat", buf, c_str(k, src), count) == buf
    assert k.mem.read(buf, 64) == (dest + src[:count] + b"\0").ljust(64, b"$")
    if count > len(dest):
        buf = k.put((dest + b"\0").ljust(64, b"$"))
        assert k.run("strlcat", buf, c_str(k, src), count) == len(dest) + len(src)
        assert k.mem.cstr(buf) == (dest + src)[: count - 1]


def test_strlcat_of_a_full_buffer_is_a_bug(k: FakeHost) -> None:
    with pytest.raises(FakeBug, match=r"lib/string.c:337 strlcat"):
        k.run("strlcat", "full", "x", 4)


def test_strcpy(k: FakeHost) -> None:
    buf = k.put(b"$" * 8)
    assert k.run("strcpy", buf, "abc") == buf
    assert k.mem.read(buf, 8) == b"abc\0$$$$"


def test_an_unterminated_string_faults_where_memory_ends(k: FakeHost) -> None:
    end = BASE + SIZE - 3
    k.mem.write(end, b"abc")
    assert k.run("strnlen", end, 3) == 3
    with pytest.raises(AccessFault) as fault:
        k.run("strlen", end)
    assert fault.value.address == BASE + SIZE


def test_counts_of_zero_touch_nothing(k: FakeHost) -> None:
    assert k.run("memcmp", 0, 0, 0) == 0
    assert k.run("memchr", 0, 0, 0) == 0
    assert k.run("strncmp", 0, 0, 0) == 0
    assert k.run("strnlen", 0, 0) == 0
