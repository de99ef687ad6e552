"""Allocation scripts, the same on the real kernel and on kmem: each operation's answer, and /proc/slabinfo."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.differential.answers import SETTINGS, Setting, of_kmem, of_real_kernel
from tests.differential.image import Unavailable
from tests.differential.scripts import LONGEST, script
from tests.truth.compare import compare, load_known

SCRIPTS = [script(number) for number in range(240)]
KNOWN = load_known(Path(__file__).with_name("differences.toml"))


@pytest.mark.needs_headers
@pytest.mark.slow
@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)
def test_kmem_answers_scripts_as_the_real_kernel_does(
    setting: Setting, record_property: Callable[[str, object], None]
) -> None:
    try:
        scripts = SCRIPTS if setting.release == "6.1" else [script(each.id, of=setting.release) for each in SCRIPTS]
        real = of_real_kernel(setting, scripts)
    except Unavailable as reason:
        pytest.skip(str(reason))
    known = [entry for entry in KNOWN if entry.config in ("*", setting.name)]
    result = compare(real, of_kmem(setting, scripts), known)
    record_property("differential", f"{setting.name:12} {len(SCRIPTS)} scripts: {result}")
    assert result.passed, result.details()


def test_a_script_is_the_same_every_time_and_fits_a_module_parameter() -> None:
    assert [script(each.id).text for each in SCRIPTS] == [each.text for each in SCRIPTS]
    assert len({each.text for each in SCRIPTS}) == len(SCRIPTS)
    assert max(len(each.text) for each in SCRIPTS) <= LONGEST


def test_the_scripts_contain_every_operation() -> None:
    assert {operation[0] for each in SCRIPTS for operation in each.operations} == set("kzmrqvwpgefcabldhxui")
