"""Install exactly the lock on a Windows host, or take it away again: in rounds, with the reboots between them.

What was done is never taken from an answer alone. A connection that breaks while win_updates is asked looks as if
nothing had been found, while the host installs everything (ansible.windows#531). So after each act the host is waited
for and looked at, and only what a look confirms is told as done or as failed. What cannot be confirmed is `Lost`.
"""

from ansible.module_utils.patch_host.errors import PatchError
from ansible.module_utils.patch_windows.host import Lost, is_refused_login
from ansible.module_utils.patch_windows.judging import appeared, judge, reached, transition
from ansible.module_utils.patch_windows.phases import chosen, guarded, hold, refuse_problems
from ansible.module_utils.patch_windows.updates import is_windows_item, kb_of

#: Rounds of installing in one patch: an update may need another first, or want to be alone.
ROUNDS = 4
#: Rounds in a row that change nothing before the last word of win_updates is believed.
_FRUITLESS = 2


def patch(host):
    """Install exactly the lock, reboot as the policy says, have the services run that ran before."""
    host.begin("patch")
    return guarded(host, "patch", lambda reports: _Patching(host).carry_out(reports))


def restore(host):
    """Remove the updates that this change brought, reboot, have the services run that ran before. Idempotent."""
    look = host.look()
    if look.kept("before") is None:
        raise PatchError(
            "The updates were to be removed again, but this host has no rollback point of change %s. Use another "
            "provider's point." % host.job.change
        )
    host.begin("restore")
    return guarded(host, "restore", lambda reports: _Restoring(host).carry_out(reports))


class _Acting:
    """What both have in common: the reboots, the services afterwards, and the reports."""

    step = ""

    def __init__(self, host):
        self.host = host
        self.job = host.job
        self.until = host.clock() + host.job.timeout
        self.items = [item for item in host.job.items if is_windows_item(item)]
        self.boot = {"before": "", "after": "", "seconds": 0, "reasons": []}
        self.look = None
        self.found = ([], set())
        self.start = {}
        self.unbooted = False

    def see(self):
        """Wait until the host is quiet, look and search: the only source of what is so."""
        self.look = self.host.wait_until_quiet(self.until)
        self.found = self.host.search()
        return self.packages

    @property
    def packages(self):
        return self.host.installed(self.look, self.found)

    def confirmed(self, act):
        """Run an act of which nobody knows the outcome where the host cannot be seen afterwards."""
        try:
            return act()
        except PatchError as error:
            raise Lost("what became of it is not known: %s" % error.message)

    def reboot(self, reasons):
        """Reboot, and prove by the boot time that it was one."""
        host, before = self.host, self.look.told["boot_id"]
        self.boot["before"] = self.boot["before"] or before
        self.boot["reasons"] = sorted({*self.boot["reasons"], *reasons})
        host.begin("reboot")
        began = host.clock()
        seconds = self.job.reboot_timeout
        try:
            told = host.hands.reboot(seconds, "Reboot for change %s" % self.job.change)
        except Lost as lost:
            told = {"failed": True, "msg": str(lost)}
        look = self._back(before, began + seconds, told)
        host.changed = True
        # A reboot takes nothing from the time that the installation has.
        self.until += host.clock() - began
        self.boot.update(after=look.told["boot_id"], seconds=self.boot["seconds"] + int(host.clock() - began))
        host.end("reboot", "ok")
        self.unbooted = False
        self.confirmed(self.see)

    def _back(self, before, until, told):
        host = self.host
        while True:
            why = str(told.get("msg") or "it does not answer")
            try:
                look = host.look()
                if look.told["boot_id"] != before:
                    return look
                if not told.get("rebooted") and told.get("failed") and host.clock() >= until:
                    host.end("reboot", "failed", "the boot time is the same as before")
                    raise PatchError("The host was to reboot and did not: %s. Look at its console." % why)
            except Lost as lost:
                if is_refused_login(str(lost)):
                    raise
                why = str(lost)
            if host.clock() >= until:
                raise Lost(
                    "the host has not come back from its reboot within %d s: %s" % (self.job.reboot_timeout, why)
                )
            host.sleep(2)

    def needs_boot(self):
        """Say why the host is to reboot now under the policy; [] where it is not."""
        if self.job.reboot == "never":
            return []
        if self.job.reboot == "always" and not self.look.reasons and (self.unbooted or not self._has_rebooted()):
            return ["the change says that hosts always reboot"]
        return self.look.reasons

    def _has_rebooted(self):
        """Whether the change has rebooted the host since this step was first begun: once is enough for `always`."""
        seen = bool(self.boot["after"])
        for record in self.look.records:
            if record["change"] != self.job.change:
                continue
            if record["event"] == "begin" and record["step"] in ("patch", "restore") and record["step"] != self.step:
                seen = False
            if (record["step"], record["event"], record["outcome"]) == ("reboot", "end", "ok"):
                seen = True
        return seen

    def revive(self):
        """Have the services run that ran before: wait for those that start by themselves, then start the others.

        Return (started, could not be started).
        """
        before = set((self.look.kept("before") or {}).get("services", ()))
        until = self.host.clock() + (self.host.settle if self.boot["after"] else 0)
        while True:
            lost = sorted(before - self._running())
            if not lost or self.host.clock() >= until:
                break
            self.host.sleep(2)
            self.look = self.host.look()
        if not (lost and self.job.restart_services):
            return [], lost
        started, left = [], []
        for name in lost:
            told = self._start(name)
            (left if told.get("failed") or told.get("exists") is False else started).append(name)
        self.host.changed = self.host.changed or bool(started)
        self.look = self.host.look()
        return started, left

    def _start(self, name):
        try:
            return self.host.hands.module("ansible.windows.win_service", {"name": name, "state": "started"})
        except Lost:
            return {
                "failed": name
                not in {one["name"] for one in self.host.look().told["services"] if one["state"] == "running"}
            }

    def _running(self):
        return {one["name"] for one in self.look.told["services"] if one["state"] == "running"}

    def reboot_report(self):
        now = self.look.told["boot_id"]
        return {
            "kind": "reboot",
            "needed": bool(self.boot["after"]),
            "done": bool(self.boot["after"]),
            "reasons": self.boot["reasons"] or self.look.reasons,
            "boot_id_before": self.boot["before"] or now,
            "boot_id_after": self.boot["after"] or now,
            "seconds": self.boot["seconds"],
        }

    def finish(self, reports, report, records):
        """Tell what was done and how the host stands, and write the end down."""
        report["restarted"], report["not_restarted"] = self.revive()
        self.host.write(append=records)
        reports.append(report)
        reports.append(self.reboot_report())
        self.look = self.host.look()
        reports.append(self.host.state("after", self.look, self.found))


