"""UUIDs (lib/uuid.c), 6.1."""

from __future__ import annotations

import re

from kmem.kapi.errno import EINVAL
from kmem.kapi.export import data, export, faithful, simplified
from kmem.kapi.host import Host

_SEEDED = simplified("a seeded generator: the same run gives the same numbers")
_FORM = re.compile(rb"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_LENGTH = 36

data("uuid_null", 16, align=1, doc="The UUID of zeros, lib/uuid.c.")
data("guid_null", 16, align=1, doc="The GUID of zeros, lib/uuid.c.")


def _little_endian(raw: bytes) -> bytes:
    """A UUID as a GUID: the first three fields turned round; and back."""
    return raw[3::-1] + raw[5:3:-1] + raw[7:5:-1] + raw[8:]


def _parse(k: Host, uuid: int) -> bytes | None:
    text = k.mem.cstr(uuid, _LENGTH)
    return bytes.fromhex(text.replace(b"-", b"").decode()) if _FORM.fullmatch(text) else None


@export(faithful)
def uuid_is_valid(k: Host, uuid: int) -> bool:
    """``bool uuid_is_valid(const char *uuid)``

    lib/uuid.c, 6.1. Looks at 36 characters.
    """
    return _parse(k, uuid) is not None


@export(faithful)
def uuid_parse(k: Host, uuid: int, u: int) -> int:
    """``int uuid_parse(const char *uuid, uuid_t *u)``

    lib/uuid.c, 6.1. 0 or -EINVAL.
    """
    raw = _parse(k, uuid)
    if raw is None:
        return -EINVAL
    k.mem.write(u, raw)
    return 0


@export(faithful)
def guid_parse(k: Host, uuid: int, u: int) -> int:
    """``int guid_parse(const char *uuid, guid_t *u)``

    lib/uuid.c, 6.1. 0 or -EINVAL.
    """
    raw = _parse(k, uuid)
    if raw is None:
        return -EINVAL
    k.mem.write(u, _little_endian(raw))
    return 0


def _random(k: Host, version_at: int) -> bytes:
    """A random UUID: version 4, variant DCE."""
    raw = bytearray(k.random.randbytes(16))
    raw[version_at] = raw[version_at] & 0x0F | 0x40
    raw[8] = raw[8] & 0x3F | 0x80
    return bytes(raw)


@export(_SEEDED)
def uuid_gen(k: Host, bu: int) -> None:
    """``void uuid_gen(uuid_t *bu)``

    lib/uuid.c, 6.1.
    """
    k.mem.write(bu, _random(k, 6))


@export(_SEEDED)
def guid_gen(k: Host, lu: int) -> None:
    """``void guid_gen(guid_t *lu)``

    lib/uuid.c, 6.1.
    """
    k.mem.write(lu, _random(k, 7))
