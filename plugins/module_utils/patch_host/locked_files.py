"""The new files under `packages/`: fetched from repositories or pushed, each checked against the lock's sha256."""

import os

from ansible.module_utils.patch_host.errors import PatchError
from ansible.module_utils.patch_host.files import FOLDER, make_folder, sha256_of


class LockedFiles:
    """Files as named in the lock."""

    def __init__(self, folder=FOLDER):
        self.folder = os.path.join(folder, "packages")

    def fetch(self, family, items):
        """Have the family download what is not here yet. Return {(name, arch): present | repository} of what is here.

        A file of another content is none of the lock's: it is removed.
        """
        make_folder(self.folder)
        sources = {(item.name, item.arch): "present" for item in items if self.is_good(item)}
        wanted = [item for item in items if (item.name, item.arch) not in sources]
        if wanted:
            family.download(wanted, self.folder)
            for item in wanted:
                if self.is_good(item):
                    sources[(item.name, item.arch)] = "repository"
                elif os.path.exists(self.path(item)):
                    os.unlink(self.path(item))
        return sources

    def is_good(self, item):
        """Whether the file is here, with the lock's content."""
        return bool(item.sha256) and sha256_of(self.path(item)) == item.sha256

    def path(self, item):
        return os.path.join(self.folder, item.filename)

    def require(self, items, available):
        """Raise unless all upgrades are here; return those of the available items whose files are here."""
        lost = [item.filename or item.name for item in items if not self.is_good(item)]
        if lost:
            raise PatchError(
                "The lock was to be installed from %s, but these files are not there or differ from the lock's sha256: "
                "%s. Run protect.yml again, with packages_dir where repositories have dropped them."
                % (self.folder, ", ".join(lost))
            )
        return [item for item in available if self.is_good(item)]