class _Patching(_Acting):
    step = "patch"

    def __init__(self, host):
        super().__init__(host)
        self.tried = {}
        self.said = ""
        self.fruitless = 0

    def carry_out(self, reports):
        self.start = self.see()
        work = judge(self.job, self.found[0])
        refuse_problems(work)
        if self.items and not work.install and not work.present:
            names = ", ".join(item.name for item in work.gone)
            raise PatchError("The lock was to be installed, but nothing of it is on offer any more: %s." % names)
        self.host.write(files=[("points\\%s\\transaction.json" % self.job.change, self._planned())])
        predicted = {(one.name, one.version) for one in work.install}
        try:
            work = self._rounds(work, predicted)
        except (PatchError, Lost):
            reports.append(self._transaction(predicted))
            raise
        report = self._transaction(predicted)
        if work.install or report["unexpected"]:
            reports.append(report)
            raise PatchError(self._not_as_planned(work, report))
        self.finish(reports, report, [self.host.record("patch", "end", "ok")])

    def _planned(self):
        """Return what a restore takes away again: what was planned before a crash, too."""
        known = {one["name"]: one for one in (self.look.kept("transaction") or [])}
        for item in self.items:
            if not reached(item, self.start):
                known[item.name] = transition(item.name, self.look.arch, "", item.version)
        return [known[name] for name in sorted(known)]

    def _rounds(self, work, predicted):
        """Install and reboot until nothing of the lock is on offer, or the rounds are used up."""
        for _ in range(ROUNDS):
            self._reboot_if_asked(work)
            work = judge(self.job, self.found[0])
            if not work.install:
                break
            predicted |= {(one.name, one.version) for one in work.install}
            work = self._round(work)
        self._reboot_if_asked(work)
        work = judge(self.job, self.found[0])
        self._refuse_undone(work)
        return work

    def _reboot_if_asked(self, work):
        reasons = self.needs_boot()
        if reasons and (self.look.reasons or not work.install):
            self.reboot(reasons)
        elif self.look.reasons and work.install and not self._new():
            raise PatchError(
                "The lock was to be installed, but the host waits for a reboot from before (%s), and the change says "
                "that it does not reboot. Reboot it, then try again." % "; ".join(self.look.reasons)
            )

    def _new(self):
        return [item for item in self.items if reached(item, self.packages) and not reached(item, self.start)]

    def _round(self, work):
        """Install what comes next, then see what became of it. Return the work that is left."""
        refuse_problems(work)
        self._refuse_undone(work)
        batch, before = work.next, self.packages
        offered = [one for one in self.found[0] if one.is_offered]
        self._end_orphans()
        arguments = chosen(batch, offered)
        failed = self._install(arguments)
        self.confirmed(self.see)
        work = judge(self.job, self.found[0])
        left = {one.version for one in work.install}
        self._refuse_failed([one for one in batch if one.id in failed and one.version in left])
        self.unbooted = self.unbooted or self.packages != before
        if self.packages == before and not self.look.reasons:
            self.fruitless += 1
            if self.fruitless >= _FRUITLESS:
                names = ", ".join(one.name for one in batch)
                raise PatchError("%s was to be installed, but win_updates said: %s" % (names, self.said or "nothing"))
        for one in batch:
            if one.version not in left:
                self.tried[one.version] = one.name
        return work

    def _install(self, arguments):
        """Have the lock installed. Return the ids that Windows itself says it failed to install."""
        try:
            told = self.host.hands.updates(dict(arguments, state="installed"))
        except Lost as lost:
            told = {"failed": True, "msg": str(lost)}
        self.host.changed = True
        self.said = str(told.get("msg") or "") if told.get("failed") or told.get("unreachable") else ""
        rows = told.get("updates") or {}
        return {key.lower(): row["failure_msg"] for key, row in rows.items() if row.get("failure_msg")}

    def _end_orphans(self):
        """End a task that installs no more and that nobody asks: its connection broke."""
        if self.look.told["tasks"]:
            self.host.hands.script("cancel.ps1", {})

    def _refuse_failed(self, failed):
        if failed:
            names = ", ".join(one.name for one in failed)
            raise PatchError(
                "%s was to be installed, but Windows said: %s. restore.yml removes what was installed."
                % (names, self.said)
            )

    def _refuse_undone(self, work):
        """A boot that undoes an update would undo it again."""
        undone = sorted(self.tried[one.version] for one in work.install if one.version in self.tried)
        if undone:
            events = [one["text"] for one in self.look.told["events"] if any(kb_of(n) in one["text"] for n in undone)]
            told = ": %s" % events[-1] if events else ""
            raise PatchError("%s was installed, and the reboot undid it%s" % (", ".join(undone), told))

    def _transaction(self, predicted):
        """Return the `transaction` report as far as the patch has come."""
        arch, packages = self.look.arch, self.packages
        left = [item for item in self.items if not reached(item, packages)]
        return {
            "kind": "transaction",
            "predicted": [transition(name, arch, "", version) for name, version in sorted(predicted)],
            "actual": [transition(item.name, arch, "", item.version) for item in self._new()],
            "unexpected": appeared(self.start, packages, self.items),
            "missing": [transition(item.name, arch, "", item.version) for item in left],
            "restarted": [],
            "not_restarted": [],
        }

    def _not_as_planned(self, work, report):
        left = ", ".join(one.name for one in work.install) or "nothing"
        more = ", ".join(one["name"] for one in report["unexpected"]) or "nothing"
        return (
            "The lock was to be installed, and after %d rounds %s is left to install, and %s came in beside it. "
            "restore.yml removes what was installed." % (ROUNDS, left, more)
        )


