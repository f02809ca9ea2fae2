"""The demo, as somebody who is new to the project would run it: one run, and what it leaves when it is taken down."""

from __future__ import annotations

import itertools
import json
import os
import queue
import re
import signal
import subprocess
import tarfile
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import pytest

from lab.instance import Lab
from lab.pytest_plugin import temporary_lab
from lab.windows.instance import WindowsLab
from tests.acceptance.machines import Machine

TOP = Path(__file__).parents[2]
#: On an idle machine it takes under six minutes; here it may run beside other tests.
LONGEST = 1800
WEB = ("web1", "web2", "web3", "web4")
#: What the trail says, in this order, of a change whose hosts all go back.
ENDING = ("budget-tripped", "rollback-started", "rolled-back")

# One run is enough, and one worker: every test below is about the same run.
pytestmark = [
    pytest.mark.lab,
    pytest.mark.timeout(LONGEST + 300),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Telling:
    """What a run of the demo has printed, line by line with the time, and how it ended."""

    folder: Path
    lab: Lab
    code: int
    began: float
    lines: tuple[tuple[float, str], ...]

    @property
    def text(self) -> str:
        return "\n".join(line for _, line in self.lines)

    def after(self, command: str) -> str:
        """Return what was printed after a command was typed, up to the next one."""
        _, _, rest = self.text.partition(f"$ {command}")
        return re.split(r"(?m)^\$ ", rest, maxsplit=1)[0]


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Telling]:
    folder = tmp_path_factory.mktemp("demo") / "demo"
    with temporary_lab("demo") as lab:
        try:
            yield run_demo(folder, lab)
        finally:
            demo("--down", folder=folder, lab=lab).wait(300)


@pytest.fixture(scope="module")
def record(told: Telling) -> Mapping[str, bytes]:
    """The evidence of CHG 3, file by file."""
    return evidence(told, "CHG-0003")


def evidence(told: Telling, change: str) -> Mapping[str, bytes]:
    with tarfile.open(told.folder / "bundles" / f"{change}.tar.gz") as bundle:
        return {one.name: handle.read() for one in bundle if (handle := bundle.extractfile(one)) is not None}


def lines_of(document: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in document.splitlines()]


def test_it_ends_well(told: Telling) -> None:
    assert told.code == 0, told.text[-3000:]


def test_it_is_never_silent_for_long(told: Telling) -> None:
    times = [told.began, *(at for at, _ in told.lines)]
    gaps = [(later - earlier, at) for at, (earlier, later) in enumerate(itertools.pairwise(times))]
    longest, at = max(gaps)
    assert longest <= 5, f"silent for {longest:.1f} s after: {told.lines[max(0, at - 1)][1]}"


def test_the_security_patch_is_proved_approved_by_another_and_closed(told: Telling) -> None:
    assert re.search(r"stage1: passed: applied, verified, put back, verified .*, applied again", told.text)
    assert "nobody approves their own request" in told.after("orchestrator change approve CHG-0001")
    started = told.after("orchestrator change start CHG-0001")
    assert started.index("web1: done") < started.index("web2: done")
    assert "CHG-0001 is succeeded" in started
    assert "CHG-0001 is closed: successful" in told.after("orchestrator change close CHG-0001")


def test_the_bad_update_passes_staging_trips_the_budget_and_is_put_back_everywhere(told: Telling) -> None:
    assert "CHG-0002 is staged" in told.after("orchestrator change stage CHG-0002")
    started = told.after("orchestrator change start CHG-0002")
    assert re.search(r"web4: failed .* answered 500", started)
    assert "budget-tripped by orchestrator: 1 of 4 hosts failed, 0 allowed" in started
    assert all(re.search(rf"(?m)^{host} .* restored", started) for host in WEB)
    assert "CHG-0002 is rolled-back" in started


def test_the_service_was_seen_broken_and_answers_again(told: Telling) -> None:
    started = told.after("orchestrator change start CHG-0002")
    seen = re.findall(r"~ http://web4:8080/health  (\d+)", started)
    assert seen[0] == "500"
    assert seen[-1] == "200"


def test_hosts_are_as_they_were_before_the_bad_update(told: Telling) -> None:
    left = evidence(told, "CHG-0002")
    for name in WEB:
        host = Machine(told.lab, name)
        assert host.packages() == json.loads(left[f"packages/{name}.before.json"])["packages"]
        assert host.count("restore", "restored") == 1
        assert host.ask() == "200 labapp 1.0"
    assert "legacy=yes" in (Machine(told.lab, "web4").disk / "etc/labapp.conf").read_text()
    tags = [event["tag"] for event in lines_of(left["trail.jsonl"])]
    assert [tag for tag in tags if tag in ENDING] == [*ENDING]


def test_windows_host_that_never_comes_back_ends_the_change(told: Telling) -> None:
    assert "CHG-0003 is staged" in told.after("orchestrator change watch CHG-0003")
    started = told.after("orchestrator change start CHG-0003")
    words = (
        "app1: done",
        "app2: reconciled (the host did not answer",
        "app2: unknown",
        "budget-tripped by orchestrator",
    )
    assert sorted(words, key=started.index) == [*words]
    assert "1 of 7 hosts failed, 0 allowed" in started
    assert "CHG-0003 is failed" in started
    assert "Connection refused" in started
    assert "Max retries" not in started, "how the libraries below wrap it is nobody's business"


