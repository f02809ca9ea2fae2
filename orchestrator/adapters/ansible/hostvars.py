"""Turn what the inventory says of one host into a ``Host``: its connection, and its ``patch_`` variables."""

from __future__ import annotations

import hmac
import json
import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TypeAlias

from orchestrator.adapters.ansible import hostvars_winrm
from orchestrator.adapters.ansible.lookups import Lookup, from_environment, kept, lookup_in
from orchestrator.adapters.ansible.vaulted import is_vaulted
from orchestrator.domain.canonical import Plain, canonical
from orchestrator.domain.durations import length_of
from orchestrator.domain.inventory import SHORTEST_SILENCE, Connection, Host, Secret
from orchestrator.domain.rollback import Statefulness
from orchestrator.errors import InvalidInput

#: A value as JSON has it.
Value: TypeAlias = "None | bool | int | float | str | list[Value] | dict[str, Value]"

_NAMES = {
    "address": ("ansible_host", "ansible_ssh_host"),
    "port": ("ansible_port", "ansible_ssh_port"),
    "user": ("ansible_user", "ansible_ssh_user"),
    "password": ("ansible_password", "ansible_ssh_password", "ansible_ssh_pass"),
    "key file": ("ansible_ssh_private_key_file", "ansible_private_key_file"),
    "become": ("ansible_become",),
    "become method": ("ansible_become_method",),
    "become password": ("ansible_become_password", "ansible_become_pass", "ansible_sudo_pass"),
    "connection": ("ansible_connection",),
}
_SSH_ARGUMENTS = ("ansible_ssh_args", "ansible_ssh_common_args", "ansible_ssh_extra_args")
_OWN = (
    "patch_family", "patch_zone", "patch_cluster", "patch_state", "patch_rollback", "patch_ansible",
    "patch_throttle_group", "patch_drain", "patch_lost_after",
)  # fmt: skip
#: The name by which a host asks for the controller's own Ansible, against what its groups say.
_CONTROLLERS = "default"
#: Made by Ansible or by us, not said by the inventory.
_GENERATED = frozenset({"inventory_file", "inventory_dir", "playbook_dir", "groups", "group_names", "patch_job"})
_WINDOWS = "windows"
_SSH = {"smart", "ssh", "paramiko", "paramiko_ssh", "libssh"}
_ROLE = re.compile(r"[A-Za-z_][\w-]*|[a-z]\w*\.[a-z]\w*\.[a-z]\w*", re.ASCII)
_REFERENCE = re.compile(r"{{\s*([A-Za-z_]\w*)\s*}}")
_DEPTH = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """Reads hosts of one inventory. ``defaults`` come from ansible.cfg, ``opened`` opens a vaulted text,
    and ``kept`` gives a password that is kept elsewhere.
    """

    inventory: Path
    site: Path
    site_key: bytes
    defaults: Mapping[str, str]
    opened: Callable[[str], Secret]
    kept: Callable[[Lookup], Secret] = lambda lookup: kept(lookup, from_environment)

    def read(self, name: str, groups: tuple[str, ...], variables: Mapping[str, Value]) -> Host:
        """Return the host. Raises InvalidInput naming every variable of it that cannot be used."""
        one = _One(self, name, variables)
        host = Host(
            name=name,
            groups=groups,
            connection=one.connection(),
            family=one.family(),
            zone=one.text("patch_zone"),
            cluster=one.text("patch_cluster"),
            statefulness=Statefulness(one.word("patch_state", tuple(Statefulness), Statefulness.STATEFUL)),
            providers=one.names("patch_rollback"),
            ansible=one.installation(),
            throttle=one.names("patch_throttle_group"),
            drain=one.role("patch_drain"),
            lost_after=one.silence("patch_lost_after"),
            fingerprint=fingerprint(variables, self.site_key),
            settings=one.settings(),
        )
        if one.problems:
            raise InvalidInput("; ".join(one.problems))
        return host


def fingerprint(variables: Mapping[str, Value], site_key: bytes) -> str:
    """Return the HMAC-SHA256 of all variables of a host, in an order that does not depend on the inventory's."""
    said = {name: value for name, value in variables.items() if name not in _GENERATED}
    return hmac.digest(site_key, canonical(_settled(said)), "sha256").hex()


