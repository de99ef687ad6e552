"""``kmem survey``: every module of a directory, whatever each does."""

from __future__ import annotations

import gzip
import json
import lzma
import shutil
from pathlib import Path

import pytest

from kmem.survey import agreement
from tests.conftest import Kmem
from tests.run.running import module

pytestmark = pytest.mark.needs_headers


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    at = tmp_path_factory.mktemp("modules")
    shutil.copy(module("examples/vmalloc_driver"), at / "basic.ko")
    plain = module("examples/kmalloc_driver")
    (at / f"deep.{plain.name}.xz").write_bytes(lzma.compress(plain.read_bytes()))
    (at / f"flat.{plain.name}.gz").write_bytes(gzip.compress(plain.read_bytes()))
    (at / "broken.ko").write_bytes(b"\x7fELF no more")
    return at


def test_every_module_has_its_row(directory: Path, kmem: Kmem) -> None:
    done = kmem("survey", directory, "--json")
    rows = {row["module"]: row for row in json.loads(done.stdout)["modules"]}
    assert len(rows) == 4
    assert rows.pop("broken.ko")["status"] == "refused"
    assert {(row["status"], row["insmod"], row["loads"]) for row in rows.values()} <= {("ok", 0, True)}
    assert done.returncode == 0


def test_a_journal_is_gone_on_with(directory: Path, kmem: Kmem, tmp_path: Path) -> None:
    journal = tmp_path / "rows"
    kmem("survey", directory, "--journal", journal, "--only", "b*")
    first = [json.loads(line)["module"] for line in journal.read_text().splitlines()]
    journal.write_text(journal.read_text() + '{"module": "cut o')
    done = kmem("survey", directory, "--journal", journal, "--json")
    assert sorted(first) == ["basic.ko", "broken.ko"]
    assert json.loads(done.stdout)["counts"]["modules"] == 4


def test_agreement_counts_a_modules_own_errors_apart() -> None:
    def row(name: str, answer: int | None) -> dict[str, object]:
        return {"module": name, "insmod": answer, "status": "ok", "stopped_by": "", "findings": [], "message": ""}

    rows = [row("a", 0), row("b", 19), row("c", None), row("d", 2), row("e", 0)]
    found = agreement(rows, {"a": 0, "b": 19, "c": 19, "d": 2, "gone": 0})
    assert (found["compared"], found["agree"], found["errors"], found["errors_agree"]) == (4, 3, 2, 1)
    assert [difference["module"] for difference in found["differ"]] == ["c"]
