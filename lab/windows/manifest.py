"""What Ansible sends to be run: the bootstrap script's standard input, read into plain values.

ansible-core 2.19 and newer send a small JSON document that names the script `exec_wrapper`, a line of four NULs, the
manifest (scripts and actions), and after another such line what the script reads. The format is private to
ansible-core; tests/contract holds this reader against the version that is installed.
"""

import base64
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

_END = "\0\0\0\0"
#: Of ansible-core 2.19 to 2.21: it reads up to four NULs, and runs what it read.
_BOOTSTRAP = ("$codeJson = foreach ($in in $input", '"`0`0`0`0"', "ConvertFrom-Json", "$code.script")
_AROUND = frozenset({"async_watchdog.ps1", "coverage_wrapper.ps1"})


class UnknownManifest(Exception):
    """The manifest names something that the lab does not know: a newer ansible-core, or an older one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A task that goes on in the background."""

    id: str
    folder: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ModuleCall:
    """A module is to be run. `name` is its fully qualified collection name."""

    name: str
    arguments: Mapping[str, Any]
    check: bool
    become_user: str
    job: Job | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ScriptCall:
    """A script is to be run as it stands."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FileCall:
    """A file is to be put, fetched, or its folder made; `deed` is the name of Ansible's own script for it."""

    deed: str
    parameters: Mapping[str, Any]
    data: bytes = field(default=b"", repr=False)


Call = ModuleCall | ScriptCall | FileCall
FILE_DEEDS = frozenset(
    {
        "winrm_put_file.ps1",
        "winrm_fetch_file.ps1",
        "psrp_put_file.ps1",
        "psrp_fetch_file.ps1",
        "powershell_mkdtemp.ps1",
        "powershell_expand_user.ps1",
    }
)


def is_bootstrap(script: str) -> bool:
    """Tell whether a script is Ansible's bootstrap, which reads what is to be run from its standard input."""
    return all(word in script for word in _BOOTSTRAP)


def read(stdin: str) -> Call:
    """Read the standard input of the bootstrap script; UnknownManifest where it is not as expected."""
    parts = [part.strip("\r\n") for part in stdin.split(_END)]
    try:
        head, body = json.loads(parts[0]), json.loads(parts[1])
        if head["name"] != "exec_wrapper":
            raise UnknownManifest(f"the bootstrap is to run {head['name']!r}, not exec_wrapper")
        return _read_actions(body, "\n".join(parts[2:]))
    except (IndexError, KeyError, ValueError, TypeError) as unlike:
        raise UnknownManifest(f"not what ansible-core 2.19 sends ({type(unlike).__name__}: {unlike})") from unlike


def _read_actions(body: Mapping[str, Any], rest: str) -> Call:
    job: Job | None = None
    become_user = ""
    for action in body["actions"]:
        name, parameters = action["name"], action["params"]
        if name == "async_wrapper.ps1":
            job = Job(id=parameters["AsyncJid"], folder=parameters["AsyncDir"])
        elif name == "become_wrapper.ps1":
            become_user = str(parameters.get("BecomeUser") or "")
        elif name == "module_wrapper.ps1":
            return _read_module(body, parameters, become_user, job)
        elif name in FILE_DEEDS:
            data = b"".join(base64.b64decode(line) for line in rest.split())
            return FileCall(deed=name, parameters=parameters, data=data)
        elif name not in _AROUND:
            raise UnknownManifest(f"the action {name!r} is not known")
    raise UnknownManifest("no action runs anything")


def _read_module(
    body: Mapping[str, Any], parameters: Mapping[str, Any], become_user: str, job: Job | None
) -> ModuleCall | ScriptCall:
    script = parameters["Script"]
    if not parameters.get("ForModule"):
        return ScriptCall(text=base64.b64decode(body["scripts"][script]["script"]).decode("utf-8-sig"))
    given = next(one["Value"] for one in parameters["Variables"] if one["Name"] == "complex_args")
    return ModuleCall(
        name=_qualified(script),
        arguments={name: value for name, value in given.items() if not name.startswith("_ansible_")},
        check=bool(given.get("_ansible_check_mode")),
        become_user=become_user,
        job=job,
    )


def _qualified(script: str) -> str:
    name = script.removesuffix(".ps1")
    found = re.fullmatch(r"ansible_collections\.(\w+)\.(\w+)\.plugins\.modules\.(\w+)", name)
    return ".".join(found.groups()) if found else name
