"""``orchestrator lockdown``: the stop for everything."""

from __future__ import annotations

from typing import Annotated

import typer

from orchestrator.cli.context import actor_for, site_of
from orchestrator.cli.output import AsJson, answer, reason_or_ask, say
from orchestrator.domain.identity import Action
from orchestrator.flow import lockdown

app = typer.Typer(no_args_is_help=True, help="The stop for everything: nothing starts, what runs holds.")

Reason = Annotated[str, typer.Option("--reason", help="Why; it is in the audit trail.")]


@app.command("begin")
def begin(context: typer.Context, reason: Reason = "") -> None:
    """Hold everything: nothing starts, and running changes pause at their next safe point. Rolling back still works."""
    site = site_of(context)
    lockdown.begin(reason_or_ask(reason), actor_for(site, Action.OPERATE), site.ledger)
    say("Everything is held. What hosts are doing now is finished first. Follow it: orchestrator status")


@app.command("lift")
def lift(context: typer.Context, reason: Reason = "") -> None:
    """Let changes start again. Those that were paused stay so until somebody resumes them."""
    site = site_of(context)
    lockdown.lift(reason_or_ask(reason), actor_for(site, Action.OPERATE), site.ledger)
    say("Changes may start again. Paused ones: orchestrator change resume ID --yes")


@app.command("show")
def show(context: typer.Context, as_json: AsJson = False) -> None:
    """Show whether everything is held, and why."""
    reason = lockdown.why(site_of(context).ledger)
    if as_json:
        answer({"held": bool(reason), "reason": reason})
        return
    say(f"Everything is held: {reason}" if reason else "Nothing is held.")
