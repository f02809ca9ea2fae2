"""A fresh site for each test."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from sqlite3 import Connection

import pytest
import sqlalchemy as sa

from orchestrator.adapters.store import open_database, upgrade
from tests.fakes.site import FakeSite

NewSite = Callable[..., FakeSite]


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a database with tables and nothing in them."""
    file = tmp_path_factory.mktemp("empty") / "empty.db"
    upgrade(f"sqlite:///{file}")
    return file


@pytest.fixture
def new_site(empty_database: Path, tmp_path: Path) -> Iterator[NewSite]:
    """Return what makes sites: ``web`` and ``stage`` are the numbers of their hosts."""
    numbers = count(1)
    with ExitStack() as open_databases:

        def new(**sizes: int) -> FakeSite:
            file = shutil.copy(empty_database, tmp_path / f"{next(numbers)}.db")
            database = open_database(f"sqlite:///{file}")
            open_databases.callback(database.close)
            # What a power cut would leave is not asked here, and each test writes a hundred times.
            sa.event.listen(database.writer, "connect", _hurry)
            return FakeSite(database, tmp_path, **sizes)

        yield new


@pytest.fixture
def site(new_site: NewSite) -> FakeSite:
    """Return a site of four web servers and one staging host."""
    return new_site()


def _hurry(raw: Connection, _record: object) -> None:
    raw.execute("PRAGMA synchronous=OFF")