class _One:
    """One host being read; collects what cannot be used."""

    def __init__(self, reader: Reader, name: str, variables: Mapping[str, Value]) -> None:
        self.reader, self.name = reader, name
        self.variables = {
            "inventory_hostname": name,
            "inventory_hostname_short": name.partition(".")[0],
            "inventory_dir": str(reader.inventory),
            **variables,
        }
        self.problems: list[str] = []

    def connection(self) -> Connection:
        kind = self._kind()
        if kind in hostvars_winrm.KINDS:
            return self._windows_connection(kind)
        return Connection(
            kind=kind,
            address=self.first("address") or self.name,
            port=self._port(self.first("port")) or 22,
            user=self.first("user"),
            key_file=self._path(self.first("key file")),
            known_hosts=self._known_hosts(),
            password=self.secret(_NAMES["password"]),
            become=self.first("become").lower() in {"1", "true", "yes", "on", "y", "t"},
            become_method=self.first("become method").rpartition(".")[2] or "sudo",
            become_password=self.secret(_NAMES["become password"]),
        )

    def _windows_connection(self, kind: str) -> Connection:
        names = hostvars_winrm.variables(kind)
        user = self.first_of(names["user"])
        said = hostvars_winrm.Said(
            text=self.first_of,
            names=self.names,
            path=lambda variable: self._path(self.text(variable)),
            wrong=self.problems.append,
        )
        # The default port in ansible.cfg is SSH's alone.
        port = next((self.text(name) for name in names["port"] if self.variables.get(name) is not None), "")
        winrm, at = hostvars_winrm.winrm(kind, user, self._port(port), said)
        return Connection(
            kind=kind,
            address=self.first_of(names["address"]) or self.name,
            port=at,
            user=user,
            password=self.secret(names["password"]),
            winrm=winrm,
        )

    def first(self, what: str) -> str:
        """Return the first of the variables that mean the same, else what ansible.cfg says, else ""."""
        return self.first_of(_NAMES[what])

    def first_of(self, names: tuple[str, ...]) -> str:
        """Return the first of some variables, else what ansible.cfg says, else ""."""
        for variable in names:
            if self.variables.get(variable) is not None:
                return self.text(variable)
        return next((self.reader.defaults[name] for name in names if name in self.reader.defaults), "")

    def secret(self, names: tuple[str, ...]) -> Secret:
        """Return the first of some variables as a secret, which may be kept elsewhere."""
        variable = next((name for name in names if self.variables.get(name) is not None), "")
        try:
            lookup = self._lookup(self.variables.get(variable), 0)
        except InvalidInput as error:
            self.problems.append(f"{variable}: {error}")
            return Secret("")
        return Secret(self.first_of(names)) if lookup is None else self.reader.kept(lookup)

    def text(self, variable: str, *, may_open: bool = True) -> str:
        try:
            return self._plain(self.variables.get(variable), may_open, 0)
        except InvalidInput as error:
            self.problems.append(f"{variable}: {error}")
            return ""

    def word(self, variable: str, allowed: tuple[str, ...], default: str = "") -> str:
        text = self.text(variable) or default
        if text in allowed:
            return text
        known = ", ".join(str(word) for word in allowed if word)
        self.problems.append(f"{variable}: {text!r} is none of {known}")
        return default

    def names(self, variable: str) -> tuple[str, ...]:
        """Return a list of names, which may also be one text with commas or spaces."""
        value = self.variables.get(variable)
        if isinstance(value, list):
            return tuple(dict.fromkeys(str(item) for item in value if item))
        return tuple(dict.fromkeys(part for part in re.split(r"[,\s]+", self.text(variable)) if part))

    def family(self) -> str:
        """Return the package family; a host that is reached as Windows is Windows, whatever is not said."""
        named = self.word("patch_family", ("", "apt", "dnf", "zypper", _WINDOWS))
        return named or (_WINDOWS if self._kind() in hostvars_winrm.KINDS else "")

    def installation(self) -> str:
        name = self.text("patch_ansible")
        return "" if name == _CONTROLLERS else name

    def role(self, variable: str) -> str:
        """Return the name of a role, with its collection where it is in one."""
        name = self.text(variable)
        if name and not _ROLE.fullmatch(name):
            self.problems.append(f"{variable}: {name!r} is no name of a role, such as patch_drain_haproxy")
        return name

    def silence(self, variable: str) -> timedelta | None:
        """Return how long the host may be silent, None where nothing is said."""
        text = self.text(variable)
        length = length_of(text)
        if text and (length is None or length < SHORTEST_SILENCE):
            self.problems.append(f"{variable}: {text!r} is no duration of 10s or more, such as 90s, 20m or 1h")
        return length

    def settings(self) -> dict[str, str]:
        others = [v for v in self.variables if v.startswith("patch_") and v not in _OWN and v not in _GENERATED]
        return {variable: self.text(variable, may_open=False) for variable in sorted(others)}

    def _plain(self, value: Value, may_open: bool, depth: int) -> str:
        vaulted = _vaulted_text(value)
        if vaulted:
            if not may_open:
                raise InvalidInput("it is vaulted, and a setting is shown to everybody. Give it another name")
            return self.reader.opened(vaulted).reveal()
        if value is None:
            return ""
        if isinstance(value, bool):
            return str(value).lower()
        if isinstance(value, list | dict):
            return json.dumps(_settled(value), sort_keys=True, ensure_ascii=False)
        return self._filled(str(value), may_open, depth)

    def _lookup(self, value: Value, depth: int) -> Lookup | None:
        """Return where a password is kept, also where the variable only refers to one that says so."""
        if not isinstance(value, str):
            return None
        referred = _REFERENCE.fullmatch(value.strip())
        if referred and depth < _DEPTH:
            return self._lookup(self.variables.get(referred[1]), depth + 1)
        return lookup_in(value)

    def _filled(self, text: str, may_open: bool, depth: int) -> str:
        """Put in the host's own variables; anything else of Jinja only Ansible can work out."""
        if "{" not in text:
            return text
        filled = _REFERENCE.sub(lambda found: self._referred(found[1], may_open, depth), text)
        if "{{" in filled or "{%" in filled:
            raise InvalidInput(
                "it is a template that only a running play could fill. Give the value itself, "
                "or name another plain variable of the host: {{ name }}"
            )
        return filled

    def _referred(self, variable: str, may_open: bool, depth: int) -> str:
        if self.variables.get(variable) is None:
            raise InvalidInput(f"it refers to {variable}, which the inventory does not set for this host")
        if depth == _DEPTH:
            raise InvalidInput(f"it refers to {variable}, and so on without end")
        return self._plain(self.variables[variable], may_open, depth + 1)

    def _kind(self) -> str:
        kind = self.first("connection").rpartition(".")[2] or "ssh"
        return "ssh" if kind in _SSH else kind

    def _port(self, text: str) -> int:
        if not text:
            return 0
        if text.isascii() and text.isdigit() and 0 < int(text) < 65536:
            return int(text)
        self.problems.append(f"ansible_port: {text!r} is no port")
        return 0

    def _known_hosts(self) -> str:
        for variable in _SSH_ARGUMENTS:
            arguments = self.text(variable) or self.reader.defaults.get(variable, "")
            try:
                found = _option("UserKnownHostsFile", shlex.split(arguments))
            except ValueError as error:
                self.problems.append(f"{variable}: {error}")
                continue
            if found:
                return self._path(found)
        return ""

    def _path(self, text: str) -> str:
        # A relative path means the site, wherever the command was typed and whichever frozen copy is read.
        return str(self.reader.site / Path(text).expanduser()) if text else ""


def _option(name: str, arguments: list[str]) -> str:
    """Return the first value that ssh is given for an option, as ``-o NAME=VALUE`` or ``-oNAME=VALUE``."""
    given = [word.removeprefix("-o") for word in arguments if word != "-o"]
    for word in given:
        key, _, value = word.replace(" ", "=", 1).partition("=")
        if key.strip().lower() == name.lower():
            return value.split()[0].strip('"') if value.split() else ""
    return ""


def _vaulted_text(value: Value) -> str:
    if isinstance(value, dict) and list(value) == ["__ansible_vault"]:
        return str(value["__ansible_vault"])
    return value if isinstance(value, str) and is_vaulted(value) else ""


def _settled(value: Value) -> Plain:
    """Return the value in a form that canonical JSON knows: no floats, ASCII keys only."""
    if isinstance(value, float):
        return {"float": repr(value)}
    if isinstance(value, list):
        return [_settled(item) for item in value]
    if isinstance(value, dict):
        if all(key.isascii() for key in value):
            return {key: _settled(item) for key, item in value.items()}
        return {"pairs": [[key, _settled(value[key])] for key in sorted(value)]}
    return value
