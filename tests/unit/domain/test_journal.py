"""A step that we began and never saw end is settled by what the host says, and by nothing else."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.journal import HostRecord, Settled, Settlement, Step, StepRecord, settle
from tests.fakes.values import EVENING, NEW, OLD, host_plan, item

PLAN = host_plan("web1", item("openssl"), item("curl"), replace(item("libnew"), from_version=""))
OURS = StepRecord(
    change="CHG-0001", host="web1", step=Step.PATCH, token=7, job="CHG-0001.l1.w1.b1.patch", started_at=EVENING
)
BEFORE = {"openssl:amd64": OLD, "curl:amd64": OLD}
AFTER = {"openssl:amd64": NEW, "curl:amd64": NEW, "libnew:amd64": NEW}
HALF = {"openssl:amd64": NEW, "curl:amd64": OLD}


def record(
    event: str, *, step: str = "patch", counter: int = 7, change: str = "CHG-0001", outcome: str = ""
) -> HostRecord:
    return HostRecord(
        at=0, change=change, step=step, installation="ours", counter=counter, event=event, outcome=outcome
    )


PROTECTED = (record("begin", step="protect"), record("end", step="protect", outcome="ok"))
BEGUN = (*PROTECTED, record("begin"))
ENDED = (*BEGUN, record("end", outcome="ok"))
FAILED = (*BEGUN, record("end", outcome="failed"))


@pytest.mark.parametrize(
    ("theirs", "packages", "expected"),
    [
        (ENDED, AFTER, Settlement.DONE),
        (PROTECTED, AFTER, Settlement.DONE),
        (PROTECTED, BEFORE, Settlement.NOT_BEGUN),
        ((), BEFORE, Settlement.NOT_BEGUN),
        (BEGUN, BEFORE, Settlement.STILL_WORKING),
        (BEGUN, HALF, Settlement.STILL_WORKING),
        (FAILED, HALF, Settlement.PARTLY),
        (FAILED, BEFORE, Settlement.PARTLY),
        (PROTECTED, HALF, Settlement.PARTLY),
        (PROTECTED, {"openssl:amd64": "9", "curl:amd64": "9"}, Settlement.UNKNOWN),
        (PROTECTED, {}, Settlement.UNKNOWN),
    ],
    ids=[
        "ended and all in place", "never begun and all in place all the same", "never begun",
        "an empty journal and the old versions", "at work, nothing in place yet", "at work, half in place",
        "ended half way", "ended with nothing in place", "half in place and nothing begun", "other versions",
        "nothing there",
    ],
)  # fmt: skip
def test_settlement_follows_from_journal_and_packages(
    theirs: tuple[HostRecord, ...], packages: dict[str, str], expected: Settlement
) -> None:
    assert asked(theirs, packages).settlement is expected


def test_journal_that_is_shorter_than_it_was_tells_nothing() -> None:
    assert asked(PROTECTED, BEFORE, expected_records=2).settlement is Settlement.NOT_BEGUN
    settled = asked(PROTECTED, BEFORE, expected_records=3)
    assert (settled.settlement, "was reverted" in settled.why) == (Settlement.UNKNOWN, True)


@pytest.mark.parametrize(
    "foreign",
    [record("begin", change="CHG-0002"), record("begin", step="restore"), record("begin", counter=6)],
    ids=["another change", "another step", "an older token"],
)
def test_records_that_are_not_about_this_step_do_not_count(foreign: HostRecord) -> None:
    assert asked((*PROTECTED, foreign), BEFORE).settlement is Settlement.NOT_BEGUN


def test_step_taken_up_under_a_newer_token_is_the_same_step() -> None:
    assert asked((*PROTECTED, record("begin", counter=9)), BEFORE).settlement is Settlement.STILL_WORKING


def test_step_whose_process_is_gone_is_not_waited_for() -> None:
    assert asked(BEGUN, BEFORE, at_work=False).settlement is Settlement.PARTLY
    assert asked(BEGUN, HALF, at_work=False).settlement is Settlement.PARTLY
    assert "broke off on the host" in asked(BEGUN, HALF, at_work=False).why
    assert asked(BEGUN, AFTER, at_work=False).settlement is Settlement.DONE


def test_step_that_began_again_after_it_had_ended_is_open() -> None:
    assert asked((*FAILED, record("begin")), HALF).settlement is Settlement.STILL_WORKING
    assert asked((*ENDED, record("begin")), AFTER).settlement is Settlement.STILL_WORKING


def test_interrupted_step_that_was_taken_up_and_ended_is_not_open() -> None:
    assert asked((*BEGUN, record("begin"), record("end", outcome="ok")), AFTER).settlement is Settlement.DONE


def test_step_of_which_only_the_end_is_left_in_the_journal_was_begun() -> None:
    assert asked((record("end", outcome="failed"),), BEFORE).settlement is Settlement.PARTLY


def test_reason_counts_what_is_in_place() -> None:
    assert "1 of 3 packages are at the locked version" in asked(FAILED, HALF).why
    assert "the step ended failed" in asked(FAILED, HALF).why


@given(
    st.lists(
        st.sampled_from([record("begin"), record("end", outcome="ok"), record("end", outcome="failed")]), max_size=5
    ),
    st.lists(st.sampled_from([OLD, NEW, "9", ""]), min_size=3, max_size=3),
)
def test_never_begun_is_said_only_of_an_untouched_host(theirs: list[HostRecord], versions: list[str]) -> None:
    packages = dict(zip([f"{one.name}:amd64" for one in PLAN.items], versions, strict=True))
    settled = asked(tuple(theirs), packages).settlement
    if settled is Settlement.NOT_BEGUN:
        assert not theirs
        assert versions == [OLD, OLD, ""]
    if settled is Settlement.DONE:
        assert versions == [NEW] * 3
        assert not theirs or theirs[-1].event == "end"


def asked(
    theirs: tuple[HostRecord, ...], packages: dict[str, str], *, expected_records: int = 0, at_work: bool = True
) -> Settled:
    return settle(PLAN, OURS, theirs, packages, expected_records=expected_records, at_work=at_work)
