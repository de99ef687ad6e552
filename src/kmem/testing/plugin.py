"""What pytest loads: markers, options and fixtures. Everything heavy is imported by the first test that asks for it."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from kmem.kapi.insmod import LoadedModule
    from kmem.kernel import Kernel
    from kmem.testing.bench import Bench

MARKERS = (
    "kernel(release=, config=, cpus=, numa=, ram=, cmdline=, seed=, check=, budget=): the machine that is booted",
    "driver(source, **parameters): what the fixture `driver` builds and loads, and its module parameters",
    "fail_each_alloc(max=, copies=): the test is repeated, and each time another of its allocations fails, once and "
    "for good; with copies=True each copy from and to user memory, too",
    "schedules(n): the test is run under n schedules of its tasks and interrupts",
    "allow_leak(site=, reason=): memory allocated at function, file or file:line may stay behind",
)
BENCH: pytest.StashKey[Bench] = pytest.StashKey()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--kmem-release``, and the settings kmem_driver and kmem_release."""
    parser.getgroup("kmem").addoption("--kmem-release", metavar="R", help="the kernel that drivers are tested on")
    parser.addini("kmem_driver", "what the fixture `driver` builds: a .c, a directory or a .ko", default="")
    parser.addini("kmem_release", "the kernel that drivers are tested on", default="6.1")


def pytest_configure(config: pytest.Config) -> None:
    """Make the markers known."""
    for marker in MARKERS:
        config.addinivalue_line("markers", marker)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """``schedules(n)``: one test for each seed."""
    marker = metafunc.definition.get_closest_marker("schedules")
    if marker is None:
        return
    if "kmem_seed" not in metafunc.fixturenames:
        raise pytest.UsageError(f"{metafunc.definition.nodeid}: schedules() is for tests that use the fixture kernel")
    count = marker.args[0] if marker.args else marker.kwargs.get("n", 10)
    metafunc.parametrize("kmem_seed", range(count), indirect=True, ids=lambda seed: f"seed{seed}")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    """``fail_each_alloc()``: more than one run makes one result."""
    marker = item.get_closest_marker("fail_each_alloc")
    if marker is None or "kernel" not in getattr(item, "fixturenames", ()):
        return None
    from kmem.testing.tries import run_all

    run_all(item, nextitem, marker)
    return True


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A driver that refuses, with an error, when an allocation failed has done right."""
    report = yield
    bench = item.stash.get(BENCH, None)
    if bench is not None and bench.trying and call.excinfo is not None:
        from kmem.testing.tries import judge

        judge(report, call.excinfo.value)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, Any, Any]:
    """The test, and then what the driver leaves behind: part of the test."""
    bench = pyfuncitem.stash.get(BENCH, None)
    if bench is None:
        return (yield)
    try:
        result = yield
    except Exception as error:
        bench.broken(error)
        raise
    bench.finish()
    return result


@pytest.fixture
def kmem_seed(request: pytest.FixtureRequest) -> int:
    """The seed of the machine: that of the schedule, or 0."""
    return int(getattr(request, "param", 0))


@pytest.fixture
def kernel(request: pytest.FixtureRequest, kmem_seed: int) -> Iterator[Kernel]:
    """A machine of the test's own, booted as the marker `kernel` says, with checks on."""
    from kmem.testing.bench import Bench

    bench = Bench.boot(request.node, kmem_seed)
    request.node.stash[BENCH] = bench
    yield bench.kernel
    bench.close()


@pytest.fixture
def insmod(request: pytest.FixtureRequest, kernel: Kernel) -> Callable[..., LoadedModule]:
    """``insmod(source, name=value)``: build if need be, load, run init. What is left loaded is unloaded at the end."""
    return request.node.stash[BENCH].insmod  # type: ignore[no-any-return]


@pytest.fixture
def driver(request: pytest.FixtureRequest, kernel: Kernel) -> LoadedModule:
    """The driver under test, loaded: what the marker `driver`, or the setting kmem_driver, names; or else the
    directory above the test that has a Kbuild.
    """
    bench = request.node.stash[BENCH]
    marker = request.node.get_closest_marker("driver")
    source: Path | str = marker.args[0] if marker and marker.args else bench.find_driver()
    loaded: LoadedModule = bench.insmod(source, **(marker.kwargs if marker else {}))
    return loaded
