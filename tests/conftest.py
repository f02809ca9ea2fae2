"""Rules for the whole suite: in CI nothing is skipped, and what needs the same thing runs one after the other."""

from __future__ import annotations

import os
from collections.abc import Generator

import pytest

pytest_plugins = ["lab.pytest_plugin"]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn a skip into a failure in CI: there everything must be able to run."""
    report = yield
    if report.skipped and os.environ.get("CI") and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped in CI, where nothing may be: {item.nodeid}: {report.longrepr}"
    return report
