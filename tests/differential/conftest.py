"""Prints, at the end of a run, how far kmem and the real kernel agreed."""

from __future__ import annotations

from _pytest.terminal import TerminalReporter

PROPERTY = "differential"


def pytest_terminal_summary(terminalreporter: TerminalReporter) -> None:
    """One line for each comparison that was made."""
    reports = [each for outcome in ("passed", "failed") for each in terminalreporter.stats.get(outcome, [])]
    lines = sorted(str(value) for report in reports for name, value in report.user_properties if name == PROPERTY)
    if lines:
        terminalreporter.section("a real kernel, booted now")
        for line in lines:
            terminalreporter.line(line)
