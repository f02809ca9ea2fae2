"""Which updates a change takes, and the reason for each that it leaves."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.baseline import Candidate, Classification, PatchBaseline, select, why_not
from tests.fakes.strategies import any_of
from tests.fakes.values import EVENING

SECURITY = Candidate(
    name="openssl", arch="amd64", from_version="1", version="2", classification=Classification.SECURITY,
    severity="high", published=EVENING - timedelta(days=3),
)  # fmt: skip
TAKES_IT = PatchBaseline(
    severities=("high", "critical"), delay=timedelta(days=3), include=("open*",), exclude=("linux-*",)
)


def test_candidate_that_fits_the_rule_is_taken() -> None:
    assert why_not(SECURITY, TAKES_IT, now=EVENING) == ""


@pytest.mark.parametrize(
    ("candidate", "reason"),
    [
        (replace(SECURITY, held=True), "held on the host"),
        (replace(SECURITY, name="linux-image-amd64"), "excluded by the baseline"),
        (replace(SECURITY, name="nginx"), "not included by the baseline"),
        (replace(SECURITY, classification=Classification.BUGFIX), "classified bugfix"),
        (replace(SECURITY, classification=Classification.UNKNOWN), "classified unknown"),
        (replace(SECURITY, severity="low"), "severity low"),
        (replace(SECURITY, severity=""), "severity not told"),
        (replace(SECURITY, published=EVENING - timedelta(days=2)), "published 2026-11-19, less than 3 days ago"),
    ],
)
def test_every_reason_to_leave_a_candidate_is_told(candidate: Candidate, reason: str) -> None:
    assert why_not(candidate, TAKES_IT, now=EVENING) == reason


def test_empty_lists_mean_any() -> None:
    anything = PatchBaseline(classifications=(), severities=())
    assert why_not(replace(SECURITY, classification=Classification.UNKNOWN, severity=""), anything, now=EVENING) == ""


def test_repository_that_does_not_tell_the_day_is_not_waited_for() -> None:
    assert why_not(replace(SECURITY, published=None), TAKES_IT, now=EVENING) == ""


def test_exclusion_beats_inclusion() -> None:
    assert why_not(SECURITY, PatchBaseline(include=("openssl",), exclude=("open*",)), now=EVENING)


@given(st.lists(any_of(Candidate), max_size=8), any_of(PatchBaseline))
def test_every_candidate_is_either_chosen_or_named_with_a_reason(
    candidates: list[Candidate], baseline: PatchBaseline
) -> None:
    selection = select(candidates, baseline, now=EVENING)
    told = [(one.name, one.arch, one.version) for one in selection.chosen]
    told += [(one.name, one.arch, one.version) for one in selection.left_out]
    assert sorted(told) == sorted((one.name, one.arch, one.version) for one in candidates)
    assert all(one.reason for one in selection.left_out)
    assert all(not why_not(one, baseline, now=EVENING) for one in selection.chosen)


def test_choice_does_not_depend_on_the_order_of_the_offer() -> None:
    offer = [replace(SECURITY, name=name) for name in ("openldap", "openssh", "openssl")]
    assert select(offer, TAKES_IT, now=EVENING) == select(reversed(offer), TAKES_IT, now=EVENING)
