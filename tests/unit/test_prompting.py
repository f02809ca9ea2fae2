"""Secrets that a person types: asked for once, and handed to the worker in memory."""

from __future__ import annotations

import getpass
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.engine.carrier import Carriers
from orchestrator.errors import Unavailable
from orchestrator.flow.ledger import Ledger
from orchestrator.settings import DESCRIPTOR, Reference, ReferenceKind, hand_over, load_settings, prompting, resolve

QUESTION = r"Password of LAB\patch"
ASKED = Reference(kind=ReferenceKind.PROMPT, target=(QUESTION,))


@pytest.fixture(autouse=True)
def nothing_typed_yet() -> Iterator[None]:
    prompting._answers.clear()
    yield
    prompting._answers.clear()


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Be a terminal at which somebody types; return what was asked."""
    asked: list[str] = []

    def typed(question: str, stream: object = None) -> str:
        asked.append(question)
        return "t0p secret"

    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    monkeypatch.setattr(getpass, "getpass", typed)
    return asked


def test_person_is_asked_once(terminal: list[str]) -> None:
    assert resolve(ASKED).reveal() == resolve(ASKED).reveal() == "t0p secret"
    assert terminal == [f"{QUESTION}: "]


def test_where_nobody_can_be_asked_the_other_ways_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdin, "isatty", lambda: False)
    with pytest.raises(Unavailable) as refused:
        resolve(ASKED)
    assert all(word in str(refused.value) for word in (QUESTION, "{file =", "{env =", "{command ="))


def test_worker_reads_what_was_typed_and_leaves_it_to_nobody(terminal: list[str]) -> None:
    descriptor = hand_over([QUESTION])
    assert descriptor is not None
    program = (
        "import os\n"
        "from orchestrator.settings import prompting, take_over\n"
        "take_over(os.environ)\n"
        f"print(prompting.answer({QUESTION!r}).reveal(), {DESCRIPTOR!r} in os.environ)\n"
        f"try: os.fstat({descriptor})\n"
        "except OSError: print('closed')\n"
    )
    environment = {**os.environ, DESCRIPTOR: str(descriptor)}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, stdin=subprocess.DEVNULL, pass_fds=[descriptor],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    os.close(descriptor)
    assert done.stdout == "t0p secret False\nclosed\n"
    assert not any("t0p secret" in value for value in environment.values())


def test_worker_that_begins_anew_still_knows_what_was_typed(terminal: list[str], tmp_path: Path) -> None:
    program = (
        "import os\n"
        "from pathlib import Path\n"
        "from orchestrator.engine.worker import begin_anew\n"
        "from orchestrator.settings import prompting, take_over\n"
        "take_over(os.environ)\n"
        f"print(os.getpid(), prompting.answer({QUESTION!r}).reveal(), {DESCRIPTOR!r} in os.environ, flush=True)\n"
        "if not Path('begun').exists():\n"
        "    Path('begun').touch()\n"
        "    begin_anew()\n"
    )
    descriptor = hand_over([QUESTION])
    assert descriptor is not None
    environment = os.environ | {DESCRIPTOR: str(descriptor), "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, stdin=subprocess.DEVNULL, pass_fds=[descriptor],
        capture_output=True, text=True, check=True, cwd=tmp_path,
    )  # fmt: skip
    os.close(descriptor)
    first, second = done.stdout.splitlines()
    assert first == second
    assert first.endswith(" t0p secret False")


# A worker outlives the command: nobody waits for it.
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_command_hands_what_was_typed_to_the_worker_that_it_starts(tmp_path: Path, terminal: list[str]) -> None:
    program = (
        "import os, pathlib\n"
        "from orchestrator.settings import prompting, take_over\n"
        "take_over(os.environ)\n"
        f"told = prompting.answer({QUESTION!r}).reveal()\n"
        f"pathlib.Path({str(tmp_path / 'draft')!r}).write_text(told)\n"
        f"os.rename({str(tmp_path / 'draft')!r}, {str(tmp_path / 'told')!r})\n"
    )

    def typed() -> tuple[str, int] | None:
        descriptor = hand_over([QUESTION])
        return None if descriptor is None else (DESCRIPTOR, descriptor)

    def no_ledger() -> Ledger:
        raise AssertionError("the ledger is not asked")

    command = (sys.executable, "-c", program)
    carriers = Carriers(tmp_path, command, no_ledger, lambda: [], is_single=True, typed=typed)
    asked: list[str] = []
    carriers.prepare(lambda: asked.append("before"))
    carriers.start()
    until = time.monotonic() + 20
    while not (tmp_path / "told").exists() and time.monotonic() < until:
        time.sleep(0.05)
    assert (tmp_path / "told").read_text() == "t0p secret", carriers.log.read_text()
    assert asked == ["before"]


@pytest.mark.parametrize("words", [("worker", "--until-idle", "1"), ("serve",)], ids=["worker", "serve"])
def test_worker_without_a_terminal_does_not_begin_and_says_what_to_use(words: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "orchestrator.toml").write_text(
        f'[site]\nname = "a"\n[paths]\nstate = "{tmp_path.parent}/{tmp_path.name}-state"\n'
        '[secrets]\nWIN = {prompt = "Windows"}\n'
    )
    done = subprocess.run(
        [sys.executable, "-m", "orchestrator", "--site", str(tmp_path), *words],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode != 0
    assert "the worker does not begin" in done.stderr
    assert "{file =" in done.stderr
    assert not (tmp_path.parent / f"{tmp_path.name}-state").exists()


def test_without_questions_nothing_is_handed_over() -> None:
    assert hand_over([]) is None


def test_settings_know_what_a_person_is_asked(tmp_path: Path) -> None:
    text = '[site]\nname = "a"\n[secrets]\nWIN = {prompt = "Windows"}\nSAME = {prompt = "Windows"}\nT = {env = "T"}\n'
    (tmp_path / "orchestrator.toml").write_text(text)
    assert load_settings(tmp_path, {}).questions() == ("Windows",)
