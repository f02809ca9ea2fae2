"""Hosts that packages are installed on: what docs/playbook-interface.md says of a host, in memory, with its faults."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from orchestrator.domain.canonical import Plain
from orchestrator.domain.job import HostOutcome, HostResult
from orchestrator.domain.lock import Platform
from tests.fakes.values import DEBIAN, NEW, OLD, sha

Report = dict[str, Plain]

#: What there is to patch on every host.
ITEMS = ("libssl3", "openssl")


class Fault(StrEnum):
    """How a phase goes wrong. LOST: the connection breaks, and Ansible says UNREACHABLE."""

    FAILS = "nothing is done, and it says so"
    FAILS_HALF_WAY = "one package is in place, and it says so"
    LIES = "nothing is done, and it says that all is well"
    HURTS = "all is done, and a service does not come back"
    LOST_BEFORE = "lost before the step began"
    LOST_AFTER = "lost after everything was done"
    LOST_HALF_WAY = "lost when one package was in place; the step ended"
    LOST_AT_WORK = "lost while the step goes on for ever"
    GONE = "all is done, and the host never comes back"


_LOST = {Fault.LOST_BEFORE, Fault.LOST_AFTER, Fault.LOST_HALF_WAY, Fault.LOST_AT_WORK, Fault.GONE}
_DONE = {None, Fault.HURTS, Fault.LOST_AFTER, Fault.GONE}


@dataclass
class Machine:
    """One host. ``installed`` is name -> version, ``offers`` the versions that its repository has of each package.

    As Windows hosts do it may keep the ``bytes_here``, have packages that it does not let go (``stays``), leave out
    what is on offer no more (``superseded``), and have an event log: ``errors`` now, and those that the patch brings.
    """

    name: str
    installed: dict[str, str] = field(default_factory=lambda: {**dict.fromkeys(ITEMS, OLD), "nginx": "1.22"})
    offers: dict[str, list[str]] = field(default_factory=lambda: {name: [NEW] for name in ITEMS})
    platform: Platform = DEBIAN
    units: list[str] = field(default_factory=lambda: ["nginx.service", "ssh.service"])
    is_up: bool = True
    is_served: bool = True
    needs_reboot: bool = False
    point_class: str = "package"
    problems: list[str] = field(default_factory=list)
    also_installs: dict[str, str] = field(default_factory=dict)
    bytes_here: bool = False
    stays: set[str] = field(default_factory=set)
    superseded: set[str] = field(default_factory=set)
    errors: list[str] | None = None
    errors_of_patch: tuple[str, ...] = ()
    faults: dict[str, list[Fault]] = field(default_factory=dict)
    journal: list[dict[str, Plain]] = field(default_factory=list)
    claim: str = ""
    points: dict[str, dict[str, str]] = field(default_factory=dict)
    boots: int = 1
    patched: int = 0
    at_work: Mapping[str, Plain] | None = None
    in_service: bool = True
    patched_in_service: int = 0

    def suffers(self, playbook: str, *faults: Fault) -> None:
        """Let the phase go wrong so the next times; the last fault stays."""
        self.faults[playbook] = list(faults)

    def set_to(self, version: str) -> None:
        """Let somebody else have installed a version."""
        self.installed.update(dict.fromkeys(ITEMS, version))

    @property
    def version(self) -> str:
        """The version that all items are at, or ``mixed``."""
        found = {self.installed[name] for name in ITEMS}
        return found.pop() if len(found) == 1 else "mixed"

    def heals(self) -> None:
        """Let nothing go wrong any more."""
        self.faults, self.is_up = {}, True

    def play(self, playbook: str, job: Mapping[str, Plain], fault: Fault | None = None) -> HostResult:
        """Do what a playbook does to this host, and report."""
        if not self.is_up:
            return HostResult(host=self.name, outcome=HostOutcome.UNREACHABLE, message="no route to host")
        return self._parts[playbook](job, fault or self._next_fault(playbook))

    def finish(self) -> None:
        """End the patch that was going on when the connection was lost."""
        assert self.at_work is not None
        self._install(items_of(self.at_work), None)
        self._write(self.at_work, "patch", "end", outcome="ok")
        self.at_work = None

    def is_cut_off(self) -> None:
        """Lose power in the middle of the patch: one package is in place, and nobody writes the end."""
        assert self.at_work is not None
        name, version = next(iter(items_of(self.at_work).items()))
        self.installed[name] = version
        self.at_work = None
        self.boots += 1

    def begun(self, step: str) -> int:
        """Return how often a step was begun here, by the host's own journal."""
        return sum(record["step"] == step and record["event"] == "begin" for record in self.journal)

    @property
    def _parts(self) -> Mapping[str, Callable[[Mapping[str, Plain], Fault | None], HostResult]]:
        return {
            "scan.yml": self._scan,
            "download.yml": self._download,
            "protect.yml": self._protect,
            "drain.yml": self._drain,
            "undrain.yml": self._undrain,
            "patch.yml": self._patch,
            "verify.yml": self._verify,
            "restore.yml": self._restore,
            "release.yml": self._release,
            "adopt.yml": self._adopt,
        }

    def _next_fault(self, playbook: str) -> Fault | None:
        waiting = self.faults.get(playbook, [])
        return (waiting.pop(0) if len(waiting) > 1 else waiting[0]) if waiting else None

    def _scan(self, job: Mapping[str, Plain], fault: Fault | None) -> HostResult:
        report: Report = {
            "kind": "scan",
            "family": self.platform.family,
            "distribution": {"id": self.platform.distribution, "release": self.platform.release},
            "arch": self.platform.arch,
            "installed": [{"name": n, "arch": "amd64", "version": v} for n, v in self.installed.items()],
            "candidates": [
                self._package(name, max(offered))
                for name, offered in self.offers.items()
                if name in self.installed and max(offered) > self.installed[name]
            ],
        }
        if items := items_of(job):
            report["simulation"] = self._simulation(items)
        return self._answer(fault, report)

    def _simulation(self, items: Mapping[str, str]) -> Report:
        wanted = {n: v for n, v in items.items() if n in self.installed and self.installed[n] < v}
        more = self.also_installs if wanted else {}
        return {
            "applicable": [self._change(n, v) for n, v in wanted.items()],
            "unavailable": [n for n, v in wanted.items() if v not in self.offers.get(n, ())],
            "transitions": [self._change(n, v) for n, v in {**wanted, **more}.items()],
            "problems": [*self.problems],
            "irremovable": [*sorted(self.stays)],
        }

    def _download(self, job: Mapping[str, Plain], fault: Fault | None) -> HostResult:
        whole = {**items_of(job), **self.also_installs}
        rows: list[Plain] = [self._package(n, v) for n, v in whole.items()]
        return self._answer(fault, {"kind": "download", "items": rows})

    def _protect(self, job: Mapping[str, Plain], fault: Fault | None) -> HostResult:
        if (refused := self._refuses(job, "protect")) is not None:
            return refused
        if fault is Fault.LOST_BEFORE:
            return self._answer(fault)
        self._write(job, "protect", "begin")
        self.claim = str(job["change"])
        if fault is not Fault.FAILS:
            self.points.setdefault(self.claim, dict(self.installed))
        self._write(job, "protect", "end", outcome="failed" if fault is Fault.FAILS else "ok")
        point: Report = {
            "kind": "point",
            "provider": "packages",
            "class": self.point_class,
            "items": [],
            "missing": [],
            "size": 7,
        }
        return self._answer(fault, self._state("before"), point, {"kind": "packages", "items": []})

    def _drain(self, job: Mapping[str, Plain], fault: Fault | None) -> HostResult:
        # One that fails may have gone half of the way: new work does not come any more.
        self.in_service = self.in_service and fault is Fault.LOST_BEFORE
        return self._answer(fault, {"kind": "drained", "by": job["drain"]})

    def _undrain(self, job: Mapping[str, Plain], fault: Fault | None) -> HostResult:
        self.in_service = self.in_service or fault in _DONE
        return self._answer(fault, {"kind": "undrained", "by": job["drain"]})

    def _patch(self, job: Mapping[str, Plain], fault: Fault | None) -> HostResult:
        if (refused := self._refuses(job, "patch")) is not None:
            return refused
        if fault is Fault.LOST_BEFORE:
            return self._answer(fault)
        self._write(job, "patch", "begin")
        self.patched_in_service += self.in_service
        before = dict(self.installed)
        self._install(items_of(job), fault)
        if fault is Fault.HURTS:
            self.units.remove("nginx.service")
        if fault is Fault.LOST_AT_WORK:
            self.at_work = job
        else:
            self._write(job, "patch", "end", outcome="ok" if fault in _DONE else "failed")
        if self.errors is not None:
            self.errors += self.errors_of_patch
        reboots = fault in _DONE and job["reboot"] != "never" and (self.needs_reboot or job["reboot"] == "always")
        self.boots += reboots
        self.is_up = fault is not Fault.GONE
        return self._answer(
            fault,
            self._transaction(before),
            {"kind": "reboot", "done": reboots, "seconds": 12 * reboots},
            self._state("after"),
        )

    def _install(self, items: Mapping[str, str], fault: Fault | None) -> None:
        if fault in _DONE:
            here = {*self.installed, *self.also_installs} - self.superseded
            mine = {n: v for n, v in items.items() if n in here}
            self.patched += any(self.installed.get(n) != v for n, v in mine.items())
            self.installed.update(mine)
        elif fault in (Fault.FAILS_HALF_WAY, Fault.LOST_HALF_WAY):
            first = sorted(items)[0]
            self.installed[first] = items[first]

    def _verify(self, _job: Mapping[str, Plain], fault: Fault | None) -> HostResult:
        return self._answer(fault, self._state("now"))

    def _restore(self, job: Mapping[str, Plain], fault: Fault | None) -> HostResult:
        if (refused := self._refuses(job, "restore")) is not None:
            return refused
        point = self.points.get(str(job["change"]))
        if point is None or fault is Fault.FAILS:
            message = "the old package is damaged" if point else "there is no point"
            return HostResult(host=self.name, outcome=HostOutcome.FAILED, task="Restore", message=message)
        if fault is Fault.LOST_BEFORE:
            return self._answer(fault)
        before = dict(self.installed)
        self._write(job, "restore", "begin")
        self.claim = str(job["change"])
        self.installed = dict(point)
        if "nginx.service" not in self.units and fault is not Fault.HURTS:
            self.units.append("nginx.service")
        self._write(job, "restore", "restored", outcome="ok")
        return self._answer(fault, self._transaction(before), {"kind": "reboot", "done": False}, self._state("after"))

    def _release(self, job: Mapping[str, Plain], fault: Fault | None) -> HostResult:
        if (refused := self._refuses(job, "release")) is not None:
            return refused
        if fault is Fault.LOST_BEFORE:
            return self._answer(fault)
        if fault is Fault.FAILS:
            return HostResult(
                host=self.name, outcome=HostOutcome.FAILED, task="Release", message="the disk is read-only"
            )
        self._write(job, "release", "released", outcome="ok")
        self.claim = ""
        if not job["keep_point"]:
            self.points.pop(str(job["change"]), None)
        return self._answer(fault, {"kind": "released", "rivals": [], "freed": 0})

    def _adopt(self, job: Mapping[str, Plain], fault: Fault | None) -> HostResult:
        self._write(job, "", "adopted", outcome="ok")
        return self._answer(fault, {"kind": "adopted", "changes": ["CHG-0666"]})

    def _refuses(self, job: Mapping[str, Plain], step: str) -> HostResult | None:
        counter, change = counter_of(job), str(job["change"])
        seen = max((int(str(record["counter"])) for record in self.journal), default=0)
        reason = ""
        if counter < seen:
            reason = f"token {counter} is older than {seen}"
        elif step == "patch" and self.claim != change:
            reason = "the host is not claimed by this change"
        elif self.at_work is not None:
            reason = "another step is still at work"
        if not reason:
            return None
        report: Report = {"kind": "refused", "reason": reason, "claim": {}}
        return HostResult(
            host=self.name, outcome=HostOutcome.FAILED, reports=(report,), task=step, message=f"refused: {reason}"
        )

    def _write(self, job: Mapping[str, Plain], step: str, event: str, *, outcome: str = "") -> None:
        self.journal.append(
            {"at": 0, "change": job["change"], "step": step, "installation": "ours", "counter": counter_of(job),
             "event": event, "outcome": outcome, "detail": ""}
        )  # fmt: skip

    def _answer(self, fault: Fault | None, *reports: Report) -> HostResult:
        if fault in _LOST:
            return HostResult(host=self.name, outcome=HostOutcome.UNREACHABLE, message="connection reset")
        if fault in (Fault.FAILS, Fault.FAILS_HALF_WAY):
            return HostResult(
                host=self.name, outcome=HostOutcome.FAILED, reports=reports[-1:], task="Act", message="it broke"
            )
        return HostResult(host=self.name, outcome=HostOutcome.OK, reports=reports, changed=1)

    def _state(self, when: str) -> Report:
        return {
            "kind": "state", "when": when, "boot_id": f"boot{self.boots}", "booted_at": self.boots, "time": 0,
            "kernel": {"running": "6.1", "newest": "6.1"}, "reboot_required": {"needed": False, "reasons": []},
            "deleted_libraries": [], "units": {"running": [*self.units], "failed": []},
            "listening": ["tcp 0.0.0.0:80 nginx"] if "nginx.service" in self.units else [],
            "disks": [{"path": "/", "total": 10 << 30, "free": 5 << 30}],
            "packages": {f"{name}:amd64": version for name, version in self.installed.items()},
            "auto": [], "held": [], "manager": {"ok": True, "problems": []},
            "at_work": self.at_work is not None, "journal": [*self.journal], "journal_length": len(self.journal),
            **({} if self.errors is None else {"events": [*self.errors]}),
        }  # fmt: skip

    def _transaction(self, before: Mapping[str, str]) -> Report:
        names = sorted({n for n in before.keys() | self.installed.keys() if before.get(n) != self.installed.get(n)})
        done: list[Plain] = [
            {"name": n, "arch": "amd64", "from": before.get(n, ""), "to": self.installed.get(n, "")} for n in names
        ]
        gone: list[Plain] = [self._change(name, NEW) for name in sorted(self.superseded)]
        return {
            "kind": "transaction", "predicted": done, "actual": done, "missing": gone,
            "restarted": [], "not_restarted": [],
        }  # fmt: skip

    def _package(self, name: str, version: str) -> Report:
        row = package(name, version, before=self.installed.get(name, ""))
        return {**row, "sha256": "" if self.bytes_here else row["sha256"], "removable": name not in self.stays}

    def _change(self, name: str, version: str) -> Report:
        return {"name": name, "arch": "amd64", "from": self.installed.get(name, ""), "to": version}


def package(name: str, version: str, *, before: str) -> Report:
    """Return a package as ``scan.yml`` and ``download.yml`` tell of one."""
    return {
        "name": name, "arch": "amd64", "version": version, "from_version": before, "sha256": sha(name, version),
        "filename": f"{name}_{version}_amd64.deb", "size": 1000, "origin": "Debian-Security",
        "classification": "security", "severity": "high", "advisories": ["DSA-1"], "published": 0, "held": False,
    }  # fmt: skip


def items_of(job: Mapping[str, Plain]) -> dict[str, str]:
    """Return the lock that a playbook is given: name -> version."""
    rows = job.get("items")
    return (
        {str(row["name"]): str(row["version"]) for row in rows if isinstance(row, dict)}
        if isinstance(rows, list)
        else {}
    )


def counter_of(job: Mapping[str, Plain]) -> int:
    """Return the counter of the fencing token that a playbook is given."""
    token = job["token"]
    assert isinstance(token, dict)
    return int(str(token["counter"]))
