"""A private repository of chosen packages: apt is shown these and nothing else.

With it, apt's own resolver works on exactly the locked versions: a newer candidate elsewhere does not exist for it, a
version that the mirrors dropped does, a new dependency comes in only if it is needed, and marks stay as they are.
"""

import os
import shutil

from ansible.module_utils.patch_host.apt_text import last_words
from ansible.module_utils.patch_host.errors import PatchError
from ansible.module_utils.patch_host.files import make_folder


class PrivateRepository:
    """Packages under `folder`, described by `stanzas`; apt's indexes of it live under `home`."""

    def __init__(self, shell, home, folder):
        self.shell = shell
        self.folder = folder
        self._home = home

    def build(self, stanzas):
        """Write the index and let apt read it. `stanzas` are the texts of a Packages file, without empty lines."""
        shutil.rmtree(self._home, ignore_errors=True)
        make_folder(os.path.join(self._home, "lists", "partial"))
        make_folder(os.path.join(self._home, "cache", "archives", "partial"))
        index = make_folder(os.path.join(self._home, "index"))
        with open(os.path.join(index, "Packages"), "w", encoding="utf-8") as file:
            file.write("".join(stanza.strip("\n") + "\n\n" for stanza in stanzas))
        # The file names in the index lead from there to the packages; a link keeps them relative, as apt wants them.
        os.symlink(self.folder, os.path.join(index, "files"))
        with open(os.path.join(self._home, "sources.list"), "w", encoding="utf-8") as file:
            file.write("deb [trusted=yes] file:%s ./\n" % index)
        done = self.shell.run(["apt-get", *self.options(), "-qq", "update"], timeout=120)
        if done.rc != 0:
            raise PatchError(
                "apt was to read the index of the locked packages, but said: %s. Look at %s."
                % (last_words(done.out + done.err), self._home)
            )

    def options(self):
        """Return the options that make apt see only this repository and what is installed."""
        values = {
            "Dir::Etc::SourceList": os.path.join(self._home, "sources.list"),
            "Dir::Etc::SourceParts": "/dev/null",
            "Dir::Etc::Preferences": "/dev/null",
            "Dir::Etc::PreferencesParts": "/dev/null",
            "Dir::State::Lists": os.path.join(self._home, "lists"),
            "Dir::Cache": os.path.join(self._home, "cache"),
            "Dir::Cache::pkgcache": "",
            "Dir::Cache::srcpkgcache": "",
            "APT::Sandbox::User": "root",
            "APT::Default-Release": "",
            "APT::Get::Always-Include-Phased-Updates": "true",
            "Acquire::Languages": "none",
        }
        return [part for key, value in values.items() for part in ("-o", "%s=%s" % (key, value))]


def index_stanza(control, filename, size, sha256):
    """Make a Packages stanza of a control file's text."""
    kept = [
        line
        for line in control.strip("\n").splitlines()
        if not line.startswith(("Filename:", "Size:", "SHA256:", "MD5sum:", "SHA1:", "Status:", "SHA512:"))
    ]
    return "\n".join([*kept, "Filename: ./files/%s" % filename, "Size: %d" % size, "SHA256: %s" % sha256])
