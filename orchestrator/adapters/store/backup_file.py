"""The one file of a backup: a compressed archive of its manifest and the dump, and nothing else."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import copyfileobj
from tempfile import TemporaryDirectory, gettempdir
from typing import IO

from orchestrator.domain.backup import MANIFEST, Manifest, read_manifest
from orchestrator.domain.canonical import canonical
from orchestrator.errors import EvidenceRefused, Unavailable

_LARGEST_MANIFEST = 256 << 20
_CHUNK = 1 << 20


def pack(target: Path, manifest: Manifest, dump: Path) -> Path:
    """Write the archive, for its owner's eyes alone, and see it on disk."""
    target.touch(mode=0o600)
    with tarfile.open(target, "w:gz", compresslevel=6) as archive:
        raw = canonical(manifest)
        for name, size, source in (
            (MANIFEST, len(raw), io.BytesIO(raw)),
            (manifest.kind.file, manifest.size, dump.open("rb")),
        ):
            member = tarfile.TarInfo(name)
            member.size, member.mode, member.mtime = size, 0o600, int(manifest.made_at.timestamp())
            with source:
                archive.addfile(member, source)
    sync(target)
    return target


@contextmanager
def unpacked(file: Path) -> Iterator[tuple[Manifest, Path]]:
    """Unpack a backup for the block. Raises EvidenceRefused where it is damaged or none, Unavailable."""
    with workroom() as room:
        try:
            with gzip.open(file) as stream, tarfile.open(fileobj=stream) as archive:
                manifest = read_manifest(_content(archive, MANIFEST).read(_LARGEST_MANIFEST))
                dump = room / manifest.kind.file
                with _content(archive, dump.name) as source, dump.open("wb") as target:
                    copyfileobj(source, target)
                if archive.next() is not None:
                    raise EvidenceRefused(f"{file} is no backup as this program writes it: there is more in it.")
                while stream.read(_CHUNK):
                    pass  # The checksum comes last, and is looked at by whoever reads as far.
        except OSError as error:
            if isinstance(error, FileNotFoundError | PermissionError | IsADirectoryError):
                raise Unavailable(f"the backup {file} cannot be read: {error.strerror}.") from error
            raise _damaged(file, error) from error
        except (tarfile.TarError, zlib.error, EOFError, ValueError) as error:
            raise _damaged(file, error) from error
        if measure(dump) != (manifest.sha256, manifest.size):
            raise EvidenceRefused(f"{file} is damaged: its database is not the one that its manifest names.")
        yield manifest, dump


@contextmanager
def workroom(beside: Path | None = None) -> Iterator[Path]:
    """Give a folder that nobody else may read, for the block: beside something, or where TMPDIR says."""
    try:
        with TemporaryDirectory(prefix=".backup-", dir=beside) as name:
            yield Path(name)
    except OSError as error:
        if beside is not None and not beside.is_dir():
            raise Unavailable(f"there is no folder {beside}: make it first.") from error
        raise Unavailable(f"there is no room to work in {beside or gettempdir()}: {error}") from error


def measure(file: Path) -> tuple[str, int]:
    """Return sha256 and size of a file."""
    with file.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest(), file.stat().st_size


def sync(path: Path) -> None:
    """See a file's bytes, or a folder's names, on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _content(archive: tarfile.TarFile, name: str) -> IO[bytes]:
    member = archive.next()
    content = archive.extractfile(member) if member is not None and member.name == name and member.isreg() else None
    if content is None:
        raise ValueError(f"it lacks {name}, or holds something else before it")
    return content


def _damaged(file: Path, error: Exception) -> EvidenceRefused:
    return EvidenceRefused(f"{file} is no backup, or a damaged one: {error}")
