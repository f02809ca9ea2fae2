"""What the hosts of an instance are like, read from YAML: every mistake is told at once, with where it stands."""

import copy
import dataclasses
import datetime as dt
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from lab.errors import LabError
from lab.windows.agreed import KINDS
from lab.windows.faults import Fault
from lab.windows.machine import LogEntry, Machine, Service, usual_services
from lab.windows.scripts import Answer, Taught
from lab.windows.updates import State, Update, Updates

SHIPPED = Path(__file__).parent / "scenarios"
_TOP = ("accounts", "updates", "scripts", "every_host", "hosts")
_MACHINE = ("caption", "build", "revision", "domain", "disk_free_gb", "disk_total_gb", "clock_ahead_seconds")
_HOST = (
    *_MACHINE,
    "groups",
    "authentication",
    "allow_unencrypted",
    "reboot_seconds",
    "settle_seconds",
    "uptime_days",
    "installed",
    "updates",
    "services",
    "packages",
    "registry",
    "files",
    "event_log",
    "scripts",
    "faults",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class HostPlan:
    """One host as its scenario describes it, ready to be made."""

    name: str
    groups: tuple[str, ...] = ()
    authentication: tuple[str, ...] = KINDS
    allow_unencrypted: bool = False
    reboot_seconds: float = 1.0
    settle_seconds: float = 0.5
    machine: Machine
    updates: Updates
    taught: tuple[Taught, ...] = ()
    faults: tuple[Fault, ...] = ()


@dataclass(slots=True, kw_only=True)
class Scenario:
    """A whole instance: accounts, the catalogue of updates, what every host is like, and what some differ in."""

    name: str
    accounts: Mapping[str, str]
    updates: list[Mapping[str, Any]] = field(default_factory=list)
    scripts: list[Mapping[str, Any]] = field(default_factory=list)
    every_host: Mapping[str, Any] = field(default_factory=dict)
    hosts: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def plan(self, name: str) -> HostPlan:
        """Describe a host: what every host is like, and over it what the scenario says of this one."""
        described = {**self.every_host, **(self.hosts.get(name) or {})}
        mistakes: list[str] = []
        made = _Maker(f"hosts.{name}", described, mistakes).host(name, self.updates, self.scripts)
        if mistakes:
            raise LabError(f"The scenario {self.name} cannot be used:\n" + "\n".join(f"  {one}" for one in mistakes))
        return made


def read(path: Path) -> Scenario:
    """Read a scenario; a shipped one may be named without folder and ending."""
    found = path if path.is_file() else SHIPPED / f"{path}.yml"
    if not found.is_file():
        shipped = ", ".join(sorted(one.stem for one in SHIPPED.glob("*.yml")))
        raise LabError(f"There is no scenario {path}; give a YAML file, or one of: {shipped}.")
    try:
        loaded = yaml.safe_load(found.read_text())
    except yaml.YAMLError as broken:
        raise LabError(f"The scenario {found} is not YAML: {broken}") from broken
    if not isinstance(loaded, dict) or (unknown := sorted(set(loaded) - set(_TOP))):
        wrong = ", ".join(unknown) if isinstance(loaded, dict) else "no mapping"
        raise LabError(f"The scenario {found} has {wrong}; it may have: {', '.join(_TOP)}.")
    scenario = Scenario(name=found.name, **{"accounts": {}, **loaded})
    for name in ("any-host", *scenario.hosts):
        scenario.plan(name)
    return scenario


class _Maker:
    """Makes one host of plain YAML, and collects the mistakes."""

    def __init__(self, where: str, given: Mapping[str, Any], mistakes: list[str]) -> None:
        self._where = where
        self._given = copy.deepcopy(dict(given))
        self._mistakes = mistakes

    def host(self, name: str, catalogue: list[Mapping[str, Any]], scripts: list[Mapping[str, Any]]) -> HostPlan:
        unknown = sorted(set(self._given) - set(_HOST))
        if unknown:
            self._mistakes.append(f"{self._where}: no {', '.join(unknown)}; there are: {', '.join(_HOST)}")
        given = self._given
        plain = {key: given[key] for key in ("allow_unencrypted", "reboot_seconds", "settle_seconds") if key in given}
        kinds = tuple(given.get("authentication", KINDS))
        if odd := sorted(set(kinds) - set(KINDS)):
            self._mistakes.append(f"{self._where}.authentication: no {', '.join(odd)}; there are: {', '.join(KINDS)}")
        return HostPlan(
            name=name,
            groups=tuple(given.get("groups", ())),
            authentication=kinds,
            machine=self._machine(name),
            updates=Updates(list(self._updates(catalogue))),
            taught=tuple(self._taught([*(given.get("scripts") or []), *scripts])),
            faults=tuple(self._all(Fault, "faults")),
            **plain,
        )

    def _machine(self, name: str) -> Machine:
        given = self._given
        machine = Machine(name=name, **{key: given[key] for key in _MACHINE if key in given})
        machine.add_services([*usual_services(), *self._all(Service, "services")])
        machine.packages |= given.get("packages") or {}
        for path, content in (given.get("files") or {}).items():
            machine.files.write(path, str(content).encode())
        for path, values in (given.get("registry") or {}).items():
            kept = machine.registry.make(path).values
            kept |= {key: ("REG_DWORD" if isinstance(value, int) else "REG_SZ", value) for key, value in values.items()}
        if "uptime_days" in given:
            machine.boot_time = machine.now() - dt.timedelta(days=float(given["uptime_days"]))
        for entry in given.get("event_log") or []:
            seconds = dt.timedelta(hours=float(entry.pop("hours_ago", 1)))
            fields = {"at": machine.now() - seconds, "log": "System", "level": "Error", **entry}
            machine.event_log += self._one(LogEntry, fields, "event_log")
        return machine

    def _updates(self, catalogue: list[Mapping[str, Any]]) -> Iterator[Update]:
        differ = dict(self._given.get("updates") or {})
        installed = set(self._given.get("installed") or ())
        for given in catalogue:
            kb = str(given.get("kb"))
            fields = {**given, **differ.pop(kb, {})}
            for update in self._one(Update, _tuples(fields), f"updates.{kb}"):
                if kb in installed:
                    update.state = State.INSTALLED
                installed.discard(kb)
                yield update
        if lost := [*differ, *sorted(installed)]:
            self._mistakes.append(f"{self._where}: the catalogue (updates:) has no {', '.join(lost)}")

    def _taught(self, scripts: list[Mapping[str, Any]]) -> Iterator[Taught]:
        for number, given in enumerate(scripts):
            fields = dict(given)
            match = str(fields.pop("match", ""))
            if not match:
                self._mistakes.append(f"{self._where}.scripts[{number}]: match, a regular expression, is missing")
            for answer in self._one(Answer, fields, f"scripts[{number}]"):
                yield Taught(match=match, answer=answer)

    def _all(self, kind: type, key: str) -> Iterator[Any]:
        for number, given in enumerate(self._given.get(key) or []):
            yield from self._one(kind, _tuples(given), f"{key}[{number}]")

    def _one(self, kind: type, given: Mapping[str, Any], where: str) -> Iterator[Any]:
        """Make one value, or note why it cannot be made."""
        names = [one.name for one in dataclasses.fields(kind)]
        if unknown := sorted(set(given) - set(names)):
            self._mistakes.append(f"{self._where}.{where}: no {', '.join(unknown)}; there are: {', '.join(names)}")
            return
        try:
            yield kind(**given)
        except (TypeError, LabError) as refused:
            self._mistakes.append(f"{self._where}.{where}: {refused}")


def _tuples(given: Mapping[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in given.items()}
