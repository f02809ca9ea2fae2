"""What a person is shown of a change's hosts."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.cli import show
from orchestrator.domain.lock import PatchLock
from orchestrator.domain.plan import Content, PatchPlan
from orchestrator.domain.rollout import Wave
from orchestrator.domain.run import HostStatus
from tests.fakes.values import run, spec


def test_host_that_is_left_drained_is_told_so_in_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    failed = replace(run("web1", HostStatus.FAILED), drained=True, reason="nginx.service")
    show.hosts([failed, run("web2", HostStatus.DONE)])
    told = {line.split()[0]: line for line in capsys.readouterr().out.splitlines() if line.startswith("web")}
    assert "nginx.service; still drained" in told["web1"]
    assert "drained" not in told["web2"]


def test_of_many_hosts_those_with_something_to_say_are_listed_and_the_others_counted(
    capsys: pytest.CaptureFixture[str],
) -> None:
    done = [run(f"web{number}", HostStatus.DONE) for number in range(300)]
    waiting = [run(f"db{number}") for number in range(20)]
    told = [run("bad", HostStatus.FAILED, failed=True), replace(run("odd", HostStatus.DONE), warnings=("old kernel",))]
    show.hosts([*done, *waiting, *told])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:3]] == ["bad", "odd"]
    assert lines[3:] == ["And beside these: 300 done, 20 pending. Every host: orchestrator change show CHG-0001 --all"]
    show.hosts([*done, *waiting, *told], everyone=True)
    assert len(capsys.readouterr().out.splitlines()) == 323


def test_wave_of_many_hosts_is_told_by_its_size(capsys: pytest.CaptureFixture[str]) -> None:
    names = [f"web{number}" for number in range(250)]
    batches = (tuple(names[:100]), tuple(names[100:200]), tuple(names[200:]))
    show.waves(
        a_plan(Wave(number=1, canary=True, batches=(("a", "b"), ("c",))), Wave(number=2, canary=False, batches=batches))
    )
    assert capsys.readouterr().out.splitlines() == [
        "canary 1: a+b then c",
        "wave 2: web0, web1, web2, web3, web4 and 245 more, in 3 batches of 50 to 100 hosts",
    ]


def a_plan(*waves: Wave) -> PatchPlan:
    return PatchPlan(
        change="CHG-0001", spec=spec(), content=Content(files=()), waves=waves, hosts=(), not_included=(),
        lock=PatchLock(),
    )  # fmt: skip
