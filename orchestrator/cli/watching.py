"""Follow a change: its audit events as they come, and what is being done in between."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping

from orchestrator.cli import live, show
from orchestrator.cli.output import coloured, console, say
from orchestrator.domain.audit import AuditEvent
from orchestrator.domain.change import CARRIED, ChangeRequest, ChangeState
from orchestrator.domain.journal import Outcome
from orchestrator.flow.soaking import soak_left
from orchestrator.flow.sticking import is_stuck
from orchestrator.wiring import Site

#: Seconds between two looks, and after how many a line is written even though nothing has happened.
EVERY, QUIET = 0.4, 3.0
#: How long a change may seem to be carried by nobody before it is said (a carrier needs a moment to start).
PATIENCE = 15.0
NOT_SUCCEEDED = 10
_GOOD = frozenset(
    {
        ChangeState.STAGED,
        ChangeState.APPROVED,
        ChangeState.SCHEDULED,
        ChangeState.SUCCEEDED,
        ChangeState.CLOSED,
    }
)


def watch(site: Site, change_id: str) -> int:
    """Follow a change until nobody carries it any more; return the exit code.

    On a terminal a panel of hosts and the time left stays below the lines. 0: it went as it was meant to (staged,
    succeeded, put back on request); 10: it ended or paused otherwise.
    """
    watching = _Watching(site, change_id)
    with live.panel() as panel:
        while watching.goes_on():
            watching.tell(quiet=panel is None)
            if panel is not None:
                panel.update(live.render(site, watching.change, watching.at_work()))
            time.sleep(EVERY)
    watching.tell(quiet=False)
    return watching.end()


class _Watching:
    """What has been told already, and since when nothing was."""

    def __init__(self, site: Site, change_id: str) -> None:
        self.site = site
        self.change = site.ledger.store.change(change_id)
        self._puts_back = self.change.state is ChangeState.ROLLING_BACK
        self._seen = _seen_before(site, change_id)
        self._began = self._spoke = self._alone_since = time.monotonic()
        self._abandoned = False

    def goes_on(self) -> bool:
        """Look again; False where the change is carried to where it goes, or by nobody any more."""
        carried = self.site.carriers.is_carried(self.change.id)
        self.change = self.site.ledger.store.change(self.change.id)
        now = time.monotonic()
        self._alone_since = now if carried else self._alone_since
        alone = is_stuck(self.change.id, self.site.ledger) or now - self._alone_since > PATIENCE
        self._abandoned = self.change.state in CARRIED and bool(alone)
        return (carried or self.change.state in CARRIED) and not self._abandoned

    def tell(self, *, quiet: bool) -> None:
        """Write a line for each new event; with ``quiet``, also one when there has been none for some seconds."""
        for event in self.site.ledger.store.trail(self.change.id, self._seen):
            self._seen = event.seq
            for text in _lines(event):
                self._line(text)
        if quiet and time.monotonic() - self._spoke >= QUIET:
            self._line(f"… {self.at_work()}", style="dim")

    def at_work(self) -> str:
        """Say what is being done: the steps that are open, and the newest task that Ansible has told of."""
        open_steps: dict[str, list[str]] = {}
        for step in self.site.ledger.store.steps(self.change.id, outcome=Outcome.OPEN):
            open_steps.setdefault(step.step.value, []).append(step.host)
        doing = "; ".join(f"{step}: {show.few(hosts)}" for step, hosts in sorted(open_steps.items()))
        if not doing and (left := soak_left(self.change, self.site.ledger)):
            doing = f"the canaries soak: {show.duration(left.total_seconds())} left"
        latest = self.site.latest_progress(self.change.id)
        return " — ".join(text for text in (doing or self.change.state.value, latest) if text)

    def end(self) -> int:
        """Say how it ended, and return the exit code."""
        if self._abandoned:
            return _abandoned(self.change, self.site)
        good = {*_GOOD, ChangeState.ROLLED_BACK} if self._puts_back else _GOOD
        _ended(self.change, self.site)
        return 0 if self.change.state in good else NOT_SUCCEEDED

    def _line(self, text: str, style: str = "") -> None:
        self._spoke = time.monotonic()
        say(f"{self._spoke - self._began:6.1f} s  {text}", style=style)


def _seen_before(site: Site, change_id: str) -> int:
    """Begin with the move that started the present work, not with the whole past."""
    starts = ("staging-started", "started", "resumed", "rollback-started", "requested")
    return max((event.seq - 1 for event in site.ledger.store.trail(change_id) if event.tag in starts), default=0)


def _lines(event: AuditEvent) -> Iterator[str]:
    data = event.data
    host, reason = str(data.get("host", "")), str(data.get("reason", ""))
    findings = data.get("findings")
    if event.tag == "phase-finished":
        yield _phase(data, event.outcome)
    elif event.tag == "staging-host-passed":
        yield f"{host}: passed: applied, verified, " + _rehearsed(str(data.get("restore", "")))
    elif host:
        yield f"{host}: {event.tag.removeprefix('host-')}" + (f" ({reason})" if reason else _why(data))
    else:
        yield f"{event.change}: {event.tag} by {event.actor}" + (f": {reason}" if reason else "")
        differences = data.get("differences")
        yield from (f"    {item}" for item in differences) if isinstance(differences, list) else ()
    yield from (f"{host}: finding: {item}" for item in findings) if isinstance(findings, list) else ()


def _phase(data: Mapping[str, object], outcome: str) -> str:
    again = " again" if str(data.get("job", "")).endswith(".again") else ""
    count = data.get("hosts")
    return f"{data.get('step')}{again} on {count} host{'' if count == 1 else 's'}: {outcome}"


def _rehearsed(exception: str) -> str:
    return exception or "put back, verified to be as before, applied again, verified"


def _why(data: object) -> str:
    why = data.get("why", "") if isinstance(data, dict) else ""
    return f" ({why})" if why else ""


def _ended(change: ChangeRequest, site: Site) -> None:
    say()
    if runs := site.ledger.store.runs(change.id):
        show.hosts(runs)
    console.print(f"{change.id} is", coloured(change.state))
    for issue in change.issues:
        say(f"  {issue}", style="yellow")
    if change.state is ChangeState.REQUESTED:
        say(f"It could not be staged. Why: orchestrator audit trail {change.id}", style="red")
    show.next_step(change)


def _abandoned(change: ChangeRequest, site: Site) -> int:
    say(f"Nobody carries {change.id} any more; its journal is whole.", style="red")
    if why := is_stuck(change.id, site.ledger):
        say(f"It stopped: {why}")
    say(f"More: {site.carriers.log}. Take it up: orchestrator change resume {change.id} --yes")
    if not why and site.carriers.log.exists():
        lines = site.carriers.log.read_text(errors="replace").splitlines()
        sys.stderr.write("\n".join(lines[-5:]) + "\n")
    return NOT_SUCCEEDED
