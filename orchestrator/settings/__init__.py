"""The site's settings: orchestrator.toml, then ORCHESTRATOR_* from the environment, as one frozen value.

A secret is never in the settings: they hold a reference (an environment variable, a file, a command, a question),
which ``resolve`` follows at the moment the secret is needed.
"""

from orchestrator.settings.model import LOOPBACK, Address, CommandProvider, Database, NotifierSettings, Settings
from orchestrator.settings.prompting import DESCRIPTOR, answer, hand_on, hand_over, take_over
from orchestrator.settings.reading import FILE, find_site, load_settings
from orchestrator.settings.references import Reference, ReferenceKind, resolve

__all__ = [
    "DESCRIPTOR",
    "FILE",
    "LOOPBACK",
    "Address",
    "CommandProvider",
    "Database",
    "NotifierSettings",
    "Reference",
    "ReferenceKind",
    "Settings",
    "answer",
    "find_site",
    "hand_on",
    "hand_over",
    "load_settings",
    "resolve",
    "take_over",
]
