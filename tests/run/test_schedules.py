"""``--schedules N``: the first interleaving that misbehaves is shown, and its seed repeats it."""

from __future__ import annotations

import pytest

from tests.run.running import module, run

pytestmark = pytest.mark.needs_headers
THREADS = "tests/kmod/threads"


def test_a_race_that_only_some_schedules_show_is_found_and_its_seed_repeats_it() -> None:
    words = [module(THREADS), "mode=none", "--ram", "128M"]
    found = run(*words, "--schedules", "40", "--json").json
    facts = found["schedules"]
    assert found["verdict"] == "findings"
    assert facts == {"several_tasks": True, "asked": 40, "tried": found["seed"] + 1}
    again = run(*words, "--seed", found["seed"], "--json").json
    for key in ("findings", "dmesg", "hashes", "verdict"):
        assert again[key] == found[key], key
    if found["seed"]:
        assert run(*words, "--seed", found["seed"] - 1, "--json").json["verdict"] == "clean"


def test_a_person_is_told_the_command_that_repeats_it() -> None:
    ran = run(module(THREADS), "mode=none", "--ram", "128M", "--schedules", "40")
    assert ran.status == 1
    [told] = [line for line in ran.out.splitlines() if "misbehaves" in line]
    assert "schedule " in told
    assert "mode=none --ram 128M" in told


def test_code_that_locks_is_clean_under_every_schedule() -> None:
    ran = run(module(THREADS), "mode=mutex", "--ram", "128M", "--schedules", "6", "--cpus", "3")
    assert ran.status == 0
    assert "6 schedules tried, none misbehaves" in ran.out


def test_two_locks_in_two_orders_deadlock_under_some_schedule() -> None:
    found = run(module(THREADS), "mode=abba", "--ram", "128M", "--schedules", "20", "--json").json
    assert {one["kind"] for one in found["findings"]} == {"deadlock"}


def test_a_module_of_one_task_has_one_schedule() -> None:
    ran = run(module("examples/vmalloc_driver"), "--ram", "128M", "--schedules", "9")
    assert ran.status == 0
    assert "one schedule was tried" in ran.out


def test_it_does_not_go_with_fail_each() -> None:
    ran = run(module(THREADS), "--schedules", "2", "--fail-each")
    assert ran.status == 2
