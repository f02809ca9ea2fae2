"""The site's hosts, as Ansible itself resolves them: one start of ``ansible-inventory`` for each new question."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import cast

from orchestrator.adapters.ansible.defaults import host_defaults
from orchestrator.adapters.ansible.hostvars import Reader, Value
from orchestrator.adapters.ansible.installations import programs_of
from orchestrator.adapters.ansible.listings import Listings, Source, Stamp
from orchestrator.adapters.ansible.lookups import Variables, from_environment, kept
from orchestrator.adapters.ansible.programs import Programs
from orchestrator.adapters.ansible.vaulted import opened
from orchestrator.domain.inventory import Environment, Host, Secret
from orchestrator.errors import InvalidInput, Mistake

#: As many broken hosts as a person can look at; the others are counted.
_SHOWN = 20
#: So many answers are kept in memory, each with all its hosts.
_KEPT = 8
_PROGRAM = "ansible-inventory"
_ALL = {"all", "ungrouped"}
#: Ansible's own answer to a name that is not there, or to a file that it cannot parse, is a warning.
_STRICT = {
    "ANSIBLE_HOST_PATTERN_MISMATCH": "error",
    "ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED": "1",
    "ANSIBLE_INVENTORY_UNPARSED_FAILED": "1",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class AnsibleInventory:
    """Implements ``ports.Inventory``. ``frozen`` returns the folder of a frozen content by its digest; ``programs`` is
    where the commands are that read it, and ``variables`` gives what passwords it looks up in the environment.
    ``listings`` keeps Ansible's answers for other commands; without it each asks anew.
    """

    site: Path
    frozen: Callable[[str], Path]
    site_key: bytes = field(repr=False)
    vault_password: Secret = field(default_factory=lambda: Secret(""))
    variables: Variables = field(default=from_environment, repr=False)
    programs: Path = field(default_factory=lambda: programs_of({}, ""))
    listings: Listings | None = None
    _known: dict[tuple[str, Stamp], Mapping[str, Host]] = field(default_factory=dict, repr=False, compare=False)

    def resolve(self, pattern: str, environment: Environment, content: str = "") -> Sequence[Host]:
        """Return the hosts that an Ansible pattern matches, sorted by name; from the frozen content, if one is named.

        Raises InvalidInput where the pattern or the inventory is not usable, Unavailable where Ansible is missing.
        """
        return tuple(self._resolved(pattern, environment, content).values())

    def frozen_hosts(self, pattern: str, environment: Environment, content: str) -> Mapping[str, Host]:
        """Return what ``resolve`` does of frozen content, by name."""
        return self._resolved(pattern, environment, content)

    def _resolved(self, pattern: str, environment: Environment, content: str) -> Mapping[str, Host]:
        folder = self.frozen(content) if content else self.site
        inventory = folder / "inventories" / environment
        _check(pattern, inventory)
        program = self.programs / _PROGRAM
        source = Source(folder=folder, inventory=inventory, program=program, is_frozen=bool(content))
        stamp = source.stamp()
        if stamp and (known := self._known.get((pattern, stamp))) is not None:
            return known
        hosts = {host.name: host for host in self._asked(pattern, environment, source, stamp)}
        if stamp and stamp.says_who_is_there():
            while len(self._known) >= _KEPT:
                self._known.pop(next(iter(self._known)), None)
            self._known[pattern, stamp] = hosts
        return hosts

    def _asked(self, pattern: str, environment: Environment, source: Source, stamp: Stamp | None) -> Sequence[Host]:
        folder, inventory = source.folder, source.inventory
        if self.listings and stamp:
            answer = self.listings.answer(pattern, source, stamp, lambda: self._answer(pattern, folder, inventory))
        else:
            answer = self._answer(pattern, folder, inventory)
        listed = cast(Mapping[str, Value], json.loads(answer))
        groups = _groups(listed)
        if not groups:
            raise InvalidInput(
                f"the pattern {pattern!r} matches no host of the {environment} inventory ({inventory}). "
                "Look at what there is: orchestrator host list"
            )
        return self._read(listed, groups, folder, inventory)

    def _answer(self, pattern: str, folder: Path, inventory: Path) -> str:
        programs = Programs(folder=folder, programs=self.programs, vault_password=self.vault_password)
        argv = [_PROGRAM, "-i", str(inventory), "--list", f"--limit={pattern}"]
        answer = programs.run(argv, _STRICT)
        if answer.rc:
            what = "Could not match supplied host pattern, ignoring: "
            unknown = [line.partition(what)[2] for line in answer.reason.splitlines() if what in line]
            if unknown:
                raise InvalidInput(
                    f"the pattern {pattern!r} names {', '.join(unknown)}, and the inventory {inventory} knows "
                    "no such host or group."
                )
            raise InvalidInput(f"Ansible cannot read the inventory {inventory}: {answer.reason}")
        return answer.out

    def _read(
        self, listed: Mapping[str, Value], groups: Mapping[str, set[str]], folder: Path, inventory: Path
    ) -> Sequence[Host]:
        reader = Reader(
            inventory=inventory,
            site=self.site,
            site_key=self.site_key,
            defaults=host_defaults(folder),
            # Many hosts share one vaulted value, and opening it costs 10,000 rounds of hashing.
            kept=lambda lookup: kept(lookup, self.variables),
            opened=cache(lambda text: opened(text, self.vault_password)),
        )
        variables = _entry(_entry(listed, "_meta"), "hostvars")
        hosts, mistakes = [], []
        for name in sorted(groups):
            try:
                hosts.append(reader.read(name, tuple(sorted(groups[name])), _entry(variables, name)))
            except InvalidInput as error:
                mistakes.append(Mistake(name, 0, 0, str(error)))
        if mistakes:
            more = f", the first {_SHOWN} of them" if len(mistakes) > _SHOWN else ""
            told = f"{len(mistakes)} hosts of {inventory} have variables that cannot be used{more}:"
            raise InvalidInput(told, mistakes[:_SHOWN])
        return tuple(hosts)


def _check(pattern: str, inventory: Path) -> None:
    if not pattern.strip():
        raise InvalidInput("no host pattern was given. Every host is: all")
    if "@" in pattern:
        raise InvalidInput(f"the pattern {pattern!r} names a file; a change says its hosts itself: groups or names.")
    if not inventory.exists():
        raise InvalidInput(f"there is no inventory {inventory}. Make that folder with the hosts in it (hosts.yml).")


def _groups(listed: Mapping[str, Value]) -> dict[str, set[str]]:
    """Return the groups of every host that was listed, those above its own groups too."""
    above: dict[str, set[str]] = {}
    for group in listed:
        for child in _names(listed, group, "children"):
            above.setdefault(child, set()).add(group)
    found: dict[str, set[str]] = {name: set() for name in _entry(_entry(listed, "_meta"), "hostvars")}
    for group in listed:
        lineage = _lineage(group, above) - _ALL
        for name in _names(listed, group, "hosts"):
            found.setdefault(name, set()).update(lineage)
    return found


def _lineage(group: str, above: Mapping[str, set[str]]) -> set[str]:
    found, waiting = set(), [group]
    while waiting:
        current = waiting.pop()
        if current not in found:
            found.add(current)
            waiting.extend(above.get(current, ()))
    return found


def _names(listed: Mapping[str, Value], group: str, key: str) -> list[str]:
    names = _entry(listed, group).get(key)
    return [str(name) for name in names] if isinstance(names, list) else []


def _entry(mapping: Mapping[str, Value], key: str) -> Mapping[str, Value]:
    value = mapping.get(key)
    return value if isinstance(value, dict) else {}
