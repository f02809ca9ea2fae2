"""Asking all hosts of a batch at once, each as often as the check's patience allows."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from orchestrator.adapters.health.options import Patience
from orchestrator.domain.health import HealthCheck, HealthReport
from orchestrator.domain.inventory import Host


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """How one host answered once, in words."""

    passed: bool
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """How many hosts are asked at once, and how time passes between the tries."""

    pool: int = 50
    sleep: Callable[[float], object] = time.sleep


def ask_all(
    hosts: Sequence[Host], check: HealthCheck, ask: Callable[[Host], Answer], patience: Patience, asking: Asking
) -> Sequence[HealthReport]:
    """Return one report per host, in the same order. ``ask`` may take longer than it should and may raise."""
    if not hosts:
        return []

    def report(host: Host) -> HealthReport:
        answer = _patiently(lambda: _bounded(lambda: ask(host), patience.timeout), patience, asking.sleep)
        return HealthReport(host=host.name, check=check.name, passed=answer.passed, detail=answer.detail)

    with ThreadPoolExecutor(min(asking.pool, len(hosts)), thread_name_prefix="health") as pool:
        return list(pool.map(report, hosts))


def _patiently(ask: Callable[[], Answer], patience: Patience, sleep: Callable[[float], object]) -> Answer:
    last_start = time.monotonic() + patience.retries * patience.delay
    for tries in range(1, patience.retries + 2):
        answer = ask()
        if answer.passed:
            return answer
        if tries > patience.retries or time.monotonic() + patience.delay > last_start + _TOLERANCE:
            break
        sleep(patience.delay)
    return answer if tries == 1 else Answer(passed=False, detail=f"{answer.detail} ({tries} tries)")


#: Tries that take no time at all still add up to a little.
_TOLERANCE = 0.5


def _bounded(ask: Callable[[], Answer], limit: float) -> Answer:
    """Ask in a thread of its own and give up on it when its time is over.

    Sockets know a time-out for each wait only: a name server that is silent, or a service that sends a byte now and
    then, could take for ever.
    """
    answers: list[Answer] = []
    late = Answer(passed=False, detail=f"no answer within {limit:g} s")

    def answer() -> None:
        try:
            answers.append(ask())
        except Exception as error:  # whatever a service sets off here is a fact about the service
            answers.append(Answer(passed=False, detail=f"{type(error).__name__}: {error}"))

    thread = threading.Thread(target=answer, daemon=True)
    thread.start()
    # A moment more, so that an answer that knows the reason comes before this one.
    thread.join(limit + _TOLERANCE)
    return answers[0] if answers else late
