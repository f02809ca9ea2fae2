"""Part two: a site with its people, their keys and the two inventories."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from demo.places import shown
from demo.shell import Excerpt
from demo.stage import PRODUCTION, STAGING, WINDOWS_PRODUCTION, WINDOWS_STAGING, Stage
from demo.windows_hosts import GROUP

REQUESTER, APPROVER = "rae", "cora"
#: The requester may approve, too: what stops her is that the request is her own.
_ROLES = {REQUESTER: ["engineer", "approver"], APPROVER: ["approver"]}
#: A host that needs longer under load is not lost by that alone: it is looked for once more, as long again.
_LOST_AFTER = "10s"
#: Simulated hosts answer at once or never: nobody waits for their services, and a dead one is told soon.
_BRISK: Mapping[str, object] = {
    "ansible_winrm_operation_timeout_sec": 4,
    "ansible_winrm_read_timeout_sec": 8,
    "patch_windows_settle_seconds": 1,
    "patch_windows_grace_seconds": 0,
}


def found(stage: Stage) -> None:
    """Make the site, name its people, describe its hosts, and look at all of it."""
    places, shell, tell = stage.places, stage.shell, stage.terminal.tell
    tell("A site is a folder (playbooks, roles, templates, inventories), and a state folder with keys and database.")
    shell.run("orchestrator", "init", places.site, "--state", places.state, show=Excerpt(head=2))
    shell.export("ORCHESTRATOR_SITE", places.site)
    tell("The auditor gets the public key now: evidence is checked against this copy later, not against ours.")
    places.pinned_key.parent.mkdir()
    shell.run("cp", places.state / "signing-key.pub.pem", places.pinned_key)
    _name_people(stage)
    _describe_hosts(stage)
    if stage.has_linux:
        _ask_for_less_patience(stage)
    tell("Is everything in order, and are the hosts fit to be patched?")
    shell.run("orchestrator", "doctor")
    shell.run("orchestrator", "host", "scan")


def _name_people(stage: Stage) -> None:
    places = stage.places
    stage.terminal.tell(
        "Requests and votes are signed with each person's own SSH key. Rae asks for changes, Cora approves;",
        "your own account is the operator.",
    )
    places.keys.mkdir(mode=0o700)
    for name in _ROLES:
        stage.shell.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", places.keys / name)
    file = places.site / "people.yml"
    # The operator is who the founding has found out to be calling, through sudo as well.
    operator = yaml.safe_load(file.read_text())["people"][0]["account"]
    people: list[dict[str, object]] = [
        {"name": operator, "roles": ["operator", "engineer", "auditor"], "account": operator}
    ]
    for name, roles in _ROLES.items():
        key = (places.keys / f"{name}.pub").read_text().strip()
        people.append({"name": name, "roles": roles, "account": name, "keys": [key]})
    file.write_text(yaml.safe_dump({"people": people}, sort_keys=False, width=200))
    stage.shell.run("cat", file)


def _describe_hosts(stage: Stage) -> None:
    """Write the site's two inventories out of the lab's."""
    places, groups = stage.places, list[_Group]()
    stage.terminal.tell(
        "The lab describes its hosts as Ansible inventories: host keys are pinned, passwords stay in files."
    )
    if stage.has_linux:
        found = _told(stage, "linux", "inventory")
        groups.append(_Group(name="web", staging=STAGING, production=PRODUCTION, told=found))
    found = _told(stage, "windows", "windows inventory")
    found["vars"] |= _BRISK
    groups.append(_Group(name=GROUP, staging=WINDOWS_STAGING, production=WINDOWS_PRODUCTION, told=found))
    stage.terminal.tell("From these the demo writes the site's two inventories, staging and production, like this one:")
    for environment in ("staging", "production"):
        folder = places.site / "inventories" / environment
        for file in folder.glob("*.yml"):
            file.unlink()
        children = {group.name: group.inventory(environment) for group in groups}
        inventory = {"all": {"children": {"shop": {"children": children}}}}
        (folder / "hosts.yml").write_text(yaml.safe_dump(inventory, sort_keys=False, width=200))
    stage.shell.run("cat", places.site / "inventories" / "production" / "hosts.yml")


def _told(stage: Stage, name: str, words: str) -> dict[str, dict[str, Any]]:
    """Have the lab describe hosts of one kind."""
    file = stage.places.folder / f"lab-{name}.yml"
    stage.shell.script(f"{stage.lab_typed} {words} >{shown(file)}")
    found: dict[str, dict[str, Any]] = yaml.safe_load(file.read_text())["all"]
    file.unlink()
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class _Group:
    """One tier of the shop: its hosts, and the lab's inventory that describes them."""

    name: str
    staging: tuple[str, ...]
    production: tuple[str, ...]
    told: Mapping[str, Mapping[str, Any]]

    def inventory(self, environment: str) -> dict[str, object]:
        """Return the group as one environment's inventory says it."""
        names = self.staging if environment == "staging" else self.production
        return {"hosts": {name: self.told["hosts"][name] for name in names}, "vars": dict(self.told["vars"])}


def _ask_for_less_patience(stage: Stage) -> None:
    settings = stage.places.site / "orchestrator.toml"
    stage.terminal.tell(
        "A host that stays away for longer than a change reserves for a reboot is lost: many minutes, as real servers",
        "need them. These boot within seconds, so the site asks for less patience (docs/settings.md).",
    )
    stage.shell.script(f"printf '\\n[hosts]\\nlost_after = \"{_LOST_AFTER}\"\\n' >>{shown(settings)}")
