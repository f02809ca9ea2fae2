"""Updates as Windows tells them, and as items of the lock: `KB5034129` in version `UpdateID:revision`."""

import collections
import re
import typing

from ansible.module_utils.patch_host.errors import PatchError

#: Categories as servers tell them, in English whatever the host's language, and what the lock calls them. First wins.
_CLASSES = (
    ("security updates", "security"),
    ("critical updates", "bugfix"),
    ("update rollups", "bugfix"),
    ("updates", "bugfix"),
    ("service packs", "enhancement"),
    ("feature packs", "enhancement"),
    ("tools", "enhancement"),
    ("upgrades", "enhancement"),
)
#: Definitions change several times a day and bring themselves up to date: no change is made of them.
DEFINITIONS = "definition updates"
_ARCHITECTURES = {"AMD64": "x64", "X86": "x86", "ARM64": "arm64"}
_VERSION = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}:\d+\Z")
_CLIENT = 1  # Win32_OperatingSystem.ProductType


class Update(typing.NamedTuple):
    """One update as the host told it. `exclusive`: it cannot be installed together with others."""

    id: str
    revision: int
    title: str
    kbs: typing.Tuple[str, ...]
    categories: typing.Tuple[str, ...]
    severity: str
    advisories: typing.Tuple[str, ...]
    size: int
    published: int
    hidden: bool
    installed: bool
    reboot_required: bool
    downloaded: bool
    removable: bool
    exclusive: bool
    name: str

    @property
    def version(self):
        return "%s:%d" % (self.id.lower(), self.revision)

    @property
    def is_offered(self):
        """Whether it could be installed now; what waits for a reboot is done, but for the boot."""
        return not self.installed and not self.reboot_required

    @property
    def is_definition(self):
        return DEFINITIONS in (one.lower() for one in self.categories)


def read_updates(rows):
    """Return the updates of a search, without definitions, each with a name that no other has."""
    updates = [_update(row) for row in rows]
    kept = [one for one in updates if not one.is_definition]
    often = collections.Counter(one.name for one in kept)
    return [one._replace(name="%s.%s" % (one.name, one.id[:8].lower())) if often[one.name] > 1 else one for one in kept]


def definitions(rows):
    """Return the KBs under which a host knows its definitions."""
    return {kb for one in map(_update, rows) if one.is_definition for kb in one.kbs}


def classification(categories):
    told = {one.lower() for one in categories}
    return next((kind for name, kind in _CLASSES if name in told), "unknown")


def candidate(update, arch, origin):
    """Describe an update as the `scan` report does."""
    return {
        "name": update.name,
        "arch": arch,
        "from_version": "",
        "version": update.version,
        "classification": classification(update.categories),
        "severity": update.severity.lower(),
        "advisories": list(update.advisories),
        "origin": origin,
        "sha256": "",
        "filename": "",
        "size": update.size,
        "published": update.published,
        "held": update.hidden,
        "removable": update.removable and bool(update.kbs),
    }


def is_windows_item(item):
    """Whether a line of the lock names an update: a lock of a mixed change holds packages, too."""
    return bool(_VERSION.match(item.version))


def kb_of(name):
    """Return the KB in an item's name; "" for an update that has none and is named by its UpdateID."""
    found = re.match(r"KB\d+", name)
    return found.group(0) if found else ""


def architecture(told):
    return _ARCHITECTURES.get(told.upper(), told.lower())


def distribution(system):
    """Name Windows as the `scan` report names a distribution: hosts of one build take the same updates."""
    kind = "windows-client" if system["product_type"] == _CLIENT else "windows-server"
    return {"id": kind, "release": system["build"], "codename": system["release"]}


def expressions(chosen, offered):
    """Return the accept_list with which win_updates takes exactly the updates `chosen` out of all that are `offered`.

    Its documentation says that an expression is matched with the title and with each KB; what it does is to match it
    with both in one text, `TITLEKB5034129`. Each expression is therefore anchored, and holds for either. Raises
    `PatchError` where two updates cannot be told apart.
    """
    found = []
    for update in chosen:
        pattern = "^%s(?:%s)?$" % (_literal(update.title), _literal(" ".join(update.kbs)))
        if accepted([pattern], offered) != {update.id}:
            others = sorted(one.name for one in offered if one.id != update.id and one.title == update.title)
            raise PatchError(
                "%s was to be installed, but Windows Update offers %s under the same title (%s), and win_updates "
                "cannot tell them apart. Nothing was installed. Hide the others on the host."
                % (update.name, ", ".join(others) or "it otherwise", update.title)
            )
        found.append(pattern)
    return sorted(found)


def accepted(patterns, offered):
    """Return the ids that win_updates takes with these expressions, as it does and as it is documented.

    PowerShell's -imatch ignores case.
    """
    return {
        one.id
        for one in offered
        if any(
            re.search(pattern, text, re.IGNORECASE)
            for pattern in patterns
            for text in (one.title + " ".join(one.kbs), one.title, *one.kbs)
        )
    }


def _literal(title):
    """Escape a title for .NET and for Python alike."""
    return re.sub(r"([\\.^$|?*+()\[\]{}])", r"\\\1", title)


def _update(row):
    kbs = tuple(str(kb).upper() for kb in row["kbs"])
    fields = {name: row[name] for name in Update._fields if name in row}
    fields.update(
        kbs=kbs,
        categories=tuple(str(one) for one in row["categories"]),
        advisories=tuple(str(one) for one in row["advisories"]),
        id=str(row["id"]).lower(),
        name=kbs[0] if kbs else str(row["id"]).lower(),
    )
    return Update(**fields)
