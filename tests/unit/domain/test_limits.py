"""How many Ansible runs the controller has at once, and what a further one waits for."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.limits import Limits, Load, why_wait

LIMITS = st.builds(
    Limits, jobs=st.integers(1, 64), forks=st.integers(1, 2000), free_memory=st.integers(1, 8192), throttle=st.just({})
)
PLENTY = 1 << 20


@given(LIMITS, st.lists(st.booleans(), max_size=200))
def test_there_are_never_more_runs_than_the_limit(limits: Limits, asked: list[bool]) -> None:
    runs = 0
    for puts_back in asked:
        runs += not why_wait(Load(runs=runs, free_memory=PLENTY), limits, puts_back=puts_back)
    assert runs <= limits.jobs


@given(LIMITS, st.integers(0, 200))
def test_patching_leaves_a_place_for_putting_back(limits: Limits, asked: int) -> None:
    runs = 0
    for _ in range(asked):
        runs += not why_wait(Load(runs=runs, free_memory=PLENTY), limits)
    may = not why_wait(Load(runs=runs, free_memory=PLENTY), limits, puts_back=True)
    assert may or limits.jobs == 1


@given(LIMITS)
def test_a_controller_with_nothing_to_do_begins_at_once(limits: Limits) -> None:
    assert not why_wait(Load(runs=0, free_memory=limits.free_memory), limits)


@given(LIMITS, st.integers(1, 500))
def test_all_runs_together_have_no_more_forks_than_the_limit(limits: Limits, wanted: int) -> None:
    each = limits.forks_of_a_run(wanted)
    assert 1 <= each <= max(wanted, 1)
    assert each * limits.jobs <= max(limits.forks, limits.jobs)


def test_who_waits_is_told_what_for() -> None:
    limits = Limits(jobs=2, free_memory=512)
    assert why_wait(Load(runs=1, free_memory=PLENTY), limits) == (
        "one Ansible run is at work, limits.jobs = 2 (one place is kept for putting hosts back)"
    )
    short = Load(runs=0, free_memory=100)
    assert why_wait(short, limits) == "less than limits.free_memory = 512 MiB of memory are available"


def test_short_memory_holds_no_host_back_from_its_old_state() -> None:
    limits = Limits(jobs=2, free_memory=512)
    assert not why_wait(Load(runs=1, free_memory=100), limits, puts_back=True)
    assert why_wait(Load(runs=2, free_memory=100), limits, puts_back=True) == (
        "2 Ansible runs are at work, limits.jobs = 2"
    )
