"""How a job ended, written to its folder so that whoever comes later can rebuild the whole result."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import NamedTuple

from orchestrator.adapters.ansible.jobdir import JobDir
from orchestrator.adapters.ansible.recorder import Recorder
from orchestrator.adapters.ansible.redaction import Redactor
from orchestrator.adapters.ansible.tally import first_lines

#: The values of JobStatus. The domain is not imported: this runs in the supervisor, which starts in a hurry.
FINISHED, STOPPED, TIMED_OUT, DIED, NOT_STARTED = "finished", "stopped", "timed-out", "died", "not-started"


class Verdict(NamedTuple):
    """Status, Ansible's own exit code if it ended by itself, and why the job did not finish."""

    status: str
    rc: int | None
    message: str


def write_result(job: JobDir, recorder: Recorder, redactor: Redactor, verdict: Verdict) -> None:
    """Pack what was recorded and leave ``result.json``, from when on the job has ended."""
    order = job.read(job.order)
    artifacts = recorder.close()
    message = "\n".join(filter(None, (verdict.message, recorder.trouble)))
    hosts = recorder.tally.hosts(texts(order.get("hosts")))
    result = {
        "id": order.get("id"),
        "status": verdict.status,
        "rc": verdict.rc,
        "started_at": job.read(job.started).get("at"),
        "finished_at": now(),
        "hosts": [{**redactor.value(host), "host": host["host"]} for host in hosts],
        "artifacts": artifacts,
        "message": redactor.text(message),
    }
    job.write(job.result, result)
    job.events.unlink()


def now() -> str:
    """Return the time as RFC 3339."""
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")


def in_words(error: BaseException) -> str:
    """Return what an exception of a library says, in a few lines."""
    return first_lines(f"{type(error).__name__}: {error}" if str(error) else type(error).__name__)


def texts(value: object) -> list[str]:
    """Return the texts of a list as it came from JSON."""
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []
