"""Which package family a host has. A family is one class in `family_<name>.py` and is known by that file's name."""

from ansible.module_utils.patch_host.errors import PatchError

# Ansible sends along what it sees imported; an import that may fail is optional, so a site can do without a family.
try:
    from ansible.module_utils.patch_host.family_apt import FamilyApt
except ImportError:
    FamilyApt = None
try:
    from ansible.module_utils.patch_host.family_dnf import FamilyDnf
except ImportError:
    FamilyDnf = None
try:
    from ansible.module_utils.patch_host.family_zypper import FamilyZypper
except ImportError:
    FamilyZypper = None

# `detect` goes by os-release as well as by programs: Debian packages dnf and zypper, too, and SUSE packages dnf.
FAMILIES = {"zypper": FamilyZypper, "dnf": FamilyDnf, "apt": FamilyApt}


def family_for(name, shell):
    """Return the family called `name`; "" finds out by itself.

    Raises `PatchError` where the name is unknown or the host has none of the known package managers.
    """
    known = {key: kind for key, kind in FAMILIES.items() if kind is not None}
    if name:
        if name not in known:
            raise PatchError(
                "Package family %s was asked for; known are %s. Correct patch_family in the inventory."
                % (name, ", ".join(sorted(known)))
            )
        return known[name](shell)
    for kind in known.values():
        if kind.detect(shell):
            return kind(shell)
    raise PatchError(
        "No package manager of the families %s was found on this host. Set patch_family in the inventory or leave "
        "the host out." % ", ".join(sorted(known))
    )
