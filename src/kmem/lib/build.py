"""Compile the model once, keep the object code, load it without Numba.

``python -m kmem.lib.build [RELEASE]`` compiles with a progress line (about 20 s) into the user's cache; a run finds it
there by a key made of the model's source, the release's layout and the versions of the tools, loads it with llvmlite
alone (about 50 ms) and compiles only if it is missing.
"""

from __future__ import annotations

import ctypes
import fcntl
import hashlib
import importlib
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from kmem.abi.release import release as facts_of
from kmem.errors import InternalError
from kmem.lib import access, pycall
from kmem.lib.jit import NOINLINE

FAULTED = 1 << 63
"""What an entry returns (as an unsigned number) when compiled code gave up; the private area says whether it did."""

MODEL = ("kmem.mm.core",)
"""Modules whose import registers every entry. Tests compile others, beside these or instead."""

_PACKAGE = Path(__file__).resolve().parent.parent
_COMPILER = ("kmem.lib.access", "kmem.lib.build", "kmem.lib.ptrtype", "kmem.lib.pycall", "kmem.machine.ram")
"""What the object code depends on besides the model and what the model imports."""
_IMPORT = re.compile(r"^ *from (kmem[\w.]*) import (?:\(([^)]*)\)|([^\n]*))", re.MULTILINE)


def cache_dir() -> Path:
    """Where compiled code is kept: $KMEM_CACHE, else $XDG_CACHE_HOME/kmem, else ~/.cache/kmem."""
    own = os.environ.get("KMEM_CACHE")
    if own:
        return Path(own)
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "kmem"


def _file(name: str) -> Path:
    """Where the source of a module is; modules outside the package are found on the path."""
    if name.startswith("kmem."):
        return _PACKAGE.joinpath(*name.split(".")[1:]).with_suffix(".py")
    from importlib.util import find_spec

    spec = find_spec(name)
    if spec is None or spec.origin is None:
        raise InternalError(
            f"there is no module {name} to compile", remedy="put the directory that holds it on sys.path"
        )
    return Path(spec.origin)


def _sources(models: Sequence[str]) -> dict[str, bytes]:
    """The source of every module that the object code depends on, by name: *models* and what they import."""
    found: dict[str, bytes] = {}
    wanted = {*models, *_COMPILER}
    while wanted:
        name = wanted.pop()
        found[name] = source = _file(name).read_bytes()
        for place, several, one in _IMPORT.findall(source.decode()):
            names = (several or one).split(",")
            package = _PACKAGE.joinpath(*place.split(".")[1:]).is_dir()
            wanted |= {f"{place}.{word.split()[0]}" for word in names if word.split()} if package else {place}
        wanted -= found.keys()
    return found


def _key(release: str, models: Sequence[str]) -> str:
    digest = hashlib.sha256(release.encode())
    for name, source in sorted(_sources(models).items()):
        digest.update(name.encode() + b"\0" + source)
    for facts in ("structs.json", "enums.json"):
        digest.update((_PACKAGE / "abi" / "releases" / f"{release}.{facts}").read_bytes())
    of = facts_of(release)
    digest.update(repr((sorted(of.features), sorted(of.constants.items()), sorted(of.slab_flags.items()))).encode())
    with open("/proc/cpuinfo", "rb") as cpuinfo:
        digest.update(
            b"".join(line for line in cpuinfo.read().split(b"\n\n")[0].splitlines(True) if line.startswith(b"flags"))
        )
    return digest.hexdigest()[:24]


def object_path(release: str, models: Sequence[str] = MODEL) -> Path:
    """The object file for *release* as the sources are now (it may not exist yet)."""
    return cache_dir() / "core" / f"{release}-{_key(release, models)}.o"


def build(release: str, models: Sequence[str] = MODEL) -> Path:
    """Compile the model for *release* in a process of its own, unless it is there already."""
    path = object_path(release, models)
    if path.exists():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path.with_suffix(".lock"), "wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # of many processes that find it missing, one compiles
        if not path.exists():
            _build(release, path, models)
        path.with_suffix(".lock").unlink(missing_ok=True)
    return path


def _build(release: str, path: Path, models: Sequence[str]) -> None:
    """Run the compiler in a child."""
    env = dict(os.environ, KMEM_CORE="compile", KMEM_RELEASE=release, NUMBA_DISABLE_JIT="0")
    places = [env.get("PYTHONPATH", "")] if models is MODEL else sys.path
    env["PYTHONPATH"] = os.pathsep.join(filter(None, [str(_PACKAGE.parent), *places]))
    child = [sys.executable, "-m", "kmem.lib.build", "--child", release, str(path), *models]
    done = subprocess.run(child, env=env)
    if done.returncode or not path.exists():
        raise InternalError(
            f"compiling the allocator core for {release} failed",
            remedy="run `./dev setup` and report what it prints; NUMBA_DISABLE_JIT=1 runs without compiling",
        )


