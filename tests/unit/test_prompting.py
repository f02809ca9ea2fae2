"""Secrets that a person types: asked for once, and handed to the worker in memory."""

from __future__ import annotations

import getpass
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.errors import Unavailable
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


def test_without_questions_nothing_is_handed_over() -> None:
    assert hand_over([]) is None


def test_settings_know_what_a_person_is_asked(tmp_path: Path) -> None:
    text = '[site]\nname = "a"\n[secrets]\nWIN = {prompt = "Windows"}\nSAME = {prompt = "Windows"}\nT = {env = "T"}\n'
    (tmp_path / "orchestrator.toml").write_text(text)
    assert load_settings(tmp_path, {}).questions() == ("Windows",)
