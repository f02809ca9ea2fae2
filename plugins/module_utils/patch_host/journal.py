"""The host's own journal: what was begun and ended here, by whom, and who may begin the next step (fencing).

The journal is written before the act and after it, so that an orchestrator that lost its connection, its memory or its
machine can ask the host what really happened.
"""

import json
import os
import time
import typing

from ansible.module_utils.patch_host.errors import PatchError, Refused
from ansible.module_utils.patch_host.files import FOLDER, append_line, locked, read_json, remove, try_lock, write_json

#: Seconds for which somebody who only looks may have a lock.
_GLANCE = 1.0
STEPS = ("protect", "patch", "reboot", "restore", "release")


class Token(typing.NamedTuple):
    """Who acts: an installation of the orchestrator, the count of its acts, and how long it has seen the journal."""

    installation: str
    counter: int
    seen: int = 0


class Journal:
    """Records under `folder`. One step at a time: whoever acts holds a lock that ends with the acting process."""

    def __init__(self, folder=FOLDER, clock=time.time):
        self.folder = folder
        self.clock = clock
        self._path = os.path.join(folder, "journal.jsonl")
        self._claim = os.path.join(folder, "claim.json")
        self._lock = os.path.join(folder, "journal.lock")
        self._step_lock = os.path.join(folder, "step.lock")
        self._held = None

    def records(self):
        """Return all records, the oldest first. A line that a power cut tore is no record."""
        try:
            with open(self._path, encoding="utf-8", errors="replace") as file:
                return [record for record in map(parsed_record, file) if record is not None]
        except FileNotFoundError:
            return []

    def claim(self):
        """Return the claim that stands on this host; {} where none does."""
        return read_json(self._claim) or {}

    def check(self, token, change, step):
        """Raise `Refused` where `token` may not act now. Takes the step's lock and keeps it until this process ends."""
        self._take_lock("Step %s of change %s" % (step, change))
        claim = self.claim()
        reason = refusal(self.records(), claim, token, change, step)
        if reason:
            self.let_go()
            raise Refused("Step %s of change %s was refused: %s" % (step, change, reason), claim)

    def is_at_work(self):
        """Whether a process of this host, other than this one, is in the middle of a step."""
        if self._held is not None or not os.path.exists(self._step_lock):
            return False
        lock = try_lock(self._step_lock)
        if lock is not None:
            os.close(lock)
        return lock is None

    def let_go(self):
        """Give the step's lock up, as the end of the process does."""
        if self._held is not None:
            os.close(self._held)
            self._held = None

    def begin(self, token, change, step):
        """Check the token, then write down that the step begins; `protect` and `restore` claim the host with it."""
        with locked(self._lock):
            self.check(token, change, step)
            again = _is_open(self.records(), token.installation, change, step)
            detail = "begins again after an interruption" if again else ""
            self._append(token, change, step, "begin", detail=detail)
            if step in ("protect", "restore"):
                self._write_claim(token, change)

    def end(self, token, change, step, outcome, detail=""):
        """Write down how the step ended: ok or failed."""
        with locked(self._lock):
            self._append(token, change, step, "end", outcome=outcome, detail=detail)

    def note(self, token, change, step, event, detail=""):
        """Write down that something is so: restored, released."""
        with locked(self._lock):
            self._append(token, change, step, event, outcome="ok", detail=detail)

    def adopt(self, token, change, reason):
        """Take the host over from another installation. Return the names of the changes that were taken over.

        What the other one left open counts as settled from here on, and its change as lost to it.
        """
        with locked(self._lock):
            self._take_lock("Adopting the host")
            claim = self.claim()
            left = foreign_changes(self.records(), claim, token.installation)
            if claim and claim.get("installation") != token.installation:
                self._write_claim(token, claim.get("change", change))
            for other in left:
                self._append(token, other, "", "adopted", outcome="ok", detail=reason)
            return left

    def release_claim(self, change):
        """End the claim if it is this change's. Return whether it was."""
        if self.claim().get("change") != change:
            return False
        remove(self._claim)
        return True

    def _take_lock(self, what):
        until = time.time() + _GLANCE
        while self._held is None:
            self._held = try_lock(self._step_lock)
            if self._held is None and time.time() >= until:
                raise Refused(
                    "%s was asked for, but another step is still at work on this host. Wait until it has ended; "
                    "verify.yml shows the journal." % what,
                    self.claim(),
                )
            if self._held is None:
                time.sleep(0.05)

    def _write_claim(self, token, change):
        claim = {
            "installation": token.installation,
            "counter": token.counter,
            "change": change,
            "at": int(self.clock()),
        }
        write_json(self._claim, claim)

    def _append(self, token, change, step, event, outcome="", detail=""):
        record = {
            "at": int(self.clock()),
            "change": change,
            "step": step,
            "installation": token.installation,
            "counter": token.counter,
            "event": event,
            "outcome": outcome,
            "detail": detail[:500],
        }
        append_line(self._path, json.dumps(record, sort_keys=True))


def refusal(records, claim, token, change, step):
    """Say why the host refuses this step; "" where it does not. Pure: all fencing rules are here."""
    if not token.installation:
        raise PatchError("Step %s needs a fencing token (patch_job.token), and none was given." % step)
    newest = max((r["counter"] for r in records if r["installation"] == token.installation), default=0)
    if newest > token.counter:
        return "token %d is older than %d, which was seen here. A newer run of this orchestrator holds the host." % (
            token.counter,
            newest,
        )
    if len(records) < token.seen:
        return (
            "the host's journal has %d records, %d were seen before. The host was taken back to an older state; "
            "look at it and reconcile." % (len(records), token.seen)
        )
    if _taken_over(records, token.installation, change):
        return "another installation adopted this change. Settle with its owner, or adopt it back (host adopt)."
    others = foreign_changes(records, claim, token.installation)
    if others:
        return "another installation of the orchestrator holds the host (%s). Settle it with host adopt." % (
            ", ".join(others)
        )
    if step in ("patch", "reboot") and claim.get("change") != change:
        return "the host is not claimed by this change. Run protect.yml first."
    return ""


def open_steps(records):
    """Return the `begin` records to which there is no end, newest last."""
    found = {}
    for record in records:
        key = (record["installation"], record["change"], record["step"])
        if record["event"] == "begin":
            found[key] = record
        elif record["event"] == "end":
            found.pop(key, None)
        elif record["event"] in ("adopted", "released"):
            found = {other: value for other, value in found.items() if other[1] != record["change"]}
    return list(found.values())


def _is_open(records, installation, change, step):
    return any((r["installation"], r["change"], r["step"]) == (installation, change, step) for r in open_steps(records))


def foreign_changes(records, claim, installation):
    """Name the changes of other installations that hold the host, by a claim or by an open step."""
    found = [r["change"] for r in open_steps(records) if r["installation"] != installation]
    if claim and claim.get("installation") != installation:
        found.append(claim.get("change", ""))
    return sorted(set(found))


def _taken_over(records, installation, change):
    """Whether the last `adopted` of this change was another installation's, and nothing was released since."""
    owner = installation
    for record in records:
        if record["change"] != change:
            continue
        if record["event"] == "adopted":
            owner = record["installation"]
        elif record["event"] == "released":
            owner = installation
    return owner != installation


def parsed_record(line):
    """Return the record in a line of a journal; None where it is none, as where a power cut tore it."""
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) and "event" in record and "counter" in record else None
