"""Carry package files between the controller and a host, all in one archive."""

import hashlib
import os
import shutil
import tarfile
import tempfile
from pathlib import Path

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase


class ActionModule(ActionBase):
    """The controller's half of the module `patch_files`; files are named by their sha256 there.

    Several hosts may bring the same file at the same time: each is written beside its place, checked, then put there in
    one step. A file that is there already is not fetched again.
    """

    TRANSFERS_FILES = True

    def run(self, tmp=None, task_vars=None):
        result = super().run(tmp, task_vars)
        folder, files = Path(self._task.args["folder"]), self._task.args["files"]
        if self._task.args["state"] == "fetched":
            folder.mkdir(parents=True, exist_ok=True)
            wanted = [file for file in files if not _is_good(folder / file["sha256"], file["sha256"])]
            act = self._fetch
        else:
            wanted = [file for file in files if _is_good(folder / file["sha256"], file["sha256"])]
            act = self._push
        if wanted:
            with tempfile.TemporaryDirectory(prefix="patch-files-") as work:
                act(wanted, folder, Path(work), task_vars)
        carried = [file["sha256"] for file in wanted]
        lost = [file["sha256"] for file in files if file not in wanted] if act == self._push else []
        return dict(result, changed=bool(wanted), carried=carried, lost=lost)

    def _fetch(self, files, folder, work, task_vars):
        archive = self._remote_archive()
        self._call_host(files, archive, task_vars)
        self._connection.fetch_file(archive, str(work / "files.tar"))
        with tarfile.open(work / "files.tar") as tar:
            for file in files:
                _extract(tar, file["sha256"], folder)
        self._remove_tmp_path(self._connection._shell.tmpdir)

    def _push(self, files, folder, work, task_vars):
        with tarfile.open(work / "files.tar", "w") as tar:
            for file in files:
                tar.add(folder / file["sha256"], arcname=file["sha256"])
        archive = self._remote_archive()
        self._transfer_file(str(work / "files.tar"), archive)
        self._call_host(files, archive, task_vars)
        self._remove_tmp_path(self._connection._shell.tmpdir)

    def _remote_archive(self):
        if not self._connection._shell.tmpdir:
            self._make_tmp_path()
        return self._connection._shell.join_path(self._connection._shell.tmpdir, "files.tar")

    def _call_host(self, files, archive, task_vars):
        arguments = dict(self._task.args, files=files, archive=archive)
        answer = self._execute_module(module_name="patch_files", module_args=arguments, task_vars=task_vars)
        if answer.get("failed"):
            raise AnsibleActionFail(str(answer.get("msg")))


def _extract(tar, sha256, folder):
    source = tar.extractfile(sha256)
    with tempfile.NamedTemporaryFile(dir=folder, prefix=f".{sha256}.", delete=False) as target:
        shutil.copyfileobj(source, target)
    try:
        if not _is_good(Path(target.name), sha256):
            raise AnsibleActionFail(
                f"A package was to be brought to the controller, but arrived with another sha256 than {sha256}. "
                "Run the phase again."
            )
        Path(target.name).chmod(0o644)
        Path(target.name).replace(folder / sha256)
    finally:
        Path(target.name).unlink(missing_ok=True)


def _is_good(path, sha256):
    if not os.path.isfile(path):
        return False
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest() == sha256
