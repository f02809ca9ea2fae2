"""Rebuild what came of a job from its folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import cast

from orchestrator.adapters.ansible.jobdir import JobDir, rows
from orchestrator.domain.canonical import Plain, parse_rfc3339
from orchestrator.domain.job import Artifact, HostOutcome, HostResult, JobResult, JobStatus, TaskResult
from orchestrator.errors import Unavailable


def read_result(folder: JobDir) -> JobResult:
    """Return the result of a job that has ended. Raises Unavailable where its file is damaged."""
    found = folder.read(folder.result)
    try:
        return _result(found, _reports(folder), _tasks(folder))
    except (KeyError, TypeError, ValueError) as error:
        raise Unavailable(f"the result of a job cannot be read: {folder.result} is damaged ({error}).") from error


def _result(
    found: Mapping[str, object], reports: Mapping[str, list[Mapping[str, Plain]]], tasks: tuple[TaskResult, ...]
) -> JobResult:
    rc, started, finished = found["rc"], found["started_at"], found["finished_at"]
    return JobResult(
        id=str(found["id"]),
        status=JobStatus(str(found["status"])),
        rc=rc if isinstance(rc, int) else None,
        started_at=parse_rfc3339(str(started)) if started else None,
        finished_at=parse_rfc3339(str(finished)) if finished else None,
        hosts=tuple(_host(row, reports) for row in _objects(found["hosts"])),
        artifacts=tuple(_artifact(row) for row in _objects(found["artifacts"])),
        message=str(found["message"]),
        tasks=tasks,
    )


def _tasks(folder: JobDir) -> tuple[TaskResult, ...]:
    """Return what came of each task on each host; nothing, where retention has removed it."""
    try:
        found = json.loads(folder.tasks.read_bytes())
    except FileNotFoundError:
        return ()
    return tuple(
        TaskResult(
            number=number,
            host=str(row["host"]),
            task=str(row["task"]),
            action=str(row["action"]),
            outcome=str(row["outcome"]),
            milliseconds=_count(row["ms"]),
            message=str(row.get("message", "")),
        )
        for number, row in enumerate(_objects(found))
    )


def _host(row: Mapping[str, object], reports: Mapping[str, list[Mapping[str, Plain]]]) -> HostResult:
    name = str(row["host"])
    return HostResult(
        host=name,
        outcome=HostOutcome(str(row["outcome"])),
        reports=tuple(reports.get(name, ())),
        task=str(row["task"]),
        message=str(row["message"]),
        changed=_count(row["changed"]),
    )


def _artifact(row: Mapping[str, object]) -> Artifact:
    return Artifact(path=str(row["path"]), sha256=str(row["sha256"]), size=_count(row["size"]), kind=str(row["kind"]))


def _reports(folder: JobDir) -> dict[str, list[Mapping[str, Plain]]]:
    """Return each host's reports, in the order in which its tasks gave them."""
    found: dict[str, list[Mapping[str, Plain]]] = {}
    for row in rows(folder.reports):
        report = row.get("report")
        if isinstance(report, dict):
            found.setdefault(str(row.get("host")), []).append(cast("dict[str, Plain]", _integers(report)))
    return found


def _integers(value: object) -> object:
    """Return a JSON value without fractions: a record knows integers only, and modules of others may give more."""
    if isinstance(value, float):
        return round(value)
    if isinstance(value, dict):
        return {key: _integers(item) for key, item in value.items()}
    return [_integers(item) for item in value] if isinstance(value, list) else value


def _objects(value: object) -> list[dict[str, object]]:
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise TypeError("a list of objects is missing")
    return value


def _count(value: object) -> int:
    if not isinstance(value, int):
        raise TypeError("a number is missing")
    return value
