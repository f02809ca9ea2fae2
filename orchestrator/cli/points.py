"""``orchestrator rollback-point``: the ways back that are held."""

from __future__ import annotations

from typing import Annotated

import typer

from orchestrator.cli.context import actor_for, site_of
from orchestrator.cli.output import AsJson, Yes, answer, needs_yes, say, table, warn
from orchestrator.domain.identity import Action
from orchestrator.flow import closing

app = typer.Typer(no_args_is_help=True, help="Rollback points.")


@app.command("list")
def list_(context: typer.Context, as_json: AsJson = False) -> None:
    """List the points that are held; what has expired is said loudly."""
    site = site_of(context)
    points = site.ledger.store.points()
    if as_json:
        answer(points)
        return
    now = site.clock.now()
    rows = [
        (p.change, p.host, p.provider, p.rollback_class, f"{p.size >> 20} MiB", f"{p.expires_at:%Y-%m-%d %H:%MZ}")
        for p in points
    ]
    table(("change", "host", "provider", "class", "size", "held until"), rows)
    expired = sorted({p.change for p in points if p.expires_at < now})
    for change in expired:
        warn(f"points of {change} have expired: orchestrator change close {change}, or rollback-point release {change}")


@app.command("release")
def release(
    context: typer.Context,
    change_id: Annotated[str, typer.Argument(metavar="ID")],
    host: Annotated[list[str] | None, typer.Option("--host", help="Only this host's; may be repeated.")] = None,
    yes: Yes = False,
) -> None:
    """Give up rollback points of a change; after that there is no way back."""
    site = site_of(context)
    actor = actor_for(site, Action.OPERATE)
    change = site.ledger.store.change(change_id)
    if not needs_yes(yes, f"Give up the rollback points of {change_id}"):
        return
    with site.carriers.hold(change_id):
        problems = closing.give_up_points(change, site.crew, hosts=host or ())
    site.ledger.note(change_id, "points-given-up", actor=actor, data={"hosts": list(host or ())})
    for problem in problems:
        warn(problem)
    say(f"{sum(p.is_held for p in site.ledger.store.points(change_id))} points of {change_id} are still held.")
