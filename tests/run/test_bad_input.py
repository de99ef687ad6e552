"""Input that goes wrong: each has its exit status, says what is wrong and what to do, and shows no traceback."""

from __future__ import annotations

import shutil
import struct
from pathlib import Path

import pytest

from tests.run.running import Ran, module, run

pytestmark = [pytest.mark.needs_headers, pytest.mark.slow]

E_MACHINE = 18
AARCH64 = 183


def refused(file: str | Path, *words: str) -> Ran:
    """A run that ends with status 2: message and remedy on standard error, the same in the JSON."""
    ran = run(file, *words)
    assert ran.status == 2
    assert ran.out == ""
    first, remedy = ran.err.splitlines()[0], ran.err.splitlines()[-1]
    assert first.startswith(f"kmem: {file}")
    assert remedy.startswith("  ")
    shown = run(file, *words, "--json")
    assert shown.status == 2
    assert shown.json["verdict"] == "error"
    assert shown.json["error"]["message"].splitlines()[0] in ran.err
    assert shown.json["error"]["remedy"].splitlines()[-1] in remedy
    return ran


@pytest.fixture(scope="module")
def image() -> bytes:
    return module("examples/kmalloc_driver").read_bytes()


@pytest.mark.parametrize("length", [4, 63, 64, 1000, -1000, -1])
def test_a_truncated_module(image: bytes, length: int, tmp_path: Path) -> None:
    file = tmp_path / "short.ko"
    file.write_bytes(image[:length])
    assert "truncated" in refused(file).err


def test_an_empty_file(tmp_path: Path) -> None:
    file = tmp_path / "empty.ko"
    file.touch()
    assert "it is empty" in refused(file).err


def test_a_file_that_is_no_elf_file(tmp_path: Path) -> None:
    file = tmp_path / "text.ko"
    file.write_text("obj-m := text.o\n" * 100)
    assert "not an ELF file" in refused(file).err


def test_an_executable() -> None:
    assert "not a module" in refused(Path(shutil.which("true") or "/bin/true")).err


def test_a_module_for_another_processor(image: bytes, tmp_path: Path) -> None:
    file = tmp_path / "arm.ko"
    file.write_bytes(image[:E_MACHINE] + struct.pack("<H", AARCH64) + image[E_MACHINE + 2 :])
    ran = refused(file)
    assert "x86" in ran.err


@pytest.mark.parametrize("version", ["5.10.0-8-amd64", "6.12.1-1-amd64"])
def test_a_module_for_another_release(image: bytes, version: str, tmp_path: Path) -> None:
    at = image.index(b"vermagic=6.1.") + len("vermagic=")
    end = image.index(b" ", at)
    renamed = bytearray(image)
    renamed[at:end] = version.encode().ljust(end - at, b"0")[: end - at]
    crc = image.index(b"module_layout\0") - 8
    renamed[crc] ^= 0xFF  # the module interface of another release is another one
    file = tmp_path / "other.ko"
    file.write_bytes(renamed)
    ran = refused(file)
    assert version.split("-")[0] in ran.err


def test_a_directory_without_a_kbuild_file(tmp_path: Path) -> None:
    assert "neither Kbuild nor Makefile" in refused(tmp_path).err


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    assert "no such file" in refused(tmp_path / "gone.ko").err


def test_a_symbol_that_no_kernel_exports() -> None:
    assert "kmem_test_no_such_symbol" in refused(module("tests/kmod/bad/unknown_symbol")).err


def test_a_symbol_that_the_kernel_had_once() -> None:
    ran = run(module("tests/kmod/bad/legacy_symbol"), "--json")
    assert ran.status == 3
    error = ran.json["error"]
    assert error["slug"] == "legacy-symbol"
    assert "kzfree is gone since Linux 5.10: use kfree_sensitive()" in error["remedy"]
    assert "ioremap_nocache is gone since Linux 5.6: use ioremap()" in error["remedy"]


def test_source_that_uses_names_of_the_past(tmp_path: Path) -> None:
    file = tmp_path / "old.c"
    file.write_text(
        "#include <linux/module.h>\n#include <linux/slab.h>\n#include <linux/vmalloc.h>\n"
        "void *p(void) { kzfree(kmalloc(8, __GFP_WAIT)); return __vmalloc(8, GFP_KERNEL, PAGE_KERNEL); }\n"
    )
    ran = run(file)
    assert ran.status == 2
    remedy = ran.err.splitlines()[-1]
    assert "__GFP_WAIT is gone since Linux 4.4" in remedy
    assert "use kfree_sensitive()" in remedy
    assert "__vmalloc() takes two arguments since Linux 5.8" in remedy


def test_source_that_does_not_compile(tmp_path: Path) -> None:
    file = tmp_path / "wrong.c"
    file.write_text("#include <linux/module.h>\nint answer = no_such_thing;\n")
    ran = run(file)
    assert ran.status == 2
    assert "kbuild refused the source" in ran.err
    assert "wrong.c:2:" in ran.err  # gcc's own line
    assert "no_such_thing" in ran.err
    assert ran.err.splitlines()[-1].startswith("  mend the source")
    assert run(file, "--json").json["error"]["slug"] == "build"


