"""From a run that goes wrong to what was at the address: ``kmem run --trace``, then ``kmem x``."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from tests.conftest import Kmem
from tests.run.running import line_of, run

pytestmark = pytest.mark.needs_headers
SOURCE = "examples/freelist_corruption/freelist_corruption.c"


def test_the_next_command_of_a_traced_run_tells_the_history(tmp_path: Path, kmem: Kmem) -> None:
    trace = tmp_path / "run.kmem"
    done = run("examples/freelist_corruption", "--config", "plain", "--trace", trace)
    found = re.search(r"^next: +kmem (x 0x\w+ \S+)", done.out, re.MULTILINE)
    assert found, done.out
    told = kmem(*shlex.split(found[1]))
    assert told.returncode == 0, told.stderr
    sites = [int(line) for line in re.findall(rf"{SOURCE}:(\d+)", told.stdout)]
    made, again = line_of(SOURCE, "\trequest = kmalloc("), line_of(SOURCE, "later[i] = kmalloc(")
    assert sites[-3] == made
    assert made < sites[-2] < sites[-1] == again
    assert "insmod (" in told.stdout
    assert re.search(r"^ +\d+ .* reused: kmalloc-32: 32 bytes", told.stdout, re.MULTILINE)


def test_call_sites_of_a_module_that_is_gone_have_names(tmp_path: Path, kmem: Kmem) -> None:
    trace = tmp_path / "run.kmem"
    assert run("examples/name_driver", "--trace", trace).status == 1
    told = kmem("replay", trace)
    line = line_of("examples/name_driver/name_driver.c", "kmalloc(len, GFP_KERNEL)")
    assert f"[name_driver] (examples/name_driver/name_driver.c:{line})" in told.stdout
    assert "insmod" in told.stdout
