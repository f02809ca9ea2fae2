"""Read what zypper prints with --xmlout: transactions, problems, updates, patches."""

import html
import re
import typing
import xml.etree.ElementTree as ElementTree

_SUMMARY = re.compile(r"<install-summary.*?</install-summary>", re.DOTALL)
_CONFLICT = re.compile(r"^(?:Conflicts +: |  +)(\S+) < (\S+)$")
_ARCHITECTURES = ("noarch", "x86_64", "aarch64", "ppc64le", "s390x", "i586", "i686", "armv7hl", "riscv64")
_NEW = ("to-install", "to-upgrade", "to-downgrade")


class Advisory(typing.NamedTuple):
    """What one patch says of one package. `arch` is "" where it speaks of all."""

    id: str
    kind: str
    severity: str
    published: int
    version: str
    name: str
    arch: str


class Solvable(typing.NamedTuple):
    """A package that a repository offers."""

    name: str
    arch: str
    version: str
    origin: str


def read_transaction(out):
    """Return (changes [(new | gone, name, arch, version)], problems) of a transaction that zypper shows."""
    changes = []
    found = _SUMMARY.search(out)
    for group in ElementTree.fromstring(found.group(0)) if found else ():
        for one in group.iter("solvable"):
            if one.get("type") != "package":
                continue
            name, arch, edition = one.get("name"), one.get("arch"), one.get("edition")
            if group.tag == "to-remove":
                changes.append(("gone", name, arch, edition))
            elif group.tag in _NEW:
                changes.append(("new", name, arch, edition))
            elif group.tag.endswith("change-arch"):
                changes += [("new", name, arch, edition), ("gone", name, one.get("arch-old"), one.get("edition-old"))]
    return changes, _problems(out)


def read_updates(out):
    """List what `list-updates` offers."""
    found = []
    for one in _elements(out, "update"):
        if one.get("kind") == "package":
            source = one.find("source")
            origin = source.get("alias") if source is not None else ""
            found.append(Solvable(one.get("name"), one.get("arch"), one.get("edition"), origin))
    return found


def read_search(out):
    """List the versions that `search --details` finds in repositories."""
    return [
        Solvable(one.get("name"), one.get("arch"), one.get("edition"), one.get("repository"))
        for one in _elements(out, "solvable")
        if one.get("kind") == "package" and not one.get("repository", "").startswith("(")
    ]


def read_repositories(out):
    """List (name, alias) of the repositories."""
    return [(one.get("name"), one.get("alias")) for one in _elements(out, "repo")]


def read_patches(out):
    """Return {name of patch: (category, severity, issue date)} from `list-patches`."""
    found = {}
    for one in _elements(out, "update"):
        date = one.find("issue-date")
        severity = (one.get("severity") or "").lower()
        found[one.get("name")] = (
            {"recommended": "bugfix", "optional": "enhancement"}.get(one.get("category"), one.get("category")),
            "" if severity in ("none", "unspecified") else severity,
            int(date.get("time_t", 0)) if date is not None else 0,
        )
    return found


def read_advisories(patches, told):
    """List the `Advisory` of each package that `patch-info` says a patch brings to a version."""
    found, current = [], ""
    for line in html.unescape(told).replace('<message type="info">', "\n").splitlines():
        name = re.match(r"Name +: (\S+)", line)
        if name:
            current = name.group(1)
        conflict = _CONFLICT.match(line)
        if not conflict or current not in patches or conflict.group(1).startswith("srcpackage:"):
            continue
        package, _, arch = conflict.group(1).rpartition(".")
        if arch not in _ARCHITECTURES:
            package, arch = conflict.group(1), ""
        kind, severity, published = patches[current]
        found.append(Advisory(current, kind, severity, published, conflict.group(2), package, arch))
    return found


def read_downloads(out):
    """Return {(name, arch, version): path} of what `download` fetched."""
    found = {}
    for one in _elements(out, "download-result"):
        edition, local = one.find("solvable/edition"), one.find("localfile")
        if edition is None or local is None:
            continue
        epoch = edition.get("epoch", "0")
        version = "%s-%s" % (edition.get("version"), edition.get("release"))
        full = version if epoch in ("", "0") else "%s:%s" % (epoch, version)
        found[one.findtext("solvable/name"), one.findtext("solvable/arch"), full] = local.get("path")
    return found


def _problems(out):
    # What follows are ways out that nobody is there to choose.
    texts = re.findall(r"<description>(Problem: .*?)(?:\n Solution 1:.*?)?</description>", out, re.DOTALL)
    texts += re.findall(r"<message type=\"error\">(.*?)</message>", out, re.DOTALL)
    texts += re.findall(r"<fileconflict-summary>\s*(\S.*?)</fileconflict-summary>", out, re.DOTALL)
    return [" ".join(html.unescape(re.sub(r"<[^>]+>", " ", text)).split()) for text in texts]


def _elements(out, tag):
    begin = out.find("<stream>")
    if begin < 0:
        return []
    return ElementTree.fromstring(out[begin : out.rindex("</stream>") + len("</stream>")]).iter(tag)
