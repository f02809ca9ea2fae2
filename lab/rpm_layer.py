"""What turns a host of the image into one of dnf and zypper: their tools, and an rpm database of their own."""

import hashlib
import json
from pathlib import Path

from lab import image, overlay, proxy, rpm
from lab.commands import run
from lab.locks import locked
from lab.sources import read_distribution

# One layer for each: Debian's dnf-plugins-core (`dnf needs-restarting`) and zypper exclude each other.
_PACKAGES = {"dnf": ("dnf", "dnf-plugins-core", "rpm"), "zypper": ("zypper", "rpm")}
# What every distribution of rpm has and an rpm database on Debian has not: a release, a shell and some basics.
_RELEASE = """\
Name: lab-release
Version: 1
Release: 1
Summary: The lab's release
License: Apache-2.0
BuildArch: noarch
AutoReqProv: no
Provides: system-release = 1
Provides: system-release(releasever) = 1
Provides: distribution-release = 1
Provides: /bin/sh
%description
Made by the lab.
%files
"""
_FILES = {
    "etc/yum.repos.d/lab.repo": "[lab]\nname=Patch Lab\nbaseurl={address}/lab/rpm\nenabled=1\ngpgcheck=0\n",
    # Debian's rpm keeps its database in the caller's home, where zypper does not look.
    "etc/rpm/macros": "%_dbpath /var/lib/rpm\n",
    # Debian's package switches a plugin on whose repository of local files does not exist.
    "etc/dnf/plugins/local.conf": "[main]\nenabled = false\n",
    "etc/zypp/repos.d/lab.repo": "[lab]\nname=Patch Lab\nbaseurl={address}/lab/rpm\nenabled=1\n"
    "autorefresh=1\ngpgcheck=0\n",
}
_POLICY = "#!/bin/sh\nexit 101\n"  # Nothing is started while packages are installed into the layer.


def ensure(root: Path, base: Path, family: str, say: image.Say) -> Path:
    """Return the folder of the family's layer, dnf or zypper; build it first where it is missing."""
    recipe = hashlib.sha256(json.dumps([_PACKAGES[family], _RELEASE, _FILES, _POLICY]).encode()).hexdigest()[:8]
    folder = base.with_name(f"{base.name}-{family}-{recipe}")
    with locked(root / "image.lock"):
        if not folder.is_dir():
            say(f"adding {family} in {folder} (once, about half a minute)")
            _build(base, folder, _PACKAGES[family])
    return folder


def _build(base: Path, folder: Path, packages: tuple[str, ...]) -> None:
    work = folder.with_name(f"{folder.name}.part")
    overlay.forget(work)
    overlay.prepare(work, "")
    tree = overlay.mount(work, [base])
    try:
        _install(tree, base.parent, packages)
        _configure(tree)
    finally:
        overlay.unmount(work)
    (work / "changes/upper").rename(folder)
    overlay.forget(work)


def _install(tree: Path, root: Path, packages: tuple[str, ...]) -> None:
    policy = tree / "usr/sbin/policy-rc.d"
    policy.write_text(_POLICY)
    policy.chmod(0o755)
    with proxy.serving(root, read_distribution()) as mirror:
        inside = ["chroot", str(tree), "env", "DEBIAN_FRONTEND=noninteractive"]
        inside += ["apt-get", "-q", "-y", f"-oAcquire::http::Proxy={mirror}"]
        run([*inside, "install", "--no-install-recommends", *packages], timeout=600)
        run([*inside, "clean"])
    policy.unlink()


def _configure(tree: Path) -> None:
    for name, text in _FILES.items():
        path = tree / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.format(address=proxy.ADDRESS))
    rpm.build_from(_RELEASE, tree / "tmp/release")
    inside = ["chroot", str(tree), "rpm"]
    run([*inside, "--initdb"])
    run([*inside, "--install", "--force-debian", *_built(tree)])
    overlay.remove(tree / "tmp/release")


def _built(tree: Path) -> list[str]:
    return [f"/tmp/release/{path.name}" for path in (tree / "tmp/release").iterdir()]
