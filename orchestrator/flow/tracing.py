"""Send what was done on a change to whoever collects traces, when it has come to rest."""

from __future__ import annotations

import logging

from orchestrator.domain.tracing import spans
from orchestrator.flow.ledger import Ledger
from orchestrator.ports import Tracer

log = logging.getLogger(__name__)


def send_trace(change_id: str, ledger: Ledger, tracer: Tracer) -> int:
    """Send the spans of the last time that the change was at work; return how many. Raises Unavailable.

    Harmless to repeat: the record gives the same spans, with the same ids.
    """
    store = ledger.store
    found = spans(store.installation(), change_id, store.trail(change_id), store.steps(change_id))
    tracer.send(found)
    return len(found)


def trace_at_rest(change_id: str, ledger: Ledger, tracer: Tracer) -> None:
    """Send the spans, and hold nothing up where they cannot be sent: all that is in them is in the record."""
    try:
        send_trace(change_id, ledger, tracer)
    except Exception as error:
        log.warning("no trace was sent: %s Again: orchestrator change trace %s", error, change_id)
