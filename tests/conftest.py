"""Rules for the whole suite: in CI nothing is skipped, and the longest comes first."""

from __future__ import annotations

import os
import signal
from collections.abc import Generator
from zlib import crc32

import pytest

#: Minutes beside other tests, of the files that take two or more.
_LONGEST_FIRST: dict[str, int] = {
    "test_demo": 9,
    "test_playbooks_apt": 8,
    "test_kill": 7,
    "test_web_hosts": 6,
    "test_windows": 5,
    "test_mixed": 4,
    "test_molecule": 4,
    "test_draining": 3,
    "test_playbooks_rpm": 3,
    "test_record": 3,
    "test_ways_back": 3,
    "test_chaos": 2,
    "test_crash_points": 2,
    "test_demo_without_linux": 2,
    "test_runner": 2,
    "test_windows_playbooks": 2,
}

pytest_plugins = ["lab.pytest_plugin", "lab.windows.pytest_plugin"]


def pytest_configure() -> None:
    """Let commands be ended by Ctrl-C: a shell takes that from whatever it starts in the background."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest, so that at the end no worker waits for another's one long file.

    What is short comes in an order that mixes files which wait with files which compute, and is always the same.
    """
    items.sort(key=lambda item: (-_minutes(item), crc32(item.path.stem.encode())))


def _minutes(item: pytest.Item) -> int:
    return _LONGEST_FIRST.get(item.path.stem, 1 if item.get_closest_marker("lab") else 0)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn a skip into a failure in CI: there everything must be able to run."""
    report = yield
    if report.skipped and os.environ.get("CI") and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped in CI, where nothing may be: {item.nodeid}: {report.longrepr}"
    return report
