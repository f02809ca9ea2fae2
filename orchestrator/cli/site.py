"""``orchestrator init``, ``doctor``, ``status`` and ``plugins``: the site as a whole."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from orchestrator.cli import doctoring, show
from orchestrator.cli.context import site_of
from orchestrator.cli.housekeeping import housekeeping
from orchestrator.cli.metrics import metrics
from orchestrator.cli.output import AsJson, answer, coloured, say, table, warn
from orchestrator.domain.calendar import in_zone
from orchestrator.domain.change import CARRIED, ChangeRequest, ChangeState
from orchestrator.domain.run import score
from orchestrator.flow import lockdown
from orchestrator.founding import make_site
from orchestrator.plugins import REGISTRIES
from orchestrator.wiring import Site, SystemClock

_SHOWN = 5


def add_to(app: typer.Typer) -> None:
    """Add the commands that have no noun."""
    app.command("init")(init)
    app.command("doctor")(doctor)
    app.command("status")(status)
    app.command("plugins")(plugins)
    app.command("housekeeping")(housekeeping)
    app.command("metrics")(metrics)


def init(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A new or empty folder.")],
    state: Annotated[
        Path | None, typer.Option("--state", help="Where database, keys and jobs are kept; outside DIR.")
    ] = None,
) -> None:
    """Make a site: its repository with playbooks, roles, templates and inventories, its database and its keys."""
    made = make_site(folder, state, at=SystemClock().now())
    say(f"The site is in {folder}, its state in {made.state}.", style="green")
    say(f"Evidence is signed by {made.fingerprint}; give {made.public_key} to your auditors now.")
    say()
    say("Next:")
    say("  1. describe your hosts in inventories/staging and inventories/production")
    say("  2. name your people, their roles and SSH public keys in people.yml")
    say("  3. orchestrator host trust all --yes (after comparing the fingerprints)")
    say("  4. orchestrator doctor")
    say("  5. orchestrator template list; write a request; orchestrator change submit FILE")


def doctor(context: typer.Context, as_json: AsJson = False) -> None:
    """Check the controller: Ansible, SSH, keys, people, database, disk, clock; say what to do."""
    findings = doctoring.examine(site_of(context))
    if as_json:
        answer(findings)
    else:
        rows = [(f.what, coloured("ok" if f.ok else "problem"), f.seen, f.advice) for f in findings]
        table(("what", "", "seen", "what to do"), rows)
    if not all(finding.ok for finding in findings):
        raise typer.Exit(1)


def status(context: typer.Context, as_json: AsJson = False) -> None:
    """Show the night on one screen: what runs, what waits, who is needed, and the next command to type."""
    site = site_of(context)
    held = lockdown.why(site.ledger)
    changes = [c for c in site.ledger.store.changes() if not c.state.has_ended]
    if as_json:
        answer([show.summary(c) | {"carried": site.carriers.is_carried(c.id)} for c in changes])
        return
    if held:
        warn(f"everything is held: {held}. Lift it: orchestrator lockdown lift --reason …")
    if not changes:
        say("Nothing is open. Submit a change: orchestrator change submit FILE")
    at_work = [c for c in changes if c.state in CARRIED]
    waiting = [c for c in changes if c.state not in CARRIED]
    for title, group in (("at work", at_work), ("waiting", waiting)):
        if group:
            table(
                ("change", "state", "hosts", "window ends", "who is needed", "next"),
                (_row(site, c) for c in group),
                title=title,
            )
            say()
    now = site.clock.now()
    expired = [f"{p.host} for {p.change}" for p in site.ledger.store.points() if p.expires_at <= now]
    if expired:
        more = f" and {len(expired) - _SHOWN} more" if len(expired) > _SHOWN else ""
        warn(f"{len(expired)} rollback points are held beyond their time: {', '.join(expired[:_SHOWN])}{more}")
        warn("Close these changes, or: orchestrator rollback-point release --expired")


def _row(site: Site, change: ChangeRequest) -> tuple[str | Text, ...]:
    runs = site.ledger.store.runs(change.id)
    count = score(runs)
    hosts = (
        f"{count.done}/{count.planned} done" + (f", {count.failed} failed" if count.failed else "")
        if count.planned
        else "-"
    )
    ends = in_zone(change.slot.end, change.spec.window.zone) if change.slot else "-"
    stands_still = change.state in CARRIED and not site.carriers.is_carried(change.id)
    command = f"orchestrator change resume {change.id} --yes" if stands_still else show.next_command(change)
    if asked := show.stopping(change, runs):
        hosts = f"{hosts}; asked {asked}"
    return (change.id, coloured(change.state), hosts, ends, _needed(site, change), command)


def _needed(site: Site, change: ChangeRequest) -> str:
    if change.state in CARRIED:
        return "nobody" if site.carriers.is_carried(change.id) else "an operator: nobody carries it"
    if change.state is ChangeState.STAGED:
        missing = change.spec.approval.outstanding(
            change.votes, digest=change.digest, barred=frozenset({change.requester})
        )
        return ", ".join(f"{count} {role}" for role, count in sorted(missing.items()))
    return "an engineer" if change.state is ChangeState.REQUESTED else "an operator"


def plugins(as_json: AsJson = False) -> None:
    """List what is installed beside the built-in parts, and why something cannot be used."""
    found = [plugin for registry in REGISTRIES for plugin in registry.plugins()]
    if as_json:
        answer(found)
        return
    rows = [
        (p.group.removeprefix("orchestrator."), p.name, f"{p.distribution} {p.version}", coloured(p.problem or "ok"))
        for p in found
    ]
    table(("kind", "plugin", "from", "usable"), rows)
