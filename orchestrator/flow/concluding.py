"""How a turn of machine work ends: with a move of the change, written by whoever carries it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from orchestrator.domain.canonical import Plain
from orchestrator.domain.change import ChangeRequest, ChangeState
from orchestrator.domain.identity import ORCHESTRATOR
from orchestrator.domain.lifecycle import ChangeEvent
from orchestrator.flow import findings
from orchestrator.flow.ledger import Ledger
from orchestrator.ports import Writing


@dataclass(frozen=True, slots=True, kw_only=True)
class Conclusion:
    """A move that follows from the work done; ``free`` gives the change's leases up in the same transaction."""

    change: ChangeRequest
    event: ChangeEvent
    data: Mapping[str, Plain] = field(default_factory=dict)
    free: bool = False


def conclude(conclusion: Conclusion, ledger: Ledger, writing: Writing | None = None) -> ChangeRequest:
    """Move the change, in the transaction that is given or in one of its own. Raises StaleChange."""
    change = conclusion.change

    def also(writing: Writing) -> None:
        if conclusion.free:
            writing.free(change.id)
        if change.state is ChangeState.STAGING:
            findings.forget(change.id, writing)

    return ledger.record(change, conclusion.event, actor=ORCHESTRATOR, data=conclusion.data, also=also, writing=writing)
