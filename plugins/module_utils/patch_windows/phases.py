"""The phases that look at a Windows host, claim it, or let it go; each returns its reports and changes the journal.

Patching and putting back are in `patching`.
"""

import json

from ansible.module_utils.patch_host.errors import PatchError
from ansible.module_utils.patch_windows.host import FOLDER, Lost, is_refused_login
from ansible.module_utils.patch_windows.judging import judge, transition
from ansible.module_utils.patch_windows.look import health
from ansible.module_utils.patch_windows.updates import (
    accepted,
    candidate,
    distribution,
    expressions,
    is_windows_item,
    kb_of,
)  # fmt: skip

#: Seconds for which `protect` waits for a rival that is installing something.
_RIVALS = 300
#: What an update needs beside itself while it is unpacked, and at least.
_ROOM, _LEAST = 4, 1 << 30
#: MECM's client, and how Windows' own schedule is named where rivals are told.
_SCHEDULE = "Windows Update's own schedule"


def scan(host):
    """Tell what is installed and on offer, and with a lock what installing it would do."""
    look = host.look()
    found = updates, _ = host.search()
    report = {
        "kind": "scan",
        "family": "windows",
        "distribution": distribution(look.told["os"]),
        "arch": look.arch,
        "installed": [_installed(key, version) for key, version in sorted(host.installed(look, found).items())],
        "candidates": [candidate(one, look.arch, look.origin) for one in updates if one.is_offered],
    }
    if host.job.items:
        report["simulation"] = _simulate(host, look, updates)
    return [report]


def download(host):
    """Have the host fetch the chosen updates. Windows keeps their bytes; the controller gets none."""
    look = host.look()
    updates, _ = host.search()
    work = judge(host.job, updates)
    lost = [item.name for item in work.gone]
    if work.problems or lost:
        told = [*work.problems, *("%s is not on offer any more" % name for name in lost)]
        raise PatchError("The chosen updates were to be downloaded, but %s. Scan again." % "; ".join(told))
    _fetch(host, look, work, updates)
    rows = [candidate(one, look.arch, look.origin) for one in work.install]
    return [{"kind": "download", "items": rows}]


def protect(host):
    """Claim the host, hold its rivals, write down how it stands, and have it fetch the lock."""
    host.begin("protect")
    return guarded(host, "protect", lambda reports: _protect(host, reports))


def verify(host):
    """Look at the host, its journal included.

    Where the search fails nothing is told: a host of which half is known would be taken for one that never began.
    """
    look = host.look()
    return [host.state("now", look, host.search())]


def release(host):
    """Drop the point unless it is kept, give the rivals back, and end the claim."""
    look = host.check("release")
    claimed = look.claim.get("change") == host.job.change
    has_point = bool(look.told["point"] or look.told["before"])
    if not claimed and (host.job.keep_point or not has_point):
        return [{"kind": "released", "rivals": [], "freed": 0}]
    host.begin("release")
    return guarded(host, "release", lambda reports: _release(host, look, claimed, reports))


def adopt(host, reason):
    return [{"kind": "adopted", "changes": host.adopt(reason)}]


def guarded(host, step, act):
    """Run `act(reports)` in a step that has begun. Where it fails the journal says so, and the reports go along.

    Where the connection is lost the step stays open: nobody knows, and whoever reconciles has to ask the host.
    """
    reports = []
    try:
        act(reports)
    except PatchError as error:
        host.end(step, "failed", error.message)
        error.reports = reports
        raise
    except Lost as lost:
        lost.reports = reports
        raise
    return reports


def _protect(host, reports):
    look = _wait_for_rivals(host)
    rivals = hold(host, look)
    look = host.look()
    for problem in health(look):
        raise PatchError("The host was to be protected, but %s. Mend it, then try again." % problem)
    updates, _ = found = host.search()
    state = host.state("before", look, found)
    reports.append(state)
    work = judge(host.job, updates)
    refuse_problems(work)
    wanted = [item for item in host.job.items if is_windows_item(item)]
    if wanted and not work.install and not work.present:
        names = ", ".join(item.name for item in work.gone)
        raise PatchError(
            "The host was to be protected, but nothing of the lock is on offer here any more (%s): it was superseded. "
            "Stage the change again." % names
        )
    _require_room(look, work)
    point, fresh = _point(host, look, state, updates)
    reports.append(point)
    if fresh:
        host.write(files=fresh)
    fetched = _fetch(host, look, work, updates)
    reports.append(_packages(look, work, fetched))
    host.end("protect", "ok", "held: %s" % ", ".join(rivals))


def _wait_for_rivals(host):
    """Wait for what installs updates just now, as an installer is never killed."""
    try:
        return host.wait_until_quiet(host.clock() + _RIVALS)
    except Lost as lost:
        if "at work" not in str(lost):
            raise
        raise PatchError(
            "The host was to be protected, but something else has been installing updates for %d s. It is not killed; "
            "try again when it has ended." % _RIVALS
        )


def hold(host, look):
    """Hold whoever updates this host by itself, after writing down how they stood. Return their names."""
    before = look.kept("held")
    if before is None:
        before = look.told["rivals"]
        host.write(files=[("rivals.json", before)])
    told = host.hands.script("rivals.ps1", {"Deed": "hold", "Kept": json.dumps(before)})
    host.changed = host.changed or told["changed"]
    return _names(before)


def _names(rivals):
    return [_SCHEDULE, *(one["name"] for one in rivals["services"])]


