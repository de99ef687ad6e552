"""String and memory functions (lib/string.c, arch/x86/lib), 6.1. memcpy, memmove and memset are guest code:
`kmem.kapi.thunks`.

Strings are read as a whole before anything is stored. Where C compares bytes one by one and stops early, the model
may read up to the end of the same string, never past it.
"""

from __future__ import annotations

from kmem.kapi.ctype import tolower
from kmem.kapi.errno import E2BIG
from kmem.kapi.export import export, faithful
from kmem.kapi.host import Host

STRING_LIMIT = 1 << 30
"""Longer than any string: an unterminated one faults where mapped memory ends, as in the kernel."""

INT_MAX = (1 << 31) - 1


def text_at(k: Host, s: int, n: int = STRING_LIMIT) -> bytes:
    """The string at *s* without its NUL, at most *n* bytes of it."""
    return k.mem.cstr(s, min(n, STRING_LIMIT)) if n else b""


def _compare(a: bytes, b: bytes) -> int:
    return (a > b) - (a < b)


@export(faithful)
def strlen(k: Host, s: int) -> int:
    """``size_t strlen(const char *s)``

    lib/string.c, 6.1.
    """
    return len(text_at(k, s))


@export(faithful)
def strnlen(k: Host, s: int, count: int) -> int:
    """``size_t strnlen(const char *s, size_t count)``

    lib/string.c, 6.1.
    """
    return len(text_at(k, s, count))


@export(faithful)
def strcpy(k: Host, dest: int, src: int) -> int:
    """``char *strcpy(char *dest, const char *src)``

    lib/string.c, 6.1.
    """
    k.mem.write(dest, text_at(k, src) + b"\0")
    return dest


@export(faithful)
def strncpy(k: Host, dest: int, src: int, count: int) -> int:
    """``char *strncpy(char *dest, const char *src, size_t count)``

    lib/string.c, 6.1. Fills up with NULs; does not terminate a string that is too long.
    """
    k.mem.write(dest, text_at(k, src, count).ljust(count, b"\0"))
    return dest


@export(faithful)
def strlcpy(k: Host, dest: int, src: int, size: int) -> int:
    """``size_t strlcpy(char *dest, const char *src, size_t size)``

    lib/string.c, 6.1. Returns the length of *src*.
    """
    text = text_at(k, src)
    if size:
        k.mem.write(dest, text[: size - 1] + b"\0")
    return len(text)


@export(faithful, alias="sized_strscpy")
def strscpy(k: Host, dest: int, src: int, count: int) -> int:
    """``ssize_t strscpy(char *dest, const char *src, size_t count)``

    lib/string.c, 6.1. Length copied, or -E2BIG when *src* was cut or *count* is 0 or above INT_MAX. Copies by words
    of eight bytes where *count* has room for one, so up to seven bytes behind the NUL become zero.
    """
    if not count:
        return -E2BIG
    if count > INT_MAX:
        k.warn("lib/string.c", 181, "strscpy", once=True)
        return -E2BIG
    text = text_at(k, src, count)
    if len(text) < count:
        whole = len(text) // 8 * 8 + 8
        k.mem.write(dest, text.ljust(whole, b"\0") if whole <= count else text + b"\0")
        return len(text)
    k.mem.write(dest, text[:-1] + b"\0")
    return -E2BIG


@export(faithful)
def strcat(k: Host, dest: int, src: int) -> int:
    """``char *strcat(char *dest, const char *src)``

    lib/string.c, 6.1.
    """
    k.mem.write(dest + len(text_at(k, dest)), text_at(k, src) + b"\0")
    return dest


@export(faithful)
def strncat(k: Host, dest: int, src: int, count: int) -> int:
    """``char *strncat(char *dest, const char *src, size_t count)``

    lib/string.c, 6.1. Always terminates, so up to *count* + 1 bytes are stored.
    """
    if count:
        k.mem.write(dest + len(text_at(k, dest)), text_at(k, src, count) + b"\0")
    return dest


@export(faithful)
def strlcat(k: Host, dest: int, src: int, count: int) -> int:
    """``size_t strlcat(char *dest, const char *src, size_t count)``

    lib/string.c, 6.1. A *dest* that already fills *count* is a BUG.
    """
    used, text = len(text_at(k, dest)), text_at(k, src)
    if used >= count:
        k.bug("lib/string.c", 337, "strlcat")
    k.mem.write(dest + used, text[: count - used - 1] + b"\0")
    return used + len(text)


@export(faithful)
def strcmp(k: Host, cs: int, ct: int) -> int:
    """``int strcmp(const char *cs, const char *ct)``

    lib/string.c, 6.1. -1, 0 or 1; bytes are unsigned.
    """
    return _compare(text_at(k, cs), text_at(k, ct))


@export(faithful)
def strncmp(k: Host, cs: int, ct: int, count: int) -> int:
    """``int strncmp(const char *cs, const char *ct, size_t count)``

    lib/string.c, 6.1.
    """
    return _compare(text_at(k, cs, count), text_at(k, ct, count))


@export(faithful)
def strcasecmp(k: Host, s1: int, s2: int) -> int:
    """``int strcasecmp(const char *s1, const char *s2)``

    lib/string.c, 6.1. The difference of the first unlike characters, in lower case.
    """
    pairs = zip(text_at(k, s1) + b"\0", text_at(k, s2) + b"\0", strict=False)
    return next((tolower(a) - tolower(b) for a, b in pairs if tolower(a) != tolower(b)), 0)


