"""The rollback kit's inventory: what the site's said when it was frozen, without anything decrypted, and the jobs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import yaml

from orchestrator.adapters.ansible.programs import Programs
from orchestrator.adapters.ansible.site_files import SiteFiles
from orchestrator.adapters.ansible.vaulted import is_vaulted
from orchestrator.domain.canonical import Plain
from orchestrator.domain.inventory import Environment, Host
from orchestrator.errors import Unavailable

#: Without vars plugins Ansible tells what the inventory's sources say, and leaves group_vars and host_vars alone.
_SOURCES_ONLY = {"ANSIBLE_VARS_ENABLED": ""}
#: A value that overrides the counter of the host's fencing token: ``-e patch_token=NUMBER``.
TOKEN = "patch_token"  # noqa: S105


class _Loader(yaml.CSafeLoader):
    """Reads an inventory with Ansible's own tags, which stand for texts."""


for _tag in ("!vault", "!unsafe"):
    _Loader.add_constructor(_tag, lambda _, node: str(node.value))


def exported(programs: Programs, environment: Environment, files: SiteFiles) -> str:
    """Return one static inventory, in YAML, of all that the sources of a frozen inventory say.

    Scripts and cloud inventories are asked now, so that nothing outside is needed when the kit is used. Raises
    Unavailable.
    """
    folder = Path("inventories") / environment
    for path, file in files.hosts.items():
        if Path(path).is_relative_to(folder) and is_vaulted(file.read_text(encoding="utf-8", errors="replace")):
            raise Unavailable(
                f"no rollback kit can be written: {path} is vaulted as a whole, and the kit holds nothing decrypted. "
                "Vault the single values in it, or the files under group_vars and host_vars."
            )
    argv = ["ansible-inventory", "-i", str(folder), "--list", "--export", "--yaml"]
    answer = programs.run(argv, _SOURCES_ONLY)
    if answer.rc:
        where = programs.folder / folder
        raise Unavailable(f"no rollback kit can be written, Ansible cannot read {where}: {answer.reason}")
    return answer.out


def host_names(inventory: str) -> frozenset[str]:
    """Return the hosts of an inventory in YAML."""
    return frozenset(_names(yaml.load(inventory, _Loader)))  # noqa: S506


def variable_files(environment: Environment, files: SiteFiles) -> dict[str, Path]:
    """Return group_vars and host_vars of the inventory, by path within it; vaulted ones stay so."""
    folder = Path("inventories") / environment
    found = {}
    for path, file in files.content.items():
        inside = Path(path).relative_to(folder).parts if Path(path).is_relative_to(folder) else ()
        if inside and inside[0] in ("group_vars", "host_vars"):
            found["/".join(inside)] = file
    return found


def batch(
    hosts: Sequence[Host],
    patch_jobs: Mapping[str, Mapping[str, Plain]],
    known: frozenset[str],
    before: bytes,
    installations: Mapping[str, str],
) -> bytes:
    """Return the inventory source that says what is done to which host: group ``patch_batch``, variable ``patch_job``.

    Hosts that ``before`` named and that are not named any more stay in it. Where hosts need several Ansible
    ``installations`` (host -> name, "" for the controller's own), each of these has a group.
    """
    keys = {host.name: host.connection.key_file for host in hosts}
    said = {**_hosts(before)}
    for name, job in patch_jobs.items():
        if name in known:
            key_file = {"ansible_ssh_private_key_file": _literal(keys[name])} if keys.get(name) else {}
            said[name] = {"patch_job": _job(job), **key_file}
    source: dict[str, dict[str, dict[str, Plain]]] = {"patch_batch": {"hosts": dict(sorted(said.items()))}}
    for name in sorted(said) if installations else ():
        source.setdefault(group_of(installations.get(name, "")), {"hosts": {}})["hosts"][name] = {}
    return json.dumps(source, indent=1, ensure_ascii=False).encode()


def group_of(installation: str) -> str:
    """Return the group of the hosts that need an Ansible installation."""
    return f"patch_ansible_{installation or 'default'}".replace("-", "_")


def batch_hosts(source: bytes) -> list[str]:
    """Return the hosts that such a source names."""
    return list(_hosts(source))


def _hosts(source: bytes) -> dict[str, Plain]:
    return dict(json.loads(source)["patch_batch"]["hosts"]) if source else {}


def _job(job: Mapping[str, Plain]) -> dict[str, Plain]:
    """Return the job for a person: nothing is pushed from the controller, and the token can be given by hand."""
    told = {key: _literal(value) for key, value in job.items()}
    token = job.get("token")
    if isinstance(token, dict):
        counter = token.get("counter")
        told["token"] = {
            "installation": token.get("installation"),
            "counter": f"{{{{ {TOKEN} | default({counter if isinstance(counter, int) else 0}) | int }}}}",
        }
    return {**told, "packages_dir": "", "fetch_to": ""}


def _literal(value: Plain) -> Plain:
    """Keep Ansible from taking a text for a template."""
    if isinstance(value, str):
        return f"{{% raw %}}{value}{{% endraw %}}" if "{{" in value or "{%" in value or "{#" in value else value
    if isinstance(value, list):
        return [_literal(item) for item in value]
    if isinstance(value, dict):
        return {key: _literal(item) for key, item in value.items()}
    return value


def _names(groups: object) -> Iterator[str]:
    for group in (groups or {}).values() if isinstance(groups, dict | None) else ():
        if isinstance(group, dict):
            yield from (str(name) for name in group.get("hosts") or {})
            yield from _names(group.get("children"))
