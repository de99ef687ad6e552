"""docs/testing-a-driver.md: its code passes, its failure is what pytest prints. KMEM_UPDATE=1 writes that anew."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.needs_headers
PROMPT = "```\n$ pytest -q --no-header test_name.py\n"


def pytest_in(directory: Path, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "--no-header", "-p", "no:cacheprovider", "-rN", *words],
        cwd=directory,
        env={**os.environ, "NO_COLOR": "1", "COLUMNS": "100"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    return done.stdout


def test_the_code_of_the_guide_passes(root: Path, tmp_path: Path) -> None:
    shutil.copytree(root / "examples" / "notes_driver", tmp_path / "notes")
    (tmp_path / "notes" / "test_notes.py").unlink()
    blocks = re.findall(r"```python\n(.*?)```", (root / "docs" / "testing-a-driver.md").read_text(), re.DOTALL)
    (tmp_path / "notes" / "test_guide.py").write_text("\n".join(blocks))
    tests = sum(block.count("\ndef test_") + block.startswith("def test_") for block in blocks)
    assert f"{tests + 2} passed" in pytest_in(tmp_path, "notes")  # schedules(3) counts as three


def test_the_failure_in_the_guide_is_what_pytest_prints(root: Path, tmp_path: Path) -> None:
    page = root / "docs" / "testing-a-driver.md"
    shutil.copytree(root / "examples" / "name_driver", tmp_path / "name_driver")
    (tmp_path / "test_name.py").write_text(
        'import pytest\n\n\n@pytest.mark.driver("name_driver")\ndef test_it_loads(driver):\n    pass\n'
    )
    printed = re.sub(r" in [\d.]+s", " in 0.9s", pytest_in(tmp_path, "test_name.py")).strip() + "\n"
    before, prompt, rest = page.read_text().partition(PROMPT)
    assert prompt
    shown, fence, after = rest.partition("```\n")
    if os.environ.get("KMEM_UPDATE") == "1":
        page.write_text(before + prompt + printed + fence + after)
    else:
        assert shown == printed, "stale: KMEM_UPDATE=1 ./dev test tests/testing"
