"""Building modules from source with the kernel's own kbuild, in a copy, with the results kept.

The user's directory is never written to. Debugging information and ``__FILE__`` name the user's files, not the copy.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from kmem.abi import legacy
from kmem.errors import BuildError
from kmem.lib.build import cache_dir
from kmem.modules.headers import Headers, Progress, require, silent

_FORMAT = "2"
"""Changed when a build's result changes for the same input."""

MAX_FILES, MAX_BYTES = 10_000, 512 << 20
"""Bounds of a source directory."""
MAX_KEPT = 256
"""Builds that stay in the cache."""

_TIMEOUT = 900
_ARTEFACTS = (".o", ".ko", ".mod", ".mod.c", ".cmd", ".order", ".symvers", ".a", ".d")
_SKIPPED_DIRECTORIES = (".git", ".hg", ".svn", ".tmp_versions", "__pycache__")
_INCLUDE = re.compile(rb'^[ \t]*#[ \t]*include[ \t]*"([^"\n]+)"', re.MULTILINE)
_DIAGNOSTIC = re.compile(
    r"(: (fatal )?error: |ERROR: modpost|^error: |undefined!|\*\*\* .*(No rule|missing separator|recipe commences))"
)
KUNIT_EXPORTS = """
    __kunit_add_resource kunit_binary_assert_format kunit_binary_ptr_assert_format kunit_binary_str_assert_format
    kunit_cleanup kunit_destroy_resource kunit_do_failed_assertion kunit_fail_assert_format kunit_init_test kunit_kfree
    kunit_kmalloc_array kunit_log_append kunit_ptr_not_err_assert_format kunit_remove_resource kunit_try_catch_throw
    kunit_unary_assert_format
""".split()
"""Functions of KUnit that a test may call."""
ASAN_EXPORTS = (
    *(f"__asan_{way}{size}_noabort" for way in ("load", "store") for size in (1, 2, 4, 8, 16, "N")),
    *(f"__asan_set_shadow_{byte:02x}" for byte in (0x00, 0xF1, 0xF2, 0xF3, 0xF5, 0xF8)),
    *(f"__asan_{name}_globals" for name in ("register", "unregister")),
    *(f"__asan_{name}_stack_memory" for name in ("poison", "unpoison")),
    *("__asan_alloca_poison", "__asan_allocas_unpoison", "__asan_handle_no_return"),
    *("__kasan_check_read", "__kasan_check_write", "kasan_save_enable_multi_shot", "kasan_restore_multi_shot"),
)
"""Functions that the compiler lets instrumented code call."""
INSTRUMENT = (
    "-fsanitize=kernel-address",
    "-fasan-shadow-offset=0xdffffc0000000000",
    *(
        word
        for setting in ("instrumentation-with-call-threshold=0", "globals=1", "stack=1", "instrument-allocas=1")
        for word in ("--param", f"asan-{setting}")
    ),
)
"""Flags for `build` that let the compiler instrument each access, and put gaps between variables."""
TEST_EXPORTS = (*KUNIT_EXPORTS, *ASAN_EXPORTS, "__vmalloc_node")
"""What a kernel exports only if it was configured for tests."""
_NOT_INHERITED = frozenset(
    "ARCH CROSS_COMPILE KBUILD_EXTMOD KBUILD_OUTPUT KCFLAGS M MAKEFLAGS MAKELEVEL MFLAGS O V".split()
)
"""Variables of the caller's environment that would change the build."""
_UNSAFE = re.compile(r"[\s:#$%*?\\'\"`&|;<>()\[\]{}=,]")


@dataclass(frozen=True, slots=True)
class Build:
    """The modules that a source makes, by path; *cached* tells whether an earlier build was found."""

    modules: tuple[Path, ...]
    headers: Headers
    cached: bool


class KbuildError(BuildError):
    """kbuild failed; *output* is all that it printed, with the user's file names."""

    def __init__(self, message: str, *, remedy: str, output: str = "") -> None:
        super().__init__(message, remedy=remedy)
        self.output = output


def is_source(path: Path) -> bool:
    """Whether *path* is something that `build` takes: a C file or a directory."""
    return path.is_dir() or path.suffix == ".c"


