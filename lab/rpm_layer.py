"""What turns a host of the image into one of dnf and zypper: their tools, and an rpm database of their own."""

import hashlib
import json
from pathlib import Path

from lab import image, overlay, proxy, rpm
from lab.commands import run
from lab.locks import locked
from lab.sources import read_distribution

_PACKAGES = ("dnf", "dnf-plugins-core", "rpm", "zypper")
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
    "etc/yum.repos.d/lab.repo": "[lab]\nname=Patch Lab\nbaseurl=http://controller:{port}/lab/rpm\nenabled=1\ngpgcheck=0\n",
    "etc/zypp/repos.d/lab.repo": "[lab]\nname=Patch Lab\nbaseurl=http://controller:{port}/lab/rpm\nenabled=1\n"
    "autorefresh=1\ngpgcheck=0\n",
}
_POLICY = "#!/bin/sh\nexit 101\n"  # Nothing is started while packages are installed into the layer.


def ensure(root: Path, base: Path, say: image.Say) -> Path:
    """Return the layer's folder; build it first where it is missing."""
    recipe = hashlib.sha256(json.dumps([_PACKAGES, _RELEASE, _FILES]).encode()).hexdigest()[:8]
    folder = base.with_name(f"{base.name}-rpm-{recipe}")
    with locked(root / "image.lock"):
        if not folder.is_dir():
            say(f"adding dnf, zypper and rpm in {folder} (once, about half a minute)")
            _build(base, folder)
    return folder


def _build(base: Path, folder: Path) -> None:
    work = folder.with_name(f"{folder.name}.part")
    overlay.forget(work)
    overlay.prepare(work, "")
    tree = overlay.mount(work, [base])
    try:
        _install(tree, base.parent)
        _configure(tree)
    finally:
        overlay.unmount(work)
    (work / "changes/upper").rename(folder)
    overlay.forget(work)


def _install(tree: Path, root: Path) -> None:
    distribution = read_distribution()
    sources, policy = tree / "etc/apt/sources.list", tree / "usr/sbin/policy-rc.d"
    policy.write_text(_POLICY)
    policy.chmod(0o755)
    main = distribution.main
    with proxy.serving(root, distribution) as mirror:
        path = distribution.paths()[main.uri]
        sources.write_text(f"deb {mirror}/{path} {main.suite} {' '.join(main.components)}\n")
        inside = ["chroot", str(tree), "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-q", "-y"]
        run([*inside, "update"], timeout=300)
        run([*inside, "install", "--no-install-recommends", *_PACKAGES], timeout=600)
        run([*inside, "clean"])
    policy.unlink()
    sources.write_text("")
    for index in (tree / "var/lib/apt/lists").glob("*_*"):
        index.unlink()


def _configure(tree: Path) -> None:
    for name, text in _FILES.items():
        path = tree / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.format(port=proxy.PORT))
    rpm.build_from(_RELEASE, tree / "tmp/release")
    inside = ["chroot", str(tree), "rpm"]
    run([*inside, "--initdb"])
    run([*inside, "--install", "--force-debian", *_built(tree)])
    overlay.remove(tree / "tmp/release")


def _built(tree: Path) -> list[str]:
    return [f"/tmp/release/{path.name}" for path in (tree / "tmp/release").iterdir()]
