"""What the lock means on this host: which items are work here, and whether a predicted transaction is exactly that."""

from ansible.module_utils.patch_host.model import Transition


def split_items(items, installed, compare):
    """Return (upgrades, available): items installed here in an older version, and items not installed here at all.

    An item that is here in the locked version or a newer one is in neither list.
    """
    versions = {}
    for package in installed:
        versions.setdefault(package.name, {})[package.arch] = package.version
    upgrades, available = [], []
    for item in items:
        current = _current(versions.get(item.name, {}), item.arch)
        if not current:
            available.append(item)
        elif compare(current, item.version) < 0:
            upgrades.append(item)
    return upgrades, available


def judge(simulation, upgrades, available, job, held):
    """List, as sentences, why the predicted transaction must not be carried out; [] when it is exactly the lock."""
    problems = list(simulation.problems)
    locked = {(item.name, item.arch): item.version for item in [*upgrades, *available]}
    for one in simulation.transitions:
        name = "%s:%s" % (one.name, one.arch)
        if not one.new:
            problems.append("it would remove %s" % name)
        elif (one.name, one.arch) not in locked:
            problems.append("it would install %s %s, which is not in the lock" % (name, one.new))
        elif one.new != locked[(one.name, one.arch)]:
            problems.append("it would install %s %s instead of %s" % (name, one.new, locked[(one.name, one.arch)]))
        if job.excludes(one.name):
            problems.append("%s is on the exclude list" % name)
        if one.name in held:
            problems.append("%s is on hold on this host" % name)
    return problems + _not_reached(simulation, upgrades, job, held)


def _not_reached(simulation, upgrades, job, held):
    """Say of locked items that stay as they are why they do, unless the simulation has said so."""
    reached = {one.name for one in simulation.transitions}
    problems = []
    for item in upgrades:
        if item.name in reached:
            continue
        if item.name in held:
            problems.append("%s:%s is on hold on this host" % (item.name, item.arch))
        elif job.excludes(item.name):
            problems.append("%s:%s is on the exclude list" % (item.name, item.arch))
        elif not simulation.problems:
            problems.append("%s:%s would stay as it is" % (item.name, item.arch))
    return problems


def difference(before, after):
    """List the `Transition`s between two lists of installed packages."""
    old = {(package.name, package.arch): package.version for package in before}
    new = {(package.name, package.arch): package.version for package in after}
    return [
        Transition(name, arch, old.get((name, arch), ""), new.get((name, arch), ""))
        for name, arch in sorted(set(old) | set(new))
        if old.get((name, arch)) != new.get((name, arch))
    ]


def reported(transitions):
    """Turn transitions into what reports hold."""
    return [{"name": one.name, "arch": one.arch, "from": one.old, "to": one.new} for one in sorted(set(transitions))]


def _current(by_arch, arch):
    """Return the installed version; a package may have changed from one architecture to none or back."""
    if arch in by_arch:
        return by_arch[arch]
    if arch in ("all", "noarch") and len(by_arch) == 1:
        return next(iter(by_arch.values()))
    return by_arch.get("all") or by_arch.get("noarch") or ""
