"""Does a command on the controller say that the service is well.

Options: ``argv`` (needed; words as a shell would read them, or a JSON list; no shell runs it) with ``{host}`` and
``{address}``, ``rc`` (the exit codes that pass, default 0), ``timeout``, ``retries``, ``delay``.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
from collections.abc import Sequence
from contextlib import suppress

from orchestrator.adapters.health.asking import Answer, Asking, ask_all
from orchestrator.adapters.health.options import Options, filled, listed
from orchestrator.domain.health import HealthCheck, HealthReport
from orchestrator.domain.inventory import Host

_SHOWN = 200


class CommandCheck:
    """Runs a command for each host; implements ``ports.ServiceCheck``."""

    def __init__(self, asking: Asking | None = None) -> None:
        self._asking = asking or Asking()

    def check(self, hosts: Sequence[Host], check: HealthCheck) -> Sequence[HealthReport]:
        """Return one report per host. Raises InvalidInput where the options make no sense."""
        options = Options(check=check)
        argv: Sequence[str] = options.needed("argv", _argv, (), 'the words of a command, such as "check_web {address}"')
        codes = options.parsed("rc", _codes, frozenset({0}), "exit codes, such as 0 or 0,2")
        patience = options.patience()
        options.done()

        def ask(host: Host) -> Answer:
            return _run([filled(word, host) for word in argv], codes, patience.timeout)

        return ask_all(hosts, check, ask, patience, self._asking)


def _argv(text: str) -> Sequence[str]:
    if not text.startswith("["):
        return shlex.split(text)
    words = json.loads(text)
    if not words or not all(isinstance(word, str) for word in words):
        raise ValueError(text)
    return list(words)


def _codes(text: str) -> frozenset[int]:
    return frozenset(int(code) for code in listed(text))


def _run(argv: Sequence[str], codes: frozenset[int], timeout: float) -> Answer:
    try:
        process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            # Its own process group, so that what it started ends with it.
            start_new_session=True,
        )
    except OSError as error:
        return Answer(passed=False, detail=f"{argv[0]} cannot be run: {error.strerror}")
    with process:
        try:
            said, _ = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            return Answer(passed=False, detail=f"{argv[0]} did not end within {timeout:g} s and was killed")
    words = _last_line(said.decode(errors="replace"))
    return Answer(passed=process.returncode in codes, detail=f"{argv[0]} ended with {process.returncode}{words}")


def _last_line(said: str) -> str:
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return f": {lines[-1][:_SHOWN]}" if lines else ""
