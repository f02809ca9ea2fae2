"""A Windows host as a phase works on it: looking, searching, the journal with its fencing, and what is done by modules.

Whoever talks to the host (the action plugin, or a test) is a `hands` with four methods; each raises `Lost` where the
connection broke and nobody knows what became of it:

    script(name, parameters)   run one of the role's scripts; return what it tells; `PatchError` where it failed
    module(name, arguments)    run a module; return its result, failed or not
    updates(arguments)         run ansible.windows.win_updates; return its result, failed or not
    reboot(seconds, message)   run ansible.windows.win_reboot; return its result, failed or not
"""

import json
import time

from ansible.module_utils.patch_host.errors import PatchError, Refused
from ansible.module_utils.patch_host.journal import foreign_changes, open_steps, refusal
from ansible.module_utils.patch_windows.look import health, packages, read_look, state_report
from ansible.module_utils.patch_windows.updates import definitions, read_updates

FOLDER = r"C:\ProgramData\patch-orchestrator"
#: Seconds between two looks at a host that does not answer or is at work.
_PAUSE = 2.0
_TRIES = 3
#: What says that a login was refused: asking again would lock the account out.
_REFUSED_LOGIN = ("401", "uthenticat", "credentials were rejected", "access denied", "access is denied", "unauthorized")


class Lost(Exception):
    """The connection broke, or the host did not answer: what was asked for may have been done or not."""


