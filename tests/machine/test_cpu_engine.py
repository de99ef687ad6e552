"""The layer over libunicorn: finding it, refusing what it is not, and the facts that it is relied on for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from kmem.errors import KmemError
from kmem.machine import uc
from kmem.machine.regs import RIP
from kmem.machine.uc import Engine, EngineError, EngineMissing


def test_missing_library_is_an_error_with_a_remedy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LIBUNICORN_PATH", str(tmp_path))
    with pytest.raises(EngineMissing) as caught:
        uc.find_library()
    assert isinstance(caught.value, KmemError)
    assert "libunicorn.so.2" in caught.value.message
    assert "pip install" in caught.value.remedy


def test_a_file_that_is_no_library_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "libunicorn.so.2").write_bytes(b"not a library")
    monkeypatch.setenv("LIBUNICORN_PATH", str(tmp_path))
    monkeypatch.setattr(uc, "_loaded", None)
    with pytest.raises(EngineMissing, match="cannot be loaded"):
        uc._library()


@pytest.mark.parametrize("version", [0x010003FF, 0x020200FF, 0x030000FF])
def test_other_versions_are_refused(version: int) -> None:
    class Library:
        def uc_version(self, _major: None, _minor: None) -> int:
            return version

    with pytest.raises(EngineMissing, match=rf"is Unicorn {version >> 24}\.{version >> 16 & 0xFF}; kmem needs 2\.1"):
        uc.check_version(Library())


def test_the_package_is_found_where_only_the_import_system_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    found = uc.find_library()
    assert found.endswith("libunicorn.so.2")
    monkeypatch.delenv("LIBUNICORN_PATH", raising=False)
    folder = Path(found).parent.parent

    class Spec:
        submodule_search_locations = (str(folder),)

    monkeypatch.setattr(sys, "path", [])
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: Spec())
    assert uc.find_library() == found


def test_the_python_package_is_not_imported() -> None:
    code = "import sys, kmem.machine.trap, kmem.machine.cpu; print(heavy & sys.modules.keys())"
    heavy = "heavy = {'unicorn', 'capstone', 'numpy', 'numba'}; "
    environment = {"PYTHONPATH": str(Path(uc.__file__).parents[2])}
    done = subprocess.run([sys.executable, "-c", heavy + code], capture_output=True, text=True, env=environment)
    assert (done.stdout.strip(), done.stderr) == ("set()", "")


def test_calls_that_fail_raise() -> None:
    engine = Engine(uc.ARCH_X86, uc.MODE_64)
    with pytest.raises(EngineError, match="uc_mem_map_ptr") as caught:
        engine.map_ram(1, 1, 0)
    assert caught.value.code
    assert caught.value.status == 4
    engine.close()


def test_an_architecture_that_does_not_exist_raises() -> None:
    with pytest.raises(EngineError, match="uc_open"):
        Engine(99, 0)


def test_closing_twice_is_harmless() -> None:
    engine = Engine(uc.ARCH_X86, uc.MODE_64)
    engine.close()
    engine.close()


def test_registers_msrs_and_contexts_round_trip() -> None:
    engine = Engine(uc.ARCH_X86, uc.MODE_64)
    engine.set_reg(RIP, 0x1234_5678_9ABC)
    engine.set_msr(0xC000_0081, 0x0023_0010_0000_0000)
    context = uc.Context(engine)
    context.save()
    engine.set_reg(RIP, 1)
    engine.set_msr(0xC000_0081, 0)
    context.restore()
    assert (engine.reg(RIP), engine.msr(0xC000_0081)) == (0x1234_5678_9ABC, 0x0023_0010_0000_0000)
    engine.close()
