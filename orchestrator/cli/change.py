"""``orchestrator change``: a change from request to close."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli import show, watching
from orchestrator.cli.context import actor_for, site_of
from orchestrator.cli.output import (
    AsJson,
    Detach,
    Key,
    Yes,
    answer,
    coloured,
    needs_yes,
    reason_or_ask,
    say,
    table,
    warn,
)
from orchestrator.domain.approval import Decision
from orchestrator.domain.change import CARRIED, ChangeRequest, ChangeState
from orchestrator.domain.identity import Action
from orchestrator.domain.inventory import Environment
from orchestrator.domain.lifecycle import MOVES, ChangeEvent
from orchestrator.errors import IllegalMove, InvalidInput, NotFound, Refused
from orchestrator.flow import (
    approving,
    closing,
    evidencing,
    execution,
    operating,
    scheduling,
    staging,
    sticking,
    tracing,
)
from orchestrator.flow.intake import submit
from orchestrator.wiring import Site

app = typer.Typer(no_args_is_help=True, help="A change, from request to close.")

Id = Annotated[str, typer.Argument(metavar="ID", help="The change, such as CHG-0001.")]
Reason = Annotated[str, typer.Option("--reason", help="Why; it goes into the record.")]
PlanDigest = Annotated[
    str, typer.Option("--plan", help="The digest you were shown (8 or more digits); see: change plan ID.")
]


@app.command("submit")
def submit_(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The request, in YAML.")],
    key: Key = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only render and check it.")] = False,
    as_json: AsJson = False,
) -> None:
    """Enter a request, signed by you. The same source twice is the same change."""
    site = site_of(context)
    rendered = site.intake.read(file)
    if dry_run:
        answer(rendered.spec)
        return
    caller = site.caller(key or site.signers.default_key())
    submitted = submit(rendered, caller, ledger=site.ledger, desk=site.desk)
    if as_json:
        answer({"change": submitted.change.id, "new": submitted.is_new, "state": submitted.change.state})
        return
    change = submitted.change
    if submitted.is_new:
        say(f"{change.id} is requested by {change.requester}: {change.spec.title}")
    else:
        say(f"{change.id} was entered from this source before; it is {change.state}.")
    show.next_step(change)


@app.command("list")
def list_(
    context: typer.Context,
    state: Annotated[str, typer.Option(help="Only changes in this state.")] = "",
    as_json: AsJson = False,
) -> None:
    """List the changes."""
    states = [_state(state)] if state else []
    changes = site_of(context).ledger.store.changes(states)
    if as_json:
        answer([show.summary(change) for change in changes])
        return
    if not changes:
        say("There is no change yet. Submit one: orchestrator change submit FILE (see: orchestrator template list)")
        return
    rows = [(c.id, coloured(c.state), c.spec.kind, c.requester, c.spec.title) for c in changes]
    table(("change", "state", "kind", "requester", "title"), rows)


@app.command("show")
def show_(
    context: typer.Context,
    change_id: Id,
    everyone: Annotated[bool, typer.Option("--all", help="List every host, however many there are.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show where a change stands, host by host, and what to do next."""
    site = site_of(context)
    change = site.ledger.store.change(change_id)
    runs, is_carried = site.ledger.store.runs(change_id), site.carriers.is_carried(change_id)
    stopped = sticking.is_stuck(change_id, site.ledger)
    if as_json:
        answer({"change": change, "hosts": runs, "carried": is_carried, "stopped": stopped})
        return
    show.change(change, runs, is_carried=is_carried, stopped=stopped, everyone=everyone)


@app.command("stage")
def stage(
    context: typer.Context, change_id: Id, yes: Yes = False, detach: Detach = False, as_json: AsJson = False
) -> None:
    """Prove the change on staging (apply, verify, restore, verify, apply again) and fix its plan."""
    site = site_of(context)
    actor = actor_for(site, Action.STAGE)
    change = site.ledger.store.change(change_id)
    if change.state is not ChangeState.STAGING:
        _require(change, ChangeEvent.STAGING_STARTED)
        proving = site.inventory.resolve(change.spec.staging, Environment.STAGING)
        planned = site.inventory.resolve(change.spec.production, Environment.PRODUCTION)
        say(f"{change.id} would be proved on {', '.join(h.name for h in proving)}: applied, restored, applied again.")
        say(f"Then {len(planned)} production hosts are looked at, read-only, to fix the plan.")
        if not needs_yes(yes, f"Stage {change.id}"):
            return
        site.carriers.require_free(change_id)
        site.ask_before_carrying()
        staging.begin(change_id, actor, site.crew)
    _carry_and_watch(site, change_id, detach=detach, as_json=as_json)


