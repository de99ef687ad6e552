"""``fail_each_alloc()``: a test once as it is, and then again for each allocation that it made, with that one failing.

A try is good when the test passes all the same, or when the driver says no: an error from insmod or from a system call.
Either way everything must be freed at the end, and nothing be found.
"""

from __future__ import annotations

import pytest
from _pytest.runner import runtestprotocol

from kmem.kapi.insmod import InitFailed
from kmem.kapi.process import SystemCallFailed
from kmem.testing.bench import COUNT, TRY, Try

MOST = 1000


def run_all(item: pytest.Item, nextitem: pytest.Item | None, marker: pytest.Mark) -> None:
    """Run *item* as often as it takes, and report the first run, or the first try that failed."""
    most = marker.kwargs.get("max", MOST)
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    reports = _run(item)
    count, copies = item.stash.get(COUNT, (0, 0))
    if all(report.passed for report in reports):
        tries = [Try(number, lasting) for number in range(1, min(count, most) + 1) for lasting in (False, True)]
        if marker.kwargs.get("copies"):
            tries += [Try(number, copy=True) for number in range(1, min(copies, most) + 1)]
        for one in tries:
            item.stash[TRY] = one
            tried = _run(item)
            if any(report.failed and not hasattr(report, "kmem_refused") for report in tried):
                reports = tried
                break
    if TRY in item.stash:
        del item.stash[TRY]
    call = pytest.CallInfo.from_call(lambda: item.session._setupstate.teardown_exact(nextitem), "teardown")
    if call.excinfo is not None:
        reports.append(item.ihook.pytest_runtest_makereport(item=item, call=call))
    for report in reports:
        item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)


def _run(item: pytest.Item) -> list[pytest.TestReport]:
    """One run, after which the fixtures of the test itself are gone, and those around it still there."""
    item._report_sections.clear()
    return runtestprotocol(item, log=False, nextitem=item.parent)  # type: ignore[arg-type]  # only listchain() is asked


def judge(report: pytest.TestReport, error: BaseException) -> None:
    """Mark the report of a try that ended in the driver's saying no."""
    if isinstance(error, SystemCallFailed | InitFailed):
        report.__dict__["kmem_refused"] = True
