"""What the rollback kit says to the person who opens it at two in the morning."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import fill

from orchestrator.adapters.ansible.kit_inventory import TOKEN, group_of
from orchestrator.adapters.ansible.lookups import Lookup, LookupKind
from orchestrator.domain.inventory import Host
from orchestrator.domain.plan import HostPlan, PatchPlan
from orchestrator.domain.rollback import Statefulness

#: The commands that put one host's machine back, by the name of the snapshot tool.
Snapshots = Mapping[str, Sequence[str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What the texts tell of: the hosts with their plans, the snapshots' commands, and what has to be at hand.

    ``programs`` says where the commands of each Ansible installation are, by its name; ``kept`` where passwords are
    that the inventory looks up.
    """

    folder: Path
    plan: PatchPlan
    hosts: Sequence[Host]
    snapshots: Mapping[str, Snapshots]
    programs: Mapping[str, Path]
    is_vaulted: bool
    kept: Sequence[Lookup] = ()


def command(plan: PatchPlan, installation: str) -> list[str]:
    """Return the command that puts the hosts of an installation back: all of them, where there is no other."""
    limit = [] if plan.installations == ("",) else ["--limit", group_of(installation)]
    return ["ansible-playbook", "-i", "inventory", "playbooks/restore.yml", *limit]