class Host:
    """One host in one phase. `settle` is for how many seconds services may take to come up after a boot."""

    def __init__(self, job, hands, settle=90, clock=time.time, sleep=time.sleep):
        self.job = job
        self.hands = hands
        self.settle = settle
        self.clock = clock
        self.sleep = sleep
        self.changed = False
        self._look = None

    # Looking --------------------------------------------------------------------------------------------------

    def look(self):
        """Look at the host; a broken connection is tried again, as looking does no harm."""
        told = self._read("look.ps1", {"Folder": FOLDER, "Change": self.job.change})
        self._look = read_look(told, self.clock())
        return self._look

    def search(self):
        """Ask what is on offer and installed: (updates without definitions, the KBs of definitions)."""
        rows = self._read("search.ps1", {})["updates"]
        return read_updates(rows), definitions(rows)

    def installed(self, look, found):
        """Return the packages of the `state` report."""
        return packages(look, *found)

    def state(self, when, look, found):
        """Return the `state` report."""
        return state_report(when, look, self.job, self.installed(look, found), health(look))

    def wait_until_quiet(self, until):
        """Wait for the host to answer and for what goes on there to end. Return the look.

        Raises `Lost` where it does not answer until then, or still works.
        """
        while True:
            try:
                look = self.look()
                if not look.is_at_work:
                    return look
                why = "an installation is still at work on the host, and goes on"
            except Lost as lost:
                why = str(lost)
                if is_refused_login(why):
                    raise
            if self.clock() >= until:
                raise Lost(why)
            self.sleep(_PAUSE)

    # The journal ----------------------------------------------------------------------------------------------

    def check(self, step):
        """Look, and raise `Refused` where this token may not act now."""
        look = self.look()
        self._refuse(look, step)
        return look

    def begin(self, step):
        """Write down that a step begins, where the host lets this token act; `protect` and `restore` claim the host."""
        for _ in range(_TRIES):
            look = self.look()
            self._refuse(look, step)
            again = any(self._is_mine(one, step) for one in open_steps(look.records))
            detail = "begins again after an interruption" if again else ""
            claim = [("claim.json", self._claim(look))] if step in ("protect", "restore") else []
            if self.write(append=[self.record(step, "begin", detail=detail)], files=claim, expected=look):
                return look
        raise PatchError(
            "Step %s of change %s was to begin, but somebody else keeps writing the host's journal. Look who works on "
            "it." % (step, self.job.change)
        )

    def end(self, step, outcome, detail=""):
        """Write down how a step ended: ok or failed."""
        self.write(append=[self.record(step, "end", outcome, detail)])

    def note(self, step, event, detail=""):
        """Write down that something is so: restored, released."""
        self.write(append=[self.record(step, event, "ok", detail)])

    def adopt(self, reason):
        """Take the host over from another installation. Return the names of the changes that were taken over."""
        look = self.look()
        if look.is_at_work and open_steps(look.records):
            raise Refused(
                "Adopting the host was asked for, but a step is still at work on it. Wait until it has ended."
            )
        left = foreign_changes(look.records, look.claim, self.job.token.installation)
        records = [self.record("", "adopted", "ok", reason, change=other) for other in left]
        files = []
        if look.claim and look.claim.get("installation") != self.job.token.installation:
            files = [("claim.json", self._claim(look, look.claim.get("change", self.job.change)))]
        if left and not self.write(append=records, files=files, expected=look):
            raise PatchError("The host was to be adopted, but somebody else wrote its journal meanwhile. Try again.")
        self.changed = bool(left)
        return left

    def record(self, step, event, outcome="", detail="", change=""):
        token = self.job.token
        return {
            "at": int(self.clock()) + (self._look.offset if self._look else 0),
            "change": change or self.job.change,
            "step": step,
            "installation": token.installation,
            "counter": token.counter,
            "event": event,
            "outcome": outcome,
            "detail": detail[:500],
        }

    def write(self, append=(), files=(), remove=(), expected=None):
        """Write records and files in one go. Return False where the journal is not as it was at the look `expected`.

        Where the connection breaks, the host is asked whether the records are there.
        """
        lines = [json.dumps(one, sort_keys=True) for one in append]
        work = {
            "append": lines,
            "write": [{"name": name, "text": json.dumps(value, sort_keys=True)} for name, value in files],
            "remove": list(remove),
        }
        known = self._look.told["journal"] if self._look else ""
        parameters = {
            "Folder": FOLDER,
            "Expected": expected.told["journal_bytes"] if expected else -1,
            "Work": json.dumps(work),
        }
        for attempt in range(_TRIES):
            try:
                told = self.hands.script("record.ps1", parameters)
            except Lost as lost:
                if is_refused_login(str(lost)):
                    raise
                self.wait_until_answers()
                fresh = self._look.told["journal"][len(known) :].splitlines()
                if lines and set(lines) <= set(fresh):
                    return True
                if attempt == _TRIES - 1:
                    raise
                continue
            return not told["refused"]
        return False

    def wait_until_answers(self, seconds=60):
        """Look, and again until the host answers."""
        until = self.clock() + seconds
        while True:
            try:
                return self.look()
            except Lost as lost:
                if is_refused_login(str(lost)) or self.clock() >= until:
                    raise
                self.sleep(_PAUSE)

    def _read(self, name, parameters):
        for attempt in range(_TRIES):
            try:
                return self.hands.script(name, parameters)
            except Lost as lost:
                if attempt == _TRIES - 1 or is_refused_login(str(lost)):
                    raise
                self.sleep(_PAUSE)
        raise AssertionError("unreachable")

    def _refuse(self, look, step):
        reason = refusal(look.records, look.claim, self.job.token, self.job.change, step)
        if not reason and look.is_at_work and open_steps(look.records):
            reason = (
                "another step is still at work on this host. Wait until it has ended; verify.yml shows the journal."
            )
        if reason:
            told = "Step %s of change %s was refused: %s" % (step, self.job.change, reason)
            raise Refused(told, look.claim)

    def _is_mine(self, record, step):
        wanted = (self.job.token.installation, self.job.change, step)
        return (record["installation"], record["change"], record["step"]) == wanted

    def _claim(self, look, change=""):
        token = self.job.token
        return {
            "installation": token.installation,
            "counter": token.counter,
            "change": change or self.job.change,
            "at": look.told["time"],
        }


def is_refused_login(message):
    return any(word in message for word in _REFUSED_LOGIN)
