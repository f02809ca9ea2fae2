"""Which tool says what a host boots."""

from ansible.module_utils.patch_host.reboot import Grub
from ansible.module_utils.patch_host.rpm_grubby import Grubby


def boot_default(shell):
    """Return grubby where it is there (Red Hat's), otherwise GRUB's own commands."""
    return Grubby(shell) if shell.has("grubby") else Grub(shell)
