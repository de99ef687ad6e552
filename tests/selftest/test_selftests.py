"""The kernel's own tests, unmodified, end in kmem as they do on a real kernel."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from kmem.errors import BuildError
from tests.run.running import run
from tests.selftest.modules import SELFTESTS, SUITES, Verdict, built
from tests.selftest.source import NoSource

pytestmark = [pytest.mark.needs_headers, pytest.mark.slow]
TABLE = Path(__file__).resolve().parents[2] / "docs" / "selftests.json"


@pytest.fixture(scope="module")
def modules() -> dict[str, Path]:
    """The modules, built."""
    try:
        return built()
    except NoSource as missing:
        pytest.skip(str(missing))
    except BuildError as error:
        pytest.fail(str(error))


@pytest.fixture(scope="module", autouse=True)
def table() -> Iterator[dict[str, dict[str, object]]]:
    """What came of each; written down with KMEM_UPDATE=1."""
    seen: dict[str, dict[str, object]] = {}
    yield seen
    if os.environ.get("KMEM_UPDATE") and seen:
        before = json.loads(TABLE.read_text()) if TABLE.is_file() else {}
        TABLE.write_text(json.dumps(dict(sorted((before | seen).items())), indent=1) + "\n")


@pytest.mark.parametrize("name", sorted([*SELFTESTS, *SUITES]))
def test_ends_as_on_a_real_kernel(name: str, modules: dict[str, Path], table: dict[str, dict[str, object]]) -> None:
    verdict: Verdict = (SELFTESTS | SUITES)[name]
    ran = run(modules[name], *verdict.words, "--json", "--budget", "1e10", "--check", "none")
    told = ran.json
    log = [record["text"].strip().partition(" avg: ")[0] for record in told["dmesg"]]
    assert [line for line in log if line in verdict.lines] == list(verdict.lines), log[-5:]
    assert told["init"] == verdict.init
    assert {finding["kind"] for finding in told["findings"]} == ({"warning"} if verdict.warns else set())
    assert told["unsupported"] == []
    assert ran.status == (1 if verdict.init or verdict.warns else 0)
    table[name] = {
        "kind": "KUnit" if name in SUITES else "module",
        "says": verdict.lines[-1] if verdict.lines else f"init returns {verdict.init}",
        "seconds": round(told["timings"]["init"] + told["timings"].get("exit", 0), 1),
    }
