"""``orchestrator rollback-point``: the ways back that are held."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from orchestrator.cli.context import actor_for, site_of
from orchestrator.cli.output import AsJson, Yes, answer, needs_yes, say, table, warn
from orchestrator.domain.identity import Action, Actor
from orchestrator.errors import InvalidInput
from orchestrator.flow import closing
from orchestrator.wiring import Site

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
        warn(f"points of {change} have expired: change close {change}, or rollback-point release --expired")


@app.command("release")
def release(
    context: typer.Context,
    change_id: Annotated[
        str, typer.Argument(metavar="[ID]", help="The change; with --expired it may be left out: every change.")
    ] = "",
    host: Annotated[list[str] | None, typer.Option("--host", help="Only this host's; may be repeated.")] = None,
    expired: Annotated[
        bool, typer.Option("--expired", help="Only points beyond their time; never the last one of a failed host.")
    ] = False,
    yes: Yes = False,
) -> None:
    """Give up rollback points of a change; after that there is no way back."""
    site = site_of(context)
    actor = actor_for(site, Action.OPERATE)
    if expired:
        _release_expired(site, actor, change_id, hosts=host or (), yes=yes)
        return
    if not change_id:
        raise InvalidInput("say whose points are to be given up: a change, or --expired for all beyond their time.")
    change = site.ledger.store.change(change_id)
    if not needs_yes(yes, f"Give up the rollback points of {change_id}"):
        return
    with site.carriers.hold(change_id):
        problems = closing.give_up_points(change, site.crew, hosts=host or ())
    site.ledger.note(change_id, "points-given-up", actor=actor, data={"hosts": list(host or ())})
    for problem in problems:
        warn(problem)
    say(f"{sum(p.is_held for p in site.ledger.store.points(change_id))} points of {change_id} are still held.")


def _release_expired(site: Site, actor: Actor, change_id: str, *, hosts: Sequence[str], yes: bool) -> None:
    if hosts:
        raise InvalidInput("--expired takes all points beyond their time: name hosts without it, change by change.")
    found = closing.expired_points(site.crew)
    if change_id:
        site.ledger.store.change(change_id)
        found = {change: points for change, points in found.items() if change == change_id}
    if not found:
        say("No rollback point is held beyond its time, except those of changes that are under way.")
        return
    rows = [(p.change, p.host, p.provider, f"{p.expires_at:%Y-%m-%d %H:%MZ}") for ps in found.values() for p in ps]
    table(("change", "host", "provider", "held until"), rows)
    if not needs_yes(yes, f"Give up the expired rollback points of {', '.join(found)}"):
        return
    for change in found:
        with site.carriers.hold(change):
            problems = closing.give_up_points(site.ledger.store.change(change), site.crew, expired=True)
        site.ledger.note(change, "points-given-up", actor=actor, data={"hosts": [], "reason": "expired"})
        for problem in problems:
            warn(f"{change}: {problem}")
    left = sum(len(points) for points in closing.expired_points(site.crew).values())
    say(f"{left} points are still held beyond their time.")
