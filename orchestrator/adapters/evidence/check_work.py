"""Checks of the work: on planned hosts, after the start, in the window, with a way back, and as the trail says."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from orchestrator.adapters.evidence.bundle import THINNED
from orchestrator.adapters.evidence.check_plan import plan_hosts
from orchestrator.adapters.evidence.check_trail import Course, course, data, events
from orchestrator.adapters.evidence.opened import Bundle
from orchestrator.adapters.evidence.strict import Object, hash_text, moment, number, text, texts
from orchestrator.domain.canonical import parse_rfc3339
from orchestrator.domain.journal import Outcome, Step
from orchestrator.domain.retention import ENDS, REMOVED

_STEPS = frozenset(step.value for step in Step)
_OUTCOMES = frozenset(outcome.value for outcome in Outcome)


def check_journal(bundle: Bundle) -> Iterator[str]:
    """Every patch of a production host began after the start, inside a window, with a point taken before it."""
    change = bundle.change
    journal = bundle.entries("journal.jsonl")
    for record in journal:
        _require_record(record)
        if record["change"] != change:
            yield f"a step on {record['host']} belongs to another change"
        if record["step"] not in _STEPS or record["outcome"] not in _OUTCOMES:
            yield f"a step on {record['host']} is of no kind that the format knows"
    way, planned = course(events(bundle)), _planned(bundle)
    slots, protected = [_slot(event) for event in way.scheduled], set[str]()
    for record in journal:
        host = text(record, "host")
        if record["step"] == Step.PATCH:
            yield from (f"{host} {problem}" for problem in _patch_problems(record, way, planned, protected, slots))
        elif record["step"] == Step.PROTECT and record["outcome"] == Outcome.OK and _is_after_start(record, way):
            protected.add(host)


def check_outcomes(bundle: Bundle) -> Iterator[str]:
    """What the trail says became of a host during the run has left its step in the journal."""
    journal = bundle.entries("journal.jsonl")
    trail = events(bundle)
    way, planned = course(trail), _planned(bundle)
    if not way.started:
        return
    steps = {(text(record, "host"), text(record, "step")) for record in journal if _is_after_start(record, way)}
    for event in trail:
        host = data(event).get("host")
        about_a_host = text(event, "tag").startswith("host-") and isinstance(host, str)
        if not about_a_host or number(event, "seq") < number(way.started, "seq"):
            continue
        if host not in planned:
            yield f"event {event['seq']} ({event['tag']}) is about {host}, which is not in the plan"
        needed = {"done": Step.PATCH, "restored": Step.RESTORE}.get(text(event, "outcome"))
        if needed and event["tag"] != "host-reconciled" and (host, needed.value) not in steps:
            yield f"event {event['seq']} says {host} is {event['outcome']}, and the journal has no step {needed}"


def check_tasks(bundle: Bundle) -> Iterator[str]:
    """Every file of task events that the trail names is there or was removed, and no other."""
    named = set()
    for event in events(bundle):
        artifacts = data(event).get("artifacts")
        if isinstance(artifacts, dict):
            named |= {hash_text(artifacts, kind) for kind in artifacts}
    there = {digest: name for name, digest in bundle.hashes.items() if name.startswith("tasks/")}
    gone = removals(bundle)
    yield from _removal_problems(bundle)
    for digest in sorted(named - gone - there.keys()):
        yield f"the task events with sha256 {digest}, which the trail names, are missing"
    for digest in sorted(there.keys() - named):
        yield f"{there[digest]} is no file that the trail names"


def removals(bundle: Bundle) -> frozenset[str]:
    """Return the sha256 of the files of task events that the trail says were removed. Raises NotThere, Malformed."""
    if not _is_thinned(bundle):
        return frozenset()
    removing = [event for event in events(bundle) if event["tag"] == REMOVED]
    return frozenset(digest for event in removing for digest in texts(data(event), "removed"))


def _is_thinned(bundle: Bundle) -> bool:
    return bundle.entry("manifest.json").get("format") == THINNED


def _removal_problems(bundle: Bundle) -> Iterator[str]:
    """Nothing is removed before the change has ended, and nothing that no event before has named."""
    ended, named, count = False, set[str](), 0
    for event in events(bundle) if _is_thinned(bundle) else ():
        artifacts = data(event).get("artifacts")
        if isinstance(artifacts, dict):
            named |= {hash_text(artifacts, kind) for kind in artifacts}
        if event["tag"] == REMOVED:
            count += 1
            if not ended:
                yield f"event {event['seq']} says that task events were removed before the change had ended"
            if not set(texts(data(event), "removed")) <= named:
                yield f"event {event['seq']} says that task events were removed which no event before it names"
        ended = ended or event["outcome"] in ENDS
    if _is_thinned(bundle) and not count:
        yield "the format says that task events were removed, and the trail does not"


def _require_record(record: Object) -> None:
    for key in ("change", "host", "step", "job", "outcome", "detail"):
        text(record, key)
    number(record, "token")
    moment(record, "started_at")
    if record.get("finished_at") is not None:
        moment(record, "finished_at")


def _patch_problems(
    record: Object, way: Course, planned: set[str], protected: set[str], slots: list[tuple[datetime, datetime]]
) -> Iterator[str]:
    """Patches before the start are those of staging, whose hosts are never hosts of the plan."""
    host, at = text(record, "host"), text(record, "started_at")
    if not _is_after_start(record, way):
        if host in planned:
            yield f"was patched at {at}, before the change was started"
        return
    if host not in planned:
        yield f"was patched at {at} and is not in the plan"
    elif host not in protected:
        yield f"was patched at {at} without a protect step that ended well before it"
    if not any(start <= parse_rfc3339(at) < end for start, end in slots):
        yield f"was patched at {at}, outside every window that the change was scheduled for"


def _planned(bundle: Bundle) -> set[str]:
    if not bundle.plan_digest:
        return set()
    return {text(host, "host") for host in plan_hosts(bundle.entry("plan.json"))}


def _is_after_start(record: Object, way: Course) -> bool:
    if not way.started:
        return False
    return parse_rfc3339(moment(record, "started_at")) >= parse_rfc3339(moment(way.started, "at"))


def _slot(scheduled: Object) -> tuple[datetime, datetime]:
    told = data(scheduled)
    return parse_rfc3339(moment(told, "start")), parse_rfc3339(moment(told, "end"))
