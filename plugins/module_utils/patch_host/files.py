"""Files that must survive a power cut, and the folder on the host in which all of them live."""

import contextlib
import errno
import fcntl
import hashlib
import json
import os

FOLDER = "/var/lib/patch-orchestrator"


def make_folder(path):
    """Make a folder that only root may read, with its parents."""
    os.makedirs(path, mode=0o700, exist_ok=True)
    return path


def read_json(path):
    """Return what the file holds; None where there is no such file or it cannot be read as JSON."""
    try:
        with open(path, encoding="utf-8") as file:
            return json.load(file)
    except (FileNotFoundError, ValueError):
        return None


def write_json(path, value):
    """Replace the file in one step; it is on the disk when this returns."""
    make_folder(os.path.dirname(path))
    fresh = path + ".new"
    with open(fresh, "w", encoding="utf-8") as file:
        json.dump(value, file, sort_keys=True)
        file.write("\n")
        _flush(file)
    os.replace(fresh, path)
    sync_folder(os.path.dirname(path))


def append_line(path, line):
    """Append one line; it is on the disk when this returns. A torn last line is closed first."""
    make_folder(os.path.dirname(path))
    known = os.path.exists(path)
    with open(path, "a+b") as file:
        file.seek(0, os.SEEK_END)
        if file.tell():
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":
                file.write(b"\n")
        file.write(line.encode() + b"\n")
        _flush(file)
    if not known:
        sync_folder(os.path.dirname(path))


def remove(path):
    """Remove a file, if it is there."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
        sync_folder(os.path.dirname(path))


def sync_folder(path):
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def locked(path):
    """Hold an exclusive lock on the file while the block runs; waits for it."""
    make_folder(os.path.dirname(path))
    with open(path, "a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def try_lock(path):
    """Return a descriptor that holds the lock until it is closed or its last process ends; None if it is taken."""
    make_folder(os.path.dirname(path))
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        if error.errno not in (errno.EAGAIN, errno.EACCES):
            raise
        return None
    return descriptor


def sha256_of(path):
    """Return the file's digest; "" where there is no such file."""
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            for block in iter(lambda: file.read(1 << 20), b""):
                digest.update(block)
    except FileNotFoundError:
        return ""
    return digest.hexdigest()


def size_of(folder):
    """Sum up the bytes of all files under a folder; 0 where there is none."""
    return sum(
        os.lstat(os.path.join(path, name)).st_size for path, _folders, names in os.walk(folder) for name in names
    )


def _flush(file):
    file.flush()
    os.fsync(file.fileno())
