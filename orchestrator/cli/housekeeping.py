"""``orchestrator housekeeping``: give back the room that ended changes take."""

from __future__ import annotations

import typer

from orchestrator.cli.context import actor_for, site_of
from orchestrator.cli.output import AsJson, Yes, answer, needs_yes, say, table, warn
from orchestrator.domain.canonical import Plain, plain
from orchestrator.domain.identity import Action
from orchestrator.domain.retention import Clearance, RetentionPolicy
from orchestrator.flow import housekeeping as flow


def housekeeping(context: typer.Context, yes: Yes = False, as_json: AsJson = False) -> None:
    """Show what retention lets go of (task events, jobs, kits, frozen content, packages); with --yes, remove it."""
    site = site_of(context)
    policy = site.settings.retention
    clearance = flow.look(site.ledger, site.holdings, policy)
    if as_json and not yes:
        answer(_told(clearance) | {"freed": 0, "problems": []})
        return
    if not as_json:
        _show(clearance, policy)
        if not clearance.going or not needs_yes(yes, "Remove them"):
            return
    actor = actor_for(site, Action.OPERATE)
    done = flow.tidy(actor, site.ledger, site.holdings, policy, hold=site.carriers.hold)
    if as_json:
        answer(_told(done.clearance) | {"freed": done.freed, "problems": list(done.problems)})
        return
    for problem in done.problems:
        warn(problem)
    say(f"{_size(done.freed)} were freed; the audit trail says what went.", style="green")


def _show(clearance: Clearance, policy: RetentionPolicy) -> None:
    if not clearance.going:
        say(f"Nothing may go. {_size(clearance.left)} are kept.")
    else:
        rows = [
            (change, _counted(flow.counts(clearance.of(change))), _size(sum(h.size for h in clearance.of(change))), why)
            for change, why in clearance.changes.items()
        ]
        if shared := clearance.shared:
            why = "no change within retention needs it"
            rows.append(("-", _counted(flow.counts(shared)), _size(sum(h.size for h in shared)), why))
        table(("change", "what", "size", "why"), rows)
        say(f"{_size(clearance.size)} may go, {_size(clearance.left)} stay.")
    for change, why in clearance.kept.items():
        warn(f"{change} is past its time and stays: {why} (orchestrator rollback-point list)")
    if policy.size and clearance.left > policy.size:
        warn(
            f"{_size(clearance.left)} stay, more than retention.size: nothing else ended "
            f"{policy.at_least.days} days ago and holds no rollback point."
        )


def _told(clearance: Clearance) -> dict[str, Plain]:
    return {
        "changes": dict(clearance.changes),
        "kept": dict(clearance.kept),
        "going": [
            {"kind": h.kind.value, "name": h.name, "size": h.size, "needed_by": plain(h.needed_by)}
            for h in clearance.going
        ],
        "size": clearance.size,
        "left": clearance.left,
    }


def _counted(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {kind}{'s' if count > 1 else ''}" for kind, count in counts.items())


def _size(size: int) -> str:
    for unit in ("bytes", "KiB", "MiB"):
        if size < 10_000:
            return f"{size} {unit}"
        size >>= 10
    return f"{size} GiB"
