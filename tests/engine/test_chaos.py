"""Many bad nights, each with its number: the same accidents can be had again."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.engine.chaos import bad_night
from tests.engine.pool import Pool
from tests.postgres import Server


@pytest.mark.postgres
@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", range(20))
def test_however_bad_the_night_every_host_is_worked_on_once_and_told_truly(
    seed: int, server: Server, workers: Pool, tmp_path: Path
) -> None:
    url = server.url(server.new_database())
    night = bad_night(seed, tmp_path / "night", url, workers, restart_database=server.restart, hosts=8)
    assert "done" in night.statuses.values()