def _compile(release: str, path: Path, models: Sequence[str]) -> None:
    """Runs in the child: import the model, compile every entry, write object code and index."""
    from numba.core.compiler_lock import global_compiler_lock

    with global_compiler_lock:
        _link_only_once()
        _leave_results_alone()
        _compile_locked(release, path, models)


def _link_only_once() -> None:
    """Make Numba leave each function's module alone until the end.

    As it stands every function is linked with all that it calls, optimised and turned into machine code by itself,
    which takes
    180 s here; linking everything once and optimising that takes a tenth.
    """
    from numba.core.codegen import CPUCodeLibrary
    from numba.core.cpu import CPUContext

    def finalize(self: Any) -> None:
        self._finalized = True

    CPUCodeLibrary.finalize = finalize
    CPUContext.get_executable = lambda self, library, fndesc, env: (
        [].append
    )  # a builtin of its own: a key, never called


def _leave_results_alone() -> None:
    """Make Numba not clear the place of a call's result before the call: a call that fails has none that is read."""
    from numba.core.callconv import CPUCallConv, excinfo_t

    def call_function(
        self: Any, builder: Any, callee: Any, resty: Any, argtys: Any, args: Any, attrs: Any = None
    ) -> tuple[Any, Any]:
        with builder.goto_entry_block():
            result = builder.alloca(self.get_return_type(resty).pointee)
            reason = builder.alloca(excinfo_t.as_pointer())
        given = self._get_arg_packer(argtys).as_arguments(builder, args)
        code = builder.call(callee, [result, reason, *given])
        status = self._get_return_status(builder, code, builder.load(reason))
        return status, self.context.get_returned_value(builder, resty, builder.load(result))

    CPUCallConv.call_function = call_function


def _link(library: Any) -> Any:
    """One optimised LLVM module of *library* and everything it needs, of which only the entries are visible."""
    final = library._final_module
    seen: set[int] = set()

    def visit(needed: Any) -> None:
        for inner in needed._linking_libraries:
            if id(inner) not in seen:
                seen.add(id(inner))
                visit(inner)
                final.link_in(inner._final_module, preserve=True)

    visit(library)
    noinline = tuple(_mangled(*where) for where in NOINLINE)
    for function in final.functions:
        if not function.is_declaration and not function.name.startswith("kmem_"):
            function.linkage = "internal"
            if function.name.startswith(noinline):
                function.add_function_attribute("noinline")
    library._optimize_final_module()
    final.verify()
    return final


def _mangled(module: str, name: str) -> str:
    """How Numba's name of a compiled function begins."""
    return "_ZN" + "".join(f"{len(word)}{word}" for word in (*module.split("."), name)) + "B"


def _target_machine() -> Any:
    """This CPU, with calls and constants that lie near: Numba's own is made for code that is far from everything."""
    import llvmlite.binding as llvm

    features = llvm.get_host_cpu_features().flatten()
    return llvm.Target.from_default_triple().create_target_machine(
        llvm.get_host_cpu_name(), features, 3, reloc="pic", codemodel="small"
    )


def _entries(registered: dict[str, Any], models: Sequence[str]) -> dict[str, Any]:
    """The entries to compile: all of the core, or those that *models* define, and not what they import."""
    wanted = dict(sorted(registered.items()))
    if tuple(models) == MODEL:
        return wanted
    return {name: entry for name, entry in wanted.items() if entry[0].__module__ in models}


