"""What the recorder leaves of Ansible's events, and what they say of each host."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from orchestrator.adapters.ansible.jobdir import JobDir, rows
from orchestrator.adapters.ansible.outcome import read_result
from orchestrator.adapters.ansible.recorder import LONGEST_RESULT, LONGEST_TEXT, Recorder
from orchestrator.adapters.ansible.redaction import Redactor
from orchestrator.adapters.ansible.tally import Tally, failure_message
from orchestrator.adapters.ansible.verdict import FINISHED, Verdict, write_result
from orchestrator.domain.job import HostOutcome, JobStatus
from orchestrator.errors import Unavailable


def event(name: str, host: str = "", result: dict[str, object] | None = None, **more: object) -> dict[str, object]:
    data: dict[str, object] = {"host": host} if host else {}
    if result is not None:
        data |= {"res": result, "task": "Install", "task_action": "patch_apply", "duration": 1.5}
    said = more.pop("stdout", "")
    return {"event": f"runner_on_{name}", "counter": 1, "created": "T", "stdout": said, "event_data": data | more}


def statistics(**counts: dict[str, int]) -> dict[str, object]:
    return {"event": "playbook_on_stats", "counter": 9, "created": "T", "event_data": counts}


@pytest.fixture
def job(tmp_path: Path) -> JobDir:
    found = JobDir(tmp_path / "state" / "jobs" / "job-1")
    found.create()
    found.write(found.order, {"id": "job-1", "hosts": ["web1", "web2"], "timeout": 10})
    return found


def recorded(job: JobDir, *events: dict[str, object], secrets: tuple[str, ...] = ()) -> Recorder:
    recorder = Recorder(job, Redactor(secrets))
    for one in events:
        recorder.record(one)
    return recorder


def outcomes(recorder: Recorder) -> dict[object, object]:
    return {row["host"]: row["outcome"] for row in recorder.tally.hosts(["web1", "web2"])}


def test_an_event_keeps_what_matters(job: JobDir) -> None:
    result = {"changed": True, "msg": "done", "invocation": {"module_args": {"a": 1}}, "stdout_lines": ["x"]}
    recorded(job, event("ok", "web1", result))
    (row,) = rows(job.events)
    assert row == {
        "counter": 1, "created": "T", "event": "runner_on_ok", "host": "web1", "action": "patch_apply", "ms": 1500,
        "changed": True, "task": "Install", "res": {"changed": True, "msg": "done"},
    }  # fmt: skip


def test_what_was_recorded_is_on_disk_at_once(job: JobDir) -> None:
    recorder = recorded(job, event("start", "web1"), event("ok", "web1", {"changed": False}))
    assert recorder.trouble == ""
    assert [row["outcome"] for row in rows(job.progress)] == ["running", "ok"]


def test_a_long_text_is_cut_and_says_so(job: JobDir) -> None:
    secret = "s3cret-at-the-cut"
    text = "x" * (LONGEST_TEXT - 5) + secret + "y" * 100
    recorded(job, event("ok", "web1", {"stdout": text}), secrets=(secret,))
    kept = job.events.read_text()
    assert f"[cut: {len(text)} characters in all]" in kept
    assert "s3cre" not in kept


def test_a_huge_result_is_left_out_and_says_so(job: JobDir) -> None:
    recorded(job, event("ok", "web1", {"facts": ["x" * 100] * (LONGEST_RESULT // 90)}))
    (row,) = rows(job.events)
    assert "a result of" in str(row["res"])


def test_reports_of_a_task_and_of_its_items_are_kept_whole(job: JobDir) -> None:
    items: dict[str, object] = {
        "results": [{"report": {"kind": "b"}, "changed": True}, {"report": {"kind": "c", "text": "y" * 99_999}}]
    }
    recorded(job, event("ok", "web1", {"report": {"kind": "a"}}), event("ok", "web1", items))
    reports = [row["report"] for row in rows(job.reports)]
    assert [len(str(report)) > 99_999 for report in reports] == [False, False, True]
    assert [row["changed"] for row in rows(job.reports)] == [False, True, False]
    assert "yyyy" not in job.events.read_text()


def test_what_is_no_report_is_ignored(job: JobDir) -> None:
    recorded(job, event("ok", "web1", {"report": "text"}), event("ok", "web1", {"report": {"no": "kind"}}))
    assert job.reports.read_bytes() == b""


def test_colours_are_dropped_and_secrets_masked_in_the_output(job: JobDir) -> None:
    recorded(job, event("ok", "web1", {}, stdout="\x1b[0;32mok: [web1]\x1b[0m hunter2\r"), secrets=("hunter2",))
    assert job.output.read_text() == "ok: [web1] ***\n"


def test_a_recorder_never_stops_the_run(job: JobDir) -> None:
    recorder = Recorder(job, Redactor(()))
    recorder._events = -1
    recorder.record(event("ok", "web1", {}))
    assert "the record of this job is incomplete" in recorder.trouble


def test_statistics_decide_where_there_are_any(job: JobDir) -> None:
    recorder = recorded(
        job,
        event("failed", "web1", {"msg": "rescued"}),
        event("unreachable", "web2", {"msg": "gone"}),
        statistics(processed={"web1": 1, "web2": 1}, rescued={"web1": 1}, dark={"web2": 1}),
    )
    assert outcomes(recorder) == {"web1": "ok", "web2": "unreachable"}


def test_without_statistics_a_host_that_was_fine_so_far_is_nothing(job: JobDir) -> None:
    recorder = recorded(job, event("ok", "web1", {"changed": True}), event("failed", "web2", {"msg": "no"}))
    assert outcomes(recorder) == {"web1": "nothing", "web2": "failed"}


def test_without_statistics_a_host_that_went_on_after_failing_is_nothing(job: JobDir) -> None:
    recorder = recorded(job, event("failed", "web1", {"msg": "no"}), event("ok", "web1", {}))
    assert outcomes(recorder)["web1"] == "nothing"


def test_an_ignored_failure_is_no_word_on_a_host(job: JobDir) -> None:
    assert outcomes(recorded(job, event("failed", "web1", {}, ignore_errors=True)))["web1"] == "nothing"


def test_a_host_that_ansible_never_took_up_is_nothing(job: JobDir) -> None:
    assert outcomes(recorded(job, statistics(processed={"web1": 1}, ok={"web1": 1}))) == {
        "web1": "ok",
        "web2": "nothing",
    }


def test_the_message_says_what_the_command_wrote() -> None:
    said = failure_message({"msg": "non-zero return code", "stderr": "\nE: held packages\n\n"})
    assert said == "non-zero return code\nE: held packages"
    assert failure_message({"msg": "One or more items failed", "results": [{"failed": True, "msg": "bad"}]}).endswith(
        "bad"
    )
    assert len(failure_message({"msg": "line\n" * 99}).splitlines()) == 8


def test_a_result_is_rebuilt_from_the_folder(job: JobDir) -> None:
    recorder = recorded(
        job,
        event("ok", "web1", {"changed": True, "report": {"kind": "state", "time": 1.0}}),
        event("failed", "web2", {"msg": "key hunter2 refused"}),
        statistics(processed={"web1": 1, "web2": 1}, failures={"web2": 1}),
        secrets=("hunter2",),
    )
    write_result(job, recorder, Redactor(["hunter2"]), Verdict(FINISHED, 2, "said hunter2"))
    result = read_result(job)
    assert (result.status, result.rc, result.message) == (JobStatus.FINISHED, 2, "said ***")
    web1, web2 = result.hosts
    assert (web1.outcome, web1.changed, web1.reports) == (HostOutcome.OK, 1, ({"kind": "state", "time": 1},))
    assert (web2.outcome, web2.task, web2.message) == (HostOutcome.FAILED, "Install", "key *** refused")
    assert result.artifacts[0].path == "jobs/job-1/events.jsonl.gz"
    assert len(gzip.decompress(job.events_packed.read_bytes()).splitlines()) == 3
    assert not job.events.exists()
    assert [row["outcome"] for row in json.loads(job.tasks.read_text())] == ["changed", "failed"]


def test_a_recorder_goes_on_where_another_was_killed(job: JobDir) -> None:
    recorded(job, event("ok", "web1", {"changed": True}))
    with job.events.open("a") as handle:
        handle.write('{"counter": 2, "eve')
    later = Recorder(job, Redactor(()))
    later.resume()
    later.record(event("failed", "web2", {"msg": "no"}))
    later.close()
    assert later.tally.hosts(["web1"])[0]["changed"] == 1
    assert [row["host"] for row in json.loads(job.tasks.read_text())] == ["web1", "web2"]
    assert [row["host"] for row in rows(job.events)] == ["web1", "web2"]


def test_a_damaged_result_is_an_error_and_not_a_guess(job: JobDir) -> None:
    job.result.write_text('{"id": "job-1"}')
    with pytest.raises(Unavailable, match=r"result\.json is damaged"):
        read_result(job)


def test_a_tally_without_events_knows_nothing() -> None:
    (host,) = Tally().hosts(["web1"])
    assert host == {"host": "web1", "outcome": "nothing", "task": "", "message": "", "changed": 0}
