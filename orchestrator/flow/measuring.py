"""Look at what is recorded and return the figures by which the site is watched."""

from __future__ import annotations

from collections.abc import Collection

from orchestrator.domain.change import ChangeState
from orchestrator.domain.evidence import read_checkpoint
from orchestrator.domain.metrics import Measure, Observed, measures
from orchestrator.flow.ledger import Ledger

_OPEN = tuple(state for state in ChangeState if not state.has_ended)


def observe(ledger: Ledger, *, unattended: Collection[str], version: str) -> tuple[Measure, ...]:
    """Return every metric as it is now; ``unattended`` are the changes at work that nobody carries."""
    store = ledger.store
    last = store.last_checkpoint()
    observed = Observed(
        figures=store.figures(),
        runs={change.id: (change, store.runs(change.id)) for change in store.changes(_OPEN)},
        points=store.points(),
        checkpoint_at=read_checkpoint(last[0]).at if last else None,
        unattended=len(unattended),
        version=version,
    )
    return measures(observed, now=ledger.clock.now())