def build(
    source: Path,
    *,
    release: str = "6.1",
    version: str | None = None,
    headers: Headers | None = None,
    flags: Sequence[str] = (),
    progress: Progress = silent,
) -> Build:
    """Build the C file or Kbuild directory *source* for *release* and return its modules, sorted by path.

    *headers* are looked for, and fetched if need be, when not given; *version* is the kernel that is preferred. *flags*
    go to the compiler. Raises BuildError with the compiler's own lines, HeadersMissing when there are no headers.
    """
    source = source.absolute()
    files = _collect(source)
    compiler = _tools()
    headers = headers or require(release, version, progress=progress)
    origin = source if source.is_dir() else source.parent
    kept = cache_dir() / "build"
    key = _key(files, origin, headers, compiler, flags)
    found = _lookup(kept / key)
    if found:
        return Build(found, headers, True)
    if _UNSAFE.search(str(kept)):
        raise KbuildError(
            f"kbuild cannot work in {kept}: the path has characters that make does not take",
            remedy="set XDG_CACHE_HOME to a directory without spaces and special characters",
        )
    kept.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{key}.", dir=kept) as work:
        tree, result = Path(work, "src"), Path(work, "result")
        _copy(files, tree)
        if not source.is_dir():
            (tree / "Kbuild").write_text(f"obj-m := {source.stem}.o\n")
        progress(f"building {source.name} for {headers.version}")
        output = _make(tree, origin, headers, compiler, flags)
        made = sorted(path.relative_to(tree) for path in tree.rglob("*.ko"))
        if not made:
            raise KbuildError(
                f"{source}: kbuild made no module",
                remedy="name one in the Kbuild file: `obj-m := NAME.o`",
                output=output,
            )
        for module in made:
            (result / module).parent.mkdir(parents=True, exist_ok=True)
            os.rename(tree / module, result / module)
        try:
            os.rename(result, kept / key)
        except OSError:
            # Another process built the same thing in the meantime.
            if not _lookup(kept / key):
                raise
    _prune(kept)
    return Build(_lookup(kept / key), headers, False)


def _lookup(place: Path) -> tuple[Path, ...]:
    return tuple(sorted(place.rglob("*.ko"))) if place.is_dir() else ()


def _prune(kept: Path) -> None:
    """Drop the oldest builds beyond MAX_KEPT."""
    builds = sorted((path.stat().st_mtime, path) for path in kept.iterdir() if not path.name.startswith("."))
    for _, path in builds[: max(len(builds) - MAX_KEPT, 0)]:
        shutil.rmtree(path, ignore_errors=True)


def _tools() -> str:
    """The compiler to use: Debian's headers ask for gcc-12, any gcc will do. BuildError when gcc or make is missing."""
    compiler = next((name for name in ("gcc-12", "gcc") if shutil.which(name)), None)
    missing = [name for name, there in (("gcc", compiler), ("make", shutil.which("make"))) if not there]
    if missing or compiler is None:
        raise KbuildError(
            f"cannot build a module: {' and '.join(missing)} missing",
            remedy=f"install them (Debian: `apt-get install {' '.join(missing)}`), or give a built .ko",
        )
    return compiler


def _collect(source: Path) -> dict[str, Path]:
    """What to build, by path relative to the copy: a C file with the local headers that it includes, or a whole
    directory.
    """
    if source.is_dir():
        files = dict(_walk(source))
        if not any(name in files for name in ("Kbuild", "Makefile")):
            raise KbuildError(
                f"{source}: neither Kbuild nor Makefile in it",
                remedy="write a Kbuild file with `obj-m := NAME.o`, or give a single .c file",
            )
        return files
    if not source.is_file():
        raise KbuildError(f"{source}: no such file", remedy="check the path")
    if _UNSAFE.search(source.name):
        raise KbuildError(f"{source}: kbuild cannot take this file name", remedy="rename it: letters, digits, _ and -")
    files, todo = {}, [Path(source.name)]
    while todo:
        name = todo.pop()
        path = source.parent / name
        if str(name) in files or not path.is_file():
            continue
        files[str(name)] = path
        if len(files) > MAX_FILES:
            raise KbuildError(
                f"{source}: includes more than {MAX_FILES} files", remedy="give a directory with a Kbuild file"
            )
        for match in _INCLUDE.finditer(path.read_bytes()):
            included = os.path.normpath(name.parent / os.fsdecode(match[1]))
            if not included.startswith(("..", "/")):
                todo.append(Path(included))
    return files


