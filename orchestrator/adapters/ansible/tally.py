"""What Ansible's events say of each host; told live by the supervisor, or later from what it recorded."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

OK, FAILED, UNREACHABLE, NOTHING = "ok", "failed", "unreachable", "nothing"

#: Events that end a task on a host -> what the task summary calls it.
FINAL = {
    "runner_on_ok": OK,
    "runner_on_failed": FAILED,
    "runner_on_unreachable": UNREACHABLE,
    "runner_on_skipped": "skipped",
    "runner_on_async_ok": OK,
    "runner_on_async_failed": FAILED,
}

_LINES, _CHARACTERS = 8, 2000


class Tally:
    """The last word on each host.

    1. Ansible's closing statistics decide where there are any: a rescued failure is none, an ignored one neither.
    2. Without them, a host that failed or was lost and did nothing afterwards is what it is.
    3. Everything else is NOTHING: a host that was fine so far had more to do, and one that went on after a failure
       may have been in a rescue.
    """

    def __init__(self) -> None:
        self._bad: dict[str, tuple[str, str, str]] = {}
        self._went_on: set[str] = set()
        self._changed: dict[str, int] = {}
        self._statistics: Mapping[str, object] | None = None

    @property
    def is_complete(self) -> bool:
        """Tell whether Ansible reached the end of the playbook."""
        return self._statistics is not None

    def feed(self, row: Mapping[str, object]) -> None:
        """Take one recorded event into account."""
        event = row.get("event")
        if event == "playbook_on_stats":
            found = row.get("stats")
            self._statistics = found if isinstance(found, dict) else {}
        elif event in FINAL:
            self._take(str(row.get("host")), FINAL[str(event)], row)

    def hosts(self, names: Iterable[str]) -> list[dict[str, object]]:
        """Return outcome, task, message and number of changes of each of these hosts."""
        return [self._host(name) for name in names]

    def _take(self, host: str, outcome: str, row: Mapping[str, object]) -> None:
        if row.get("changed"):
            self._changed[host] = self._changed.get(host, 0) + 1
        if outcome in (FAILED, UNREACHABLE) and not row.get("ignored"):
            self._bad[host] = (outcome, str(row.get("task") or ""), failure_message(row.get("res")))
            self._went_on.discard(host)
        else:
            self._went_on.add(host)

    def _host(self, name: str) -> dict[str, object]:
        outcome = self._outcome(name)
        _, task, message = self._bad.get(name, ("", "", "")) if outcome in (FAILED, UNREACHABLE) else ("", "", "")
        changed = self._changed.get(name, 0)
        return {"host": name, "outcome": outcome, "task": task, "message": message, "changed": changed}

    def _outcome(self, name: str) -> str:
        if self._statistics is None:
            return self._bad[name][0] if name in self._bad and name not in self._went_on else NOTHING
        failed, lost = self._counted("failures", name), self._counted("dark", name)
        if failed and lost:
            return self._bad.get(name, (UNREACHABLE, "", ""))[0]
        if failed or lost:
            return FAILED if failed else UNREACHABLE
        return OK if self._counted("processed", name) else NOTHING

    def _counted(self, what: str, name: str) -> bool:
        counts = (self._statistics or {}).get(what)
        return bool(counts.get(name)) if isinstance(counts, dict) else False


def failure_message(result: object) -> str:
    """Return the first lines of what a module said when it failed."""
    if not isinstance(result, dict):
        return ""
    items = result.get("results")
    failed = [r for r in items if isinstance(r, dict) and r.get("failed")] if isinstance(items, list) else []
    found = [result.get("msg"), failed[0].get("msg") if failed else None]
    said = [str(text) for text in found if text]
    more = result.get("stderr") or result.get("module_stderr") or result.get("censored") or result.get("stdout")
    # "non-zero return code" and the like say nothing without what the command wrote.
    if more and (not said or len(said[0]) < 60):
        said.append(str(more))
    return first_lines("\n".join(said))


def first_lines(text: str) -> str:
    """Return the beginning of a text, without empty lines."""
    lines = [line.rstrip() for line in text.splitlines() if line.strip()]
    return "\n".join(lines[:_LINES])[:_CHARACTERS]
