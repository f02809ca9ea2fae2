"""The one way in which a bundle is packed, so that no two readers can see different files in it.

A gzip stream of one member with a fixed header, around a POSIX ustar archive in which everything but name, size and
content is fixed. The reader accepts that and nothing else; it never writes to a disk.
"""

from __future__ import annotations

import os
import re
import zlib
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from orchestrator.adapters.evidence.strict import Malformed

_GZIP = bytes.fromhex("1f8b08000000000000ff")
_BLOCK = 512
_END = bytes(2 * _BLOCK)
_CHUNK = 1 << 18
_LARGEST = 8**11 - 1
_NAME = re.compile(r"(?:[A-Za-z0-9._~%-]{1,64}/)?[A-Za-z0-9._~%-]{1,100}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A file to pack; ``chunks`` gives exactly ``size`` bytes."""

    name: str
    size: int
    chunks: Iterable[bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A file found in a bundle; ``chunks`` has to be read before the next one is asked for."""

    name: str
    size: int
    chunks: Iterator[bytes]


def pack(target: Path, entries: Iterable[Entry]) -> None:
    """Write the archive; it appears under its name only when it is complete. Entries come sorted by name.

    Raises ValueError for a name that the format has no room for, or content that is not as long as was said.
    """
    beside = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        with beside.open("xb") as file:
            _write(file, entries)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(target)
    finally:
        with suppress(FileNotFoundError):
            beside.unlink()


def members(path: Path) -> Iterator[Member]:
    """Return the files of an archive, in their order. Raises Malformed for every deviation from the format, OSError."""
    with path.open("rb") as file:
        stream = _Stream(file)
        before = ""
        while True:
            block = stream.take(_BLOCK)
            if block == _END[:_BLOCK]:
                break
            name, size = _read_header(block)
            if name <= before:
                raise Malformed(f"{name} stands after {before}: files are sorted by name, each comes once")
            before = name
            chunks = _content(stream, size)
            yield Member(name=name, size=size, chunks=chunks)
            for _ in chunks:
                pass
            if any(stream.take(-size % _BLOCK)):
                raise Malformed(f"something is hidden behind the end of {name}")
        if stream.take(_BLOCK) != _END[:_BLOCK]:
            raise Malformed("the archive does not end with two empty blocks")
        stream.expect_end()


def is_name(name: str) -> bool:
    """Tell whether a file of a bundle may be called so: at most one folder, plain characters, no way out."""
    return bool(_NAME.fullmatch(name)) and not any(part in {".", ".."} for part in name.split("/"))


def header(name: str, size: int) -> bytes:
    """Return the only ustar header that the format knows for this name and size. Raises ValueError."""
    if not is_name(name) or not 0 <= size <= _LARGEST:
        raise ValueError(f"a bundle has no room for {name!r} of {size} bytes")
    folder, _, base = name.rpartition("/") if len(name) > 100 else ("", "", name)
    nothing = b"0000000\x00"
    block = b"".join(
        (
            base.encode().ljust(100, b"\x00"),
            b"0000644\x00",
            nothing,
            nothing,
            b"%011o\x00" % size,
            b"%011o\x00" % 0,
            b" " * 8,
            b"0".ljust(101, b"\x00"),
            b"ustar\x0000".ljust(72, b"\x00"),
            nothing,
            nothing,
            folder.encode().ljust(155, b"\x00"),
            bytes(12),
        )
    )
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]


def _write(file: BinaryIO, entries: Iterable[Entry]) -> None:
    packer = zlib.compressobj(6, zlib.DEFLATED, -zlib.MAX_WBITS)
    check, length = 0, 0
    file.write(_GZIP)
    for chunk in _stream_of(entries):
        check, length = zlib.crc32(chunk, check), length + len(chunk)
        file.write(packer.compress(chunk))
    file.write(packer.flush())
    file.write(check.to_bytes(4, "little") + (length % 2**32).to_bytes(4, "little"))


def _stream_of(entries: Iterable[Entry]) -> Iterator[bytes]:
    for each in entries:
        yield header(each.name, each.size)
        written = 0
        for chunk in each.chunks:
            written += len(chunk)
            yield chunk
        if written != each.size:
            raise ValueError(f"{each.name} was to have {each.size} bytes and has {written}: it changed meanwhile")
        yield bytes(-each.size % _BLOCK)
    yield _END


def _read_header(block: bytes) -> tuple[str, int]:
    try:
        base, folder = (block[a:b].rstrip(b"\0").decode("ascii") for a, b in ((0, 100), (345, 500)))
        name = f"{folder}/{base}" if folder else base
        size = int(block[124:135], 8)
        fits = header(name, size) == block
    except ValueError:
        fits, name, size = False, "", 0
    if not fits:
        raise Malformed(f"the archive holds something other than plain files packed as the format says: {block[:40]!r}")
    return name, size


def _content(stream: _Stream, size: int) -> Iterator[bytes]:
    while size:
        chunk = stream.take(min(size, _CHUNK))
        size -= len(chunk)
        yield chunk


class _Stream:
    """The bytes inside a gzip file, as many as are asked for and never more held than that."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._unpacker = zlib.decompressobj(zlib.MAX_WBITS | 16)
        self._held = bytearray()
        start = file.read(len(_GZIP))
        if start != _GZIP:
            raise Malformed("it is not a gzip file as the format writes it")
        self._unpacker.decompress(start)

    def take(self, size: int) -> bytes:
        while len(self._held) < size:
            if not (more := self._more()):
                raise Malformed("the archive ends in the middle of a file")
            self._held += more
        taken = bytes(self._held[:size])
        del self._held[:size]
        return taken

    def expect_end(self) -> None:
        if self._held or self._more():
            raise Malformed("something follows after the end of the archive")
        if not self._unpacker.eof:
            raise Malformed("the gzip stream is cut off")
        if self._unpacker.unused_data or self._file.read(1):
            raise Malformed("something follows after the end of the gzip stream")

    def _more(self) -> bytes:
        while not self._unpacker.eof:
            packed = self._unpacker.unconsumed_tail or self._file.read(_CHUNK)
            try:
                found = self._unpacker.decompress(packed, _CHUNK)
            except zlib.error as error:
                raise Malformed(f"the gzip stream is damaged: {error}") from error
            if found or not packed:
                return found
        return b""
