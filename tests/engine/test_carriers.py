"""Who is there to carry changes, and whose hosts would wait."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from orchestrator.engine.carrier import Carriers
from orchestrator.engine.worker import LEASE
from orchestrator.flow.ledger import Ledger
from orchestrator.ports import WorkerSeen
from tests.fakes.values import EVENING


def worker(*zones: str, silent_for: timedelta = timedelta(0)) -> WorkerSeen:
    return WorkerSeen(id="else:1:a:3", node="elsewhere", zones=zones, started_at=EVENING, silent_for=silent_for)


def carriers(folder: Path, *there: WorkerSeen, is_single: bool = False) -> Carriers:
    def no_ledger() -> Ledger:
        raise AssertionError("nobody asks for a change")

    return Carriers(folder, ["worker"], no_ledger, lambda: there, is_single=is_single)


@pytest.mark.parametrize(
    ("there", "unserved"),
    [
        pytest.param([worker()], ["dmz", "plant"], id="who carries changes serves no zone"),
        pytest.param([worker(), worker("dmz")], ["plant"], id="one zone has a worker"),
        pytest.param([worker("dmz", "plant")], [], id="one worker serves both"),
        pytest.param([worker("dmz"), worker("plant", silent_for=LEASE)], ["plant"], id="one is dead"),
    ],
)
def test_zones_without_a_worker_are_named(tmp_path: Path, there: list[WorkerSeen], unserved: list[str]) -> None:
    assert carriers(tmp_path, *there).unserved(["", "dmz", "plant"]) == unserved


def test_only_worker_serves_every_zone(tmp_path: Path) -> None:
    assert carriers(tmp_path, is_single=True).unserved(["", "dmz"]) == []
