"""A site with the real `orchestrator` command and no hosts; what changes have left in it is put there by a test."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

from orchestrator.adapters.ansible.jobdir import JobDir
from orchestrator.adapters.identity.caller import calling_account
from orchestrator.domain.calendar import Slot
from orchestrator.domain.canonical import Plain
from orchestrator.domain.change import ChangeRequest, ChangeState
from orchestrator.domain.identity import ORCHESTRATOR, Actor
from orchestrator.domain.lifecycle import ChangeEvent, advance, requested
from orchestrator.founding import make_site
from orchestrator.ports import Store
from orchestrator.wiring import Site as Wired
from tests import forked
from tests.fakes.values import change

NOW = datetime.now(UTC)


@dataclass(frozen=True)
class Said:
    """What a command answered."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@dataclass(frozen=True)
class Site:
    """A site in a folder of its own."""

    folder: Path
    state: Path

    @classmethod
    def found(cls, folder: Path) -> Site:
        make_site(folder / "site", folder / "state", at=NOW)
        account = calling_account().account
        (folder / "site" / "people.yml").write_text(
            f"people:\n  - name: olga\n    roles: [operator, admin]\n    account: {account}\n"
        )
        return cls(folder=folder / "site", state=folder / "state")

    def give(self, *words: str, code: int = 0, **variables: str) -> Said:
        """Give a command; it has to end with this code, and without a traceback."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("ORCHESTRATOR_")}
        environment |= {"PYTHONPATH": str(Path(__file__).parents[1])} | variables
        done = forked.run(["--site", str(self.folder), *words], env=environment, cwd=self.folder.parent, timeout=120)
        assert "Traceback" not in done.stderr, done.stderr
        assert done.returncode == code, f"{words} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
        return Said(done.returncode, done.stdout, done.stderr)

    def set(self, text: str) -> None:
        """Add settings."""
        file = self.folder / "orchestrator.toml"
        file.write_text(f"{file.read_text()}\n{text}\n")

    @cached_property
    def wired(self) -> Wired:
        return Wired(self.folder)

    @property
    def store(self) -> Store:
        return self.wired.ledger.store

    def cancelled(self, *, days_ago: int) -> str:
        """Enter a change that was cancelled so long ago and left a job with task events, which its trail names."""
        at, actor = NOW - timedelta(days=days_ago), Actor(name="olga", account="olga")
        new = self.open(at)
        sha256 = self._job(new.id)
        data: dict[str, Plain] = {"job": f"{new.id}.s1.scan", "artifacts": {"events": sha256}}
        fact = self.wired.ledger.fact(new.id, "phase-finished", actor=ORCHESTRATOR, data=data)
        artifact: Plain = {"path": f"jobs/{new.id}.s1.scan/events.jsonl.gz", "sha256": sha256}
        with self.store.begin() as writing:
            writing.note(replace(fact, at=at))
            writing.keep_document(new.id, "job", f"{new.id}.s1.scan", {"artifacts": [artifact]})
            writing.move(advance(new, ChangeEvent.CANCELLED, at=at, actor=actor))
        return new.id

    def open(
        self, at: datetime = NOW, state: ChangeState = ChangeState.REQUESTED, slot: Slot | None = None
    ) -> ChangeRequest:
        """Enter a change."""
        name = self.store.next_change_id()
        new = replace(change(state), id=name, source_key=f"file:{name}", created_at=at, slot=slot)
        with self.store.begin() as writing:
            writing.open(
                new, requested(new, at=at, actor=Actor(name="anna", account="anna"), data={"request": "0" * 64})
            )
        return new

    def _job(self, change: str) -> str:
        job = JobDir(self.state / "jobs" / f"{change}.s1.scan")
        job.create()
        job.write(job.order, {"change": change})
        job.events_packed.write_bytes(gzip.compress(b'{"event":"ok"}\n' * 50, mtime=0))
        job.write(job.result, {})
        return hashlib.sha256(job.events_packed.read_bytes()).hexdigest()
