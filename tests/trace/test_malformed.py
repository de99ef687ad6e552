from __future__ import annotations

from pathlib import Path

import pytest

from kmem.trace.errors import TraceError
from kmem.trace.open import open_trace
from kmem.trace.store import Writer
from tests.trace import made
from tests.trace.mutants import FORMS, NEEDS, trial

MUTANTS = 300
"""Of each form; tests/trace/mutants.py makes any number."""


@pytest.mark.parametrize("form", FORMS)
def test_a_malformed_trace_is_read_as_far_as_it_goes_or_is_the_one_error(tmp_path: Path, form: str) -> None:
    if form in NEEDS:
        pytest.importorskip(NEEDS[form], reason=f"{form} needs {NEEDS[form]}")
    assert trial(tmp_path, form, MUTANTS) < 5


@pytest.mark.parametrize("data", [b"", b"\0" * 5000, b"hello\n", b"\x89KMEM\r\n", b"\x89KMEM\r\n\x09" + bytes(50)])
def test_what_is_something_else_is_the_one_error(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "x"
    path.write_bytes(data)
    with pytest.raises(TraceError):
        list(open_trace(path).batches())


@pytest.mark.parametrize("form", ["t.kmem", "t.parquet"])
def test_a_cache_that_no_string_names_is_none(tmp_path: Path, form: str) -> None:
    recording = open_trace(made.directory(tmp_path / "raw", made.workload(100)))
    batch = next(iter(recording.batches()))
    batch["cache"][7] = 1 << 20
    if form == "t.kmem":
        writer = Writer(tmp_path / form, recording.info)
        writer.events(batch)
        writer.close()
        with pytest.raises(TraceError, match="cache"):
            list(open_trace(tmp_path / form).batches())
    else:
        pytest.importorskip("pyarrow", reason="Parquet needs the extra kmem[parquet]")
        from kmem.trace.parquet import save_parquet

        recording.batches = lambda: iter([batch])  # type: ignore[method-assign]
        save_parquet(recording, tmp_path / form)
        caches = next(iter(open_trace(tmp_path / form).batches()))["cache"]
        assert caches[7] == 0
        assert caches.any()
