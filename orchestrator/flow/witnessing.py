"""Have the audit chains signed every hour, so that nobody can rewrite more than that unseen."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime, timedelta

from orchestrator.domain.evidence import read_checkpoint
from orchestrator.errors import OrchestratorError
from orchestrator.flow.evidencing import sign_heads
from orchestrator.flow.ledger import Ledger
from orchestrator.ports import Notary

#: How old the last checkpoint may be, and how long it takes until somebody looks again whether it is.
EVERY, PAUSE = timedelta(hours=1), timedelta(minutes=1)

log = logging.getLogger(__name__)


class Witness:
    """Signs the heads of all chains when the last checkpoint is an hour old, whoever made it."""

    def __init__(self, ledger: Ledger, notary: Callable[[], Notary]) -> None:
        """``notary`` gives the installation's signature; it may raise, where a machine does not have the key."""
        self._ledger, self._notary = ledger, notary
        self._again_at: datetime | None = None

    def look(self) -> bool:
        """Sign, where it is time; tell whether it was. What stands in the way is logged, and tried in an hour."""
        now = self._ledger.clock.now()
        if self._again_at is not None and now < self._again_at:
            return False
        self._again_at = now + PAUSE
        if (last := self._ledger.store.last_checkpoint()) and now < read_checkpoint(last[0]).at + EVERY:
            return False
        try:
            sign_heads(self._ledger, self._notary())
        except OrchestratorError as error:
            log.warning("the audit chains were not signed, or not sent outside: %s", error)
            self._again_at = now + EVERY
            return False
        return True
