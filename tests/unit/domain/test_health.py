"""Is a host as well as it was before."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.health import (
    CheckKind,
    Disk,
    HealthReport,
    HostState,
    compare,
    new_errors,
    not_in_effect,
)

WELL = HostState(
    kernel_running="6.1.0-40",
    kernel_newest="6.1.0-40",
    running_units=("nginx.service", "ssh.service"),
    listening=("tcp 0.0.0.0:22 sshd", "tcp 0.0.0.0:80 nginx"),
    disks=(Disk(path="/", total=10 << 30, free=5 << 30),),
)
UNITS = st.lists(st.sampled_from(["a.service", "b.service", "c.service"]), unique=True).map(tuple)


def test_host_that_did_not_change_is_as_well_as_before() -> None:
    assert bad(WELL) == {}


@pytest.mark.parametrize(
    ("after", "check", "detail"),
    [
        (replace(WELL, running_units=("ssh.service",)), CheckKind.UNITS, "no longer running: nginx.service"),
        (replace(WELL, failed_units=("nginx.service",)), CheckKind.FAILED_UNITS, "newly failed: nginx.service"),
        (replace(WELL, listening=WELL.listening[:1]), CheckKind.PORTS, "no longer listening: tcp 0.0.0.0:80 nginx"),
        (replace(WELL, disks=(Disk(path="/", total=10, free=99 << 20),)), CheckKind.DISK, "/ has 99 MiB free"),
    ],
)
def test_what_is_worse_is_named(after: HostState, check: CheckKind, detail: str) -> None:
    assert bad(after) == {check: detail}


def test_what_was_broken_before_is_not_blamed_on_the_patch() -> None:
    broken = replace(WELL, failed_units=("old.service",))
    assert not [report for report in compare("web1", broken, broken) if not report.passed]


@given(UNITS, UNITS, UNITS)
def test_units_fail_the_comparison_exactly_where_one_is_gone(
    before: tuple[str, ...], after: tuple[str, ...], ignored: tuple[str, ...]
) -> None:
    units = compare(
        "h", replace(WELL, running_units=before), replace(WELL, running_units=after), ignored_units=ignored
    )[0]
    assert units.passed is (set(before) - set(after) <= set(ignored))


def test_new_units_and_ports_are_no_damage() -> None:
    more = replace(
        WELL, running_units=(*WELL.running_units, "new.service"), listening=(*WELL.listening, "tcp :443 nginx")
    )
    assert bad(more) == {}


@pytest.mark.parametrize(
    ("before", "passed", "counts"),
    [(None, False, True), (True, False, True), (False, False, False), (False, True, False), (None, True, False)],
)
def test_only_what_passed_before_or_was_not_asked_counts_as_damage(
    before: bool | None, passed: bool, counts: bool
) -> None:
    assert HealthReport(host="h", check="http", passed=passed, before=before).counts is counts


START = "Service Control Manager 7000: The App service failed to start."


def test_error_that_is_new_in_the_event_log_is_told_and_no_damage() -> None:
    old = replace(WELL, log_errors=("Disk 11: The driver detected a controller error.",))
    (found,) = [one for one in compare("app1", old, replace(WELL, log_errors=(START,))) if not one.passed]
    assert (found.check, found.advisory, found.counts) == (CheckKind.EVENT_LOG, True, False)
    assert found.detail == f"new errors: {START}"


def test_error_that_was_in_the_event_log_before_is_not_told_again() -> None:
    assert compare("app1", replace(WELL, log_errors=(START,)), replace(WELL, log_errors=(START, START)))[-1].passed


def test_host_without_an_event_log_is_not_said_to_have_a_clean_one() -> None:
    assert CheckKind.EVENT_LOG not in [report.check for report in compare("web1", WELL, WELL)]


def test_many_new_errors_are_told_in_short() -> None:
    many = tuple(f"Source {number}: It broke." for number in range(7))
    found = compare("app1", WELL, replace(WELL, log_errors=many))[-1]
    assert found.detail.endswith("Source 4: It broke.; and 2 more")


@pytest.mark.parametrize(
    ("before", "after", "new"),
    [
        ("EventLog 6008: Shutdown at 10:03:12 was unexpected", "EventLog 6008: Shutdown at 9:41:02 was unexpected", 0),
        ("Disk 11: Controller error on Harddisk1", "Disk 7: Controller error on Harddisk1", 1),
        ("Disk 11: Controller error", "NTFS 11: Controller error", 1),
        ("WindowsUpdateClient 20: KB5034129 failed", "WindowsUpdateClient 20: KB5033914 failed", 1),
        ("Service 7000: error 0x80070643", "Service 7000: error 0x800F0922", 1),
    ],
)
def test_errors_are_of_one_kind_where_only_times_and_counters_differ(before: str, after: str, new: int) -> None:
    assert len(new_errors([before], [after])) == new


def test_new_error_that_came_more_than_once_is_told_once_with_its_number() -> None:
    told = new_errors([], ["A 1: process 4711 died", "B 2: full", "A 1: process 4712 died"])
    assert told == ("A 1: process 4711 died (2 times)", "B 2: full")


def test_patched_is_not_yet_in_effect_while_the_old_code_runs() -> None:
    assert not_in_effect(WELL) == ()
    reasons = not_in_effect(replace(WELL, kernel_newest="6.1.0-41", stale_processes=("nginx[7] nginx.service",)))
    assert reasons == (
        "kernel 6.1.0-40 is running, 6.1.0-41 is installed",
        "nginx[7] nginx.service uses files that were replaced",
    )


def test_host_that_tells_no_kernel_is_not_suspected() -> None:
    assert not_in_effect(HostState()) == ()


def bad(after: HostState) -> dict[str, str]:
    found = compare("web1", WELL, after, min_free=100 << 20)
    return {report.check: report.detail for report in found if not report.passed}
