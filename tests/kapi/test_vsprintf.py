"""What vsnprintf prints. Expected texts are those of the kernel's own printf test, and Python's % for plain numbers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmem.kapi.siphash import siphash_1u64
from kmem.kapi.vsprintf import FormatOptions
from kmem.machine.fault import AccessFault
from tests.kapi.fakehost import BASE, SIZE, FakeHost

U64 = 1 << 64
POINTER = 0xFFFF0123456789AB


def printf(k: FakeHost, fmt: str, *args: int | str | bytes) -> str:
    """The output of snprintf() into a large buffer; the return value must agree."""
    buf = k.alloc(4096)
    length = k.run("snprintf", buf, 4096, fmt, *args)
    assert length == len(k.mem.cstr(buf, 4096))
    return k.mem.cstr(buf, 4096).decode("latin-1")


@pytest.mark.parametrize(
    ("expected", "fmt", "args"),
    [
        ("", "", ()),
        ("100%", "100%%", ()),
        ("xxx%yyy", "xxx%cyyy", (ord("%"),)),
        ("a  |  a", "%-3c|%3c", (97, 97)),
        ("0x1234abcd  ", "%#-12x", (0x1234ABCD,)),
        ("  0x1234abcd", "%#12x", (0x1234ABCD,)),
        ("0|001| 12|+123| 1234|-123|-1234", "%d|%03d|%3d|%+d|% d|%+d|% d", (0, 1, 12, 123, 1234, -123, -1234)),
        ("0|1|1|128|255", "%hhu|%hhu|%hhu|%hhu|%hhu", (0, 1, 257, 128, -1)),
        ("0|1|1|-128|-1", "%hhd|%hhd|%hhd|%hhd|%hhd", (0, 1, 257, 128, -1)),
        ("2015122420151225", "%ho%ho%#ho", (1037, 5282, -11627)),
        ("00|0|0|0|0", "%.2d|%.1d|%.0d|%.*d|%1.0d", (0, 0, 0, 0, 0, 0)),
        ("0xfffffff0|0xf0|0xf0", "%#02x|%#02x|%#02x", (-16, 0xF0, 0xF0)),
        ("0X1F|037|0|0x0|0", "%#X|%#o|%#o|%#x|%#d", (31, 31, 0, 0, 0)),
        ("18446744073709551615 -1 ffffffffffffffff", "%lu %ld %llx", (-1, -1, -1)),
        ("18446744073709551615 -1 -1 18446744073709551615", "%zu %zd %td %tu", (-1, -1, -1, -1)),
        ("-1 18446744073709551615", "%Ld %Lu", (-1, -1)),
        ("00042|   42|42   |  -42|-0042", "%05d|%5d|%-5d|%5d|%05d", (42, 42, 42, -42, -42)),
        # 0 padding survives a precision, unlike in C
        ("00000042", "%08.4d", (42,)),
        ("42   |00042", "%-*d|%0*d", (5, 42, 5, 42)),
        ("42   ", "%*d", (-5, 42)),
    ],
)
def test_numbers(expected: str, fmt: str, args: tuple[int, ...], k: FakeHost) -> None:
    assert printf(k, fmt, *args) == expected


@pytest.mark.parametrize(
    ("expected", "fmt", "args"),
    [
        ("", "%s%.0s", ("", "123")),
        ("ABCD|abc|123", "%s|%.3s|%.*s", ("ABCD", "abcdef", 3, "123456")),
        ("1  |  2|3  |  4|5  ", "%-3s|%3s|%-*s|%*s|%*s", ("1", "2", 3, "3", 3, "4", -3, "5")),
        ("1234      ", "%-10.4s", ("123456",)),
        ("      1234", "%10.4s", ("123456",)),
        # a negative precision counts as 0, a missing one as none
        ("    ", "%4.*s", (-5, "123456")),
        ("123456", "%.s", ("123456",)),
        ("a||", "%.s|%.0s|%.*s", ("a", "b", 0, "c")),
        ("a  |   |   ", "%-3.s|%-3.0s|%-3.*s", ("a", "b", 0, "c")),
        ("(null)|(efault)|(efault)", "%s|%s|%s", (0, 0xFFF, -14)),
        ("(nul|   (null)", "%.4s|%9s", (0, 0)),
    ],
)
def test_strings(expected: str, fmt: str, args: tuple[int | str, ...], k: FakeHost) -> None:
    assert printf(k, fmt, *args) == expected


def test_a_string_is_read_no_further_than_its_precision(k: FakeHost) -> None:
    end = BASE + SIZE - 4
    k.mem.write(end, b"last")
    assert printf(k, "%.4s", end) == "last"
    with pytest.raises(AccessFault):
        printf(k, "%s", end)


@pytest.mark.parametrize(("fmt", "character"), [("%n", "n"), ("%q", "q"), ("%", "a"), ("%5", " "), ("%LLd", "L")])
def test_an_invalid_conversion_warns_and_ends_the_output(fmt: str, character: str, k: FakeHost) -> None:
    # behind a lone "%" the blank is a flag, and the letter after it the conversion
    assert printf(k, f"before {fmt} after %d", 1) == "before "
    message = f"Please remove unsupported %{character} in format string"
    assert k.warnings == [f"lib/vsprintf.c:2661 format_decode: {message}"]


def test_a_length_modifier_of_a_string_is_ignored(k: FakeHost) -> None:
    assert printf(k, "%hs %ld", "ok", 7) == "ok 7"


# Pointers


def test_plain_pointers_are_hashed_to_32_bits(k: FakeHost) -> None:
    text = printf(k, "%p", POINTER)
    assert len(text) == 16
    assert text[:8] == "00000000"
    assert text != f"{POINTER:016x}"
    assert printf(k, "%p %p", POINTER, POINTER + 8).split()[0] == text
    assert printf(k, "%p", POINTER + 8) != text
    digits = text.lstrip("0")
    assert printf(k, "%20p|%-20p|", POINTER, POINTER) == f"{digits:>20}|{digits:<20}|"


def test_the_hash_depends_on_the_seed_only() -> None:
    texts = []
    for seed in (1, 1, 2):
        k = FakeHost()
        k.format = FormatOptions.seeded(seed)
        texts.append(printf(k, "%p", POINTER))
    assert texts[0] == texts[1] != texts[2]


def test_before_the_key_is_ready_pointers_have_no_value(k: FakeHost) -> None:
    k.format = FormatOptions()
    assert printf(k, "%p|%20p", POINTER, POINTER) == "(____ptrval____)|(____ptrval____)"


def test_no_hash_pointers_prints_addresses(k: FakeHost) -> None:
    k.format = FormatOptions.seeded(0, no_hash_pointers=True)
    assert printf(k, "%p %pK", POINTER, POINTER) == "ffff0123456789ab ffff0123456789ab"


def test_siphash_gives_the_published_vector() -> None:
    key = (0x0706050403020100, 0x0F0E0D0C0B0A0908)
    assert siphash_1u64(0x0706050403020100, key) == 0x93F5F5799A932462


@pytest.mark.parametrize(
    ("expected", "fmt", "args"),
    [
        ("0000000000000000|0000000000000000", "%p|%px", (0, 0)),
        ("fffffffffffffff5|fffffffffffffff5", "%p|%px", (-11, -11)),
        ("ffff0123456789ab", "%px", (POINTER,)),
        ("00000000000000ab", "%px", (0xAB,)),
        ("    ab|ab    ", "%6px|%-6px", (0xAB, 0xAB)),
        ("(null)|(efault)|(efault)", "%pE|%pE|%pE", (0, -11, 0xAB)),
        ("-1234", "%pe", (-1234,)),
        ("(-ENOTSOCK)", "(%pe)", (-88,)),
        ("(-EAGAIN)", "(%pe)", (-11,)),
        ("[-EIO    ]", "[%-8pe]", (-5,)),
        ("[    -EIO]", "[%8pe]", (-5,)),
        ("-EPROBE_DEFER", "%pe", (-517,)),
        ("(null)|(efault)", "%pd|%pD", (0, 0xAB)),
        ("(%pN?)|(%pO?)|(%pOF?)|(%pf?)|(%p4?)", "%pNx|%pO|%pOF|%pfx|%p4x", (BASE, BASE, BASE, BASE, BASE)),
        ("(einval)|(%pI?)|(%pi?)|(%pG?)|(%pt?)", "%pu|%pI7|%pi|%pG|%pt", (BASE,) * 5),
    ],
)
def test_pointers_that_are_not_read(expected: str, fmt: str, args: tuple[int, ...], k: FakeHost) -> None:
    assert printf(k, fmt, *args) == expected


def test_a_pointer_error_that_is_none_is_an_ordinary_pointer(k: FakeHost) -> None:
    assert printf(k, "%pe", POINTER) == printf(k, "%p", POINTER)


def test_restricted_pointers_follow_the_sysctl(k: FakeHost) -> None:
    assert printf(k, "%pK", POINTER) == printf(k, "%p", POINTER)
    k.format = FormatOptions.seeded(0, kptr_restrict=1)
    assert printf(k, "%pK", POINTER) == "ffff0123456789ab"
    k.context.local_bh_disable()
    assert printf(k, "%pK", POINTER) == "pK-error".rjust(16)
    k.format = FormatOptions.seeded(0, kptr_restrict=2)
    assert printf(k, "%pK", POINTER) == "0" * 16


def test_symbols(k: FakeHost) -> None:
    k.kallsyms.add("kfree", 0xFFFFFFFF81001000, 0x140)
    k.kallsyms.add("drv_init", 0xFFFFFFFFC0000000, 0x80, "drv")
    at = 0xFFFFFFFF8100101C
    assert printf(k, "%pS|%ps|%pB", at, at, 0xFFFFFFFF81001140) == "kfree+0x1c/0x140|kfree|kfree+0x140/0x140"
    assert printf(k, "%pSR|%-22ps|", at, at) == f"kfree+0x1c/0x140|{'kfree':22}|"
    assert printf(k, "%pS", 0xFFFFFFFFC0000010) == "drv_init+0x10/0x80 [drv]"
    assert printf(k, "%pS", 0x1234) == "0x1234"


def resource(k: FakeHost, start: int, end: int, flags: int) -> int:
    return k.put(b"".join(word.to_bytes(8, "little") for word in (start, end, 0, flags, 0, 0, 0, 0)))


@pytest.mark.parametrize(
    ("decoded", "raw", "start", "end", "flags"),
    [
        (
            "[mem 0xc0000000-0xc0001fff 64bit pref]",
            "[mem 0xc0000000-0xc0001fff flags 0x102200]",
            *(0xC0000000, 0xC0001FFF, 0x102200),
        ),
        ("[io  0x03f8-0x03ff]", "[io  0x03f8-0x03ff flags 0x100]", 0x3F8, 0x3FF, 0x100),
        ("[irq 5]", "[irq 5 flags 0x400]", 5, 5, 0x400),
        ("[dma 4 disabled]", "[dma 4 flags 0x10000800]", 4, 4, 0x10000800),
        ("[bus 00-ff window]", "[bus 00-ff flags 0x201000]", 0, 0xFF, 0x201000),
        ("[mem size 0x00001000]", "[mem 0x00000000-0x00000fff flags 0x20000200]", 0, 0xFFF, 0x20000200),
        ("[??? 0x00000010 flags 0x0]", "[??? 0x00000010 flags 0x0]", 0x10, 0x10, 0),
    ],
)  # fmt: skip
def test_resources(decoded: str, raw: str, start: int, end: int, flags: int, k: FakeHost) -> None:
    where = resource(k, start, end, flags)
    assert printf(k, "%pR|%pr", where, where) == f"{decoded}|{raw}"


def test_hexadecimal_strings(k: FakeHost) -> None:
    buf = k.put(b"\xc0\xff\xee")
    expected = "c0 ff ee|c0:ff:ee|c0-ff-ee|c0ffee"
    assert printf(k, "%3ph|%3phC|%3phD|%3phN", buf, buf, buf, buf) == expected
    assert printf(k, "%*ph|%*phC|%*phD|%*phN", 3, buf, 3, buf, 3, buf, 3, buf) == expected
    assert printf(k, "<%ph|%0*ph>", buf, 0, buf) == "<c0|>"
    assert len(printf(k, "%100phN", k.put(bytes(100)))) == 128


@pytest.mark.parametrize(
    ("expected", "suffix"),
    [
        ("2d:48:d6:fc:7a:05", "M"),
        ("05:7a:fc:d6:48:2d", "MR"),
        ("2d-48-d6-fc-7a-05", "MF"),
        ("2d48d6fc7a05", "m"),
        ("057afcd6482d", "mR"),
    ],
)
def test_hardware_addresses(expected: str, suffix: str, k: FakeHost) -> None:
    assert printf(k, "%p" + suffix, b"\x2d\x48\xd6\xfc\x7a\x05") == expected


def sockaddr4(address: bytes, port: int) -> bytes:
    return b"\x02\x00" + port.to_bytes(2, "big") + address + bytes(8)


def test_ip4_addresses(k: FakeHost) -> None:
    loopback = k.put(b"\x7f\x00\x00\x01")
    assert printf(k, "%pi4|%pI4|%pI4h|%pI4l|%pI4n", *[loopback] * 5) == (
        "127.000.000.001|127.0.0.1|1.0.0.127|1.0.0.127|127.0.0.1"
    )
    socket = k.put(sockaddr4(b"\x01\x02\x03\x04", 12345))
    assert printf(k, "%piS|%pIS", socket, socket) == "001.002.003.004|1.2.3.4"
    assert (
        printf(k, "%piSp|%pISp|%pIShp", socket, socket, socket) == "001.002.003.004:12345|1.2.3.4:12345|4.3.2.1:12345"
    )
    assert printf(k, "%pIS", k.put(bytes(16))) == "(einval)"


IP6 = bytes.fromhex("00010002000300040005000600070008")


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        (bytes(16), "::"),
        (bytes(15) + b"\x01", "::1"),
        (IP6, "1:2:3:4:5:6:7:8"),
        (bytes.fromhex("fe80000000000000020304fffe050607"), "fe80::203:4ff:fe05:607"),
        (bytes.fromhex("20010db8000000010000000000000001"), "2001:db8:0:1::1"),
        (bytes.fromhex("20010db8000100010001000100010000"), "2001:db8:1:1:1:1:1:0"),
        (bytes.fromhex("20010000000000010000000000000000"), "2001:0:0:1::"),
        (bytes(10) + b"\xff\xff\x01\x02\x03\x04", "::ffff:1.2.3.4"),
        (bytes.fromhex("fe8000000000000000005efe01020304"), "fe80::5efe:1.2.3.4"),
    ],
)
def test_compressed_ip6_addresses(address: bytes, expected: str, k: FakeHost) -> None:
    assert printf(k, "%pI6c", address) == expected


def test_ip6_addresses(k: FakeHost) -> None:
    at = k.put(IP6)
    assert printf(k, "%pI6|%pi6", at, at) == (
        "0001:0002:0003:0004:0005:0006:0007:0008|00010002000300040005000600070008"
    )
    socket = k.put(b"\x0a\x00\x30\x39\xf0\x00\x00\x07" + IP6 + (9).to_bytes(4, "little"))
    assert printf(k, "%pISc|%pIScpfs", socket, socket) == "1:2:3:4:5:6:7:8|[1:2:3:4:5:6:7:8]:12345/7%9"


@pytest.mark.parametrize(
    ("expected", "suffix"),
    [
        ("00010203-0405-0607-0809-0a0b0c0d0e0f", "U"),
        ("00010203-0405-0607-0809-0a0b0c0d0e0f", "Ub"),
        ("00010203-0405-0607-0809-0A0B0C0D0E0F", "UB"),
        ("03020100-0504-0706-0809-0a0b0c0d0e0f", "Ul"),
        ("03020100-0504-0706-0809-0A0B0C0D0E0F", "UL"),
    ],
)
def test_uuids(expected: str, suffix: str, k: FakeHost) -> None:
    assert printf(k, "%p" + suffix, bytes(range(16))) == expected


def test_bitmaps(k: FakeHost) -> None:
    empty, full = k.put(bytes(8)), k.put(b"\xff\xff\x0f\0\0\0\0\0")
    primes = k.put(sum(1 << prime for prime in (2, 3, 5, 7, 11, 13, 17, 19)).to_bytes(8, "little"))
    assert printf(k, "%20pb|%*pb", empty, 20, empty) == "00000|00000"
    assert printf(k, "%20pbl|%*pbl", empty, 20, empty) == "|"
    assert printf(k, "%20pb|%*pb", primes, 20, primes) == "a28ac|a28ac"
    assert printf(k, "%20pbl|%*pbl", primes, 20, primes) == "2-3,5,7,11,13,17,19|2-3,5,7,11,13,17,19"
    assert printf(k, "%20pb|%20pbl", full, full) == "fffff|0-19"
    large = k.put((((1 << 20) - 1) << 1 | ((1 << 15) - 1) << 60000).to_bytes(8192, "little"))
    assert printf(k, "%*pbl", 1 << 16, large) == "1-20,60000-60014"
    assert printf(k, "%*pb", 70, k.put((1 << 69 | 5).to_bytes(16, "little"))) == "20,00000000,00000005"


def test_escaped_strings(k: FakeHost) -> None:
    raw = k.put(b'a\n"\x01\0\xff')
    # printable characters, a quote and ISO 8859-1 letters among them, stay as they are
    assert printf(k, "%6pE", raw) == r"a\n" + '"' + r"\001\0" + "\xff"
    assert printf(k, "%3pEa", raw) == r"\141\n\""
    assert printf(k, "%6pEh", raw) == r"\x61\x0a\x22\x01\x00\xff"
    assert printf(k, "%6pEhp", raw) == r"a\x0a" + '"' + r"\x01\x00" + "\xff"
    assert printf(k, "%3pEs", raw) == 'a\\n"'
    assert printf(k, "%pE", raw) == "a"


def test_addresses_by_reference(k: FakeHost) -> None:
    where = k.put((0xFEE00000).to_bytes(8, "little"))
    assert printf(k, "%pa|%pap|%pad|%pNF", where, where, where, where) == "|".join(["0x00000000fee00000"] * 4)


def test_flags(k: FakeHost) -> None:
    assert printf(k, "%pGg", (0xCC0).to_bytes(4, "little")) == "GFP_KERNEL"
    assert printf(k, "%pGg", (0xDC0 | 1 << 28).to_bytes(4, "little")) == "GFP_KERNEL|__GFP_ZERO|0x10000000"
    assert printf(k, "%pGv", (0x75).to_bytes(8, "little")) == "read|exec|mayread|maywrite|mayexec"
    assert printf(k, "%pGp", (1 << 9 | 1 << 51 | 0x1FFFFF << 30).to_bytes(8, "little")) == (
        f"0x{1 << 9 | 1 << 51 | 0x1FFFFF << 30:x}(slab|node=0|zone=1|lastcpupid=0x1fffff)"
    )


RTC = b"".join(field.to_bytes(4, "little") for field in (43, 35, 5, 26, 10, 118))


@pytest.mark.parametrize(
    ("expected", "fmt", "value"),
    [
        ("2018-11-26T05:35:43", "%ptR", RTC),
        ("0118-10-26T05:35:43", "%ptRr", RTC),
        ("05:35:43", "%ptRt", RTC),
        ("2018-11-26", "%ptRd", RTC),
        ("05:35:43 tr", "%ptRt tr", RTC),
        ("0118-10-26", "%ptRdr", RTC),
        ("05:35:43", "%ptRttr", RTC),
        ("2019-01-04T15:32:23", "%ptT", (1546615943).to_bytes(8, "little")),
        ("0119-00-04T15:32:23", "%ptTr", (1546615943).to_bytes(8, "little")),
        ("2019-01-04 15:32:23", "%ptTs", (1546615943).to_bytes(8, "little")),
        ("0119-00-04 15:32:23", "%ptTsr", (1546615943).to_bytes(8, "little")),
        ("1969-12-31T23:59:59", "%ptT", (U64 - 1).to_bytes(8, "little")),
        ("12019-01-04T15:32:23", "%ptT", (1546615943 + 25 * 146097 * 86400).to_bytes(8, "little")),
    ],
)
def test_times(expected: str, fmt: str, value: bytes, k: FakeHost) -> None:
    assert printf(k, fmt, value) == expected


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (0x3231564E, "NV12 little-endian (0x3231564e)"),
        (0xB231564E, "NV12 big-endian (0xb231564e)"),
        (0x10111213, ".... little-endian (0x10111213)"),
        (0x20303159, "Y10  little-endian (0x20303159)"),
    ],
)
def test_fourcc_codes(code: int, expected: str, k: FakeHost) -> None:
    assert printf(k, "%p4cc", code.to_bytes(4, "little")) == expected


def test_dentries(k: FakeHost) -> None:
    entries: list[int] = []
    for name in ("foo", "bravo", "alfa", "romeo"):
        entry = k.alloc(64)
        k.mem.set_u64(entry + 24, entries[-1] if entries else entry)
        k.mem.set_u64(entry + 40, k.put(name))
        entries.append(entry)
    root, _, alfa, romeo = entries
    assert printf(k, "%pd|%pd2", root, root) == "foo|foo"
    assert printf(k, "%pd|%pd2|%pd3|%pd4", romeo, romeo, romeo, romeo) == (
        "romeo|alfa/romeo|bravo/alfa/romeo|/bravo/alfa/romeo"
    )
    assert printf(k, "%-12pd2|%*pd2|%12pd2", alfa, -12, alfa, alfa) == "bravo/alfa  |bravo/alfa  |  bravo/alfa"
    file = k.alloc(64)
    k.mem.set_u64(file + 24, romeo)
    assert printf(k, "%pD2", file) == "alfa/romeo"


def test_a_format_in_a_format(k: FakeHost) -> None:
    save = k.put((7).to_bytes(8, "little") + k.put("in").to_bytes(8, "little"))
    va_list = k.put((32).to_bytes(4, "little") + bytes(4) + bytes(8) + (save - 32).to_bytes(8, "little"))
    vaf = k.put(k.put("%03d %s").to_bytes(8, "little") + va_list.to_bytes(8, "little"))
    assert printf(k, "<%pV>%d", vaf, 5) == "<007 in>5"
    assert printf(k, "<%pV>", 0) == "<(null)>"


def test_the_suffix_of_a_pointer_is_eaten_up_to_the_first_other_character(k: FakeHost) -> None:
    assert printf(k, "%pxyz42-%d", POINTER, 9) == "ffff0123456789ab-9"


# Numbers against Python


@given(
    flags=st.sets(st.sampled_from("-+ #0")).map("".join),
    width=st.integers(0, 30),
    conversion=st.sampled_from("dxXou"),
    length=st.sampled_from(["hh", "h", "", "l", "ll", "z"]),
    value=st.integers(0, U64 - 1),
)
def test_numbers_print_as_in_python(flags: str, width: int, conversion: str, length: str, value: int) -> None:
    bits = {"hh": 8, "h": 16, "": 32}.get(length, 64)
    number = value & ((1 << bits) - 1)
    if conversion == "d" and number >> (bits - 1):
        number -= 1 << bits
    # Python signs unsigned conversions, C does not; Python's # prefix for octal is 0o
    kept = flags if conversion == "d" else flags.replace("+", "").replace(" ", "")
    python = conversion.replace("u", "d")
    if conversion == "o" and "#" in kept:
        digits = f"{number:o}" if not number else f"0{number:o}"
        expected = digits.ljust(width) if "-" in kept else digits.rjust(width, "0" if "0" in kept else " ")
    else:
        expected = f"%{kept}{width or ''}{python}" % number
    assert printf(FakeHost(), f"%{flags}{width or ''}{length}{conversion}", value) == expected


@given(width=st.integers(1, 20), precision=st.integers(0, 20), value=st.integers(-(1 << 31), (1 << 31) - 1))
def test_precision_prints_as_in_python(width: int, precision: int, value: int) -> None:
    expected = f"%{width}.{precision}d" % value
    assert printf(FakeHost(), f"%{width}.{precision}d", value) == expected
