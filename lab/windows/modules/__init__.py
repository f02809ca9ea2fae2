"""The modules of ansible.windows that the simulated hosts know."""

from lab.windows import drain_scripts as _drain_scripts  # noqa: F401  (registers them)
from lab.windows.modules import background, basics, files, registry, scripting, services, software, updating

__all__ = ["background", "basics", "files", "registry", "scripting", "services", "software", "updating"]
