"""Part two: a site with its people, their keys and the two inventories."""

import yaml

from demo.places import shown
from demo.shell import Excerpt
from demo.stage import PRODUCTION, STAGING, Stage

REQUESTER, APPROVER = "rae", "cora"
#: The requester may approve, too: what stops her is that the request is her own.
_ROLES = {REQUESTER: ["engineer", "approver"], APPROVER: ["approver"]}


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
    places = stage.places
    stage.terminal.tell("The lab describes its hosts as an Ansible inventory, with their host keys pinned.")
    whole = places.folder / "lab-inventory.yml"
    stage.shell.script(f"{stage.lab_typed} inventory >{shown(whole)}")
    everything = yaml.safe_load(whole.read_text())["all"]
    stage.terminal.tell("From it the demo writes the site's two inventories, staging and production, like this one:")
    for environment, names in (("staging", STAGING), ("production", PRODUCTION)):
        folder = places.site / "inventories" / environment
        for file in folder.glob("*.yml"):
            file.unlink()
        hosts = {name: everything["hosts"][name] for name in names}
        group: dict[str, object] = {"web": {"hosts": {name: {} for name in names}}}
        inventory = {"all": {"hosts": hosts, "children": group, "vars": everything["vars"]}}
        (folder / "hosts.yml").write_text(yaml.safe_dump(inventory, sort_keys=False, width=200))
    stage.shell.run("cat", places.site / "inventories" / "production" / "hosts.yml")
    whole.unlink()
