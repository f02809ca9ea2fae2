"""Windows in local time: nights that are skipped, nights that come twice, and durations that are elapsed time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.calendar import MaintenanceWindow, Slot, in_zone, occurrence, to_utc
from orchestrator.errors import InvalidInput
from tests.fakes.values import OPENING, SLOT, WINDOW

ZONES = st.sampled_from(
    [
        "UTC",
        "Europe/Berlin",
        "America/New_York",
        "Australia/Lord_Howe",
        "Asia/Kathmandu",
        "Pacific/Apia",
        "Africa/Casablanca",
    ]
)
WALL = st.datetimes(datetime(2024, 1, 1), datetime(2030, 1, 1)).map(lambda at: at.replace(second=0, microsecond=0))  # noqa: DTZ001
HOURS = st.integers(1, 48).map(lambda hours: timedelta(hours=hours))


def test_window_is_told_in_local_time_and_kept_in_utc() -> None:
    assert occurrence(WINDOW) == SLOT
    assert in_zone(OPENING, "Europe/Berlin") == "2026-11-21 23:00 CET"


def test_start_that_the_clocks_skip_is_refused() -> None:
    with pytest.raises(InvalidInput, match="does not exist in America/New_York"):
        to_utc("2026-03-08T02:30", "America/New_York")


@pytest.mark.parametrize(
    ("local", "expected"),
    [
        ("2026-03-08T01:59", datetime(2026, 3, 8, 6, 59, tzinfo=UTC)),
        ("2026-03-08T03:00", datetime(2026, 3, 8, 7, 0, tzinfo=UTC)),
    ],
)
def test_minutes_beside_the_gap_follow_each_other(local: str, expected: datetime) -> None:
    assert to_utc(local, "America/New_York") == expected


def test_start_that_comes_twice_means_the_first() -> None:
    assert to_utc("2026-11-01T01:30", "America/New_York") == datetime(2026, 11, 1, 5, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("start", "closes"), [("2026-10-31T23:00", "2026-11-01 02:00 EST"), ("2026-03-07T23:00", "2026-03-08 04:00 EDT")]
)
def test_window_of_four_hours_over_a_change_of_clocks_lasts_four_hours(start: str, closes: str) -> None:
    zone = "America/New_York"
    slot = occurrence(
        MaintenanceWindow(start=start, zone=zone, duration=timedelta(hours=4), cutoff=timedelta(minutes=30))
    )
    assert slot.end - slot.start == timedelta(hours=4)
    assert in_zone(slot.end, zone) == closes


@given(WALL, ZONES, HOURS)
def test_duration_is_elapsed_time_whatever_the_clocks_do(wall: datetime, zone: str, duration: timedelta) -> None:
    window = MaintenanceWindow(start=wall.isoformat(), zone=zone, duration=duration, cutoff=duration / 2)
    try:
        slot = occurrence(window)
    except InvalidInput:
        assert skipped(wall, zone)
        return
    assert not skipped(wall, zone)
    assert slot.end - slot.start == duration
    assert slot.end - slot.cutoff == duration / 2
    assert slot.start.astimezone(ZoneInfo(zone)).replace(tzinfo=None) == wall


@given(WALL, ZONES)
def test_of_two_moments_with_the_same_wall_clock_the_first_is_meant(wall: datetime, zone: str) -> None:
    try:
        at = to_utc(wall.isoformat(), zone)
    except InvalidInput:
        return
    both = {wall.replace(tzinfo=ZoneInfo(zone), fold=fold).astimezone(UTC) for fold in (0, 1)}
    assert at == min(both)


@pytest.mark.parametrize("zone", ["Europe/Nowhere", "", "../../etc/passwd", "/etc/localtime", "CEST?"])
def test_unknown_zone_is_refused(zone: str) -> None:
    with pytest.raises(InvalidInput, match="time zone"):
        to_utc("2026-11-21T23:00", zone)


@pytest.mark.parametrize("local", ["", "tonight", "2026-02-30T22:00", "2026-11-21T25:00"])
def test_start_that_is_no_time_is_refused(local: str) -> None:
    with pytest.raises(InvalidInput, match="no local time"):
        to_utc(local, "UTC")


@pytest.mark.parametrize("local", ["2026-11-21T23:00Z", "2026-11-21T23:00+01:00"])
def test_start_with_an_offset_is_refused(local: str) -> None:
    with pytest.raises(InvalidInput, match="carries an offset"):
        to_utc(local, "UTC")


def test_window_is_open_from_its_start_and_no_longer_at_its_end() -> None:
    moment = timedelta(microseconds=1)
    assert [SLOT.is_open(at) for at in (SLOT.start - moment, SLOT.start, SLOT.end - moment, SLOT.end)] == [
        False, True, True, False,
    ]  # fmt: skip


@given(st.integers(0, 9), st.integers(1, 9), st.integers(0, 9), st.integers(1, 9))
def test_windows_overlap_where_some_moment_lies_in_both(first: int, long: int, second: int, wide: int) -> None:
    one, other = slot(first, long), slot(second, wide)
    both = set(range(first, first + long)) & set(range(second, second + wide))
    assert one.overlaps(other) is other.overlaps(one) is bool(both)


def slot(start: int, length: int) -> Slot:
    begin = OPENING + timedelta(hours=start)
    end = begin + timedelta(hours=length)
    return Slot(start=begin, end=end, cutoff=end)


def skipped(wall: datetime, zone: str) -> bool:
    info = ZoneInfo(zone)
    return all(
        wall.replace(tzinfo=info, fold=fold).astimezone(UTC).astimezone(info).replace(tzinfo=None) != wall
        for fold in (0, 1)
    )
