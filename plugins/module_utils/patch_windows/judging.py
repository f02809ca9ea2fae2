"""What the lock means on a Windows host: what is to be installed, what is there already, and what must not be done."""

import typing

from ansible.module_utils.patch_host.model import Item
from ansible.module_utils.patch_windows.updates import Update, is_windows_item


class Work(typing.NamedTuple):
    """The lock against what a search found. `problems` are sentences; where there is one, nothing may be installed."""

    install: typing.List[Update]
    present: typing.List[Item]
    gone: typing.List[Item]
    problems: typing.List[str]

    @property
    def next(self):
        """Return what is installed together next: an update that wants to be alone goes first, and alone."""
        alone = [one for one in self.install if one.exclusive]
        return alone[:1] or self.install


def judge(job, updates):
    """Compare the lock with what the host has and is offered. Pure; all rules of what may be installed are here.

    1. Installed, or waiting for its reboot: no work. 2. On offer exactly as locked: work. 3. On offer as something else
    (another revision, another UpdateID): a problem. 4. Not on offer at all, because a newer update superseded it or
    another is needed first: gone, and left out.
    """
    install, present, gone, problems = [], [], [], []
    for item in job.items:
        if not is_windows_item(item):
            continue
        mine = [one for one in updates if one.name == item.name or one.version == item.version]
        exact = next((one for one in mine if one.version == item.version), None)
        if any(not one.is_offered and one.id == item.version.partition(":")[0] for one in mine):
            present.append(item)
        elif exact is not None:
            install.append(exact)
            problems += _forbidden(job, exact)
        elif any(one.is_offered for one in mine):
            other = next(one for one in mine if one.is_offered)
            problems.append("%s is offered as %s, and the lock names %s" % (item.name, other.version, item.version))
        else:
            gone.append(item)
    return Work(install, present, gone, problems)


def _forbidden(job, update):
    if job.excludes(update.name):
        return ["%s is on the exclude list" % update.name]
    return ["%s is hidden on this host" % update.name] if update.hidden else []


def transition(name, arch, old, new):
    return {"name": name, "arch": arch, "from": old, "to": new}


def reached(item, packages):
    """Whether an item of the lock is among packages as the `state` report names them."""
    return packages.get("%s:%s" % (item.name, item.arch)) == item.version


def appeared(before, after, items):
    """List what came in between two looks and is not in the lock. What a newer update hides is not missed."""
    known = {"%s:%s" % (item.name, item.arch) for item in items}
    found = []
    for key in sorted(set(after) - set(before) - known):
        name, _, arch = key.rpartition(":")
        found.append(transition(name, arch, "", after[key]))
    return found