@app.command("plan")
def plan(context: typer.Context, change_id: Id, as_json: AsJson = False) -> None:
    """Show exactly what would be done, what is left out and why, and the digest that votes are bound to."""
    site = site_of(context)
    change = site.ledger.store.change(change_id)
    fixed = site.ledger.store.plan(change.digest)
    predictions = site.ledger.store.predictions(change.digest)
    if as_json:
        answer({"digest": fixed.digest, "plan": fixed, "predictions": predictions})
        return
    show.plan(change, fixed, predictions, scheduling.fit(change, fixed, site.ledger))


@app.command("approve")
def approve(
    context: typer.Context,
    change_id: Id,
    reason: Reason = "",
    plan_digest: PlanDigest = "",
    key: Key = "",
    as_json: AsJson = False,
) -> None:
    """Vote for the plan that you were shown, signed with your SSH key."""
    _vote(context, change_id, Decision.APPROVE, reason, plan_digest, key, as_json)


@app.command("reject")
def reject(
    context: typer.Context,
    change_id: Id,
    reason: Reason = "",
    plan_digest: PlanDigest = "",
    key: Key = "",
    as_json: AsJson = False,
) -> None:
    """Vote against the plan; one veto ends the change."""
    _vote(context, change_id, Decision.REJECT, reason, plan_digest, key, as_json)


@app.command("waive")
def waive(
    context: typer.Context,
    change_id: Id,
    subject: Annotated[str, typer.Argument(metavar="SUBJECT", help="rollback:HOST or unproven:PACKAGE")],
    reason: Reason = "",
    key: Key = "",
    as_json: AsJson = False,
) -> None:
    """Answer for an exception by name; the plan has to be made again, and shows it to the approvers."""
    site = site_of(context)
    caller = site.caller(key or site.signers.default_key())
    change = approving.waive(change_id, subject, reason_or_ask(reason), caller, ledger=site.ledger, desk=site.desk)
    show.done(change, f"{subject} is waived in {change.id}.", as_json=as_json)


@app.command("schedule")
def schedule(context: typer.Context, change_id: Id, yes: Yes = False, as_json: AsJson = False) -> None:
    """Give an approved change its window."""
    site = site_of(context)
    actor = actor_for(site, Action.OPERATE)
    change = site.ledger.store.change(change_id)
    _require(change, ChangeEvent.SCHEDULED)
    approving.require_genuine(change, ledger=site.ledger, desk=site.desk)
    fitting = scheduling.fit(change, site.ledger.store.plan(change.digest), site.ledger)
    show.fit(change, fitting)
    if not needs_yes(yes, f"Schedule {change.id}"):
        return
    change = scheduling.schedule(change_id, actor, site.crew)
    show.done(change, f"{change.id} is {change.state}.", as_json=as_json)


@app.command("start")
def start(
    context: typer.Context, change_id: Id, yes: Yes = False, detach: Detach = False, as_json: AsJson = False
) -> None:
    """Run a scheduled change in its open window. Ctrl-C stops watching, not the run."""
    site = site_of(context)
    actor = actor_for(site, Action.OPERATE)
    change = site.ledger.store.change(change_id)
    _require(change, ChangeEvent.STARTED)
    approving.require_genuine(change, ledger=site.ledger, desk=site.desk)
    fixed = site.ledger.store.plan(change.digest)
    show.waves(fixed)
    if not needs_yes(yes, f"Start {change.id} on {len(fixed.hosts)} hosts"):
        return
    site.carriers.require_free(change_id)
    site.ask_before_carrying()
    execution.start(change_id, actor, site.crew)
    _carry_and_watch(site, change_id, detach=detach, as_json=as_json)


