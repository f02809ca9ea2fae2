"""``orchestrator host``: the managed hosts."""

from __future__ import annotations

from typing import Annotated

import typer

from orchestrator.cli.context import actor_for, site_of
from orchestrator.cli.output import AsJson, Yes, answer, coloured, needs_yes, reason_or_ask, say, table, warn
from orchestrator.domain.identity import Action
from orchestrator.domain.inventory import Environment, Host
from orchestrator.errors import InvalidInput, NotFound
from orchestrator.flow import tending
from orchestrator.wiring import Site

app = typer.Typer(no_args_is_help=True, help="Managed hosts.")

Pattern = Annotated[str, typer.Argument(metavar="[PATTERN]", help="An Ansible host pattern.")]
Where = Annotated[Environment | None, typer.Option("--in", help="Only this inventory.")]
Name = Annotated[str, typer.Argument(metavar="NAME")]


@app.command("list")
def list_(context: typer.Context, pattern: Pattern = "all", where: Where = None, as_json: AsJson = False) -> None:
    """List the hosts of both inventories."""
    site = site_of(context)
    found = _hosts(site, pattern, where)
    if as_json:
        answer([_plain(environment, host) for environment, host in found])
        return
    rows = [
        (
            h.name,
            e,
            h.connection.address,
            ",".join(h.groups),
            h.statefulness,
            "+".join(h.providers) or "packages",
            h.cluster,
        )
        for e, h in found
    ]
    table(("host", "inventory", "address", "groups", "state", "rollback", "cluster"), rows)


@app.command("scan")
def scan(context: typer.Context, pattern: Pattern = "all", where: Where = None, as_json: AsJson = False) -> None:
    """Look at hosts directly: reachable, key or certificate, login, privilege, disk, package manager, clock, rivals."""
    site = site_of(context)
    hosts = [host for _, host in _hosts(site, pattern, where)]
    reports = site.crew.probe.look(hosts, site.crew.needs)
    if as_json:
        answer(reports)
    else:
        rows = [
            (
                r.host,
                coloured("fit" if r.is_fit else "problem"),
                r.failed_at or "",
                r.detail,
                ", ".join(r.rivals),
                f"{r.milliseconds} ms",
            )
            for r in reports
        ]
        table(("host", "fit", "failed at", "what was seen", "rival updaters", "took"), rows)
    if not all(report.is_fit for report in reports):
        raise typer.Exit(1)


@app.command("show")
def show(context: typer.Context, name: Name, as_json: AsJson = False) -> None:
    """Show one host: what the inventory says, who holds it, its points."""
    site = site_of(context)
    environment, host = _host(site, name)
    leases = [lease for lease in site.ledger.store.leases() if lease.host == name]
    points = [point for point in site.ledger.store.points() if point.host == name]
    if as_json:
        answer({"host": _plain(environment, host), "leases": leases, "points": points})
        return
    say(
        f"{host.name} ({environment}) at {host.connection.address}:{host.connection.port} "
        f"as {host.connection.user or '(default)'}"
    )
    say(
        f"groups {', '.join(host.groups) or '-'}; {host.statefulness}; "
        f"rollback {'+'.join(host.providers) or 'packages'}; ansible {host.ansible or 'default'}"
        + (f"; limits {', '.join(host.throttle)}" if host.throttle else "")
    )
    for lease in leases:
        say(f"held by {lease.change} under token {lease.token} until {lease.expires_at:%Y-%m-%d %H:%MZ}")
    for point in points:
        say(f"rollback point of {point.change} by {point.provider}, class {point.rollback_class}")


@app.command("trust")
def trust(
    context: typer.Context,
    pattern: Annotated[str, typer.Argument(metavar="PATTERN", help="A host, or an Ansible pattern.")],
    where: Where = None,
    replace: Annotated[bool, typer.Option("--replace", help="The host has new keys, and you know why.")] = False,
    yes: Yes = False,
) -> None:
    """Pin the SSH host keys that hosts offer; compare the fingerprints with what the hosts' own console says."""
    site = site_of(context)
    actor = actor_for(site, Action.TRUST)
    hosts = [host for _, host in _hosts(site, pattern, where)]
    offered = site.offered_keys(hosts)
    rows = [(o.host, key.kind, key.fingerprint) for o in offered for key in o.keys]
    table(("host", "key", "fingerprint"), rows)
    silent = [o for o in offered if not o.keys]
    for one in silent:
        warn(f"{one.host} offered no key: {one.problem}")
    if not rows or not needs_yes(yes, f"Pin the keys of {len(offered) - len(silent)} hosts"):
        return
    by_name = {host.name: host for host in hosts}
    for one in offered:
        if one.keys:
            connection = by_name[one.host].connection
            pin = site.known_hosts.replace if replace else site.known_hosts.add
            pin(connection.address, one.keys, connection.port)
            data = {"host": one.host, "keys": ", ".join(k.fingerprint for k in one.keys)}
            site.ledger.note("", "host-trusted", actor=actor, data=dict(data))
    say("Pinned.")


@app.command("reconcile")
def reconcile(
    context: typer.Context,
    change_id: Annotated[str, typer.Argument(metavar="ID")],
    name: Name,
    yes: Yes = False,
) -> None:
    """Ask a host what became of a change's step whose end nobody saw, and settle it."""
    site = site_of(context)
    actor = actor_for(site, Action.OPERATE)
    with site.carriers.hold(change_id):
        found = tending.reconcile_by_hand(change_id, name, actor, site.crew, settle=yes)
    say(f"{name}: {found.settled.settlement}: {found.settled.why}")
    if not yes:
        say(f"{name} stands as before. To settle it by this, add --yes.", style="bold")


@app.command("adopt")
def adopt(
    context: typer.Context,
    name: Name,
    reason: Annotated[str, typer.Option("--reason", help="Why the other installation's claim no longer counts.")] = "",
    yes: Yes = False,
) -> None:
    """Take over a host on which another installation has left a claim or an open step."""
    site = site_of(context)
    actor = actor_for(site, Action.TRUST)
    environment, host = _host(site, name)
    reason = reason_or_ask(reason)
    if needs_yes(yes, f"Adopt {name}, and end what another installation has left open on it"):
        tending.adopt(host, environment, reason, actor, site.crew)
        say(f"{name} is ours.")


def _host(site: Site, name: str) -> tuple[Environment, Host]:
    """Return the one host that is called so. Raises NotFound for what is a pattern or a group."""
    found = _hosts(site, name, None)
    for environment, host in found:
        if host.name == name:
            return environment, host
    raise NotFound(f"{name!r} is no host, but matches {', '.join(host.name for _, host in found)}: name one of them.")


def _hosts(site: Site, pattern: str, where: Environment | None) -> list[tuple[Environment, Host]]:
    found: list[tuple[Environment, Host]] = []
    problems = []
    for environment in [where] if where else list(Environment):
        try:
            found += [(environment, host) for host in site.inventory.resolve(pattern, environment)]
        except InvalidInput as error:
            problems.append(str(error))
    if not found:
        raise NotFound("\n".join(problems) or f"no host matches {pattern!r}")
    return found


def _plain(environment: Environment, host: Host) -> dict[str, object]:
    return {
        "host": host.name,
        "inventory": environment,
        "address": host.connection.address,
        "port": host.connection.port,
        "user": host.connection.user,
        "groups": host.groups,
        "state": host.statefulness,
        "rollback": host.providers or ("packages",),
        "family": host.family,
        "cluster": host.cluster,
        "drain": host.drain,
        "zone": host.zone,
        "ansible": host.ansible or "default",
        "throttle": list(host.throttle),
    }