@export(faithful)
def strncasecmp(k: Host, s1: int, s2: int, len_: int) -> int:
    """``int strncasecmp(const char *s1, const char *s2, size_t len)``

    lib/string.c, 6.1. As strcasecmp(), but where one string ends the other's character is not put into lower case.
    """
    for a, b in zip((text_at(k, s1, len_) + b"\0")[:len_], (text_at(k, s2, len_) + b"\0")[:len_], strict=False):
        if not a or not b:
            return a - b
        if tolower(a) != tolower(b):
            return tolower(a) - tolower(b)
    return 0


@export(faithful)
def strchr(k: Host, s: int, c: int) -> int:
    """``char *strchr(const char *s, int c)``

    lib/string.c, 6.1. The NUL counts as part of the string.
    """
    at = (text_at(k, s) + b"\0").find(c & 0xFF)
    return s + at if at >= 0 else 0


@export(faithful)
def strchrnul(k: Host, s: int, c: int) -> int:
    """``char *strchrnul(const char *s, int c)``

    lib/string.c, 6.1. The end of the string when there is no *c*.
    """
    text = text_at(k, s)
    at = text.find(c & 0xFF)
    return s + (at if at >= 0 else len(text))


@export(faithful)
def strrchr(k: Host, s: int, c: int) -> int:
    """``char *strrchr(const char *s, int c)``

    lib/string.c, 6.1.
    """
    at = (text_at(k, s) + b"\0").rfind(c & 0xFF)
    return s + at if at >= 0 else 0


@export(faithful)
def strnchr(k: Host, s: int, count: int, c: int) -> int:
    """``char *strnchr(const char *s, size_t count, int c)``

    lib/string.c, 6.1.
    """
    text = text_at(k, s, count)
    at = (text if len(text) == count else text + b"\0").find(c & 0xFF)
    return s + at if at >= 0 else 0


@export(faithful)
def strstr(k: Host, s1: int, s2: int) -> int:
    """``char *strstr(const char *s1, const char *s2)``

    lib/string.c, 6.1.
    """
    at = text_at(k, s1).find(text_at(k, s2))
    return s1 + at if at >= 0 else 0


@export(faithful)
def strnstr(k: Host, s1: int, s2: int, len_: int) -> int:
    """``char *strnstr(const char *s1, const char *s2, size_t len)``

    lib/string.c, 6.1. *s1* is *len* bytes, whether or not there is a NUL among them.
    """
    wanted = text_at(k, s2)
    at = k.mem.read(s1, len_).find(wanted) if wanted and len(wanted) <= len_ else -1
    return s1 if not wanted else s1 + at if at >= 0 else 0


@export(faithful)
def strspn(k: Host, s: int, accept: int) -> int:
    """``size_t strspn(const char *s, const char *accept)``

    lib/string.c, 6.1.
    """
    text = text_at(k, s)
    return len(text) - len(text.lstrip(text_at(k, accept))) if text else 0


def _span_without(text: bytes, reject: bytes) -> int:
    return next((at for at, c in enumerate(text) if c in reject), len(text))


@export(faithful)
def strcspn(k: Host, s: int, reject: int) -> int:
    """``size_t strcspn(const char *s, const char *reject)``

    lib/string.c, 6.1.
    """
    return _span_without(text_at(k, s), text_at(k, reject))


@export(faithful)
def strpbrk(k: Host, cs: int, ct: int) -> int:
    """``char *strpbrk(const char *cs, const char *ct)``

    lib/string.c, 6.1.
    """
    text = text_at(k, cs)
    at = _span_without(text, text_at(k, ct))
    return cs + at if at < len(text) else 0


@export(faithful)
def strsep(k: Host, s: int, ct: int) -> int:
    """``char *strsep(char **s, const char *ct)``

    lib/string.c, 6.1.
    """
    begin = k.mem.u64(s)
    if not begin:
        return 0
    found = strpbrk(k, begin, ct)
    if found:
        k.mem.set_u8(found, 0)
        found += 1
    k.mem.set_u64(s, found)
    return begin


@export(faithful)
def memcmp(k: Host, cs: int, ct: int, count: int) -> int:
    """``int memcmp(const void *cs, const void *ct, size_t count)``

    lib/string.c, 6.1. The difference of the first unlike bytes.
    """
    if not count:
        return 0
    a, b = k.mem.read(cs, count), k.mem.read(ct, count)
    return 0 if a == b else next(x - y for x, y in zip(a, b, strict=True) if x != y)


@export(faithful)
def memchr(k: Host, s: int, c: int, n: int) -> int:
    """``void *memchr(const void *s, int c, size_t n)``

    lib/string.c, 6.1.
    """
    at = k.mem.read(s, n).find(c & 0xFF) if n else -1
    return s + at if at >= 0 else 0


@export(faithful)
def memscan(k: Host, addr: int, c: int, size: int) -> int:
    """``void *memscan(void *addr, int c, size_t size)``

    lib/string.c, 6.1. As memchr(), but the end when there is no *c*.
    """
    return memchr(k, addr, c, size) or addr + size


@export(faithful)
def memchr_inv(k: Host, start: int, c: int, bytes_: int) -> int:
    """``void *memchr_inv(const void *start, int c, size_t bytes)``

    lib/string.c, 6.1. The first byte that is not *c*, or NULL.
    """
    if not bytes_:
        return 0
    content = k.mem.read(start, bytes_)
    skipped = len(content) - len(content.lstrip(bytes([c & 0xFF])))
    return start + skipped if skipped < bytes_ else 0