@app.command("pause")
def pause(context: typer.Context, change_id: Id, reason: Reason = "", as_json: AsJson = False) -> None:
    """Ask a run to pause; it does so between two steps."""
    site = site_of(context)
    actor = actor_for(site, Action.OPERATE)
    change = operating.pause(change_id, reason_or_ask(reason), actor, site.ledger)
    site.carriers.start()
    told = f"{change.id} is asked to pause; what the hosts are doing now is finished first."
    show.done(change, told, as_json=as_json)


@app.command("resume")
def resume(
    context: typer.Context, change_id: Id, yes: Yes = False, detach: Detach = False, as_json: AsJson = False
) -> None:
    """Go on with a paused change, or take up a change whose carrier has died."""
    site = site_of(context)
    actor = actor_for(site, Action.OPERATE)
    change = site.ledger.store.change(change_id)
    if change.state not in CARRIED:
        _require(change, ChangeEvent.RESUMED)
        approving.require_genuine(change, ledger=site.ledger, desk=site.desk)
    if not needs_yes(yes, f"Go on with {change.id}"):
        return
    site.ask_before_carrying()
    if change.state in CARRIED:
        sticking.take_up(change_id, actor, site.ledger)
    else:
        site.carriers.require_free(change_id)
        operating.resume(change_id, actor, site.crew)
    _carry_and_watch(site, change_id, detach=detach, as_json=as_json)