def test_record_names_the_lost_host_and_says_that_nobody_knows(told: Telling, record: Mapping[str, bytes]) -> None:
    shown = told.after("orchestrator change show CHG-0003")
    assert re.search(r"(?m)^app2 .* unknown: the host did not answer for 10 s", shown)
    events = [event for event in lines_of(record["trail.jsonl"]) if event["data"].get("host") == "app2"]
    assert [event["tag"] for event in events if event["tag"].startswith("host-")][:2] == [
        "host-reconciled",
        "host-unknown",
    ]
    assert events[0]["outcome"] == "unknown"
    patched = [step for step in lines_of(record["journal.jsonl"]) if (step["host"], step["step"]) == ("app2", "patch")]
    assert [step["outcome"] for step in patched] == ["unknown"]


def test_nothing_was_begun_on_the_hosts_after_it(told: Telling, record: Mapping[str, bytes]) -> None:
    later = ("app3", *WEB)
    shown = told.after("orchestrator change show CHG-0003")
    assert all(re.search(rf"(?m)^{host} .* pending", shown) for host in later)
    began = {step["host"] for step in lines_of(record["journal.jsonl"]) if ".l1." in step["job"]}
    assert began == {"app1", "app2"}
    windows = WindowsLab(told.lab.name, told.lab.root)
    assert windows.journal("app3", "update-begun") == []
    assert [entry.details["kb"] for entry in windows.journal("app2", "update-begun")] == ["KB5034129"]
    assert windows.journal("app2", "never-back")


def test_new_error_in_an_event_log_is_told_and_in_the_bundle(told: Telling, record: Mapping[str, bytes]) -> None:
    found = "event-log: new errors: Service Control Manager 7000: The Print Spooler service failed to start"
    assert f"app1: finding: {found}" in told.after("orchestrator change start CHG-0003")
    (report,) = [one for one in json.loads(record["health/app1.json"])["health"] if one["check"] == "event-log"]
    assert (report["passed"], report["advisory"]) == (False, True)
    done = [event for event in lines_of(record["trail.jsonl"]) if event["tag"] == "host-done"]
    assert [(event["data"]["host"], event["data"]["findings"][0][: len(found)]) for event in done] == [("app1", found)]


def test_the_evidence_verifies_and_a_flipped_byte_does_not(told: Telling) -> None:
    for change in ("CHG-0001", "CHG-0002", "CHG-0003"):
        bundle = told.folder / "bundles" / f"{change}.tar.gz"
        assert "verified, signed by sha256:" in told.after(f"orchestrator audit verify {bundle}")
    forged = told.folder / "bundles" / "CHG-0003-forged.tar.gz"
    assert "does not hold" in told.after(f"orchestrator audit verify {forged}")


def test_taking_it_down_leaves_no_trace(told: Telling) -> None:
    # Last: nothing is left to look at afterwards.
    assert told.lab.hosts()
    subnet = json.loads((told.lab.folder / "network.json").read_text())["index"]
    assert demo("--down", folder=told.folder, lab=told.lab).wait(300) == 0
    assert not told.folder.exists()
    assert not told.lab.folder.exists()
    assert not WindowsLab(told.lab.name, told.lab.root).folder.exists()
    assert str(told.lab.folder) not in Path("/proc/mounts").read_text()
    assert str(told.lab.folder) not in _printed("ip", "-details", "-json", "link")
    assert f"plab{subnet}-" not in _printed("ip", "netns")
    assert _processes_about(told) == []


def run_demo(folder: Path, lab: Lab) -> Telling:
    began = time.monotonic()
    process = demo(folder=folder, lab=lab)
    heard: queue.SimpleQueue[tuple[float, str]] = queue.SimpleQueue()
    assert process.stdout is not None
    listener = threading.Thread(target=_listen, args=(process.stdout, heard))
    listener.start()
    try:
        code = process.wait(LONGEST)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGINT)
        code = process.wait(60)
    listener.join()
    process.stdout.close()
    lines = tuple(heard.get() for _ in range(heard.qsize()))
    return Telling(folder=folder, lab=lab, code=code, began=began, lines=lines)


def demo(*words: str, folder: Path, lab: Lab) -> subprocess.Popen[str]:
    """Start script/demo in a folder and a lab instance of its own; what it needs is installed, or no test would run."""
    named = {"PATCH_DEMO_FOLDER": str(folder), "PATCH_DEMO_INSTANCE": lab.name, "PATCH_LAB_ROOT": str(lab.root)}
    return subprocess.Popen(
        [TOP / "script" / "demo", *words],
        env=os.environ | named | {"PATCH_DEMO_PREPARED": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE if not words else None,
        stderr=subprocess.STDOUT if not words else None,
        text=True,
    )


def _listen(stream: IO[str], heard: queue.SimpleQueue[tuple[float, str]]) -> None:
    for line in stream:
        heard.put((time.monotonic(), line.rstrip("\n")))


def _printed(*argv: str) -> str:
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout


def _processes_about(told: Telling) -> list[str]:
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = file.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(told.folder) in words or str(told.lab.folder) in words:
            found.append(words)
    return found
