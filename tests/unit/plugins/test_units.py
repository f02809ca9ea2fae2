"""Waiting until systemd has come to rest, before a host is judged."""

from tests.unit.plugins.rpm_support import FakeShell, load


def test_a_host_is_looked_at_once_systemd_has_no_job_left() -> None:
    jobs = ["12 labapp.service start running\n", "12 labapp.service start running\n", ""]
    pauses: list[float] = []
    shell = FakeShell({"list-jobs": lambda _: jobs.pop(0)})
    assert load("units").wait_until_settled(shell, sleep=pauses.append)
    assert (len(pauses), jobs) == (2, [])


def test_a_job_that_never_ends_does_not_hold_the_look_up_for_ever() -> None:
    pauses: list[float] = []
    shell = FakeShell({"list-jobs": "12 slow.service start running\n"})
    assert not load("units").wait_until_settled(shell, seconds=3, sleep=pauses.append)
    assert len(pauses) == 3
