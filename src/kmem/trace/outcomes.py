"""The outcomes of a sweep as a Parquet file: a row each, from which a sweep that was stopped goes on."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

from kmem.trace.errors import TraceError
from kmem.trace.parquet import pyarrow
from kmem.trace.sweep import Outcome

_TYPES = {"str": "string", "int": "int64", "float": "float64", "Settings": "string"}
_COLUMNS = {field.name: _TYPES[str(field.type)] for field in fields(Outcome)}
"""The fields of an outcome; its settings are JSON."""


def load(path: Path) -> list[Outcome]:
    """What was written to *path*; nothing if it is not there, TraceError if it is something else."""
    if not path.exists():
        return []
    arrow = pyarrow()
    try:
        rows = arrow.parquet.read_table(path, columns=list(_COLUMNS)).to_pylist()
        return [Outcome.of({**row, "settings": json.loads(row["settings"])}) for row in rows]
    except (arrow.ArrowException, OSError, ValueError, TypeError, AttributeError):
        raise TraceError(f"{path}: no outcomes of a sweep", remedy="Give another name with --output.") from None


def save(outcomes: Sequence[Outcome], path: Path) -> None:
    """Write *outcomes* to *path*; what was there is replaced at once."""
    arrow = pyarrow()
    schema = arrow.schema([(name, getattr(arrow, kind)()) for name, kind in _COLUMNS.items()])
    rows = [{**outcome.json(), "settings": json.dumps(dict(outcome.settings))} for outcome in outcomes]
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    arrow.parquet.write_table(arrow.Table.from_pylist(rows, schema=schema), partial)
    partial.replace(path)
