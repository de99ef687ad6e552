"""Prints, at the end of a test run, how many of the real kernel's facts kmem reproduces."""

from __future__ import annotations

from collections.abc import Iterator

from _pytest.terminal import TerminalReporter

PROPERTY = "truth"


def pytest_terminal_summary(terminalreporter: TerminalReporter) -> None:
    """One line for each comparison that was made."""
    lines = sorted(_comparisons(terminalreporter))
    if lines:
        terminalreporter.section("facts of real kernels")
        for line in lines:
            terminalreporter.line(line)


def _comparisons(reporter: TerminalReporter) -> Iterator[str]:
    for outcome in ("passed", "failed"):
        for report in reporter.stats.get(outcome, []):
            for name, value in report.user_properties:
                if name == PROPERTY:
                    yield str(value)
