"""Where the demo keeps its things: one folder, and one instance of the lab."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

TOP = Path(__file__).resolve().parents[1]
#: In the demo's folder, so that no other folder is ever taken away.
MARKER = ".made-by-the-demo"


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """The demo's folder and the name of its lab instance."""

    folder: Path
    instance: str

    @property
    def site(self) -> Path:
        """What people edit: playbooks, templates, inventories, people."""
        return self.folder / "site"

    @property
    def state(self) -> Path:
        """What the product keeps: database, keys, jobs."""
        return self.folder / "state"

    @property
    def keys(self) -> Path:
        """The SSH keys of the people in the story."""
        return self.folder / "keys"

    @property
    def requests(self) -> Path:
        """The requests that are submitted."""
        return self.folder / "requests"

    @property
    def bundles(self) -> Path:
        """The evidence that was exported."""
        return self.folder / "bundles"

    @property
    def pinned_key(self) -> Path:
        """The public key as the auditor got it on the first day."""
        return self.folder / "auditor" / "signing-key.pub.pem"

    @property
    def lab(self) -> Path:
        """The simulated hosts, where the lab has no place of its own on this machine."""
        return self.folder / "lab"

    @property
    def lock(self) -> Path:
        """Held while a demo of this instance runs."""
        return Path("/run/lock") / f"patch-demo-{self.instance}.lock"


def places(environ: Mapping[str, str] = os.environ) -> Places:
    """Return the places: those that PATCH_DEMO_FOLDER and PATCH_DEMO_INSTANCE name, else the usual ones."""
    folder = Path(environ.get("PATCH_DEMO_FOLDER") or TOP / ".demo")
    return Places(folder=folder.absolute(), instance=environ.get("PATCH_DEMO_INSTANCE") or "demo")


def shown(path: Path) -> str:
    """Return the path as one types it in the repository's top folder."""
    return str(path.relative_to(TOP)) if path.is_relative_to(TOP) else str(path)
