"""What ``orchestrator doctor`` looks at, and its advice."""

from __future__ import annotations

import shutil
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from orchestrator.cli import show
from orchestrator.domain.inventory import Environment, Host
from orchestrator.domain.parts import why_not_cut
from orchestrator.errors import OrchestratorError
from orchestrator.wiring import Site

_LEAST_FREE = 2 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked at."""

    what: str
    ok: bool
    seen: str
    advice: str = ""


def examine(site: Site) -> list[Finding]:
    """Look at everything that a night depends on; no check stops the others."""
    checks: tuple[tuple[str, Callable[[Site], Iterator[Finding]]], ...] = (
        ("programs", _programs),
        ("ansible", _ansible),
        ("installations", _installations),
        ("database", _database),
        ("people", _people),
        ("keys", _keys),
        ("inventory", _inventory),
        ("host keys", _host_keys),
        ("disk", _disk),
        ("workers", _workers),
        ("memory", _memory),
        ("changes", _changes),
        ("leases", _leases),
        ("rollback points", _points),
        ("notify", _notifiers),
    )
    found: list[Finding] = []
    for what, check in checks:
        try:
            found += check(site)
        except OrchestratorError as error:
            found.append(Finding(what=what, ok=False, seen=str(error), advice="as it says"))
    return found


def _programs(_site: Site) -> Iterator[Finding]:
    for name, package in (("ssh", "openssh-client"), ("ssh-keygen", "openssh-client"), ("git", "git")):
        path = shutil.which(name)
        yield Finding(
            what=name, ok=path is not None, seen=path or "not found", advice="" if path else f"install {package}"
        )


def _ansible(site: Site) -> Iterator[Finding]:
    content = site.content.read()
    core = content.versions.get("ansible-core", "")
    yield Finding(
        what="ansible-core", ok=bool(core), seen=core or "not found", advice="" if core else "install the project again"
    )
    yield Finding(what="content", ok=bool(content.files), seen=f"{len(content.files)} files, {content.digest[:12]}")


def _installations(site: Site) -> Iterator[Finding]:
    """Start each Ansible installation that orchestrator.toml names."""
    for name, folder in sorted(site.settings.installations.items()):
        try:
            versions = dict(site.tried_installation(name))
        except OrchestratorError as error:
            yield Finding(what=f"ansible {name}", ok=False, seen=str(error), advice="as it says")
        else:
            core = versions.pop("ansible-core")
            yield Finding(what=f"ansible {name}", ok=True, seen=f"{core} in {folder}, {show.collections(versions)}")


def _memory(site: Site) -> Iterator[Finding]:
    free, floor = site.free_memory(), site.settings.limits.free_memory
    advice = "no change begins an Ansible run until there is more: free some, or lower limits.free_memory"
    yield Finding(
        what="memory", ok=free >= floor, seen=f"{free} MiB available, limits.free_memory = {floor}",
        advice="" if free >= floor else advice,
    )  # fmt: skip


def _notifiers(site: Site) -> Iterator[Finding]:
    """Say who waits for words that do not come."""
    if names := sorted(site.settings.notify):
        seen = f"{', '.join(names)} in orchestrator.toml; this release tells nobody"
        yield Finding(what="notify", ok=False, seen=seen, advice="have `orchestrator metrics` watched until it does")


def _database(site: Site) -> Iterator[Finding]:
    heads = site.ledger.store.heads()
    broken = [v for v in (site.verify_trail(head.chain) for head in heads) if v.findings]
    yield Finding(
        what="database",
        ok=not broken,
        seen=f"{len(heads)} audit chains" + "".join(f"; {v.subject}: {v.findings[0].message}" for v in broken),
        advice="compare with a backup and with the checkpoints sent outside" if broken else "",
    )


def _people(site: Site) -> Iterator[Finding]:
    people = site.signers.people().everyone
    approvers = [p.name for p in people if "approver" in p.roles and p.keys]
    me = site.signers.people().with_account(site.caller().account)
    yield Finding(
        what="people",
        ok=len(people) > 1,
        seen=f"{len(people)} in people.yml",
        advice="" if len(people) > 1 else "add more",
    )
    yield Finding(
        what="approvers", ok=bool(approvers), seen=", ".join(approvers) or "none with a key",
        advice="" if approvers else "give somebody the role approver and a public key in people.yml",
    )  # fmt: skip
    account = site.caller().account
    yield Finding(
        what="you", ok=me is not None, seen=f"{account} is {me.name}" if me else f"{account} is nobody",
        advice="" if me else "you may look and not act; people.yml can give a person this account",
    )  # fmt: skip


def _keys(site: Site) -> Iterator[Finding]:
    yield Finding(what="signing key", ok=True, seen=site.notary.key.public.fingerprint)
    for file in (site.settings.signing_key, site.settings.state / "site.key"):
        loose = bool(file.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO)) if file.exists() else True
        advice = f"chmod 600 {file}" if file.exists() else f"restore {file} from backup"
        yield Finding(what=file.name, ok=not loose, seen=str(file), advice=advice if loose else "")


def _inventory(site: Site) -> Iterator[Finding]:
    for environment in Environment:
        hosts = site.inventory.resolve("all", environment)
        wrong = why_not_cut(hosts, site.content.read(), site.settings.limits.throttle)
        yield Finding(
            what=f"inventory {environment}", ok=not wrong, seen="; ".join((f"{len(hosts)} hosts", *wrong)),
            advice="correct the host variables, or orchestrator.toml" if wrong else "",
        )  # fmt: skip
        yield from () if wrong else _readings(site, environment, hosts)


def _readings(site: Site, environment: Environment, hosts: Sequence[Host]) -> Iterator[Finding]:
    """Have each installation read the inventory: older ones pass over files that newer ones read."""
    for name in sorted({host.ansible for host in hosts} - {""}):
        seen = {host.name: host.fingerprint for host in site.inventory_of(name).resolve("all", environment)}
        others = [h.name for h in hosts if h.ansible == name and seen.get(h.name) != h.fingerprint]
        yield Finding(
            what=f"ansible {name}", ok=not others,
            seen=f"reads {', '.join(others[:3])} of {environment} otherwise than the controller's own" if others
            else f"reads its hosts of {environment} as the controller's own does",
            advice="write the inventory so that both read it: files that end in .yml, without newer filters" if others
            else "",
        )  # fmt: skip


def _host_keys(site: Site) -> Iterator[Finding]:
    unknown = [
        host.name
        for environment in Environment
        for host in site.inventory.resolve("all", environment)
        if not host.connection.known_hosts
        and host.connection.kind == "ssh"
        and not site.known_hosts.keys_of(host.connection.address, host.connection.port)
    ]
    yield Finding(
        what="host keys", ok=not unknown, seen=f"{len(unknown)} hosts without a pinned key",
        advice=f"orchestrator host trust {unknown[0]}" if unknown else "",
    )  # fmt: skip


def _disk(site: Site) -> Iterator[Finding]:
    state: Path = site.settings.state
    free = shutil.disk_usage(state).free
    yield Finding(
        what="disk", ok=free >= _LEAST_FREE, seen=f"{free >> 20} MiB free in {state}",
        advice="" if free >= _LEAST_FREE else "make room: packages and task events are kept there",
    )  # fmt: skip


def _workers(site: Site) -> Iterator[Finding]:
    """Tell who carries changes; on SQLite a worker that a command starts is enough."""
    there = site.carriers.workers()
    told = ", ".join(f"{one.id} ({', '.join(one.zones) or 'carries changes'})" for one in there) or "none"
    yield Finding(what="workers", ok=True, seen=told)
    if there and all(one.zones for one in there):
        yield Finding(
            what="workers", ok=False, seen="none of them carries changes, only hosts of zones",
            advice="start one without --zone: orchestrator worker, or orchestrator serve",
        )  # fmt: skip
    held = [f"{lease.host} by {lease.change}" for lease in site.ledger.store.leases()]
    yield Finding(what="leases", ok=True, seen=", ".join(held[:5]) + (" …" if len(held) > 5 else "") or "none")
    yield from _zones(site)


def _zones(site: Site) -> Iterator[Finding]:
    """Tell of zones whose hosts wait for a worker of their own; nobody else works on them."""
    zones = {host.zone for environment in Environment for host in site.inventory.resolve("all", environment)} - {""}
    unserved = site.carriers.unserved(zones)
    if zones:
        yield Finding(
            what="zones", ok=not unserved,
            seen=f"no worker serves {', '.join(unserved)}" if unserved else ", ".join(sorted(zones)),
            advice=f"start one that reaches its hosts: orchestrator worker --zone {unserved[0]}" if unserved else "",
        )  # fmt: skip


def _changes(site: Site) -> Iterator[Finding]:
    from orchestrator.domain.change import CARRIED

    left = [c.id for c in site.ledger.store.changes(CARRIED) if not site.carriers.is_carried(c.id)]
    yield Finding(
        what="changes", ok=not left, seen=f"nobody carries {', '.join(left)}" if left else "none left alone",
        advice=f"orchestrator change resume {left[0]} --yes" if left else "",
    )  # fmt: skip


def _leases(site: Site) -> Iterator[Finding]:
    """A lease outlives its change only where something went wrong; it keeps others off the host until it runs out."""
    leases = site.ledger.store.leases()
    ended = {c.id for c in site.ledger.store.changes() if c.state.has_ended}
    left = [f"{lease.host} for {lease.change}" for lease in leases if lease.change in ended]
    yield Finding(
        what="leases", ok=not left, seen=f"{len(leases)} held" + "".join(f"; {each}, which has ended" for each in left),
        advice="they end by themselves; no other change can take these hosts until then" if left else "",
    )  # fmt: skip


def _points(site: Site) -> Iterator[Finding]:
    points = site.ledger.store.points()
    now = site.clock.now()
    expired = [point for point in points if point.expires_at <= now]
    told = f"{len(points)} held, {len(expired)} beyond their time"
    changes = ", ".join(sorted({point.change for point in expired}))
    yield Finding(
        what="rollback points", ok=not expired, seen=told + (f" ({changes})" if expired else ""),
        advice="orchestrator rollback-point release --expired, or close these changes" if expired else "",
    )  # fmt: skip