def readme(facts: Facts) -> str:
    """Return README.txt."""
    plan = facts.plan
    parts = [
        f"ROLLBACK KIT OF CHANGE {plan.change}: {plan.spec.title}",
        "This folder puts the hosts of this change back to the packages they had before it. It needs neither Patch\n"
        "Orchestrator nor its database, only Ansible and SSH. You may copy it to another machine and work there.\n"
        "Where Patch Orchestrator still works, use that instead, so that it knows:\n"
        f"    orchestrator change rollback {plan.change}",
        *_commands(facts),
        _what_happens(facts),
        _needed(facts),
        *([_machines()] if facts.snapshots else []),
        *_drained(facts),
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


def _commands(facts: Facts) -> list[str]:
    """Return how all hosts are put back, and how one is; each Ansible puts back its own hosts only."""
    plan, there = facts.plan, f"    cd {shlex.quote(str(facts.folder))} && "
    vault = " --ask-vault-pass" if facts.is_vaulted else ""
    plain = f"ansible-playbook -i inventory playbooks/restore.yml{vault}"
    names = plan.installations
    if names == ("",):
        return [f"PUT ALL HOSTS BACK\n{there}{plain}", f"PUT ONE HOST BACK\n{there}{plain} --limit HOST"]
    lines = [f"{there}{_program(facts, name)} {shlex.join(command(plan, name)[1:])}{vault}" for name in names]
    each = "one command for each Ansible, since no single one can work on all of them" if len(names) > 1 else ""
    return [
        "PUT ALL HOSTS BACK" + (f": {each}" if each else "") + "\n" + "\n".join(lines),
        "PUT ONE HOST BACK\nThe command of its Ansible (see HOSTS), with --limit HOST instead of the group.",
    ]


def _program(facts: Facts, installation: str) -> str:
    """Return the command of an installation; where the controller's own is, whoever is here has it in the PATH."""
    return shlex.quote(str(facts.programs[installation] / "ansible-playbook")) if installation else "ansible-playbook"


def _case(host: str, lines: Snapshots, plan: HostPlan) -> str:
    if plan.statefulness is Statefulness.DIRECTORY:
        why = f"{host}: a directory server is never put back to a snapshot: it would repeat update numbers"
        return f"    {shlex.quote(host)}) echo {shlex.quote(why)} >&2; false ;;"
    commands = " &&\n        ".join(shlex.join(line) for _, line in sorted(lines.items()))
    return f"    {shlex.quote(host)})\n        {commands} ;;"


def _what_happens(facts: Facts) -> str:
    has_windows = any(plan.platform.family == "windows" for plan in facts.plan.hosts)
    windows = "Windows hosts know in C:\\ProgramData\\patch-orchestrator which updates came, and remove these.\n"
    return (
        "WHAT HAPPENS\n"
        "Each host takes the old packages from its own disk (/var/lib/patch-orchestrator/points), puts them back in\n"
        "one transaction, removes what the patch added, reboots if that is needed, and notes it in its journal. Doing\n"
        "it twice changes nothing. A host that was never touched has no such folder: it fails at once, unharmed.\n"
        f"{windows if has_windows else ''}"
        "At the end every host has a line; failed=0 unreachable=0 means that it is back. Repeat for the others.\n"
        '"token 17 is older than 19": the orchestrator was there later than this kit. If it is really gone, add:\n'
        f"    -e {TOKEN}=19"
    )


def _needed(facts: Facts) -> str:
    keys = sorted({host.connection.key_file for host in facts.hosts if host.connection.key_file})
    lines = [
        *(_ansible(facts, name) for name in facts.plan.installations),
        *(f"the SSH key {key} (it is not in this folder)" for key in keys),
    ]
    for kept in facts.kept:
        where = "the environment variable" if kept.kind is LookupKind.ENV else "the file"
        lines.append(f"{where} {kept.target}, in which the inventory looks a password up")
    if facts.is_vaulted:
        lines.append("the vault password: some variables in inventory/ are encrypted, and stay so")
    return "\n".join(["WHAT YOU NEED", *(f"  - {line}" for line in lines)])


def _ansible(facts: Facts, installation: str) -> str:
    versions = facts.plan.content.versions_of(installation)
    told = f"ansible-core {versions.get('ansible-core', '')}"
    if "ansible" in versions:
        told += f" with the collections of ansible {versions['ansible']}"
    if facts.plan.installations == ("",):
        return told
    where = f" (it was in {facts.programs[installation]})" if installation else ""
    return f"for the hosts of {group_of(installation)}: {told}{where}"


def _machines() -> str:
    return (
        "WHERE THE PACKAGES DO NOT COME BACK: THE WHOLE MACHINE\n"
        "Some hosts also have a snapshot. Restoring it takes the data on them back too, so think first:\n"
        "    sh restore-snapshots.sh HOST\n"
        "Afterwards run the command above with --limit HOST; it checks the packages and notes it in the host's journal."
    )


def _drained(facts: Facts) -> list[str]:
    """Tell which hosts may be out of service, and how they come back; nothing where no role takes any out."""
    plan = facts.plan
    roles: dict[str, list[str]] = {}
    for host in plan.hosts:
        if host.drain:
            roles.setdefault(host.drain, []).append(host.host)
    if not roles:
        return []
    vault = " --ask-vault-pass" if facts.is_vaulted else ""
    told = [f"  - {', '.join(names)} (by the role {role})" for role, names in sorted(roles.items())]
    lines = [fill(line, width=110, subsequent_indent="    ", break_on_hyphens=False) for line in told]
    text = (
        "MAY BE OUT OF SERVICE (DRAINED)\n"
        "These hosts are taken out of service before they are worked on, and putting packages back does not take them\n"
        "into it again. Look at each (the balancer, the cluster) before the command above; one that is in service is\n"
        "better drained first, with playbooks/drain.yml in the same way. When a host is back, and well:\n"
        f"    ansible-playbook -i inventory playbooks/undrain.yml{vault} --limit HOST"
    )
    return ["\n".join((text, *lines))]


def _hosts(facts: Facts) -> str:
    plans, rows = facts.plan.by_host, []
    for host in sorted(facts.hosts, key=lambda host: host.name):
        plan = plans.get(host.name)
        if plan:
            back = f"{plan.rollback_class} ({', '.join(plan.providers)})"
            ansible = f" {group_of(plan.ansible)}" if facts.plan.installations != ("",) else ""
            rows.append(f"  {host.name:30} {host.connection.address:30} {plan.statefulness:12} {back}{ansible}")
    more = "" if facts.plan.installations == ("",) else ", GROUP OF ITS ANSIBLE"
    return "\n".join([f"HOSTS: NAME, ADDRESS, WHAT IT KEEPS, WAY BACK{more}", *rows])
