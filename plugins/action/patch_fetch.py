"""Bring files from a host to the controller, each under its sha256 as its name."""

import base64
import contextlib
import hashlib
import os
import tempfile
from pathlib import Path

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase


class ActionModule(ActionBase):
    """`patch_fetch: {files: [{path, sha256}], folder: …}`.

    Several hosts may bring the same file at the same time: each is written beside its place, checked, then put there in
    one step. A file that is there already in full is not fetched again.
    """

    TRANSFERS_FILES = False

    def run(self, tmp=None, task_vars=None):
        result = super().run(tmp, task_vars)
        folder = Path(self._task.args["folder"])
        folder.mkdir(parents=True, exist_ok=True)
        fetched = []
        for file in self._task.args["files"]:
            target = folder / file["sha256"]
            if not target.exists() or _sha256(target) != file["sha256"]:
                self._fetch(file, target, task_vars)
                fetched.append(file["sha256"])
        return dict(result, changed=bool(fetched), fetched=fetched)

    def _fetch(self, file, target, task_vars):
        descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=f".{file['sha256']}.")
        os.close(descriptor)
        try:
            self._bring(file["path"], name, task_vars)
            if _sha256(Path(name)) != file["sha256"]:
                raise AnsibleActionFail(
                    f"{file['path']} was to be brought to the controller, but arrived with another sha256 than "
                    f"{file['sha256']}. Run the phase again."
                )
            Path(name).chmod(0o644)
            os.replace(name, target)
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name)

    def _bring(self, path, target, task_vars):
        # With become the login may not read the file itself, so a module does.
        if self._connection.become is None and not self._play_context.become:
            self._connection.fetch_file(path, target)
            return
        answer = self._execute_module(
            module_name="ansible.legacy.slurp", module_args={"src": path}, task_vars=task_vars
        )
        if answer.get("failed"):
            raise AnsibleActionFail(f"{path} was to be brought to the controller, but: {answer.get('msg')}")
        Path(target).write_bytes(base64.b64decode(answer["content"]))


def _sha256(path):
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()
