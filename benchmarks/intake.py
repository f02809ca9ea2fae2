"""Task events a second, from ansible-runner's hands to disk, and on to the table in which they can be asked for."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path

from benchmarks._telling import arguments, tell
from orchestrator.adapters.ansible.jobdir import JobDir
from orchestrator.adapters.ansible.outcome import read_result
from orchestrator.adapters.ansible.recorder import Recorder
from orchestrator.adapters.ansible.redaction import Redactor
from orchestrator.adapters.store import SqlStore, open_database, upgrade
from orchestrator.domain.job import JobStatus

#: Events a second that have to be stored and found again, on one core.
LIMIT = 5000
HOSTS, TASKS = 50, 100


def events(job: int) -> Iterator[Mapping[str, object]]:
    """Make up what ansible-runner hands over for a job: a start and a result for each task and host."""
    counter = 0
    for task in range(TASKS):
        for host in range(HOSTS):
            name = f"web{job}-{host}"
            data: dict[str, object] = {
                "host": name, "task": f"Do the thing number {task}", "task_action": "ansible.builtin.command",
                "task_path": "/site/roles/thing/tasks/main.yml:7",
            }  # fmt: skip
            fails = (task + host) % 97 == 0
            result = {
                "changed": task % 3 == 0, "rc": int(fails), "cmd": ["/usr/bin/thing", "--number", str(task)],
                "stdout": f"line one of {name}\nline two", "stdout_lines": [f"line one of {name}", "line two"],
                "stderr": "it did not work" if fails else "", "msg": "non-zero return code" if fails else "",
                "invocation": {"module_args": {"argv": ["/usr/bin/thing"]}},
            }  # fmt: skip
            final = "runner_on_failed" if fails else "runner_on_ok"
            for kind, more in (("runner_on_start", {}), (final, {"res": result, "duration": 0.31})):
                counter += 1
                yield {
                    "event": kind, "counter": counter, "created": "2026-01-06T01:00:00.000000+00:00", "stdout": "",
                    "event_data": data | more,
                }  # fmt: skip


def main() -> int:
    parser = arguments(__doc__)
    parser.add_argument("--jobs", type=int, default=10, help="jobs, of 10,000 events each")
    options = parser.parse_args()
    made = [list(events(job)) for job in range(options.jobs)]
    count = sum(len(one) for one in made)
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{folder}/site.db"
        upgrade(url)
        with closing(open_database(url)) as database:
            store = SqlStore(database)
            began = time.monotonic()
            recorded = 0.0
            for number, some in enumerate(made):
                job = JobDir(Path(folder) / "jobs" / f"CHG-0001.w{number}")
                job.create()
                took = time.monotonic()
                _record(job, some)
                recorded += time.monotonic() - took
                with store.begin() as writing:
                    writing.keep_tasks("CHG-0001", job.path.name, read_result(job).tasks)
            stored = time.monotonic() - began
            asked = time.monotonic()
            found = store.tasks("CHG-0001", outcomes=["failed"])
            of_a_host = store.tasks("CHG-0001", "web1-7")
            answered = time.monotonic() - asked
    expected = sum(event["event"] == "runner_on_failed" for some in made for event in some)
    if len(found) != expected or len(of_a_host) != TASKS:
        raise SystemExit(f"{len(found)} of {expected} failures were found, {len(of_a_host)} of {TASKS} tasks of a host")
    figures = {
        "events_a_second": round(count / stored),
        "events_a_second_to_disk": round(count / recorded),
        "answered_in_milliseconds": round(answered * 1000),
        "events": count,
    }
    holds = count / stored >= LIMIT
    return tell("intake", figures, {"events_a_second": LIMIT}, holds=holds, keep=options.keep)


def _record(job: JobDir, some: list[Mapping[str, object]]) -> None:
    """Do with events what the supervisor of a run does, up to the result that it leaves."""
    recorder = Recorder(job, Redactor(["s3cret-that-is-nowhere"]))
    for event in some:
        recorder.record(event)
    if recorder.trouble:
        raise SystemExit(recorder.trouble)
    hosts = sorted({str(event["event_data"]["host"]) for event in some})  # type: ignore[index]
    told = {
        "id": job.path.name, "status": JobStatus.FINISHED.value, "rc": 0, "started_at": None, "finished_at": None,
        "hosts": recorder.tally.hosts(hosts), "artifacts": recorder.close(), "message": "",
    }  # fmt: skip
    job.write(job.result, told)


if __name__ == "__main__":
    sys.exit(main())
