"""Unicode as wide characters of 16 bits and as bytes (fs/nls/nls_base.c), 6.1."""

from __future__ import annotations

from kmem.kapi.errno import EINVAL
from kmem.kapi.export import export, faithful
from kmem.kapi.host import Host

UTF16_BIG_ENDIAN = 2


def _order(endian: int) -> str:
    return "utf-16-be" if endian == UTF16_BIG_ENDIAN else "utf-16-le"


@export(faithful)
def utf8s_to_utf16s(k: Host, s: int, inlen: int, endian: int, pwcs: int, maxout: int) -> int:
    """``int utf8s_to_utf16s(const u8 *s, int inlen, enum utf16_endian endian, wchar_t *pwcs, int maxout)``

    fs/nls/nls_base.c, 6.1. How many wide characters it made, up to a NUL; -EINVAL for bytes that are no UTF-8.
    """
    at, done = s, 0
    while at < s + inlen and done < maxout:
        lead = k.mem.u8(at)
        if not lead:
            break
        size = 1 if lead < 0x80 else 2 if lead < 0xE0 else 3 if lead < 0xF0 else 4
        if size > s + inlen - at:
            return -EINVAL
        try:
            wide = k.mem.read(at, size).decode().encode(_order(endian))
        except UnicodeDecodeError:
            return -EINVAL
        at += size
        if len(wide) // 2 > maxout - done:
            break
        k.mem.write(pwcs + 2 * done, wide)
        done += len(wide) // 2
    return done


@export(faithful)
def utf16s_to_utf8s(k: Host, pwcs: int, inlen: int, endian: int, s: int, maxout: int) -> int:
    """``int utf16s_to_utf8s(const wchar_t *pwcs, int inlen, enum utf16_endian endian, u8 *s, int maxout)``

    fs/nls/nls_base.c, 6.1. How many bytes it made, up to a NUL or to the first that has no room; half a pair is left
    out.
    """
    at, end, out = pwcs, pwcs + 2 * inlen, b""
    while at < end:
        wide = k.mem.read(at, 2)
        at += 2
        if wide == b"\0\0":
            break
        high = wide[0] if endian == UTF16_BIG_ENDIAN else wide[1]
        if high & 0xFC == 0xD8 and at < end:
            wide += k.mem.read(at, 2)
        try:
            made = wide.decode(_order(endian)).encode()
        except UnicodeDecodeError:
            continue
        at += len(wide) - 2
        if len(out) + len(made) > maxout:
            break
        out += made
    k.mem.write(s, out)
    return len(out)