@app.command("cancel")
def cancel(
    context: typer.Context,
    change_id: Id,
    reason: Reason = "",
    roll_back: Annotated[
        bool, typer.Option("--roll-back", help="Put touched hosts back instead of leaving them.")
    ] = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Stop a change: cancelled where no host was touched, otherwise stopped (FAILED) or put back (--roll-back)."""
    site = site_of(context)
    actor = actor_for(site, Action.OPERATE)
    site.ledger.store.change(change_id)
    if not needs_yes(yes, f"Cancel {change_id}"):
        return
    change = operating.cancel(change_id, reason_or_ask(reason), actor, site.crew, roll_back=roll_back)
    told = f"{change.id} is {change.state}."
    if change.state in CARRIED:
        site.carriers.start()
        told = f"{change.id} is asked to stop; what the hosts are doing now is finished first."
    show.done(change, told, as_json=as_json)


@app.command("rollback")
def rollback(
    context: typer.Context,
    change_id: Id,
    reason: Reason = "",
    yes: Yes = False,
    detach: Detach = False,
    as_json: AsJson = False,
) -> None:
    """Put every touched host back to its rollback point."""
    site = site_of(context)
    actor = actor_for(site, Action.OPERATE)
    site.ledger.store.change(change_id)
    touched = [run.host for run in site.ledger.store.runs(change_id) if run.touched]
    say(
        f"{len(touched)} hosts would be put back: {show.few(touched) or 'none'}. "
        "A security fix that is taken back leaves its hole open."
    )
    if not needs_yes(yes, f"Roll back {change_id}"):
        return
    site.ask_before_carrying()
    operating.roll_back_now(change_id, reason_or_ask(reason), actor, site.ledger)
    _carry_and_watch(site, change_id, detach=detach, as_json=as_json)


@app.command("close")
def close(
    context: typer.Context,
    change_id: Id,
    note: Annotated[str, typer.Option("--note", help="What the review should know.")] = "",
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Close a change that has ended: give up its rollback points and say how it went."""
    site = site_of(context)
    actor = actor_for(site, Action.OPERATE)
    change = site.ledger.store.change(change_id)
    _require(change, ChangeEvent.CLOSED)
    held = [point for point in site.ledger.store.points(change_id) if point.is_held]
    say(f"{len(held)} rollback points of {change_id} would be given up; after that there is no way back.")
    if not needs_yes(yes, f"Close {change_id}"):
        return
    with site.carriers.hold(change_id):
        closed = closing.close(change_id, note, actor, site.crew)
    evidencing.checkpoint(change_id, site.ledger, site.notary)
    for point in site.ledger.store.points(change_id):
        if point.is_held:
            warn(f"the {point.provider} point of {point.host} is still held: orchestrator rollback-point list")
    show.done(closed, f"{closed.id} is closed: {closed.close_code}.", as_json=as_json)


@app.command("tasks")
def tasks(
    context: typer.Context,
    change_id: Id,
    host: Annotated[str, typer.Option("--host", help="Of this host only.")] = "",
    failed: Annotated[bool, typer.Option("--failed", help="Only what failed or could not be reached.")] = False,
    slowest: Annotated[int, typer.Option("--slowest", metavar="N", help="The N that took longest.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Show what Ansible did, task by task. All that it said is in the job's folder under STATE/jobs."""
    site = site_of(context)
    site.ledger.store.change(change_id)
    found = site.ledger.store.tasks(change_id, host, ("failed", "unreachable") if failed else None)
    if slowest:
        found = sorted(found, key=lambda task: -task.milliseconds)[:slowest]
    if as_json:
        answer(found)
        return
    if not found:
        say(f"Nothing is kept of the tasks of {change_id} that was asked for.")
        return
    rows = [(t.job, t.host, coloured(t.outcome), f"{t.milliseconds / 1000:.1f} s", t.task, t.message) for t in found]
    table(("job", "host", "outcome", "took", "task", "message"), rows)


@app.command("trace")
def trace(context: typer.Context, change_id: Id) -> None:
    """Send the spans of the last run again to the collector of traces that orchestrator.toml names."""
    site = site_of(context)
    site.ledger.store.change(change_id)
    if site.tracer is None:
        raise Refused("orchestrator.toml names no collector: [telemetry] endpoint, see docs/monitoring.md.")
    say(f"{tracing.send_trace(change_id, site.ledger, site.tracer)} spans of {change_id} were sent.")


@app.command("watch")
def watch(context: typer.Context, change_id: Id) -> None:
    """Follow a change while it is carried. Ctrl-C stops watching, not the change."""
    raise typer.Exit(watching.watch(site_of(context), change_id))


def _vote(
    context: typer.Context, change_id: str, decision: Decision, reason: str, plan_digest: str, key: str, as_json: bool
) -> None:
    site = site_of(context)
    change = site.ledger.store.change(change_id)
    _require(change, ChangeEvent.VOTED)
    shown = _shown(site, change, plan_digest)
    caller = site.caller(key or site.signers.default_key())
    given = approving.Answer(decision=decision, reason=reason_or_ask(reason), shown=shown)
    change = approving.vote(change_id, given, caller, ledger=site.ledger, desk=site.desk)
    vote = change.votes[-1]
    told = f"{vote.approver} has voted to {vote.decision} plan {vote.digest[:12]} of {change.id}; it is {change.state}."
    show.done(change, told, as_json=as_json)


def _shown(site: Site, change: ChangeRequest, given: str) -> str:
    """Return the digest that is answered: the one that was named, or on a terminal the one that is shown now."""
    if given:
        if len(given) < 8:
            raise InvalidInput("--plan takes 8 or more digits of the digest that change plan ID shows.")
        return change.digest if change.digest.startswith(given.lower()) else given
    fixed = site.ledger.store.plan(change.digest)
    predictions = site.ledger.store.predictions(change.digest)
    show.plan(change, fixed, predictions, scheduling.fit(change, fixed, site.ledger))
    if typer.get_text_stream("stdin").isatty() and typer.confirm("Is this the plan that you answer?"):
        return change.digest
    raise Refused(f"say which plan you answer: --plan {change.digest[:12]}")


def _carry_and_watch(site: Site, change_id: str, *, detach: bool, as_json: bool) -> None:
    site.carriers.start()
    if detach:
        say(f"{change_id} is carried in the background. Follow it: orchestrator change watch {change_id}")
    code = 0 if detach else watching.watch(site, change_id)
    if as_json:
        answer(show.summary(site.ledger.store.change(change_id)))
    raise typer.Exit(code)


def _require(change: ChangeRequest, event: ChangeEvent) -> None:
    if event not in MOVES[change.state]:
        raise IllegalMove(change.id, event, change.state, [e.value for e in MOVES[change.state]])


def _state(word: str) -> ChangeState:
    try:
        return ChangeState(word)
    except ValueError as error:
        raise NotFound(f"there is no state {word!r}; there are: {', '.join(ChangeState)}.") from error
