"""A site as its people use it: the real `orchestrator` command, real SSH keys, inventories of lab hosts."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from lab.instance import Lab
from orchestrator.adapters.identity.caller import calling_account
from orchestrator.domain.audit import AuditEvent
from orchestrator.domain.canonical import canonical
from orchestrator.domain.change import ChangeRequest, ChangeState
from orchestrator.domain.run import HostRun
from orchestrator.ports import Store
from orchestrator.wiring import Site as Wired
from tests import forked
from tests.acceptance.machines import held_still
from tests.processes import end_all_that_name, with_words
from tests.waiting import wait_for

TEMPLATE = Path(__file__).with_name("template.yml")
ORCHESTRATOR = (sys.executable, "-m", "orchestrator")
#: rae asks, cora agrees; whoever runs the tests operates.
PEOPLE = {"rae": ["engineer", "approver"], "cora": ["approver", "cab"]}


@dataclass(frozen=True)
class Done:
    """What a command said."""

    code: int
    out: str
    err: str

    @property
    def said(self) -> str:
        return self.out + self.err


class Site:
    """One site, and the commands that people give in it. Every act is a process of its own; looking is not."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "site"
        self.state = folder / "state"
        self.keys = folder / "keys"
        #: Everything that commands have said here.
        self.transcript: list[str] = []

    @classmethod
    def found(cls, folder: Path) -> Site:
        """Make a site with its people, and without hosts."""
        site = cls(folder)
        folder.mkdir(parents=True, exist_ok=True)
        site.give("init", str(site.folder), "--state", str(site.state), at=None)
        site.keys.mkdir()
        for name in (*PEOPLE, "stranger"):
            make = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(site.keys / name)]
            subprocess.run(make, check=True)
        people = [
            {"name": name, "roles": roles, "account": f"nobody-{name}", "keys": [site.public_key(name)]}
            for name, roles in PEOPLE.items()
        ]
        operator = {"name": "olga", "roles": ["operator", "engineer", "auditor"], "account": calling_account().account}
        site.write("people.yml", {"people": [*people, operator | {"keys": []}]})
        shutil.copy(TEMPLATE, site.folder / "change_templates" / "acceptance.yml")
        return site

    @contextmanager
    def copied(self, folder: Path) -> Iterator[Site]:
        """Give a copy for the block; nobody works for it any more afterwards, however the block ends."""
        try:
            yield self.copy(folder)
        finally:
            end_all_that_name(folder)

    def copy(self, folder: Path) -> Site:
        """Return a second site that stands where this one stands now, so that a test can go on from there alone."""
        other = Site(folder)
        for mine, theirs in ((self.folder, other.folder), (self.state, other.state), (self.keys, other.keys)):
            shutil.copytree(mine, theirs, symlinks=True)
        settings = other.folder / "orchestrator.toml"
        settings.write_text(settings.read_text().replace(str(self.state), str(other.state)))
        return other

    # What people say to it ------------------------------------------------------------------------------------

    def give(self, *words: str, code: int | None = 0, at: Path | None | str = "", **variables: str) -> Done:
        """Give a command; it has to end with the code (None: with any), and never with a traceback."""
        named = [] if at is None else ["--site", str(at or self.folder)]
        environment = _environment() | variables
        done = forked.run([*named, *words], env=environment, cwd=self.folder.parent, timeout=300)
        told = Done(done.returncode, done.stdout, done.stderr)
        self.transcript.append(told.said)
        assert "Traceback" not in told.said, told.said
        assert code is None or told.code == code, f"`{' '.join(words)}` ended with {told.code}:\n{told.said}"
        return told

    def interrupted(self, *words: str) -> tuple[int, str]:
        """Give a command, and Ctrl-C when it has said something; return its code and how its last line begins."""
        argv = [*ORCHESTRATOR, "--site", str(self.folder), *words]
        with (self.folder.parent / "watched").open("w+") as said:
            process = subprocess.Popen(argv, env=_environment(), stdout=said, stderr=said, stdin=subprocess.DEVNULL)
            wait_for("a word", lambda: os.fstat(said.fileno()).st_size)
            process.send_signal(signal.SIGINT)
            code = process.wait(60)
            said.seek(0)
            return code, said.read().splitlines()[-1].partition(" Look")[0]

    def json(self, *words: str, code: int = 0) -> Any:
        """Give a command with --json and return its answer."""
        return json.loads(self.give(*words, "--json", code=code).out)

    def submit(self, request: Mapping[str, object], *, by: str = "rae", template: str = "acceptance") -> str:
        """Submit a request and return the id of its change."""
        file = self.write(f"request-{len(list(self.folder.glob('request-*')))}.yml", whole(request, template))
        answer = self.json("change", "submit", str(file), "--key", str(self.keys / by))
        return str(answer["change"])

    def stage(self, change: str) -> None:
        self.give("change", "stage", change, "--yes")

    def approve(self, change: str, *, by: str = "cora") -> None:
        key, digest = str(self.keys / by), self.change(change).digest
        self.give("change", "approve", change, "--reason", "It was proved on staging.", "--plan", digest, "--key", key)

    def approved(self, request: Mapping[str, object]) -> str:
        """Carry a request as far as its approval."""
        change = self.submit(request)
        self.stage(change)
        self.approve(change)
        return change

    def scheduled(self, request: Mapping[str, object]) -> str:
        """Carry a request as far as its window."""
        change = self.approved(request)
        self.give("change", "schedule", change, "--yes")
        return change

    def start(self, change: str) -> None:
        """Start a run and do not wait for it."""
        self.give("change", "start", change, "--yes", "--detach")

    def run(self, change: str) -> ChangeRequest:
        """Start a run, and wait until it has ended or paused."""
        self.start(change)
        return self.ended(change)

    @contextmanager
    def served(self) -> Iterator[None]:
        """Have the site served for the block: nobody starts anything by hand."""
        with (self.folder.parent / "serve.log").open("wb") as said:
            argv = [*ORCHESTRATOR, "--site", str(self.folder), "serve"]
            nothing = subprocess.DEVNULL
            with subprocess.Popen(argv, env=_environment(), stdout=said, stderr=said, stdin=nothing) as process:
                try:
                    yield
                finally:
                    process.terminate()
                assert process.wait(60) == 0, (self.folder.parent / "serve.log").read_text()

    def ended(self, change: str) -> ChangeRequest:
        """Wait until nobody works on a change any more; return it."""
        wait_for(f"the end of {change}", lambda: self._is_at_rest(change), pause=0.3)
        return self.change(change)

    def trust(self, *words: str) -> None:
        """Pin the host keys of all hosts."""
        self.give("host", "trust", "all", *words, "--yes")

    # What stands in it ----------------------------------------------------------------------------------------

    @property
    def store(self) -> Store:
        return self._wired.ledger.store

    def change(self, change: str) -> ChangeRequest:
        return self.store.change(change)

    def is_in(self, change: str, state: ChangeState) -> bool:
        return self.change(change).state is state

    def hosts(self, change: str) -> dict[str, HostRun]:
        """Return where the hosts of a change stand."""
        return {run.host: run for run in self.store.runs(change)}

    def statuses(self, change: str) -> dict[str, str]:
        return {name: run.status.value for name, run in self.hosts(change).items()}

    def trail(self, change: str, *tags: str) -> list[AuditEvent]:
        """Return the audit trail of a change, or its events of these tags."""
        return [event for event in self.store.trail(change) if not tags or event.tag in tags]

    def endings(self, change: str, job: str) -> list[str]:
        """Return how a job ended, each time that it did."""
        return [event.outcome for event in self.trail(change, "phase-finished") if event.data["job"] == job]

    def tags(self, change: str) -> list[str]:
        return [event.tag for event in self.trail(change)]

    def told(self, change: str, tag: str) -> str:
        """Return what the last event of a tag says, as text."""
        events = self.trail(change, tag)
        assert events, f"no {tag} in the trail: {self.tags(change)}"
        return json.dumps(dict(events[-1].data), ensure_ascii=False)

    @contextmanager
    def edited(self, change: str) -> Iterator[dict[str, Any]]:
        """Give the row of a change to be edited behind the product's back, as somebody who owns the database could."""
        with sqlite3.connect(self.state / "orchestrator.db") as database:
            (text,) = database.execute("SELECT document FROM change WHERE id = ?", (change,)).fetchone()
            document: dict[str, Any] = json.loads(text)
            yield document
            edited = canonical(document).decode()
            database.execute("UPDATE change SET document = ? WHERE id = ?", (edited, change))
        database.close()

    def carrier(self, change: str) -> int:
        """Return the process that carries changes, as soon as it has this one in hand."""
        wait_for(f"a worker that carries {change}", lambda: self._wired.carriers.is_carried(change))
        return with_words(str(self.folder), "worker")[0]

    @contextmanager
    def held_still(self, change: str) -> Iterator[None]:
        """Hold the process that carries changes still for the block, at a moment when it does not hold the database."""
        process = self.carrier(change)
        with closing(sqlite3.connect(self.state / "orchestrator.db", timeout=0.2, isolation_level=None)) as database:
            while True:
                with held_still(process):
                    if _is_free(database):
                        yield
                        return
                time.sleep(0.1)

    def has_worker(self) -> bool:
        """Tell whether a worker lives: one that a command has started ends when it was idle for a while."""
        return self._wired.carriers.have_worker()

    def supervisor(self, job: str) -> int:
        """Return the process that supervises a job, 0 where there is none."""
        found = with_words(str(self.state / "jobs" / job))
        return found[0] if found else 0

    # How it is furnished --------------------------------------------------------------------------------------

    def write(self, name: str, content: object) -> Path:
        """Write a YAML file in the site's folder."""
        file = self.folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(yaml.safe_dump(content, sort_keys=False))
        return file

    def inventory(self, environment: str, lab: Lab, hosts: Mapping[str, Mapping[str, object]]) -> None:
        """Write one of the inventories: lab hosts in the group `web`, each with variables of its own."""
        known = yaml.safe_load(lab.inventory())["all"]
        told = {name: {**known["hosts"][name], **variables} for name, variables in hosts.items()}
        self.say_hosts(environment, told, known["vars"])

    def say_hosts(self, environment: str, hosts: Mapping[str, object], common: Mapping[str, object]) -> None:
        folder = self.folder / "inventories" / environment
        shutil.rmtree(folder, ignore_errors=True)
        members: dict[str, object] = {name: {} for name in hosts}
        everything = {"hosts": dict(hosts), "vars": dict(common), "children": {"web": {"hosts": members}}}
        self.write(f"inventories/{environment}/hosts.yml", {"all": everything})

    def edit_hosts(self, environment: str) -> dict[str, Any]:
        """Return an inventory as it is written, to be changed and given to ``rewrite_hosts``."""
        found: dict[str, Any] = yaml.safe_load((self.folder / f"inventories/{environment}/hosts.yml").read_text())
        return found["all"]  # type: ignore[no-any-return]

    def rewrite_hosts(self, environment: str, everything: Mapping[str, Any]) -> None:
        self.say_hosts(environment, everything["hosts"], everything["vars"])

    def public_key(self, name: str) -> str:
        return (self.keys / f"{name}.pub").read_text().strip()

    def _is_at_rest(self, change: str) -> bool:
        at_work = (ChangeState.STAGING, ChangeState.RUNNING, ChangeState.ROLLING_BACK)
        if self.change(change).state not in at_work:
            return not self._wired.carriers.is_carried(change)
        log = self.state / "carriers" / "worker.log"
        assert "Traceback" not in (log.read_text() if log.exists() else ""), log.read_text()
        return False

    @cached_property
    def _wired(self) -> Wired:
        return Wired(self.folder)


def whole(request: Mapping[str, object], template: str = "acceptance") -> dict[str, object]:
    """Return a request as it stands in a file."""
    return {"template": template, "parameters": {"production": "web", "window_start": "now", **request}}


def _environment() -> dict[str, str]:
    """Return the environment of somebody who has set nothing, with this project's code."""
    unwanted = re.compile(r"ORCHESTRATOR_.*|SUDO_.*|DOAS_.*|SSH_.*|ANSIBLE_.*")
    kept = {name: value for name, value in os.environ.items() if not unwanted.fullmatch(name)}
    return kept | {"PYTHONPATH": str(Path(__file__).parents[2]), "COLUMNS": "250"}


def _is_free(database: sqlite3.Connection) -> bool:
    """Tell whether nobody is writing at this moment."""
    try:
        database.execute("BEGIN IMMEDIATE")
    except sqlite3.OperationalError:
        return False
    database.execute("ROLLBACK")
    return True
