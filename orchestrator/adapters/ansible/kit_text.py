"""What the rollback kit says to the person who opens it at two in the morning."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from orchestrator.adapters.ansible.kit_inventory import TOKEN
from orchestrator.domain.inventory import Host
from orchestrator.domain.plan import HostPlan, PatchPlan
from orchestrator.domain.rollback import Statefulness

#: The commands that put one host's machine back, by the name of the snapshot tool.
Snapshots = Mapping[str, Sequence[str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What the texts tell of: the hosts with their plans, the snapshots' commands, and what has to be at hand."""

    folder: Path
    plan: PatchPlan
    hosts: Sequence[Host]
    snapshots: Mapping[str, Snapshots]
    is_vaulted: bool


def readme(facts: Facts) -> str:
    """Return README.txt."""
    plan = facts.plan
    vault = " --ask-vault-pass" if facts.is_vaulted else ""
    command = f"ansible-playbook -i inventory playbooks/restore.yml{vault}"
    parts = [
        f"ROLLBACK KIT OF CHANGE {plan.change}: {plan.spec.title}",
        "This folder puts the hosts of this change back to the packages they had before it. It needs neither Patch\n"
        "Orchestrator nor its database, only Ansible and SSH. You may copy it to another machine and work there.\n"
        "Where Patch Orchestrator still works, use that instead, so that it knows:\n"
        f"    orchestrator change rollback {plan.change}",
        f"PUT ALL HOSTS BACK\n    cd {shlex.quote(str(facts.folder))} && {command}",
        f"PUT ONE HOST BACK\n    cd {shlex.quote(str(facts.folder))} && {command} --limit HOST",
        _what_happens(),
        _needed(facts),
        *([_machines()] if facts.snapshots else []),
        _hosts(facts),
    ]
    return "\n\n".join(parts) + "\n"


def snapshot_script(facts: Facts) -> str:
    """Return restore-snapshots.sh: the exact command lines of the snapshot tools, one case for each host."""
    plans = facts.plan.by_host
    cases = [_case(host, lines, plans[host]) for host, lines in sorted(facts.snapshots.items())]
    return "\n".join(
        [
            "#!/bin/sh",
            f"# Puts machines back to the snapshots taken for change {facts.plan.change}.",
            "# THE DATA ON THEM GOES BACK TOO. The commands below can also be typed one by one.",
            "set -u",
            '[ $# -gt 0 ] || { echo "usage: sh restore-snapshots.sh HOST..." >&2; exit 2; }',
            "failed=0",
            'for host in "$@"; do',
            '    case "$host" in',
            *cases,
            '    *) echo "$host: no snapshot was planned for it" >&2; false ;;',
            '    esac || { echo "$host: NOT put back" >&2; failed=1; continue; }',
            '    echo "$host: put back"',
            "done",
            "exit $failed",
            "",
        ]
    )


def _case(host: str, lines: Snapshots, plan: HostPlan) -> str:
    if plan.statefulness is Statefulness.DIRECTORY:
        why = f"{host}: a directory server is never put back to a snapshot: it would repeat update numbers"
        return f"    {shlex.quote(host)}) echo {shlex.quote(why)} >&2; false ;;"
    commands = " &&\n        ".join(shlex.join(line) for _, line in sorted(lines.items()))
    return f"    {shlex.quote(host)})\n        {commands} ;;"


def _what_happens() -> str:
    return (
        "WHAT HAPPENS\n"
        "Each host takes the old packages from its own disk (/var/lib/patch-orchestrator/points), puts them back in\n"
        "one transaction, removes what the patch added, reboots if that is needed, and notes it in its journal. Doing\n"
        "it twice changes nothing. A host that was never touched has no such folder: it fails at once, unharmed.\n"
        "At the end every host has a line; failed=0 unreachable=0 means that it is back. Repeat for the others.\n"
        '"token 17 is older than 19": the orchestrator was there later than this kit. If it is really gone, add:\n'
        f"    -e {TOKEN}=19"
    )


def _needed(facts: Facts) -> str:
    versions = facts.plan.content.versions
    keys = sorted({host.connection.key_file for host in facts.hosts if host.connection.key_file})
    lines = [
        f"ansible-core {versions.get('ansible-core', '')}"
        + (f" with the collections of ansible {versions['ansible']}" if "ansible" in versions else ""),
        *(f"the SSH key {key} (it is not in this folder)" for key in keys),
    ]
    if facts.is_vaulted:
        lines.append("the vault password: some variables in inventory/ are encrypted, and stay so")
    return "\n".join(["WHAT YOU NEED", *(f"  - {line}" for line in lines)])


def _machines() -> str:
    return (
        "WHERE THE PACKAGES DO NOT COME BACK: THE WHOLE MACHINE\n"
        "Some hosts also have a snapshot. Restoring it takes the data on them back too, so think first:\n"
        "    sh restore-snapshots.sh HOST\n"
        "Afterwards run the command above with --limit HOST; it checks the packages and notes it in the host's journal."
    )


def _hosts(facts: Facts) -> str:
    plans, rows = facts.plan.by_host, []
    for host in sorted(facts.hosts, key=lambda host: host.name):
        plan = plans.get(host.name)
        if plan:
            back = f"{plan.rollback_class} ({', '.join(plan.providers)})"
            rows.append(f"  {host.name:30} {host.connection.address:30} {plan.statefulness:12} {back}")
    return "\n".join(["HOSTS: NAME, ADDRESS, WHAT IT KEEPS, WAY BACK", *rows])
