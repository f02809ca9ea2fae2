"""A PostgreSQL server of one's own for a test session: real, throw-away, reached through a socket in its folder."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import psycopg
import pytest

#: The server refuses to run as root; Debian's package brings this account.
ACCOUNT = "postgres"
_SETTINGS = ("fsync=off", "synchronous_commit=off", "full_page_writes=off", "max_connections=200", "log_statement=none")
_PATIENCE = 60.0


@dataclass(frozen=True)
class Server:
    """A running server; ``process`` holds the one that runs."""

    folder: Path
    binaries: Path
    process: list[subprocess.Popen[bytes]]
    numbers: Iterator[int] = field(default_factory=lambda: count(1))

    def url(self, database: str) -> str:
        """Return the SQLAlchemy URL of a database."""
        return f"postgresql+psycopg://postgres@/{database}?host={self.folder}"

    def new_database(self, like: str = "") -> str:
        """Make a database, empty or a copy of another, and return its name."""
        name = f"test{next(self.numbers)}"
        self._say(f"CREATE DATABASE {name}" + (f" TEMPLATE {like}" if like else ""), "postgres")
        return name

    def stop(self) -> None:
        """End the server, and every connection with it."""
        for process in self.process:
            process.send_signal(signal.SIGINT)
            process.wait(timeout=_PATIENCE)
        self.process.clear()

    def restart(self) -> None:
        """End the server under whoever works with it, and start it again."""
        self.stop()
        self.process.append(_start(self.binaries, self.folder))

    def empty(self, database: str) -> None:
        """Take every row out of every table but Alembic's: faster than a new database."""
        self._say(
            "DO $$ DECLARE names text; BEGIN "
            "SELECT string_agg(format('%I', tablename), ', ') INTO names FROM pg_tables "
            "WHERE schemaname = 'public' AND tablename <> 'alembic_version'; EXECUTE 'TRUNCATE ' || names; END $$",
            database,
        )

    def _say(self, command: str, database: str) -> None:
        with psycopg.connect(f"host={self.folder} user=postgres dbname={database}", autocommit=True) as connection:
            connection.execute(command.encode())


@contextmanager
def running() -> Iterator[Server]:
    """Run a server as long as the block lasts; skip the test where PostgreSQL is not installed (in CI: fail)."""
    binaries = _binaries()
    # Not pytest's own folder: a socket's path may have 107 bytes only, and others than its owner cannot enter it.
    folder = Path(tempfile.mkdtemp(prefix="pg-"))
    try:
        if os.geteuid() == 0:
            shutil.chown(folder, ACCOUNT, ACCOUNT)
        _make_cluster(binaries, folder)
        server = Server(folder, binaries, [_start(binaries, folder)])
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _binaries() -> Path:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    if found:
        return found[-1].parent
    if (initdb := shutil.which("initdb")) is not None:
        return Path(initdb).resolve().parent
    reason = "PostgreSQL is not installed: apt-get install postgresql"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


def _make_cluster(binaries: Path, folder: Path) -> None:
    command = [str(binaries / "initdb"), "-D", str(folder / "data"), "-U", "postgres", "-A", "trust", "-E", "UTF8"]
    made = subprocess.run(
        [*command, "--locale=C.UTF-8", "--no-sync"],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        user=_user(),
    )
    assert made.returncode == 0, made.stderr


def _start(binaries: Path, folder: Path) -> subprocess.Popen[bytes]:
    settings = [part for setting in _SETTINGS for part in ("-c", setting)]
    log = folder / "log"
    # Whoever began it may be killed: then it ends by itself.
    mortal = ["setpriv", "--pdeathsig", "INT", "--"]
    with log.open("wb") as file:
        process = subprocess.Popen(
            [*mortal, binaries / "postgres", "-D", folder / "data", "-k", folder, "-h", "", *settings],
            stdout=file,
            stderr=file,
            cwd=folder,
            user=_user(),
        )
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline and process.poll() is None:
        try:
            psycopg.connect(f"host={folder} user=postgres dbname=postgres").close()
        except psycopg.OperationalError:
            time.sleep(0.05)
        else:
            return process
    process.kill()
    process.wait()
    pytest.fail(f"PostgreSQL did not start: {log.read_text(errors='replace')}")


def _user() -> str | None:
    return ACCOUNT if os.geteuid() == 0 else None
