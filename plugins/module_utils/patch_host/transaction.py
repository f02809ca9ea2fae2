"""Install exactly the lock, or put back what the point says: one transaction each, judged before it begins."""

import time

from ansible.module_utils.patch_host import units
from ansible.module_utils.patch_host.errors import PatchError
from ansible.module_utils.patch_host.lock import difference, judge, reported, split_items
from ansible.module_utils.patch_host.model import Marks
from ansible.module_utils.patch_host.processes import stale_processes
from ansible.module_utils.patch_host.reboot import reboot_reasons
from ansible.module_utils.patch_host.state import key

#: Seconds that a package manager of somebody else may be at work before a host is given up.
_PATIENCE = 30


def require_health(family):
    """Refuse a host whose packages are broken before it is touched; wait for a package manager that is at work."""
    for _ in range(_PATIENCE):
        if not family.lock_holders():
            break
        time.sleep(1)
    problems = family.check_health()
    if problems:
        raise PatchError(
            "The host was to be protected, but its package manager is not well: %s. Mend it, then try again."
            % "; ".join(problems)
        )


def prepare_patch(job, family, files):
    """Find out what the lock means here and judge it. Return (upgrades, available, predicted transitions).

    Raises `PatchError`, with the prediction, where the transaction must not be carried out.
    """
    installed = family.installed()
    upgrades, available = split_items(job.items, installed, family.compare)
    if not upgrades:
        return [], [], []
    available = files.require(upgrades, available)
    simulation = family.simulate(upgrades, available, files.folder)
    held = {package.name for package in installed if package.held}
    problems = judge(simulation, upgrades, available, job, held)
    if problems:
        raise PatchError(
            "The lock was to be installed, but the transaction would not be exactly the lock: %s. Nothing was changed."
            % "; ".join(problems),
            transaction_report(simulation.transitions, []),
        )
    return upgrades, available, simulation.transitions


def patch(job, family, files, point):
    """Install the lock. Return the `transaction` report. Writes what it is about to do into the point first."""
    if point.planned() and family.check_health():
        family.mend(point.log)
    upgrades, available, predicted = prepare_patch(job, family, files)
    if not upgrades:
        return transaction_report([], [])
    before = family.installed()
    point.remember(predicted)
    return _carry_out(
        lambda: family.install(upgrades, available, files.folder, point.log), family, before, predicted, _marks(before)
    )


def restore(family, point):
    """Put the packages and marks back as the point says. Return the `transaction` report.

    Marks are given back even where no package has changed. Kernels stay.
    """
    before = family.installed()
    wanted = point.marks()
    point.check_files(point.work(before, family.is_kernel)[0])
    back, remove = point.work(before, family.is_kernel)
    names = set(point.before()["packages"])
    if not back and not remove:
        _refuse_lost(family, point, before, transaction_report([], []))
        family.give_marks(wanted, names & {key(package) for package in before})
        return transaction_report([], difference(before, family.installed()))
    simulation = family.simulate_restore(back, remove, point.folder)
    problems = _judge_restore(simulation, back, remove)
    if problems:
        raise PatchError(
            "The old packages were to be put back, but the transaction would not be exactly that: %s. Nothing was "
            "changed; put the host back by hand or with another provider's point." % "; ".join(problems),
            transaction_report(simulation.transitions, []),
        )
    report = _carry_out(
        lambda: family.restore(back, remove, point.folder, point.log), family, before, simulation.transitions, wanted
    )
    _refuse_lost(family, point, family.installed(), report)
    return report


def settle(job, family, report, expected_kernel=""):
    """Restart what still uses replaced files and fill the report's restarts in. Return the reasons for a reboot."""
    if job.restart_services:
        report["restarted"], report["not_restarted"] = units.restart_stale(family.shell)
    return reboot_reasons(family, stale_processes(), expected_kernel)


def transaction_report(predicted, actual):
    """Make the `transaction` report; nothing has been restarted so far."""
    expected, seen = set(predicted), set(actual)
    return {
        "kind": "transaction",
        "predicted": reported(expected),
        "actual": reported(seen),
        "unexpected": reported(seen - expected),
        "missing": reported(expected - seen) if seen else [],
        "restarted": [],
        "not_restarted": [],
    }


def _carry_out(act, family, before, predicted, marks):
    failure = None
    try:
        act()
    except PatchError as error:
        failure = error
    after = family.installed()
    _give_marks(family, marks, before, after)
    report = transaction_report(predicted, difference(before, after))
    if failure is not None:
        raise PatchError(
            "The transaction failed: %s Look at `actual` for what was changed; restore.yml puts it back."
            % failure.message,
            report,
        )
    if report["unexpected"] or report["missing"]:
        raise PatchError(
            "The transaction ended, but not as predicted: unexpected %s, missing %s. restore.yml puts it back."
            % (_names(report["unexpected"]), _names(report["missing"])),
            report,
        )
    return report


def _give_marks(family, marks, before, after):
    """Give the old packages their marks back; what is new came in as a dependency."""
    names = {key(package) for package in after}
    new = names - {key(package) for package in before} - marks.auto
    family.give_marks(Marks(marks.auto | frozenset(new), marks.held), names)


def _marks(packages):
    return Marks(
        frozenset(key(package) for package in packages if package.auto),
        frozenset(key(package) for package in packages if package.held),
    )


def _judge_restore(simulation, back, remove):
    problems = list(simulation.problems)
    wanted = {(one.name, one.arch): one.version for one in back}
    for one in simulation.transitions:
        name = "%s:%s" % (one.name, one.arch)
        if not one.new and name not in remove:
            problems.append("it would remove %s" % name)
        elif one.new and wanted.get((one.name, one.arch)) != one.new:
            problems.append("it would install %s %s" % (name, one.new))
    return problems


def _refuse_lost(family, point, installed, report):
    lost = [name for name in point.lost(installed) if not family.is_kernel(name)]
    if lost:
        raise PatchError(
            "What the point holds was put back, but it has no old files of %s, which stay in their new version. "
            "Put them back by hand or with another provider's point." % ", ".join(lost),
            report,
        )


def _names(transitions):
    return ", ".join("%s:%s" % (one["name"], one["arch"]) for one in transitions) or "nothing"
