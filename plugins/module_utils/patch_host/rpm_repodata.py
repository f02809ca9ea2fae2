"""Look files up in a repository's own index (rpm-md), as the package manager keeps it on the host."""

import bz2
import gzip
import html
import lzma
import os
import re
import typing

from ansible.module_utils.patch_host.rpm_versions import version_text

_END = b"</package>"
_NAME = re.compile(rb"<name>([^<]+)</name>")
_ARCH = re.compile(rb"<arch>([^<]+)</arch>")
_TAG = re.compile(rb"<(version|size|location)\s([^>]*)>")
_ATTRIBUTE = re.compile(rb"([\w:]+)=\"([^\"]*)\"")
_SHA256 = re.compile(rb"<checksum\s[^>]*type=\"sha256\"[^>]*>([0-9a-f]{64})<")
_OPENERS = {".gz": gzip.open, ".xz": lzma.open, ".bz2": bz2.open, ".xml": open}


class Offer(typing.NamedTuple):
    """A package file that a repository has."""

    name: str
    arch: str
    version: str
    origin: str
    size: int
    filename: str
    sha256: str


def find_offers(shell, folder, origin, names):
    """List the files of packages called one of `names` in the repository whose index lies in `folder`.

    [] where the index is not there or in a compression that this host cannot read: all that is then unknown is the
    file's sha256 and size, which are found out when it is downloaded.
    """
    index = _index(folder)
    if not index:
        return []
    # A large repository has 100 MB of this: it is cut into packages, and only those that are wanted are looked at.
    return [_offer(block, origin) for block in _blocks(shell, index) if _name(block) in names]


def _index(folder):
    """Return the path of the index of packages that repomd.xml names; "" for none."""
    try:
        with open(os.path.join(folder, "repodata", "repomd.xml"), encoding="utf-8") as file:
            text = file.read()
    except OSError:
        return ""
    for found in re.finditer(r"<data type=\"primary\">.*?<location href=\"([^\"]+)\"", text, re.DOTALL):
        return os.path.join(folder, found.group(1))
    return ""


def _blocks(shell, path):
    suffix = os.path.splitext(path)[1]
    if suffix in (".zst", ".zck"):
        program = {".zst": ["zstd", "-dcq", path], ".zck": ["unzck", "--stdout", path]}[suffix]
        parts = iter([shell.run(program, timeout=120).out.encode()])
    else:
        parts = _parts(path, suffix)
    rest = b""
    for part in parts:
        *blocks, rest = (rest + part).split(_END)
        for block in blocks:
            yield block


def _parts(path, suffix):
    try:
        with _OPENERS.get(suffix, open)(path, "rb") as file:
            for part in iter(lambda: file.read(1 << 20), b""):
                yield part
    except (OSError, EOFError, lzma.LZMAError):
        return


def _name(block):
    found = _NAME.search(block)
    return _text(found.group(1)) if found else ""


def _offer(block, origin):
    tags = {tag: dict(_ATTRIBUTE.findall(attributes)) for tag, attributes in _TAG.findall(block)}
    version = {key: _text(value) for key, value in tags.get(b"version", {}).items()}
    arch, digest = _ARCH.search(block), _SHA256.search(block)
    return Offer(
        name=_name(block),
        arch=_text(arch.group(1)) if arch else "",
        version=version_text(version.get(b"epoch", "0"), version.get(b"ver", ""), version.get(b"rel", "")),
        origin=origin,
        size=int(tags.get(b"size", {}).get(b"package", 0)),
        filename=os.path.basename(_text(tags.get(b"location", {}).get(b"href", b""))),
        sha256=digest.group(1).decode() if digest else "",
    )


def _text(data):
    return html.unescape(data.decode("utf-8", "replace"))
