"""Start what is due: a scheduled change whose window has opened."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime, timedelta

from orchestrator.domain.change import ChangeRequest, ChangeState
from orchestrator.domain.identity import ORCHESTRATOR
from orchestrator.errors import OrchestratorError
from orchestrator.flow import approving, execution
from orchestrator.flow.acting import Desk
from orchestrator.flow.crew import Crew

#: A change that cannot be started is tried again after this time, then after twice that, and so on.
FIRST_PAUSE, LONGEST_PAUSE = timedelta(seconds=10), timedelta(minutes=2)

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Why a change could not be started, and when it is tried again."""

    why: str
    pause: timedelta
    again_at: datetime


class Scheduler:
    """Starts every scheduled change when its window opens, as those who scheduled it have decided.

    One that cannot be started (its hosts are held, its votes are not genuine) stays where it is, and is tried again;
    each reason is entered in its trail once.
    """

    def __init__(self, crew: Crew, desk: Desk) -> None:
        self._crew, self._desk = crew, desk
        self._refused: dict[str, Refusal] = {}

    def look(self) -> list[str]:
        """Start what is due now; return the ids of the changes that were started."""
        now = self._crew.now()
        scheduled = self._crew.ledger.store.changes([ChangeState.SCHEDULED])
        due = [change for change in scheduled if change.reserved.start <= now]
        self._refused = {change.id: self._refused[change.id] for change in due if change.id in self._refused}
        return [change.id for change in due if self._is_tried(change, now) and self._start(change)]

    def _is_tried(self, change: ChangeRequest, now: datetime) -> bool:
        return change.id not in self._refused or self._refused[change.id].again_at <= now

    def _start(self, change: ChangeRequest) -> bool:
        try:
            approving.require_genuine(change, ledger=self._crew.ledger, desk=self._desk)
            execution.start(change.id, ORCHESTRATOR, self._crew)
        except OrchestratorError as error:
            self._put_off(change, str(error))
            return False
        return True

    def _put_off(self, change: ChangeRequest, why: str) -> None:
        before = self._refused.get(change.id)
        if before is None or before.why != why:
            log.warning("%s is due and cannot be started: %s", change.id, why)
        if self._crew.ledger.store.change(change.id).state is not ChangeState.SCHEDULED:
            return  # Its window or its content was lost, which its trail says, or somebody else has started it.
        if before is None or before.why != why:
            self._crew.ledger.note(change.id, "not-started", actor=ORCHESTRATOR, data={"reason": why})
        pause = min(before.pause * 2, LONGEST_PAUSE) if before else FIRST_PAUSE
        self._refused[change.id] = Refusal(why=why, pause=pause, again_at=self._crew.now() + pause)
