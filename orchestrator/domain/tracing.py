"""What was done as spans: change, wave, shard, step on a host. They are derived from the record: no crash loses any."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from orchestrator.domain.audit import AuditEvent
from orchestrator.domain.change import CARRIED, ChangeState
from orchestrator.domain.journal import Outcome, StepRecord
from orchestrator.domain.lifecycle import ChangeEvent

_MOVES = frozenset(event.value for event in ChangeEvent)
_AT_WORK = frozenset(state.value for state in CARRIED)
_WAVE = re.compile(r"w(\d+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Something that took time. ``trace`` has 32 and ``id`` 16 hexadecimal digits, as W3C Trace Context has them.

    The same record gives the same ids, so that a span that is sent twice is the same span. A root has no ``parent``.
    """

    trace: str
    id: str
    parent: str
    name: str
    began: datetime
    ended: datetime
    problem: str = ""
    attributes: Mapping[str, str | int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    """A change at work, from the move that began it (``number`` in its trail) to the one that ended it."""

    number: int
    began: datetime
    ended: datetime
    state: str


def spans(installation: str, change: str, trail: Sequence[AuditEvent], steps: Iterable[StepRecord]) -> tuple[Span, ...]:
    """Return the spans of the last time that a change was at work; none where it still is, or never was."""
    run = _last_run(trail)
    if run is None:
        return ()
    trace = _hex(32, installation, change)
    root = Span(
        trace=trace,
        id=_hex(16, trace, str(run.number)),
        parent="",
        name="change",
        began=run.began,
        ended=run.ended,
        problem=run.state if run.state == ChangeState.FAILED else "",
        attributes={"patch.change": change, "patch.state": run.state},
    )
    return (root, *_below(root, run, change, [step for step in steps if run.began <= step.started_at <= run.ended]))


def _last_run(trail: Sequence[AuditEvent]) -> _Run | None:
    began: AuditEvent | None = None
    last: _Run | None = None
    for event in trail:
        if event.tag not in _MOVES:
            continue
        if event.outcome in _AT_WORK:
            began, last = began or event, None
        elif began is not None:
            last = _Run(number=began.seq, began=began.at, ended=event.at, state=event.outcome)
            began = None
    return last


def _below(root: Span, run: _Run, change: str, steps: Sequence[StepRecord]) -> Iterator[Span]:
    """Yield the waves, in each its shards, in each its steps."""
    waves: dict[str, dict[str, list[StepRecord]]] = {}
    for step in steps:
        wave, shard = _place(change, step)
        waves.setdefault(wave, {}).setdefault(shard, []).append(step)
    for wave, shards in waves.items():
        above = _around(root, "wave", wave, [step for some in shards.values() for step in some], run)
        yield above
        for shard, mine in shards.items():
            inside = _around(above, "shard", shard, mine, run)
            yield inside
            yield from (_step(inside, step, run) for step in mine)


def _place(change: str, step: StepRecord) -> tuple[str, str]:
    """Return wave and shard of a step by its job: of ``CHG-0001.l1.w2.b1.s3.patch`` ``l1.w2`` and ``l1.w2.b1.s3``."""
    name = step.job.removeprefix(f"{change}.").rpartition(f".{step.step}")[0] or step.job
    return ".".join(name.split(".")[:2]), name


def _around(above: Span, name: str, key: str, steps: Sequence[StepRecord], run: _Run) -> Span:
    attributes: dict[str, str | int] = {f"patch.{name}": key, "patch.hosts": len({step.host for step in steps})}
    if name == "wave" and (number := _WAVE.fullmatch(key.rpartition(".")[2])):
        attributes["patch.wave.number"] = int(number[1])
    return Span(
        trace=above.trace,
        id=_hex(16, above.trace, above.id, name, key),
        parent=above.id,
        name=name,
        began=min(step.started_at for step in steps),
        ended=max(step.finished_at or run.ended for step in steps),
        attributes=attributes,
    )


def _step(above: Span, step: StepRecord, run: _Run) -> Span:
    is_well = step.outcome is Outcome.OK
    return Span(
        trace=above.trace,
        id=_hex(16, above.trace, step.host, step.job),
        parent=above.id,
        name=step.step.value,
        began=step.started_at,
        ended=step.finished_at or run.ended,
        problem="" if is_well else step.detail or step.outcome.value or "nobody saw its end",
        attributes={"host.name": step.host, "patch.job": step.job, "patch.outcome": step.outcome.value or "open"},
    )


def _hex(digits: int, *parts: str) -> str:
    return hashlib.sha256("/".join(parts).encode()).hexdigest()[:digits]
