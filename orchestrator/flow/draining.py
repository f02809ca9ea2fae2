"""Take hosts out of service before they are worked on, and back afterwards, by the role that each of them names."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta

from orchestrator.domain.job import HostOutcome, JobResult
from orchestrator.domain.journal import Step
from orchestrator.flow.crew import Batch, Crew
from orchestrator.flow.phases import explain, may_begin, outcome_of, run_again_if_it_died

_OUT, _BACK = "drain.yml", "undrain.yml"


def with_hook(batch: Batch) -> Batch:
    """Return the hosts of the batch that a role takes out of service."""
    return batch.only([plan.host for plan in batch.plans if plan.drain])


def drain(batch: Batch, crew: Crew, *, suffix: str = "") -> dict[str, str]:
    """Take hosts out of service; return those that could not be, each with the reason. No job where none has a hook."""
    return _run(with_hook(batch), Step.DRAIN, _OUT, crew, suffix)


def undrain(batch: Batch, crew: Crew, *, suffix: str = "") -> dict[str, str]:
    """Take hosts back into service, and wait until they are; return those that are not, each with the reason."""
    return _run(with_hook(batch), Step.UNDRAIN, _BACK, crew, suffix)


def take_out(batch: Batch, crew: Crew, *, suffix: str = "") -> tuple[dict[str, str], frozenset[str]]:
    """Drain hosts that are to be patched; one that cannot be drained goes back into service.

    Returns those that could not be drained, each with the reason, and those of them that are not back in service.
    """
    failed = drain(batch, crew, suffix=suffix)
    absent = undrain(batch.only([*failed]), crew, suffix=f"{suffix}.failed")
    told = {host: f"{why}; {absent[host]}" if host in absent else why for host, why in failed.items()}
    return told, frozenset(absent)


class Turns:
    """How often hosts of a batch were drained and went back into service before they were patched.

    A job runs once under its name. So who drains again needs another name, and who goes on after a crash the same one:
    both follow from the journal. ``took`` is the time of the draining here and now.
    """

    def __init__(self, batch: Batch, crew: Crew) -> None:
        self._crew, self._last, self._is_open = crew, 0, False
        self.took = timedelta(0)
        if not with_hook(batch).names:
            return
        begun = re.compile(re.escape(batch.job_id(f"{Step.UNDRAIN}.turned")) + r"(\d+)")
        for step in crew.ledger.store.steps(batch.change.id, batch.names):
            if found := begun.match(step.job):
                number, is_open = int(found[1]), step.finished_at is None
                self._is_open = is_open or (self._is_open and number == self._last)
                self._last = max(self._last, number)

    @property
    def _suffix(self) -> str:
        return f".turn{self._last + 1}" if self._last else ""

    def finish(self, batch: Batch) -> None:
        """See an undraining through that was cut short: nothing drains beside it."""
        if self._is_open:
            undrain(batch, self._crew, suffix=f".turned{self._last}")
            self._is_open = False

    def may_drain(self, batch: Batch, go_on: Callable[[], bool]) -> bool:
        """Wait for the controller to have a place for the draining, as long as ``go_on`` says; False: it has none."""
        return may_begin(with_hook(batch), Step.DRAIN, _OUT, self._crew, go_on, suffix=self._suffix)

    def out(self, batch: Batch) -> tuple[dict[str, str], frozenset[str]]:
        """Take the hosts out of service, as ``take_out`` does."""
        began = self._crew.now()
        told = take_out(batch, self._crew, suffix=self._suffix)
        self.took = self._crew.now() - began
        return told

    def back(self, batch: Batch) -> dict[str, str]:
        """Put untouched hosts back into service; return those that are not."""
        return undrain(batch, self._crew, suffix=f".turned{self._last + 1}")


def _run(batch: Batch, step: Step, playbook: str, crew: Crew, suffix: str) -> dict[str, str]:
    if not batch.names:
        return {}
    result = run_again_if_it_died(batch, step, playbook, crew, suffix=suffix)
    return {host: why for host in batch.names if (why := _problem(result, host, step))}


def _problem(result: JobResult, host: str, step: Step) -> str:
    told = outcome_of(result, host)
    if told.outcome is not HostOutcome.OK:
        return f"{step}: {explain(told)}"
    kind = "drained" if step is Step.DRAIN else "undrained"
    return "" if told.report(kind) is not None else f"{step}.yml did not report that the host is {kind}"
