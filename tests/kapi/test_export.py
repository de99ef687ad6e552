"""What the registry promises about every declaration."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from kmem.abi import exports as abi
from kmem.abi.data import releases
from kmem.kapi import index
from kmem.kapi.export import (
    Code,
    Data,
    Export,
    all_exports,
    data,
    export,
    faithful,
    lookup,
    private_data,
    simplified,
    stub,
)
from kmem.kapi.make_index import text
from kmem.modules.kbuild import TEST_EXPORTS


def test_the_index_is_what_make_index_would_write() -> None:
    assert Path(index.__file__).read_text() == text(), "run: python -m kmem.kapi.make_index"


def test_every_public_name_is_exported_by_the_kernel() -> None:
    known = set().union(TEST_EXPORTS, *(abi.exports(release) for release in releases()))
    strangers = [name for name, entry in all_exports().items() if not entry.private and name not in known]
    assert strangers == []


def test_what_tests_need_is_served_as_the_build_promises() -> None:
    assert all(lookup(name) is not None for name in TEST_EXPORTS)


def test_every_fidelity_says_what_it_must() -> None:
    for name, entry in all_exports().items():
        assert entry.fidelity.level in ("faithful", "simplified", "stub"), name
        assert bool(entry.fidelity.how) == (entry.fidelity.level == "simplified"), name


def test_every_declaration_is_documented() -> None:
    for name, entry in all_exports().items():
        if isinstance(entry, Export):
            assert "6.1" in entry.doc, name
        elif isinstance(entry, Data):
            assert entry.doc, name
        else:
            assert entry.listing, name


def test_looking_a_name_up_imports_only_its_file() -> None:
    script = (
        "import sys; from kmem.kapi.export import lookup; assert lookup('kfree').name == 'kfree';"
        "print([m for m in sys.modules if m.startswith('kmem.kapi.') and m.endswith(('rbtree', 'vsprintf', 'params'))])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_each_file_declares_by_itself_what_the_index_says() -> None:
    script = """
import os, sys
from importlib import import_module
from kmem.kapi import export, index
for module, names in index.NAMES.items():
    if not os.fork():
        import_module(f"kmem.kapi.{module}")
        missing = set(names.split()) - {entry.name for entries in export.declared().values() for entry in entries}
        if missing:
            print(module, sorted(missing), flush=True)
        os._exit(0)
    os.wait()
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == ""


def test_an_unknown_name_is_none() -> None:
    assert lookup("no_such_symbol") is None


def test_the_kinds_of_entries() -> None:
    assert isinstance(lookup("kfree"), Export)
    assert isinstance(lookup("memcpy"), Code)
    assert isinstance(lookup("jiffies"), Data)


def test_private_data_is_the_models_own() -> None:
    assert {entry.name for entry in private_data()} >= {"rcu_cblist", "param_value"}
    assert all(entry.private for entry in private_data())


def test_a_name_is_declared_once() -> None:
    assert isinstance(lookup("kfree"), Export)
    with pytest.raises(ValueError, match="kfree is declared twice"):
        data("kfree", 8)
    assert isinstance(lookup("kfree"), Export)  # still


def test_a_handler_without_a_prototype_is_refused() -> None:
    with pytest.raises(ValueError, match="does not begin with a C prototype"):

        @export(faithful)
        def nameless(k: object) -> None:
            """No prototype."""


def test_fidelities_compare_by_what_they_say() -> None:
    assert simplified("a") == simplified("a") != simplified("b")
    assert (faithful.level, stub.level) == ("faithful", "stub")
