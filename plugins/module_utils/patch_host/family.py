"""Which package family a host has. A family is one class in `family_<name>.py` and is known by that file's name."""

from ansible.module_utils.patch_host.errors import PatchError


# A module is compiled anew each time that it is run: of the families only that of the host is read. Ansible sends all
# of them along; an import within a function may fail, so a site can do without a family.
def _zypper():
    from ansible.module_utils.patch_host.family_zypper import FamilyZypper

    return FamilyZypper


def _dnf():
    from ansible.module_utils.patch_host.family_dnf import FamilyDnf

    return FamilyDnf


def _apt():
    from ansible.module_utils.patch_host.family_apt import FamilyApt

    return FamilyApt


# `detect` goes by os-release as well as by programs: Debian packages dnf and zypper, too, and SUSE packages dnf.
FAMILIES = {"zypper": _zypper, "dnf": _dnf, "apt": _apt}


def family_for(name, shell):
    """Return the family called `name`; "" finds out by itself.

    Raises `PatchError` where the name is unknown or the host has none of the known package managers.
    """
    if name:
        kind = _read(name) if name in FAMILIES else None
        if kind is None:
            raise PatchError(
                "Package family %s was asked for; known are %s. Correct patch_family in the inventory."
                % (name, _known())
            )
        return kind(shell)
    for one in FAMILIES:
        kind = _read(one)
        if kind is not None and kind.detect(shell):
            return kind(shell)
    raise PatchError(
        "No package manager of the families %s was found on this host. Set patch_family in the inventory or leave "
        "the host out." % _known()
    )


def _read(name):
    """Return the class of a family; None where the site has left it out."""
    try:
        return FAMILIES[name]()
    except ImportError:
        return None


def _known():
    return ", ".join(sorted(name for name in FAMILIES if _read(name) is not None))
