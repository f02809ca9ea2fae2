"""The site's settings: orchestrator.toml, then ORCHESTRATOR_* from the environment, as one frozen value.

A secret is never in the settings: they hold a reference (an environment variable, a file, a command), which ``resolve``
follows at the moment the secret is needed.
"""

from orchestrator.settings.model import CommandProvider, Database, NotifierSettings, Settings
from orchestrator.settings.reading import FILE, find_site, load_settings
from orchestrator.settings.references import Reference, ReferenceKind, resolve

__all__ = [
    "FILE",
    "CommandProvider",
    "Database",
    "NotifierSettings",
    "Reference",
    "ReferenceKind",
    "Settings",
    "find_site",
    "load_settings",
    "resolve",
]
