"""`orchestrator serve` on a real site: it looks at the clock, carries, and answers over HTTP."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import pytest

from orchestrator.domain.change import ChangeState
from orchestrator.engine.worker import only_one
from tests.commands import NOW, Site
from tests.fakes.values import SLOT
from tests.postgres import running
from tests.waiting import wait_for

#: How the kernel writes that a socket listens (proc_net_tcp(5)).
LISTEN = "0A"
HOUR = timedelta(hours=1)
ANY_PORT = '[web]\nlisten = "127.0.0.1:0"'


@dataclass(frozen=True)
class Serving:
    """A process that serves, and what it has said so far."""

    process: subprocess.Popen[bytes]
    log: Path

    @property
    def said(self) -> str:
        return self.log.read_text()

    def heard(self, pattern: str) -> str:
        """Wait until it has said something; return the part in parentheses."""
        found: list[str] = []

        def looked() -> bool:
            found.extend(re.findall(pattern, self.said))
            assert self.process.poll() is None, self.said
            return bool(found)

        wait_for(pattern, looked)
        return found[0]

    def asked(self, path: str, method: str = "GET") -> tuple[int, str]:
        """Ask it over HTTP; return the status and what it answers."""
        url = self.heard(r"(http://127\.0\.0\.1:\d+) answers")
        try:
            with urllib.request.urlopen(urllib.request.Request(f"{url}{path}", method=method), timeout=30) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()


@contextmanager
def serving(site: Site) -> Iterator[Serving]:
    """Serve as long as the block lasts; it has to end in an orderly way."""
    log = site.folder.parent / "serve.log"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ORCHESTRATOR_")}
    argv = [sys.executable, "-m", "orchestrator", "--site", str(site.folder), "serve"]
    with log.open("wb") as told, subprocess.Popen(argv, stdout=told, stderr=told, env=environment) as process:
        try:
            yield Serving(process, log)
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0, log.read_text()
        finally:
            process.kill()
    # Where the engine tells of a database that is away, it tells all that it knows, in one line.
    assert not re.search(r"(?m)^Traceback", log.read_text()), log.read_text()


@pytest.fixture
def site(tmp_path: Path) -> Site:
    site = Site.found(tmp_path)
    site.set(ANY_PORT)
    return site


def missed(site: Site) -> str:
    """Enter a change whose window passed while nobody looked: no host is needed to see who looks at the clock."""
    over = replace(SLOT, start=NOW - 4 * HOUR, cutoff=NOW - 2 * HOUR, end=NOW - HOUR)
    return site.open(state=ChangeState.SCHEDULED, slot=over).id


def test_figures_and_health_are_answered_while_it_works(site: Site) -> None:
    site.open()
    with serving(site) as serve:
        serve.heard("(Working for)")
        status, figures = serve.asked("/metrics")
        assert (status, 'orchestrator_changes{state="requested"} 1.0' in figures) == (200, True)
        wait_for("its sign of life", lambda: serve.asked("/healthz")[0] == 200)
        assert serve.asked("/healthz") == (200, "ok\n")
        assert serve.asked("/healthz", "HEAD") == (200, "")
        wait_for("a signed checkpoint", lambda: site.store.last_checkpoint() is not None)
        assert serve.asked("/healthz", "POST")[0] == 405
        status, told = serve.asked("/../etc/passwd")
        assert (status, told) == (404, "There is /metrics and /healthz, and nothing else.\n")


def test_key_that_another_process_has_replaced_signs_nothing_more(site: Site) -> None:
    long_lived = site.wired
    old = long_lived.notary.key.public.fingerprint
    site.give("audit", "rotate-key", "--yes")
    assert long_lived.notary.key.public.fingerprint != old


def test_change_whose_window_passed_with_nobody_there_loses_it(site: Site) -> None:
    change = missed(site)
    with serving(site) as serve:
        serve.heard(f"({change} is due and cannot be started: the window of change {change} ended)")
        assert site.store.change(change).state is ChangeState.APPROVED
    assert [event.tag for event in site.store.trail(change)][-1] == "window-lost"


def test_while_another_worker_carries_it_looks_at_the_clock_and_takes_over(site: Site) -> None:
    change = missed(site)
    with ExitStack() as until_served:
        with only_one(site.wired.carriers.lock):
            serve = until_served.enter_context(serving(site))
            serve.heard("(another worker works for this site)")
            wait_for("a look", lambda: site.store.change(change).state is ChangeState.APPROVED)
            assert "Working for" not in serve.said
        serve.heard("(Working for)")


def test_it_ends_when_asked_to_though_it_only_waits(site: Site) -> None:
    with only_one(site.wired.carriers.lock), serving(site) as serve:
        serve.heard("(another worker works for this site)")


def test_address_that_somebody_else_has_stops_no_work(tmp_path: Path) -> None:
    site = Site.found(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        site.set(f'[web]\nlisten = "127.0.0.1:{port}"')
        change = missed(site)
        with serving(site) as serve:
            serve.heard(f"(nothing can listen on http://127.0.0.1:{port})")
            serve.heard("(Working for)")
            wait_for("a look", lambda: site.store.change(change).state is ChangeState.APPROVED)


def test_site_that_wants_no_answers_gives_none(tmp_path: Path) -> None:
    site = Site.found(tmp_path)
    site.set('[web]\nlisten = "none"')
    with serving(site) as serve:
        serve.heard("(Working for)")
        listening = Path(f"/proc/{serve.process.pid}/net/tcp").read_text().splitlines()
        opened = {str(file.readlink()) for file in Path(f"/proc/{serve.process.pid}/fd").iterdir()}
        states = {line.split()[3] for line in listening[1:] if f"socket:[{line.split()[9]}]" in opened}
        assert LISTEN not in states
        assert "answers" not in serve.said


@pytest.mark.postgres
def test_without_its_database_it_is_not_well_says_so_in_its_own_form_and_recovers(tmp_path: Path) -> None:
    with running() as server:
        site = Site.found(tmp_path)
        site.set(f'[database]\nurl = "{server.url(server.new_database())}"\n[log]\nformat = "json"\n{ANY_PORT}')
        with serving(site) as serve:
            serve.heard(r"(worker \S+ works for)")
            server.stop()
            for page in ("/healthz", "/metrics"):
                status, told = serve.asked(page)
                assert (status, "the database is away" in told) == (503, True), told
            serve.heard("(the database is away: )")
            server.restart()
            wait_for("its recovery", lambda: serve.asked("/healthz")[0] == 200)
            assert serve.asked("/metrics")[0] == 200
        logged = [json.loads(line) for line in serve.said.splitlines() if line.startswith("{")]
        assert len(logged) == len(serve.said.splitlines()) - 1, "all but what the command itself answers"
        assert [line for line in logged if line["logger"] == "dbos"]
