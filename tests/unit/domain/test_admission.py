"""Does a host still fit before the window ends."""

from __future__ import annotations

from datetime import datetime, timedelta
from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.admission import (
    ENOUGH_HISTORY,
    Durations,
    estimate,
    last_safe_start,
    percentile95,
    why_too_late,
)
from orchestrator.domain.change import TEMPLATE_ESTIMATES
from tests.fakes.strategies import SPANS
from tests.fakes.values import SLOT

MINUTE = timedelta(minutes=1)


@given(st.lists(SPANS, min_size=1, max_size=120))
def test_p95_is_the_nearest_rank(values: list[timedelta]) -> None:
    p95 = percentile95(values)
    assert p95 == sorted(values)[ceil(0.95 * len(values)) - 1]
    assert sum(value <= p95 for value in values) * 100 >= len(values) * 95
    assert all(
        sum(value <= smaller for value in values) * 100 < len(values) * 95 for smaller in values if smaller < p95
    )


def test_of_twenty_runs_one_may_have_taken_longer() -> None:
    assert percentile95([MINUTE] * 19 + [60 * MINUTE]) == MINUTE
    assert percentile95([MINUTE] * 18 + [60 * MINUTE]) == 60 * MINUTE


def test_history_comes_first_then_staging_then_the_template() -> None:
    history, staging = [took(patch=5)] * ENOUGH_HISTORY, [took(patch=7), took(patch=9)]
    assert estimate(history, staging, TEMPLATE_ESTIMATES).source == "history"
    assert estimate(history[1:], staging, TEMPLATE_ESTIMATES).source == "staging"
    found = estimate(history[1:], [], TEMPLATE_ESTIMATES)
    assert (found.source, found.needed) == ("template", TEMPLATE_ESTIMATES.total)


def test_slowest_of_staging_is_reserved() -> None:
    assert estimate([], [took(patch=7, rollback=2), took(patch=9)], TEMPLATE_ESTIMATES).needed == 11 * MINUTE


def test_runs_that_needed_no_rollback_still_reserve_the_longest_one_known() -> None:
    history = [took(patch=5)] * ENOUGH_HISTORY
    assert estimate(history, [took(patch=1, rollback=3)], TEMPLATE_ESTIMATES).needed == 8 * MINUTE
    assert estimate(history, [], TEMPLATE_ESTIMATES).needed == 5 * MINUTE + TEMPLATE_ESTIMATES.rollback


@given(st.lists(st.builds(Durations, patch=SPANS, reboot=SPANS, verify=SPANS, rollback=SPANS), max_size=12), st.data())
def test_never_less_is_reserved_than_the_sum_that_p95_of_the_runs_took(
    history: list[Durations], data: st.DataObject
) -> None:
    staging = data.draw(st.lists(st.sampled_from(history), max_size=3)) if history else []
    found = estimate(history, staging, TEMPLATE_ESTIMATES)
    known = {"history": history, "staging": staging, "template": [TEMPLATE_ESTIMATES]}[found.source]
    assert sum(found.needed >= one.total for one in known) * 100 >= 95 * len(known)


@given(SPANS.filter(lambda needed: needed < timedelta(hours=3, minutes=30)))
def test_host_that_begins_at_the_last_safe_start_ends_within_the_window(needed: timedelta) -> None:
    last = last_safe_start(SLOT, needed)
    assert last + needed <= SLOT.end
    assert last in (SLOT.end - needed, SLOT.cutoff)
    in_time = last < SLOT.cutoff
    assert (why_too_late(SLOT, needed, last) == "") is in_time
    assert why_too_late(SLOT, needed, last + timedelta(seconds=1))


@pytest.mark.parametrize(
    ("at", "reason"),
    [
        (SLOT.start - MINUTE, "window is open from"),
        (SLOT.end, "window is open from"),
        (SLOT.cutoff, "the cutoff was at"),
        (SLOT.cutoff - MINUTE, "the last safe start was"),
    ],
)
def test_reason_says_what_is_in_the_way(at: datetime, reason: str) -> None:
    assert reason in why_too_late(SLOT, timedelta(hours=1), at)


def took(*, patch: int = 0, reboot: int = 0, verify: int = 0, rollback: int = 0) -> Durations:
    return Durations(patch=patch * MINUTE, reboot=reboot * MINUTE, verify=verify * MINUTE, rollback=rollback * MINUTE)