def test_source_that_compiles(tmp_path: Path) -> None:
    file = tmp_path / "right.c"
    file.write_text(
        "#include <linux/module.h>\n"
        'static int __init right_init(void) { pr_info("right\\n"); return 0; }\n'
        "static void __exit right_exit(void) { }\n"
        'module_init(right_init); module_exit(right_exit); MODULE_LICENSE("GPL");\n'
    )
    ran = run(file)
    assert ran.status == 0
    assert "verdict: clean; init returned 0; exit ran" in ran.out


def test_a_function_that_kmem_does_not_have() -> None:
    file = module("tests/kmod/bad/unsupported")
    ran = run(file)
    assert ran.status == 3
    headline = ran.out.splitlines()[1]
    assert headline.startswith("unsupported: cper_next_record_id was called 1 time, at unsupported_init+")
    assert "unsupported.c:" in headline
    assert "docs/adding-an-export.md" in headline
    [call] = run(file, "--json").json["unsupported"]
    assert (call["symbol"], call["count"], call["function"]) == ("cper_next_record_id", 1, "unsupported_init")
    assert Path(call["file"]).name == "unsupported.c"
    assert "asking for the number of an error record" in run(file, "--json").dmesg


def test_an_init_that_refuses() -> None:
    file = module("tests/kmod/bad/init_error")
    ran = run(file)
    assert ran.status == 1
    assert "insmod failed: the module's init returned -22 (EINVAL, Invalid argument)" in ran.out
    assert "exit must not run" not in ran.out
    shown = run(file, "--json").json
    assert (shown["verdict"], shown["init"], shown["exit"]) == ("findings", -22, "not run")


def test_an_init_that_never_returns() -> None:
    file = module("tests/kmod/bad/init_endless")
    ran = run(file, "--budget", "1e6")
    assert ran.status == 1
    assert "hang: still running after 1000000 instructions (--budget) at init_endless_init+" in ran.out
    assert "--budget" in ran.out.splitlines()[-1]
    assert run(file, "--budget", "1e6", "--json").finding["kind"] == "hang"


def test_a_module_that_allocates_without_end() -> None:
    file = module("tests/kmod/bad/alloc_endless")
    ran = run(file, "--ram", "96M", "--json", timeout=60)
    assert ran.status == 1
    assert [finding["kind"] for finding in ran.json["findings"]] == ["leak", "hang"]
    assert "out of memory" in ran.json["findings"][0]["message"]
    assert ran.json["allocations"]["bytes"] < 96 << 20
    assert "invoked oom-killer" in ran.dmesg


def test_a_module_without_an_exit_function() -> None:
    ran = run(module("tests/kmod/bad/no_exit"))
    assert ran.status == 0
    assert "the module cannot be unloaded" in ran.out
    assert "1 still there when the run ended" in ran.out


VALUES = {
    "p_bool=Y": "bool 1",
    "p_bool": "bool 1",
    "p_invbool=n": "invbool 1",
    "p_byte=0xff": "byte 255",
    "p_short=-32768": "short -32768",
    "p_ushort=65535": "ushort 65535",
    "p_int=010": "int 8",
    "p_uint=4294967295": "uint 4294967295",
    "p_long=-9223372036854775808": "long -9223372036854775808",
    "p_ulong=18446744073709551615": "ulong 18446744073709551615",
    "p_ullong=7": "ullong 7",
    "p_hexint=0xff": "hexint 0xff",
    "p_charp=two words": "charp two words",
    "p_string=seven77": "string seven77",
    "p_ints=1,2,3": "ints[2] 3",
    "p_names=a,b": "names[1] b",
    "p_named=3": "named 3",
    "p_even=4": "even 4",
}


def test_parameters_of_every_type() -> None:
    file = module("tests/kmod/bad/params")
    logged = run(file, *(word for word in VALUES if word != "p_bool"), "--json").dmesg
    assert [value for value in VALUES.values() if value not in logged] == []
    assert "bool 1" in run(file, "p_bool", "--json").dmesg


@pytest.mark.parametrize(
    ("word", "why"),
    [
        ("p_int=abc", "-EINVAL"),
        ("p_int", "-EINVAL"),
        ("p_bool=maybe", "-EINVAL"),
        ("p_byte=256", "-ERANGE"),
        ("p_short=32768", "-ERANGE"),
        ("p_uint=-1", "-EINVAL"),
        ("p_string=eight888", "-ENOSPC"),
        ("p_ints=1,2,3,4,5", "-EINVAL"),
        ("p_names=a,b,c,d", "-EINVAL"),
        ("p_even=3", "-EINVAL"),
    ],
)
def test_a_parameter_that_does_not_take_its_value(word: str, why: str) -> None:
    ran = refused(module("tests/kmod/bad/params"), word)
    name, _, value = word.partition("=")
    assert f"params: `{value}' " in ran.err
    assert f"for parameter `{name}' ({why}) [bad-parameter]" in ran.err


def test_an_unknown_parameter_is_ignored_with_a_warning() -> None:
    ran = run(module("tests/kmod/bad/params"), "nosuch=1")
    assert ran.status == 0
    assert "params: unknown parameter 'nosuch' ignored" in ran.out


@pytest.mark.parametrize("words", [["--ram", "1M"], ["--ram", "1T"], ["--ram", "100000K"], ["--cpus", "65"]])
def test_a_machine_that_cannot_be(words: list[str]) -> None:
    ran = run(module("examples/kmalloc_driver"), *words)
    assert ran.status == 2
    assert ran.err.splitlines()[-1].startswith("  choose ")
