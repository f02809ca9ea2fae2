"""Logging in to lab hosts: the lab's own key, the hosts' keys and the ssh command line."""

from pathlib import Path

from lab.commands import run
from lab.locks import locked


def ensure_key(root: Path) -> Path:
    """Make the lab's key pair once; it opens every host of every instance under this root."""
    key = root / "key"
    with locked(root / "key.lock"):
        if not key.exists():
            make_key(key)
    return key


def make_key(path: Path) -> None:
    run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "patch-lab", "-f", str(path)])


def ssh_options(key: Path, known_hosts: Path) -> list[str]:
    """List the options for a login that asks nothing and trusts only the keys the lab itself has made."""
    return ["-i", str(key), *host_key_options(known_hosts), "-o", "BatchMode=yes", "-o", "ConnectTimeout=5"]


def host_key_options(known_hosts: Path) -> list[str]:
    return ["-o", f"UserKnownHostsFile={known_hosts}", "-o", "StrictHostKeyChecking=yes"]


def hash_password(password: str) -> str:
    """Hash a password as /etc/shadow keeps it (crypt(5), SHA-512)."""
    return run(["openssl", "passwd", "-6", "-stdin"], stdin=f"{password}\n").stdout.strip()
