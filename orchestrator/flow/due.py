"""Start what is due: a scheduled change whose window has opened."""

from __future__ import annotations

import logging

from orchestrator.domain.change import ChangeState
from orchestrator.domain.identity import ORCHESTRATOR
from orchestrator.errors import OrchestratorError
from orchestrator.flow import approving, execution
from orchestrator.flow.acting import Desk
from orchestrator.flow.crew import Crew

log = logging.getLogger(__name__)


def start_due(crew: Crew, desk: Desk) -> list[str]:
    """Start every scheduled change whose window is open, as those who scheduled it have decided; return their ids.

    One that cannot be started (its hosts are held, its votes are not genuine) stays where it is, and is tried again.
    """
    started = []
    for change in crew.ledger.store.changes([ChangeState.SCHEDULED]):
        if change.reserved.start > crew.now():
            continue
        try:
            approving.require_genuine(change, ledger=crew.ledger, desk=desk)
            execution.start(change.id, ORCHESTRATOR, crew)
        except OrchestratorError as error:
            log.warning("%s is due and cannot be started: %s", change.id, error)
        else:
            started.append(change.id)
    return started