class _Restoring(_Acting):
    step = "restore"

    def carry_out(self, reports):
        self.start = self.see()
        # The claim may have ended before, and with it the hold.
        hold(self.host, self.look)
        before = self.look.kept("before")["packages"]
        brought = [one["name"] for one in self.look.kept("transaction") or []]
        stuck = {}
        if self.needs_boot() and self.look.reasons:
            # What waits for its boot can be neither removed nor counted on.
            self.reboot(self.look.reasons)
        for _ in range(ROUNDS):
            back = [name for name in self._back_to(before, brought) if name not in stuck]
            if not back:
                break
            stuck.update(self._remove(back))
            self.unbooted = True
            if self.needs_boot() and self.look.reasons:
                self.reboot(self.look.reasons)
            if self.job.reboot == "never":
                break
        reasons = self.needs_boot()
        if reasons:
            self.reboot(reasons)
        left, report = self._back_to(before, brought), self._report()
        if left and not self.look.reasons:
            reports.append(report)
            said = "; ".join("%s: %s" % (name, stuck.get(name, "it is still there")) for name in left)
            raise PatchError(
                "The updates of this change were to be removed, but these stay: %s. Use another provider's point."
                % said
            )
        records = [self.host.record("restore", "end", "ok"), self.host.record("restore", "restored", "ok")]
        self.finish(reports, report, records)

    def _back_to(self, before, brought):
        """Name what this change brought, is there, and was not there before."""
        keys = {name: "%s:%s" % (name, self.look.arch) for name in brought}
        return sorted(name for name, key in keys.items() if key in self.packages and key not in before)

    def _remove(self, names):
        """Remove updates, one KB at a time, and see what became of it. Return what could not be removed, and why."""
        failed = {}
        for name in names:
            kb = kb_of(name)
            if not kb:
                failed[name] = "it has no KB by which it could be removed"
                continue
            try:
                told = self.host.hands.module("ansible.windows.win_hotfix", {"hotfix_kb": kb, "state": "absent"})
            except Lost as lost:
                if is_refused_login(str(lost)):
                    raise
                told = {}
            self.host.changed = True
            if told.get("failed"):
                failed[name] = str(told.get("msg"))
        self.confirmed(self.see)
        return failed

    def _report(self):
        gone = sorted(set(self.start) - set(self.packages))
        rows = [transition(*key.rpartition(":")[::2], self.start[key], "") for key in gone]
        return {
            "kind": "transaction",
            "predicted": rows,
            "actual": rows,
            "unexpected": [],
            "missing": [],
            "restarted": [],
            "not_restarted": [],
        }
