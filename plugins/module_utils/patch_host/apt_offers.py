"""What apt's repositories offer: newer versions, what they say of a version, and its file."""

import os
import re
import shutil

from ansible.module_utils.patch_host.apt_repository import index_stanza
from ansible.module_utils.patch_host.apt_text import last_words, parse_policy, parse_releases, parse_stanzas
from ansible.module_utils.patch_host.debian_version import compare
from ansible.module_utils.patch_host.errors import PatchError
from ansible.module_utils.patch_host.files import make_folder

READING = 300


class Offers:
    """Asks apt-cache and apt-get, each once for all packages. `architecture` is a function, asked when needed."""

    def __init__(self, shell, architecture):
        self.shell = shell
        self._architecture = architecture

    def candidates(self, installed):
        names = [argument(package) for package in installed]
        policy = self._policy(names)
        newer = {}
        for package in installed:
            offer = policy.get(argument(package))
            if offer and offer.candidate and compare(offer.candidate, package.version) > 0:
                newer[argument(package)] = (package, offer.candidate)
        return self._describe(newer, policy)

    def describe(self, items):
        wanted = {argument(item): (item, item.version) for item in items}
        if not wanted:
            return []
        return self._describe(wanted, self._policy(wanted))

    def download(self, items, folder):
        offered = {(found["name"], found["arch"]) for found in self.describe(items)}
        wanted = [item for item in items if (item.name, item.arch) in offered]
        work = make_folder(os.path.join(folder, "partial"))
        names = ["%s=%s" % (argument(item), item.version) for item in wanted]
        if names:
            # One mirror that has lost a file makes apt-get fail, the other files are there all the same.
            self.shell.run(["apt-get", "-q", "-o", "APT::Sandbox::User=root", "download", *names], cwd=work)
        left = []
        for item in items:
            found = os.path.join(work, file_name(item))
            if os.path.exists(found):
                os.replace(found, os.path.join(folder, item.filename))
            else:
                left.append(item)
        shutil.rmtree(work, ignore_errors=True)
        return left

    def stanzas(self, items):
        """Describe items whose files are not here: as the repositories do, or else after the installed version."""
        wanted = {argument(item): (item, item.version) for item in items}
        shown = self._show(_offered(wanted, self._policy(wanted)))
        known = {(fields["Package"], fields["Version"]): fields[""] for fields in shown.values()}
        guessed = self._guess([item for item in items if (item.name, item.version) not in known])
        found = []
        for item in items:
            stanza = known.get((item.name, item.version)) or guessed.get(item.name)
            if stanza:
                size, sha256 = item.size or 1, item.sha256 or "0" * 64
                found.append(index_stanza(stanza, item.filename or file_name(item), size, sha256))
        return found

    def _guess(self, items):
        """Take the installed package's relations for those of the dropped version, with the locked versions put in."""
        if not items:
            return {}
        done = self.shell.run(["dpkg-query", "--status", *map(argument, items)], timeout=READING)
        newer = {item.name: item for item in items}
        found = {}
        for fields in parse_stanzas(done.out):
            item = newer.get(fields["Package"])
            if item and fields.get("Version"):
                text = re.sub(r"(?m)^Conffiles:.*\n(?: .*\n?)*", "", fields[""] + "\n")
                found[item.name] = text.replace(fields["Version"], item.version)
        return found

    def _policy(self, names):
        """Ask for all names at once. apt leaves the native architecture out of the names that it prints."""
        policy = parse_policy(read(self.shell, ["apt-cache", "policy", *names])) if names else {}
        native = self._architecture()
        return dict(policy, **{"%s:%s" % (name, native): offer for name, offer in policy.items() if ":" not in name})

    def _describe(self, wanted, policy):
        """Describe (package, version) pairs by name; those that no repository has are left out."""
        offered = _offered(wanted, policy)
        if not offered:
            return []
        shown = self._show(offered)
        releases = parse_releases(read(self.shell, ["apt-cache", "policy"]))
        found = []
        for name, (package, version) in offered.items():
            # A package may have become arch-independent, or have ceased to be.
            keys = [(package.name, arch, version) for arch in (package.arch, "all", self._architecture())]
            fields = next((shown[key] for key in keys if key in shown), None)
            if fields:
                sources = [releases[source] for source in policy[name].sources[version] if source in releases]
                found.append(_description(package, fields, sources, policy[name].installed))
        return found

    def _show(self, offered):
        """Map (name, architecture, version) to the repositories' stanzas."""
        names = ["%s=%s" % (name, version) for name, (_package, version) in offered.items()]
        shown = {}
        for fields in parse_stanzas(read(self.shell, ["apt-cache", "show", *names])) if names else []:
            if fields.get("SHA256"):
                shown.setdefault((fields["Package"], fields["Architecture"], fields["Version"]), fields)
        return shown


def _offered(wanted, policy):
    return {name: pair for name, pair in wanted.items() if name in policy and policy[name].sources.get(pair[1])}


def read(shell, argv):
    """Return what a program prints; raise `PatchError` where it fails."""
    done = shell.run(argv, timeout=READING)
    if done.rc != 0:
        raise PatchError("%s was asked, but ended with %d: %s" % (" ".join(argv[:3]), done.rc, last_words(done.err)))
    return done.out


def argument(package):
    """Name a package to apt, for which arch-independent packages have no architecture of their own."""
    return package.name if package.arch == "all" else "%s:%s" % (package.name, package.arch)


def file_name(package):
    """Name the file as apt does."""
    return "%s_%s_%s.deb" % (package.name, package.version.replace(":", "%3a"), package.arch)


def _description(package, fields, releases, installed):
    security = any(release.is_security() for release in releases)
    updates = any(release.archive.endswith("-updates") or release.codename.endswith("-updates") for release in releases)
    return {
        "name": package.name,
        "arch": fields["Architecture"],
        "from_version": installed,
        "version": fields["Version"],
        "classification": "security" if security else "bugfix" if updates else "unknown",
        "severity": "",
        "advisories": [],
        "origin": next((release.describe() for release in sorted(releases, key=lambda r: not r.is_security())), ""),
        "sha256": fields["SHA256"],
        "filename": os.path.basename(fields["Filename"]),
        "size": int(fields["Size"]),
        "published": 0,
        "held": bool(getattr(package, "held", False)),
    }
