"""Where COGMILL_NO_SKIP is set a skip is a failure: CI installs what every test needs, and must lose none silently."""

from __future__ import annotations

import os
from collections.abc import Generator

import pytest

# Nothing that CI could install: a device, and what lies beside the repository and not in it.
NEEDS_GPU = "needs a GPU"
_ELSEWHERE = ("../shared", NEEDS_GPU)

Report = pytest.TestReport | pytest.CollectReport


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    _forbid(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    _forbid(report)
    return report


def _forbid(report: Report) -> None:
    expected_failure = hasattr(report, "wasxfail")
    if os.environ.get("COGMILL_NO_SKIP") == "1" and report.skipped and not expected_failure:
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        if any(excuse in reason for excuse in _ELSEWHERE):
            return
        report.outcome = "failed"
        report.longrepr = f"{reason}\nCOGMILL_NO_SKIP=1 forbids to skip: install what this test needs."
