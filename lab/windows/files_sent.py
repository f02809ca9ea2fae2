"""Ansible's own small scripts around files: put, fetch, make a folder, expand a home."""

import base64
import hashlib
import json

from lab.windows.machine import Files
from lab.windows.manifest import FileCall
from lab.windows.scripts import Answer

_HOME = r"C:\Users\Administrator"


def carry_out(files: Files, call: FileCall) -> Answer:
    """Do what the script would have done; the manifest reader lets no other through."""
    parameters = call.parameters
    if call.deed == "powershell_expand_user.ps1":
        return Answer(stdout=str(parameters["Path"]).replace("~", _HOME, 1) + "\r\n")
    if call.deed == "powershell_mkdtemp.ps1":
        path = (
            str(parameters["Directory"]).replace("%TEMP%", rf"{_HOME}\AppData\Local\Temp") + f"\\{parameters['Name']}"
        )
        files.make_folder(path)
        return Answer(stdout=f"{path}\r\n")
    path = str(parameters["Path"])
    if call.deed.endswith("put_file.ps1"):
        files.write(path, call.data)
        return Answer(stdout=json.dumps({"sha1": hashlib.sha1(call.data).hexdigest()}) + "\r\n")
    return _fetch(files, call, path)


def _fetch(files: Files, call: FileCall, path: str) -> Answer:
    content = files.read(path)
    size = int(call.parameters["BufferSize"])
    if content is None:
        return Answer(stdout="[DIR]\r\n") if files.is_folder(path) else Answer(stderr=f"{path} does not exist", rc=1)
    if call.deed.startswith("winrm"):
        offset = int(call.parameters["Offset"])
        return Answer(stdout=base64.b64encode(content[offset : offset + size]).decode() + "\r\n")
    pieces = [content[begin : begin + size] for begin in range(0, len(content), size)]
    return Answer(stdout="\r\n".join(["[FILE]", *(base64.b64encode(piece).decode() for piece in pieces)]) + "\r\n")