def _compile_locked(release: str, path: Path, models: Sequence[str]) -> None:
    from llvmlite import ir
    from numba.core import types
    from numba.core.registry import cpu_target

    from kmem.lib import jit, ptrtype, raw

    started = time.monotonic()
    for name in models:
        importlib.import_module(name)
    tty = sys.stderr.isatty()
    what = "the allocator core" if tuple(models) == MODEL else ", ".join(models)
    context = cpu_target.target_context
    library = context.codegen().create_library("kmem")
    module = library.create_ir_module("kmem_entries")
    word = types.int64
    i64 = ir.IntType(64)
    base = ir.GlobalVariable(module, i64, ptrtype.RAM_BASE)
    base.initializer = i64(0)
    entries = _entries(jit.ENTRIES, models)
    for number, (name, (function, count)) in enumerate(entries.items(), 1):
        if tty:
            print(
                f"\rcompiling {what} for {release}: {number}/{len(entries)} {name:<32}",
                end="",
                file=sys.stderr,
            )
        dispatcher = jit.jit(function)
        argtypes = (word,) * (count + 1)
        dispatcher.compile(argtypes)
        result = dispatcher.overloads[argtypes]
        library.add_linking_library(result.library)
        wrapper = ir.Function(module, ir.FunctionType(i64, [i64] * (count + 1)), name=f"kmem_{name}")
        builder = ir.IRBuilder(wrapper.append_basic_block("entry"))
        callee = context.declare_function(module, result.fndesc)
        restype = result.signature.return_type
        before = builder.load(base)
        builder.store(wrapper.args[0], base)
        status, value = context.call_conv.call_function(builder, callee, restype, argtypes, list(wrapper.args))
        builder.store(before, base)
        if restype == types.boolean:
            value = builder.zext(value, i64)
        elif restype == types.none:
            value = i64(0)
        elif not isinstance(restype, types.Integer):
            raise TypeError(f"entry {name} returns {restype}, not an integer")
        with builder.if_then(status.is_error, likely=False):
            told = builder.add(wrapper.args[0], i64(raw.GAVE_UP_AT))
            builder.store(i64(1), builder.inttoptr(told, i64.as_pointer()))
        builder.ret(builder.select(status.is_error, i64(-(1 << 63)), value))
        pycall.emit(module, name, count, wrapper, FAULTED)
    access.emit(module)
    library.add_ir_module(module)
    code = _target_machine().emit_object(_link(library))
    path.parent.mkdir(parents=True, exist_ok=True)
    index = json.dumps({name: count for name, (_, count) in entries.items()}).encode()
    partial = path.with_suffix(f".{os.getpid()}")
    partial.write_bytes(len(index).to_bytes(8, "little") + index + code)
    partial.rename(path)
    seconds = time.monotonic() - started
    line = f"compiled {what} for {release}: {len(entries)} entries, {len(code) // 1024} KiB, {seconds:.0f} s"
    print(f"\r{line:<100}" if tty else line, file=sys.stderr)


class Loaded:
    """The compiled model: C functions by entry name."""

    def __init__(self, release: str, models: Sequence[str] = MODEL) -> None:
        import llvmlite.binding as llvm

        image = build(release, models).read_bytes()
        size = int.from_bytes(image[:8], "little")
        self.index: dict[str, int] = json.loads(image[8 : 8 + size])
        llvm.initialize_native_target()
        llvm.initialize_native_asmprinter()
        machine = llvm.Target.from_default_triple().create_target_machine(jit=True)
        self._engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine, use_lmm=True)
        self._engine.add_object_file(llvm.ObjectFileRef.from_data(image[8 + size :]))
        self._engine.finalize_object()

    def address(self, name: str) -> int:
        """Host address of the entry's C function ``int64_t f(int64_t ram, int64_t...)``."""
        return int(self._engine.get_function_address(f"kmem_{name}"))

    def access_check(self) -> int:
        """Host address of the check of one access (`kmem.lib.access`)."""
        return int(self._engine.get_function_address(access.NAME))

    def python_function(self, name: str, base: int, failed: Callable[[], Any]) -> Callable[..., int]:
        """The entry for the RAM at *base*: takes and gives integers; calls *failed* when the entry gave up."""
        count = self.index[name]

        def misused() -> None:
            raise TypeError(f"{name}() takes {count} integers")

        address = int(self._engine.get_function_address(pycall.PREFIX + name))
        made: Callable[..., int] = pycall.python_function(name, address, base, failed, misused)
        return made

    def function(self, name: str) -> Callable[..., int]:
        """The entry as a Python callable over ctypes. It gives up the interpreter's lock: of entries that work on a
        machine, who calls runs one at a time.
        """
        kind = ctypes.CFUNCTYPE(ctypes.c_uint64, *[ctypes.c_int64] * (self.index[name] + 1))
        made: Any = kind(self.address(name))
        return made


_loaded: dict[tuple[str, tuple[str, ...]], Loaded] = {}


def loaded(release: str, models: tuple[str, ...] = MODEL) -> Loaded:
    """The compiled model for *release*, or other compiled *models*, loaded once a process."""
    if (release, models) not in _loaded:
        _loaded[release, models] = Loaded(release, models)
    return _loaded[release, models]


def main(argv: list[str]) -> int:
    """``python -m kmem.lib.build [RELEASE]``."""
    if argv[:1] == ["--child"]:
        _compile(argv[1], Path(argv[2]), argv[3:])
        return 0
    build(argv[0] if argv else "6.1")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
