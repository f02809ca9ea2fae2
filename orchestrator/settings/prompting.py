"""Secrets that a person types: asked for once by the command, and handed to the worker that it starts.

They are in the memory of these processes alone: never in their environment, their arguments or a file on disk.
"""

from __future__ import annotations

import getpass
import json
import os
import sys
from collections.abc import Iterable, Mapping, MutableMapping
from contextlib import suppress

from orchestrator.domain.inventory import Secret
from orchestrator.errors import Unavailable

#: Names the descriptor from which a worker reads what was typed for it.
DESCRIPTOR = "PATCH_ORCHESTRATOR_ANSWERS"

_answers: dict[str, Secret] = {}


def answer(question: str) -> Secret:
    """Return what was typed, asking for it the first time. Raises Unavailable where nobody can be asked."""
    if question not in _answers:
        if not sys.stdin.isatty():
            raise Unavailable(
                f'the secret "{question}" is typed at a terminal, and nobody can be asked here. Give the command at a '
                "terminal, or, for work by the clock and for workers that are services, keep the secret under "
                '[secrets] as {file = "PATH"}, {env = "NAME"} or {command = ["PROGRAM"]}.'
            )
        typed = getpass.getpass(f"{question}: ", stream=sys.stderr)
        if not typed:
            raise Unavailable(f'nothing was typed for "{question}": give the command again.')
        _answers[question] = Secret(typed)
    return _answers[question]


def hand_over(questions: Iterable[str]) -> int | None:
    """Return a descriptor from which a child process can read the answers, asked for now; None without questions."""
    told = {question: answer(question).reveal() for question in questions}
    if not told:
        return None
    descriptor = os.memfd_create("answers")
    os.write(descriptor, json.dumps(told).encode())
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


def hand_on() -> None:
    """Leave what was typed to the program that this process is about to become."""
    descriptor = hand_over(_answers)
    if descriptor is not None:
        os.set_inheritable(descriptor, True)
        os.environ[DESCRIPTOR] = str(descriptor)


def take_over(environ: MutableMapping[str, str]) -> None:
    """Take what was typed for this process, and leave nothing of it for its children."""
    named = environ.pop(DESCRIPTOR, "")
    if not named.isdigit():
        return
    with suppress(OSError, ValueError), os.fdopen(int(named), "rb") as stream:
        told: Mapping[str, str] = json.loads(stream.read())
        _answers.update({question: Secret(text) for question, text in told.items()})
