"""What instances and hosts of the lab may be called."""

import re

from lab.errors import LabError


def check_name(kind: str, name: str) -> None:
    """Raise LabError unless the name can stand in a path, an interface and a host name."""
    if not re.fullmatch(r"[a-z][a-z0-9-]{0,30}", name):
        raise LabError(f"The {kind} cannot be named {name!r}: a name has small letters, digits and dashes.")