def _walk(directory: Path) -> Iterator[tuple[str, Path]]:
    count = size = 0
    for parent, directories, names in os.walk(directory):
        directories[:] = sorted(name for name in directories if name not in _SKIPPED_DIRECTORIES)
        for name in sorted(names):
            path = Path(parent, name)
            if name.endswith(_ARTEFACTS) or not path.is_file():
                continue
            count, size = count + 1, size + path.stat().st_size
            if count > MAX_FILES or size > MAX_BYTES:
                raise KbuildError(
                    f"{directory}: more than {MAX_FILES} files or {MAX_BYTES >> 20} MiB",
                    remedy="give the directory of one driver, not a whole source tree",
                )
            yield str(path.relative_to(directory)), path


def _key(files: dict[str, Path], origin: Path, headers: Headers, compiler: str, flags: Sequence[str]) -> str:
    version = subprocess.run([compiler, "-dumpfullversion"], capture_output=True, text=True, check=False).stdout.strip()
    digest = hashlib.sha256()
    for text in (_FORMAT, str(origin), str(headers.path), headers.version, compiler, version, *flags):
        digest.update(os.fsencode(text) + b"\0")
    for name, path in sorted(files.items()):
        data = path.read_bytes()
        digest.update(os.fsencode(name) + b"\0%d\0" % len(data) + data)
    return digest.hexdigest()[:32]


def _copy(files: dict[str, Path], tree: Path) -> None:
    tree.mkdir()
    for name, path in files.items():
        target = tree / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
        shutil.copymode(path, target)


def _make(tree: Path, origin: Path, headers: Headers, compiler: str, flags: Sequence[str]) -> str:
    shown = str(origin) if not _UNSAFE.search(str(origin)) else "."
    cflags = ["-g", f"-ffile-prefix-map={tree}={shown}", *flags]
    command = [
        "make", "-C", str(headers.path), f"-j{min(os.cpu_count() or 1, 8)}", f"M={tree}", f"CC={compiler}",
        f"KCFLAGS={' '.join(cflags)}", "CONFIG_DEBUG_INFO_BTF_MODULES=", "modules",
    ]  # fmt: skip
    env = {name: value for name, value in os.environ.items() if name not in _NOT_INHERITED}
    env |= {"LC_ALL": "C", "KBUILD_EXTRA_SYMBOLS": str(_kunit_symbols(tree))}
    try:
        done = subprocess.run(
            command, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, errors="replace", timeout=_TIMEOUT, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise KbuildError(
            f"{origin}: the build took more than {_TIMEOUT} s", remedy="look for a loop in the Makefile"
        ) from None
    output = done.stdout.replace(f"{tree}/", f"{origin}/").replace(str(tree), str(origin))
    if done.returncode:
        raise KbuildError(
            f"{origin}: kbuild refused the source\n{_errors(output)}", remedy=_remedy(output, headers), output=output
        )
    return output


def _kunit_symbols(tree: Path) -> Path:
    """A list, for modpost, of what KUnit exports: kmem serves it, though the release's configuration lacks KUnit."""
    path = tree.parent / "kunit.symvers"
    path.write_text("".join(f"0x00000000\t{name}\tvmlinux\tEXPORT_SYMBOL_GPL\t\n" for name in TEST_EXPORTS))
    return path


def _errors(output: str) -> str:
    """The compiler's own lines from the first error on, without make's."""
    lines = [
        line for line in output.splitlines() if not re.match(r"make(\[\d+\])?: (Entering|Leaving|\*\*\* \[)", line)
    ]
    first = next((at for at, line in enumerate(lines) if _DIAGNOSTIC.search(line)), None)
    if first is None:
        return "\n".join(lines[-20:])
    # gcc says in which function before the error itself.
    if first and re.search(r": In function .*:$", lines[first - 1]):
        first -= 1
    return "\n".join(lines[first : first + 40])


def _remedy(output: str, headers: Headers) -> str:
    undefined = re.findall(r'ERROR: modpost: "([^"]+)"', output)
    old = legacy.advice(undefined) or legacy.advice_in(output)
    if old:
        return "; ".join(old)
    if undefined:
        names = ", ".join(undefined[:5])
        return (
            f"{headers.version} does not export {names}: use what it exports, or build the module that has it as well"
        )
    missing = re.search(r"error while loading shared libraries: (\S+):", output)
    if missing:
        return f"the kernel's build programs need {missing[1]}: install it (Debian: `apt-get install libelf1 libssl3`)"
    return f"mend the source; it was built against the headers of {headers.version}, an older or newer API is refused"
