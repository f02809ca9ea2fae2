"""What every service check keeps, the built-in ones and those of plugins.

Derive a class whose name begins with ``Test`` and give it the five fixtures below. ``up``, ``down`` and ``slow`` are
hosts for the same check: the service of the first is well, that of the second is not there, and that of the third
takes longer to answer than the check waits. The check should wait a second or less and try once.
"""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from orchestrator.domain.health import HealthCheck
from orchestrator.domain.inventory import Host
from orchestrator.ports import ServiceCheck


class ServiceCheckContract:
    """The suite."""

    #: How long all hosts together may take where one of them is slow, in seconds.
    patience = 5.0

    @pytest.fixture
    def service_check(self) -> ServiceCheck:
        """Return the implementation."""
        raise NotImplementedError

    @pytest.fixture
    def asked(self) -> HealthCheck:
        """Return the check to carry out."""
        raise NotImplementedError

    @pytest.fixture
    def up(self) -> Host:
        """Return a host whose service is well."""
        raise NotImplementedError

    @pytest.fixture
    def down(self) -> Host:
        """Return a host whose service is not there."""
        raise NotImplementedError

    @pytest.fixture
    def slow(self) -> Host:
        """Return a host whose service does not answer in time."""
        raise NotImplementedError

    def test_a_service_that_is_well_passes(self, service_check: ServiceCheck, asked: HealthCheck, up: Host) -> None:
        (report,) = service_check.check([up], asked)
        assert (report.host, report.check, report.passed) == (up.name, asked.name, True)

    def test_a_service_that_is_down_is_a_report_that_says_why(
        self, service_check: ServiceCheck, asked: HealthCheck, down: Host
    ) -> None:
        (report,) = service_check.check([down], asked)
        assert (report.host, report.check, report.passed) == (down.name, asked.name, False)
        assert report.detail

    def test_every_host_is_answered_in_the_order_asked(
        self, service_check: ServiceCheck, asked: HealthCheck, up: Host, down: Host
    ) -> None:
        hosts = [replace(host, name=f"{number}") for number, host in enumerate([down, up, down, up, up])]
        reports = service_check.check(hosts, asked)
        assert [(report.host, report.passed) for report in reports] == [
            ("0", False),
            ("1", True),
            ("2", False),
            ("3", True),
            ("4", True),
        ]

    def test_a_slow_host_does_not_hold_up_the_others(
        self, service_check: ServiceCheck, asked: HealthCheck, up: Host, slow: Host
    ) -> None:
        began = time.monotonic()
        reports = service_check.check([slow, *(replace(up, name=f"up{number}") for number in range(9))], asked)
        assert time.monotonic() - began < self.patience
        assert [report.passed for report in reports] == [False] + [True] * 9
        assert reports[0].detail

    def test_no_hosts_are_no_reports(self, service_check: ServiceCheck, asked: HealthCheck) -> None:
        assert list(service_check.check([], asked)) == []

    def test_nothing_is_said_of_how_it_was_before(
        self, service_check: ServiceCheck, asked: HealthCheck, up: Host
    ) -> None:
        (report,) = service_check.check([up], asked)
        assert report.before is None
