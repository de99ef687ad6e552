"""The archive that a booted kernel unpacks, read back by cpio itself where it is installed."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.differential.cpio import archive

FILES = {"init": b"#!/bin/sh\n", "bin/busybox": b"\x7fELF", "modules/a.ko": b"x" * 5, "empty": b""}


def test_the_same_contents_make_the_same_bytes() -> None:
    assert archive(FILES) == archive(dict(reversed(FILES.items())))
    assert archive(FILES) != archive({**FILES, "init": b"#!/bin/bash\n"})


def test_every_entry_begins_at_a_multiple_of_four() -> None:
    data = archive(FILES)
    starts = [at for at in range(len(data)) if data.startswith(b"070701", at)]
    assert [at % 4 for at in starts] == [0] * len(starts)
    assert len(starts) == len(["bin", "modules", *FILES, "TRAILER!!!"])


@pytest.mark.skipif(shutil.which("cpio") is None, reason="cpio not found: apt-get install cpio")
def test_cpio_unpacks_it(tmp_path: Path) -> None:
    subprocess.run(["cpio", "-id", "--quiet"], cwd=tmp_path, input=archive(FILES, ("proc",)), check=True)
    assert {str(p.relative_to(tmp_path)): p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == FILES
    assert (tmp_path / "proc").is_dir()
