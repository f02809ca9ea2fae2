"""``orchestrator window``: when a change may run."""

from __future__ import annotations

from typing import Annotated

import typer

from orchestrator.cli import show
from orchestrator.cli.context import site_of
from orchestrator.cli.output import AsJson, answer, say, table
from orchestrator.domain.calendar import in_zone, occurrence
from orchestrator.flow import scheduling

app = typer.Typer(no_args_is_help=True, help="Maintenance windows.")


@app.command("list")
def list_(context: typer.Context, as_json: AsJson = False) -> None:
    """List the windows of all changes that have not ended, soonest first."""
    site = site_of(context)
    open_changes = [c for c in site.ledger.store.changes() if not c.state.has_ended]
    found = sorted(((occurrence(c.spec.window), c) for c in open_changes), key=lambda pair: pair[0].start)
    if as_json:
        answer([{"change": c.id, "slot": slot, "reserved": c.slot is not None} for slot, c in found])
        return
    rows = [
        (in_zone(slot.start, c.spec.window.zone), in_zone(slot.end, c.spec.window.zone), c.id, c.state, c.spec.title)
        for slot, c in found
    ]
    table(("from", "to", "change", "state", "title"), rows)


@app.command("check")
def check(
    context: typer.Context, change_id: Annotated[str, typer.Argument(metavar="ID")], as_json: AsJson = False
) -> None:
    """Check how a staged change fits its window, host by host."""
    site = site_of(context)
    change = site.ledger.store.change(change_id)
    fitting = scheduling.fit(change, site.ledger.store.plan(change.digest), site.ledger)
    if as_json:
        answer({"slot": fitting.slot, "whole": fitting.whole, "last_safe_starts": fitting.last_safe_starts})
        return
    show.fit(change, fitting)
    zone = change.spec.window.zone
    rows = [(host, in_zone(at, zone)) for host, at in sorted(fitting.last_safe_starts.items())]
    say()
    table(("host", "last safe start"), rows)
