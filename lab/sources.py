"""Where this machine gets its own distribution's packages from, read from its apt configuration."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lab.commands import run
from lab.errors import LabError

APT = Path("/etc/apt")
_ARCHIVE_KEYS = ("debian-archive", "ubuntu-archive")


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One line of package sources: a mirror, one suite of it and the components taken from there."""

    uri: str
    suite: str
    components: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Distribution:
    """The distribution of the machine and of its hosts: codename and the archive's sources, the main one first."""

    codename: str
    sources: tuple[Source, ...]

    @property
    def main(self) -> Source:
        return next(source for source in self.sources if source.suite == self.codename)

    def paths(self) -> dict[str, str]:
        """Name the path under which the controller serves each mirror: the mirror's own last word, such as debian."""
        found: dict[str, str] = {}
        for source in self.sources:
            word = source.uri.rpartition("/")[2]
            taken = {path for uri, path in found.items() if uri != source.uri}
            found[source.uri] = word if word not in taken else f"{source.suite}-{word}"
        return found


def read_distribution(apt: Path = APT, os_release: Path = Path("/etc/os-release")) -> Distribution:
    """Read the codename and the distribution's own sources; third parties' are left out."""
    found = re.search(r"^VERSION_CODENAME=\"?([a-z]+)", os_release.read_text(), re.MULTILINE)
    if not found:
        raise LabError(f"The lab takes Debian's or Ubuntu's release name from {os_release}, which has none.")
    codename = found.group(1)
    wanted = [codename, f"{codename}-updates", f"{codename}-security"]
    sources = {source.suite: source for source in _all_sources(apt) if source.suite in wanted}
    if codename not in sources:
        raise LabError(f"The lab builds its hosts from this machine's mirror, but {apt} names none for {codename}.")
    return Distribution(codename=codename, sources=tuple(sources[suite] for suite in wanted if suite in sources))


def apt_options() -> dict[str, str]:
    """Read what the machine has set for apt that its hosts need too: a frozen mirror's dates are not checked."""
    dump = run(["apt-config", "dump"]).stdout
    options = ("Acquire::Check-Valid-Until", "Acquire::Check-Date")
    found = {option: re.search(rf'^{option} "([^"]*)";', dump, re.MULTILINE) for option in options}
    return {option: match.group(1) for option, match in found.items() if match}


def apt_proxy() -> str:
    """Read the proxy that the machine's apt goes through; "" where it goes straight."""
    dump = run(["apt-config", "dump"]).stdout
    found = re.search(r'^Acquire::http::Proxy "([^"]+)";', dump, re.MULTILINE)
    return found.group(1) if found and found.group(1) != "DIRECT" else ""


def _all_sources(apt: Path) -> Iterator[Source]:
    parts = apt / "sources.list.d"
    for path in sorted(parts.glob("*.sources")):
        for stanza in re.split(r"\n\s*\n", path.read_text()):
            yield from _from_stanza(stanza)
    for path in [apt / "sources.list", *sorted(parts.glob("*.list"))]:
        if path.exists():
            for line in path.read_text().splitlines():
                yield from _from_line(line)


def _from_stanza(stanza: str) -> Iterator[Source]:
    """Read one deb822 stanza (sources.list(5)); comments inside are left out, folded lines are joined."""
    kept = "\n".join(line for line in stanza.splitlines() if not line.startswith("#"))
    fields: dict[str, list[str]] = {}
    for name, value in re.findall(r"^([A-Za-z-]+):((?:.*)(?:\n[ \t].*)*)", kept, re.MULTILINE):
        fields[name.lower()] = value.split()
    if "deb" not in fields.get("types", []) or fields.get("enabled") == ["no"]:
        return
    if not _is_archive(" ".join(fields.get("signed-by", []))):
        return
    for uri in fields.get("uris", [])[:1]:
        for suite in fields.get("suites", []):
            yield Source(uri=_plain(uri), suite=suite, components=tuple(fields.get("components", [])))


def _from_line(line: str) -> Iterator[Source]:
    found = re.match(r"deb\s+(?:\[([^]]*)\]\s+)?(\S+)\s+(\S+)\s+([^#]+)", line)
    if found and _is_archive("".join(re.findall(r"signed-by=(\S+)", found.group(1) or ""))):
        yield Source(uri=_plain(found.group(2)), suite=found.group(3), components=tuple(found.group(4).split()))


def _is_archive(signed_by: str) -> bool:
    return not signed_by or any(key in signed_by for key in _ARCHIVE_KEYS)


def _plain(uri: str) -> str:
    """Take the first mirror where the machine names a list of them (apt-transport-mirror(1))."""
    if uri.startswith("mirror+file:"):
        for line in Path(uri.removeprefix("mirror+file:")).read_text().splitlines():
            if line.strip() and not line.startswith("#"):
                return line.split()[0].rstrip("/")
    return uri.rstrip("/")
