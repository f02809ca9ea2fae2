"""Places for Ansible runs are counted across processes, and a killed process gives its own back."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from orchestrator.adapters.ansible.slots import Slots, free_memory
from orchestrator.domain.limits import Limits


def slots(folder: Path, jobs: int) -> Slots:
    return Slots(folder=folder / "slots", limits=Limits(jobs=jobs, free_memory=1), free_memory=lambda: 1000)


def test_a_place_is_free_again_when_its_holder_lets_go(tmp_path: Path) -> None:
    places = slots(tmp_path, 2)
    first = places.take(puts_back=True).descriptor
    second = places.take(puts_back=True).descriptor
    assert first is not None
    assert second is not None
    assert places.take(puts_back=True).why == "2 Ansible runs are at work, limits.jobs = 2"
    os.close(first)
    again = places.take(puts_back=True).descriptor
    assert again is not None
    os.close(again)
    os.close(second)


def test_a_process_that_inherits_a_place_holds_it_until_it_is_killed(tmp_path: Path) -> None:
    places = slots(tmp_path, 1)
    mine = places.take().descriptor
    assert mine is not None
    child = subprocess.Popen(["sleep", "60"], pass_fds=[mine])
    os.close(mine)
    assert places.take().descriptor is None
    child.kill()
    child.wait()
    again = places.take().descriptor
    assert again is not None
    os.close(again)


def test_places_of_a_larger_limit_still_count_while_they_are_held(tmp_path: Path) -> None:
    held = [slots(tmp_path, 3).take(puts_back=True).descriptor for _ in range(3)]
    smaller = slots(tmp_path, 1)
    for descriptor in held:
        assert smaller.take(puts_back=True).why
        assert descriptor is not None
        os.close(descriptor)
    last = smaller.take().descriptor
    assert last is not None
    os.close(last)


def test_looking_for_a_place_leaves_none_locked(tmp_path: Path) -> None:
    short = Slots(folder=tmp_path / "slots", limits=Limits(jobs=2, free_memory=100), free_memory=lambda: 10)
    assert short.take().why == "less than limits.free_memory = 100 MiB of memory are available"
    place = slots(tmp_path, 2).take().descriptor
    assert place is not None
    os.close(place)


def test_the_machine_says_how_much_memory_is_free() -> None:
    assert 1 < free_memory() < 1 << 30
