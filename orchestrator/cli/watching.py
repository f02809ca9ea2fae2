"""Follow a change: its audit events as they come, and what is being done in between."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator

from orchestrator.cli import show
from orchestrator.cli.output import coloured, console, say
from orchestrator.domain.audit import AuditEvent
from orchestrator.domain.change import ChangeRequest, ChangeState
from orchestrator.domain.journal import Outcome
from orchestrator.engine.carrier import CARRIED
from orchestrator.wiring import Site

#: Seconds between two looks, and after how many a line is written even though nothing has happened.
EVERY, QUIET = 0.4, 4.0
#: How long a change may seem to be carried by nobody before it is said (a carrier needs a moment to start).
PATIENCE = 15.0
NOT_SUCCEEDED = 10


def watch(site: Site, change_id: str) -> int:
    """Write lines until nobody carries the change any more; return the exit code.

    0: staged, succeeded, rolled back on request; 10: it ended or paused otherwise.
    """
    began = spoke = alone_since = time.monotonic()
    seen = _seen_before(site, change_id)
    while True:
        change = site.ledger.store.change(change_id)
        carried = site.carriers.is_carried(change_id)
        for event in site.ledger.store.trail(change_id)[seen:]:
            seen += 1
            for text in _lines(event):
                say(f"{time.monotonic() - began:6.1f} s  {text}")
                spoke = time.monotonic()
        if change.state not in CARRIED and not carried:
            return _ended(change, site)
        now = time.monotonic()
        alone_since = now if carried else alone_since
        if now - alone_since > PATIENCE:
            return _abandoned(change, site)
        if now - spoke >= QUIET:
            say(f"{now - began:6.1f} s  … {_at_work(site, change)}", style="dim")
            spoke = now
        time.sleep(EVERY)


def _seen_before(site: Site, change_id: str) -> int:
    """Begin with the move that started the present work, not with the whole past."""
    trail = site.ledger.store.trail(change_id)
    starts = ("staging-started", "started", "resumed", "rollback-started", "requested")
    return max((at for at, event in enumerate(trail) if event.tag in starts), default=0)


def _lines(event: AuditEvent) -> Iterator[str]:
    data = event.data
    host, reason = str(data.get("host", "")), str(data.get("reason", ""))
    if event.tag == "phase-finished":
        yield f"{data.get('step')} on {data.get('hosts')} hosts: {event.outcome}"
    elif host:
        findings = data.get("findings")
        told = [str(item) for item in findings] if isinstance(findings, list) else []
        yield f"{host}: {event.tag.removeprefix('host-')}" + (f" ({reason})" if reason else _why(data))
        for finding in told:
            yield f"{host}: finding: {finding}"
    else:
        yield f"{event.change}: {event.tag} by {event.actor}" + (f": {reason}" if reason else "")
        differences = data.get("differences")
        yield from (f"    {item}" for item in differences) if isinstance(differences, list) else ()


def _why(data: object) -> str:
    why = data.get("why", "") if isinstance(data, dict) else ""
    return f" ({why})" if why else ""


def _at_work(site: Site, change: ChangeRequest) -> str:
    """Say what is being done: the steps that are open, and the newest task that Ansible has told of."""
    open_steps: dict[str, list[str]] = {}
    for step in site.ledger.store.steps(change.id):
        if step.outcome is Outcome.OPEN:
            open_steps.setdefault(step.step.value, []).append(step.host)
    latest = site.latest_progress(change.id)
    doing = "; ".join(f"{step}: {', '.join(hosts)}" for step, hosts in sorted(open_steps.items()))
    return " — ".join(text for text in (doing or change.state.value, latest) if text)


def _ended(change: ChangeRequest, site: Site) -> int:
    say()
    runs = site.ledger.store.runs(change.id)
    if runs:
        show.hosts(runs)
    line = coloured(change.state)
    console.print(f"{change.id} is", line, end="\n")
    for issue in change.issues:
        say(f"  {issue}", style="yellow")
    if change.state is ChangeState.REQUESTED:
        say(f"Staging did not pass. Why: orchestrator audit trail {change.id}", style="red")
    show.next_step(change)
    good = {ChangeState.STAGED, ChangeState.SUCCEEDED, ChangeState.CLOSED, ChangeState.APPROVED, ChangeState.SCHEDULED}
    return 0 if change.state in good else NOT_SUCCEEDED


def _abandoned(change: ChangeRequest, site: Site) -> int:
    say(f"Nobody carries {change.id} any more; its journal is whole.", style="red")
    say(f"Why it ended: {site.carriers.log(change.id)}. Take it up: orchestrator change resume {change.id} --yes")
    log = site.carriers.log(change.id)
    if log.exists():
        sys.stderr.write("\n".join(log.read_text(errors="replace").splitlines()[-5:]) + "\n")
    return NOT_SUCCEEDED
