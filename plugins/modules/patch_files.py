#!/usr/bin/python
"""Ansible module: pack files on the host into one archive, or unpack one."""

DOCUMENTATION = r"""
module: patch_files
short_description: Carry package files between controller and host
description:
  - All files travel in one archive, however many they are. Each is checked against its sha256 where it arrives.
  - With an action plugin of the same name, which does the controller's half.
options:
  state:
    description: V(fetched) brings files to the controller, V(pushed) brings them to the host.
    type: str
    choices: [fetched, pushed]
    required: true
  files:
    description: The files, as C(path) on the host and C(sha256).
    type: list
    elements: dict
    required: true
  folder:
    description: The folder on the controller, in which each file is named by its sha256.
    type: str
    required: true
  archive:
    description: The archive on the host; given by the action plugin.
    type: str
author: Patch Orchestrator
"""

EXAMPLES = r"""
- name: Push a package
  patch_files:
    state: pushed
    folder: /srv/packages
    files:
      - path: /var/lib/patch-orchestrator/packages/labtool_1.1_amd64.deb
        sha256: 5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef
"""

RETURN = r"""
carried:
  description: The sha256 of the files that were carried.
  type: list
  returned: success
lost:
  description: For V(pushed), the sha256 of the files that the controller has not either.
  type: list
  returned: success
"""

import os
import shutil
import tarfile

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.patch_host.files import make_folder, sha256_of


def pack(files, archive):
    """Write the archive, for whoever owns the folder that it is in."""
    with tarfile.open(archive, "w") as tar:
        for file in files:
            tar.add(file["path"], arcname=file["sha256"])
    owner = os.stat(os.path.dirname(archive))
    os.chown(archive, owner.st_uid, owner.st_gid)
    os.chmod(archive, 0o600)


def unpack(files, archive):
    """Put the archive's files in place. Return the paths of those that are not what they should be."""
    wrong = []
    with tarfile.open(archive) as tar:
        for file in files:
            make_folder(os.path.dirname(file["path"]))
            fresh = file["path"] + ".new"
            with tar.extractfile(file["sha256"]) as source, open(fresh, "wb") as target:
                shutil.copyfileobj(source, target)
            if sha256_of(fresh) == file["sha256"]:
                os.replace(fresh, file["path"])
            else:
                os.unlink(fresh)
                wrong.append(file["path"])
    return wrong


def main():
    options = {
        "state": {"type": "str", "required": True, "choices": ["fetched", "pushed"]},
        "files": {"type": "list", "elements": "dict", "required": True},
        "folder": {"type": "str", "required": True},
        "archive": {"type": "str"},
    }
    module = AnsibleModule(argument_spec=options)
    files, archive = module.params["files"], module.params["archive"]
    invocation = {"module_args": {"state": module.params["state"]}}
    try:
        wrong = pack(files, archive) if module.params["state"] == "fetched" else unpack(files, archive)
    except (OSError, tarfile.TarError, KeyError) as error:
        module.fail_json(msg="Package files were to be carried, but: %s" % error, invocation=invocation)
    if wrong:
        module.fail_json(
            msg="Package files were to be pushed, but arrived with another sha256: %s. Look at packages_dir on the "
            "controller." % ", ".join(wrong),
            invocation=invocation,
        )
    module.exit_json(changed=bool(files), invocation=invocation)


if __name__ == "__main__":
    main()
