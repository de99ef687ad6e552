"""Time passes while a module runs."""

from __future__ import annotations

import pytest

from tests.run.running import module, run

pytestmark = [pytest.mark.needs_headers, pytest.mark.slow]


def test_a_loop_that_waits_for_jiffies_ends() -> None:
    ran = run(module("tests/kmod/jiffies"), "--json")
    assert (ran.status, ran.json["init"]) == (0, 0)
    assert "jiffies: no answer after 6 jiffies" in ran.dmesg
