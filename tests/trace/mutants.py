"""Malformed traces: mutants of good ones. ``python -m tests.trace.mutants 50000`` reads as many of them."""

from __future__ import annotations

import random
import resource
import struct
import sys
import tempfile
import time
import zlib
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from kmem.trace.errors import TraceError
from kmem.trace.open import open_trace
from kmem.trace.stat import stat
from kmem.trace.store import MAGIC, save
from tests.trace import made

OTHER = b"""# A text that is something else: [000] 1.5: kmalloc: ptr= pfn=x
int main(void) { return a[12] == 3.25; } kmem: kfree: ptr=0x call_site= [0
"""


def mutant(rng: random.Random, data: bytes) -> bytes:
    """*data* with something wrong: cut, of the other byte order, not what it was, or damaged somewhere."""
    way = rng.randrange(10)
    if way == 0:
        return data[: rng.randrange(len(data))]
    if way == 5:
        width = rng.choice((2, 4, 8))
        begin = rng.randrange(0, min(len(data), 64), 2)
        whole = len(data) - (len(data) - begin) % width
        return data[:begin] + np.frombuffer(data[begin:whole], f"<u{width}").byteswap().tobytes() + data[whole:]
    if way == 6:
        return rng.choice((b"", bytes(rng.randrange(5000)), rng.randbytes(rng.randrange(5000)), OTHER * 30))
    if way == 7:
        return data[: rng.randrange(64)] + rng.choice((OTHER, rng.randbytes(2000), data))
    raw = bytearray(data)
    if way == 1:
        for _ in range(rng.randrange(1, 8)):
            raw[rng.randrange(len(raw))] ^= 1 << rng.randrange(8)
    elif way == 2:
        at = rng.randrange(len(raw))
        raw[at : at + rng.randrange(1, 64)] = rng.randbytes(rng.randrange(64))
    elif way == 3:
        at = rng.randrange(max(len(raw) - 8, 1))
        raw[at : at + 8] = rng.choice((bytes(8), b"\xff" * 8, raw[at : at + 8][::-1]))
    else:
        at, other = rng.randrange(len(raw)), rng.randrange(len(raw))
        raw[at : at + 100] = raw[other : other + 100]
    return bytes(raw)


def survives(path: Path) -> None:
    """Reading *path*, and adding it up, ends well or with the one error."""
    try:
        found = stat(open_trace(path))
        assert found.allocs + found.frees <= found.info.events
    except TraceError:
        pass


def stored(where: Path) -> Path:
    save(open_trace(made.directory(where / "raw", made.workload(400))), where / "t.kmem")
    return where / "t.kmem"


def plain(where: Path) -> Path:
    recording = open_trace(made.directory(where / "raw", made.workload(400)))
    recording.info.before["slabinfo"], recording.info.symbols[1 << 63] = "slabinfo - version: 2.1", "fn"
    save(recording, where / "t.kmem", compress=False)
    return where / "t.kmem"


def sealed(data: bytes) -> bytes:
    """A ``.kmem`` with the checksums that its chunks should have, as far as they go."""
    raw, at = bytearray(data), len(MAGIC) + 1
    while at + 20 <= len(raw):
        (size,) = struct.unpack_from("<I", raw, at + 12)
        struct.pack_into("<I", raw, at + 16, 0)
        struct.pack_into("<I", raw, at + 16, zlib.crc32(raw[at : at + 20 + size]))
        at += 20 + size
    return bytes(raw)


def text(tool: Callable[[list[made.Made]], str]) -> Callable[[Path], Path]:
    def write(where: Path) -> Path:
        (where / "t.txt").write_text(tool(made.workload(200)))
        return where / "t.txt"

    return write


def pages(where: Path) -> Path:
    return made.directory(where / "pages", made.workload(400)) / "cpu0.pages"


def formats(where: Path) -> Path:
    return made.directory(where / "formats", made.workload(50)) / "formats.txt"


def dat(write: Callable[[list[made.Made]], bytes]) -> Callable[[Path], Path]:
    def put(where: Path) -> Path:
        (where / "trace.dat").write_bytes(write(made.workload(200)))
        return where / "trace.dat"

    return put


def parquet(where: Path) -> Path:
    from kmem.trace.parquet import save_parquet

    save_parquet(open_trace(made.directory(where / "raw", made.workload(200))), where / "t.parquet")
    return where / "t.parquet"


def zstd(content: bytes) -> bytes:
    import zstandard

    return zstandard.ZstdCompressor().compress(content)


FORMS = {"kmem": stored, "kmem sealed": plain, "ftrace": text(made.ftrace), "perf script": text(made.perf_script)}
FORMS |= {"trace-cmd report": text(made.trace_cmd), "pages": pages, "formats": formats}
FORMS |= {"trace.dat 6": dat(made.trace_dat6), "trace.dat 7": dat(made.trace_dat7)}
FORMS |= {"trace.dat 7 zlib": dat(lambda events: made.trace_dat7(events, zlib.compress, "zlib"))}
FORMS |= {"trace.dat 7 zstd": dat(lambda events: made.trace_dat7(events, zstd, "zstd")), "parquet": parquet}
NEEDS = {"parquet": "pyarrow"}
"""Libraries without which a form is not read."""


def trial(where: Path, form: str, count: int) -> float:
    """Read *count* mutants of a form; the processor seconds of the slowest."""
    rng = random.Random(form)
    path = FORMS[form](where)
    good = path.read_bytes()
    target = path.parent if form in ("pages", "formats") else path
    slowest = 0.0
    for _ in range(count):
        made_of_it = mutant(rng, good)
        path.write_bytes(sealed(made_of_it) if form == "kmem sealed" else made_of_it)
        begun = time.process_time()
        survives(target)
        slowest = max(slowest, time.process_time() - begun)
    return slowest


def main() -> None:
    """Read as many as the first word says, and print what they took."""
    count = -(-int(sys.argv[1]) // len(FORMS))
    for form in FORMS:
        if form in NEEDS and find_spec(NEEDS[form]) is None:
            print(f"{form:18} not read: there is no {NEEDS[form]}")
            continue
        with tempfile.TemporaryDirectory() as where:
            slowest = trial(Path(where), form, count)
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
        print(f"{form:18} {count:,} mutants, the slowest {slowest:.3f} s, resident set at most {most} MiB", flush=True)


if __name__ == "__main__":
    main()
