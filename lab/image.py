"""The image that all hosts of this machine share: the distribution's own packages, from its point release alone."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

from lab import overlay, proxy, repository
from lab.commands import run
from lab.locks import locked
from lab.sources import Distribution, Source, apt_options, read_distribution

PACKAGES = (
    *("systemd", "systemd-sysv", "dbus", "openssh-server", "iproute2", "sudo", "curl", "procps"),
    *("python3-minimal", "python3-apt", "needrestart", "dpkg-repack", "lsof"),
)

_FILES = {
    # Root logs in before sessions are permitted, the other accounts only after: SSH answering means both can.
    "etc/systemd/system/ssh.service.d/lab.conf": "[Unit]\nAfter=systemd-user-sessions.service\n",
    "etc/ssh/sshd_config.d/lab.conf": "HostKey /etc/ssh/ssh_host_ed25519_key\nUseDNS no\nMaxStartups 100\n",
    "etc/sudoers.d/lab": "patch ALL=(ALL) NOPASSWD: ALL\npatchpw ALL=(ALL) ALL\n",
    "etc/resolv.conf": "",
}
_ACCOUNTS = ("patch", "patchpw")
Say = Callable[[str], None]


def ensure_base(root: Path, say: Say) -> Path:
    """Return the image's folder; build it first where it is missing (half a minute, once for each recipe)."""
    distribution = read_distribution()
    folder = root / f"image-{distribution.codename}-{_recipe()}"
    with locked(root / "image.lock"):
        if not folder.is_dir():
            say(f"building the {distribution.codename} image in {folder} (once, about half a minute)")
            _build(distribution, folder)
    return folder


def _recipe() -> str:
    return hashlib.sha256(
        json.dumps([PACKAGES, _FILES, _ACCOUNTS, proxy.ADDRESS, repository.SUITES]).encode()
    ).hexdigest()[:8]


def _build(distribution: Distribution, folder: Path) -> None:
    part = folder.with_name(f"{folder.name}.part")
    overlay.remove(part)
    main = distribution.main
    with proxy.serving(folder.parent, distribution) as base:
        line = f"deb {base}/{distribution.paths()[main.uri]} {main.suite} {' '.join(main.components)}"
        options = [f'--aptopt={name} "{value}"' for name, value in _apt_options().items()]
        # The point release alone: what the security suite has published since is then really pending.
        # The death signal: nobody else is to find an abandoned builder still at work in the folder.
        command = [
            "setpriv",
            "--pdeathsig",
            "KILL",
            "mmdebstrap",
            "--mode=root",
            "--variant=minbase",
            f"--include={','.join(PACKAGES)}",
            *options,
        ]
        run([*command, main.suite, str(part), line], timeout=900)
        _finish(part)
        _read_index(part, distribution, base)
    part.rename(folder)


def _read_index(tree: Path, distribution: Distribution, base: str) -> None:
    """Let the image know the point release's index, so that no host has to unpack its 50 MB again."""
    sources = tree / "etc/apt/sources.list"
    sources.write_text(_source_line(distribution, distribution.main))
    # The server is asked as a proxy here: the address in the sources is one that only hosts can reach.
    run(["chroot", str(tree), "apt-get", "-q", f"-oAcquire::http::Proxy={base}", "update"], timeout=300)
    lines = [_source_line(distribution, source) for source in distribution.sources]
    # Nothing is signed in the lab's own repository; the distribution's indexes bear their real signatures.
    lines += [f"deb [trusted=yes] {proxy.ADDRESS}/lab/apt {suite} main\n" for suite in repository.SUITES]
    sources.write_text("".join(lines))


def _source_line(distribution: Distribution, source: Source) -> str:
    path = distribution.paths()[source.uri]
    return f"deb {proxy.ADDRESS}/{path} {source.suite} {' '.join(source.components)}\n"


def _apt_options() -> dict[str, str]:
    return {**apt_options(), "Acquire::http::Proxy": "DIRECT", "Acquire::Languages": "none"}


def _finish(tree: Path) -> None:
    for key in (tree / "etc/ssh").glob("ssh_host_*"):
        key.unlink()
    for name in _ACCOUNTS:
        run(["chroot", str(tree), "useradd", "--create-home", "--shell", "/bin/bash", name])
    for name, text in _FILES.items():
        path = tree / name
        path.unlink(missing_ok=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (tree / "etc/sudoers.d/lab").chmod(0o440)
    options = "".join(f'{name} "{value}";\n' for name, value in _apt_options().items())
    (tree / "etc/apt/apt.conf.d/90lab").write_text(options)
