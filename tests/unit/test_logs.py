"""Lines that people and programs read, about what they are about, and without secrets."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from orchestrator import logs
from orchestrator.logs import LogForm, LogLevel, LogSettings

LOG = logging.getLogger("orchestrator.some.module")
JSON = LogSettings(LogForm.JSON)


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    root, ours = logging.getLogger(), logging.getLogger("orchestrator")
    before = (root.handlers[:], root.level, ours.level)
    yield
    root.handlers[:], root.level, ours.level = before


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().err.splitlines()


def test_plain_line_names_time_level_and_what_it_is_about(capsys: pytest.CaptureFixture[str]) -> None:
    logs.begin(LogSettings())
    with logs.about(change="CHG-0001", job="CHG-0001.w1b1.patch"):
        LOG.info("begun by %s", "olga", extra={"host": "web1"})
    (line,) = lines(capsys)
    at, rest = line.split(" ", 1)
    assert at.endswith("Z")
    assert rest == "INFO orchestrator.some.module change=CHG-0001 job=CHG-0001.w1b1.patch host=web1: begun by olga"


def test_line_of_json_says_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    logs.begin(JSON)
    with logs.about(change="CHG-0001"):
        LOG.warning('said "ø"\nand more', extra={"host": "web1"})
    (line,) = lines(capsys)
    found = json.loads(line)
    assert found.pop("at").endswith("Z")
    assert found == {
        "level": "warning", "logger": "orchestrator.some.module", "change": "CHG-0001", "host": "web1",
        "message": 'said "ø"\nand more',
    }  # fmt: skip


def test_what_a_line_is_about_ends_with_its_block(capsys: pytest.CaptureFixture[str]) -> None:
    logs.begin(JSON)
    with logs.about(change="CHG-0001"), logs.about(host="web1"):
        pass
    LOG.info("outside")
    assert json.loads(lines(capsys)[0]).keys() == {"at", "level", "logger", "message"}


def test_traceback_stays_with_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    logs.begin(JSON)
    try:
        raise ValueError("odd")
    except ValueError:
        LOG.exception("it failed")
    (line,) = lines(capsys)
    assert json.loads(line)["error"].endswith("ValueError: odd")


@pytest.mark.parametrize("form", LogForm)
def test_secret_is_masked_wherever_it_stands(form: LogForm, capsys: pytest.CaptureFixture[str]) -> None:
    logs.begin(LogSettings(form), mask=lambda text: text.replace("hunter2", "***"))
    try:
        raise ValueError("the password is hunter2")
    except ValueError:
        LOG.exception("with %s", "hunter2", extra={"host": "hunter2"})
    said = capsys.readouterr().err
    assert "hunter2" not in said
    assert "with ***" in said


def test_level_is_the_least_of_setting_and_process(capsys: pytest.CaptureFixture[str]) -> None:
    logs.begin(LogSettings(level=LogLevel.ERROR), least=LogLevel.WARNING)
    LOG.warning("quiet")
    logs.begin(LogSettings(level=LogLevel.DEBUG), least=LogLevel.WARNING)
    LOG.info("quiet")
    LOG.warning("told")
    assert [line.rpartition(": ")[2] for line in lines(capsys)] == ["told"]


def test_other_libraries_are_heard_when_something_is_wrong(capsys: pytest.CaptureFixture[str]) -> None:
    logs.begin(LogSettings(level=LogLevel.DEBUG))
    logging.getLogger("paramiko").info("quiet")
    logging.getLogger("paramiko").warning("told")
    LOG.debug("told")
    assert len(lines(capsys)) == 2


def test_other_libraries_say_a_thing_once_in_half_a_minute(capsys: pytest.CaptureFixture[str]) -> None:
    logs.begin(LogSettings())
    theirs = logging.getLogger("somebody.else")
    for number in range(100):
        theirs.warning("attempt %d", number)
        LOG.warning("ours %d", number)
    theirs.warning("from another place")
    late = theirs.makeRecord(theirs.name, logging.WARNING, "place", 1, "said", (), None)
    for passed in (0, 29, 31):
        late.created = time.time() + passed
        theirs.handle(late)
    said = [line.partition("somebody.else: ")[2] for line in lines(capsys) if "somebody.else" in line]
    assert said == ["attempt 0", "from another place", "said", "said"]


def test_logging_needs_little_at_the_start_of_a_supervisor() -> None:
    program = "import sys, orchestrator.logs; print([m for m in sys.modules if m in ('sqlalchemy', 'pydantic')])"
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert told.strip() == "[]"