def refuse_problems(work):
    """Raise where what is on offer is something else than the lock."""
    if work.problems:
        reason = "the updates on offer are not the lock: %s. Nothing was installed; scan and stage again." % "; ".join(
            work.problems
        )
        raise PatchError(reason, {"kind": "refused", "reason": reason, "claim": {}})


def _require_room(look, work):
    drive = next((one for one in look.told["disks"] if one["path"].upper().startswith("C:")), None)
    needed = max(_LEAST, _ROOM * sum(one.size for one in work.install)) if work.install else 0
    if drive is not None and drive["free"] < needed:
        raise PatchError(
            "The updates were to be secured, which needs %d MB on %s, and %d MB are free. Make room and try again."
            % (needed >> 20, drive["path"], drive["free"] >> 20)
        )


def _point(host, look, state, updates):
    """Return the `point` report, and the files to be written; a point that covers the lock is kept as it is."""
    known = look.kept("point")
    wanted = {(item.name, item.version) for item in host.job.items if is_windows_item(item)}
    covered = {(one["name"], one["version"]) for one in (known or {}).get("covers", ())}
    if known and covered >= wanted:
        return known, []
    by_version = {one.version: one for one in updates}
    stays = [(item, _stays(item, by_version.get(item.version))) for item in host.job.items if is_windows_item(item)]
    missing = [
        {"name": item.name, "arch": look.arch, "version": item.version, "reason": reason}
        for item, reason in stays
        if reason
    ]
    point = {
        "kind": "point",
        "provider": "packages",
        "class": "none" if missing else "package",
        "items": [],
        "missing": missing,
        "size": 0,
        "covers": [{"name": name, "version": version} for name, version in sorted(wanted | covered)],
    }
    before = look.kept("before") or {"packages": state["packages"], "services": state["units"]["running"]}
    folder = "points\\%s\\" % host.job.change
    return point, [(folder + "before.json", before), (folder + "point.json", point)]


def _stays(item, update):
    """Say why an update could not be removed again; "" where it can."""
    if update is None:
        return ""
    if not kb_of(item.name):
        return "it has no KB by which it could be removed"
    return "" if update.removable else "Windows does not let it be removed"


def _fetch(host, look, work, updates):
    """Have the host download what is to be installed. Return the names that were fetched now.

    A host that waits for a reboot takes no work from Windows Update: it fetches when it is patched.
    """
    missing = [one for one in work.install if not one.downloaded]
    if not missing or look.reasons:
        return []
    arguments = chosen(missing, [one for one in updates if one.is_offered])
    try:
        told = host.hands.updates(dict(arguments, state="downloaded"))
    except Lost as lost:
        if is_refused_login(str(lost)):
            raise
        told = {"failed": True, "msg": str(lost)}
        host.wait_until_answers()
    if told.get("failed"):
        # Fetching is no installing: doing it again is harmless, and a doubt costs one more search.
        again, _ = host.search()
        left = {one.version for one in again if not one.downloaded} & {one.version for one in missing}
        if left:
            names = ", ".join(sorted(one.name for one in missing if one.version in left))
            raise PatchError("%s was to be downloaded, but win_updates said: %s" % (names, told.get("msg", "nothing")))
    host.changed = True
    return [one.name for one in missing]


def chosen(updates, offered):
    """Return the arguments with which win_updates takes exactly these updates out of what is on offer."""
    patterns = expressions(updates, offered)
    more = accepted(patterns, offered) - {one.id for one in updates}
    if more:
        names = ", ".join(sorted(one.name for one in offered if one.id in more))
        reason = "win_updates would also take %s, which is not in the lock. Nothing was installed." % names
        raise PatchError(reason, {"kind": "refused", "reason": reason, "claim": {}})
    # The names of categories are no choice of ours any more: the expressions are.
    return {
        "accept_list": patterns,
        "category_names": ["*"],
        "skip_optional": False,
        "reboot": False,
        "log_path": FOLDER + "\\win_updates.log",
    }


def _packages(look, work, fetched):
    rows = [(one.name, one.version, "repository" if one.name in fetched else "present") for one in work.install]
    items = [
        {"name": name, "arch": look.arch, "version": version, "sha256": "", "source": source}
        for name, version, source in sorted(rows)
    ]
    return {"kind": "packages", "items": items}


def _simulate(host, look, updates):
    work = judge(host.job, updates)
    rows = [transition(one.name, look.arch, "", one.version) for one in sorted(work.install, key=lambda one: one.name)]
    stays = sorted(one.name for one in work.install if not (one.removable and one.kbs))
    return {"applicable": rows, "unavailable": [], "transitions": rows, "problems": work.problems, "irremovable": stays}


def _release(host, look, claimed, reports):
    remove, freed, rivals = [], 0, []
    if not host.job.keep_point:
        remove.append("points\\%s" % host.job.change)
        freed = sum(len(look.told[name]) for name in ("point", "before", "transaction"))
    if claimed:
        rivals = _give_back(host, look)
        remove.append("claim.json")
    records = [host.record("release", "end", "ok"), host.record("release", "released", "ok")]
    host.write(append=records, remove=remove)
    host.changed = True
    reports.append({"kind": "released", "rivals": rivals, "freed": freed})


def _give_back(host, look):
    before = look.kept("held")
    if before is None:
        return []
    host.hands.script("rivals.ps1", {"Deed": "give-back", "Kept": json.dumps(before)})
    host.write(remove=["rivals.json"])
    return _names(before)


def _installed(key, version):
    name, _, arch = key.rpartition(":")
    return {"name": name, "arch": arch, "version": version, "auto": False, "held": False}
