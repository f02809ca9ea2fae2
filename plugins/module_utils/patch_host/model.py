"""The values that families and modules pass to each other, and what a package family must be able to do.

A family answers questions and carries out exact transactions. What is decided from the answers (does a transaction
match the lock, is a step refused, what is reported) is common to all families and lives elsewhere.
"""

import abc
import typing


class Package(typing.NamedTuple):
    """An installed package. `version` as the package manager prints it; `auto`: came in as a dependency."""

    name: str
    arch: str
    version: str
    auto: bool
    held: bool


class Item(typing.NamedTuple):
    """One line of the lock. `filename` is a bare file name; the file lies in the folder that goes with the items."""

    name: str
    arch: str
    version: str
    from_version: str
    sha256: str
    filename: str
    size: int


class Transition(typing.NamedTuple):
    """What happens to one package; "" = absent before or after."""

    name: str
    arch: str
    old: str
    new: str


class Simulation(typing.NamedTuple):
    """What the package manager says it would do; `problems` are sentences, non-empty when it would do nothing."""

    transitions: typing.List[Transition]
    problems: typing.List[str]


class Secured(typing.NamedTuple):
    """An old file that now lies in the point's folder; `source` is cache, repository or repacked."""

    name: str
    arch: str
    version: str
    filename: str
    sha256: str
    source: str


class Missing(typing.NamedTuple):
    """An old file that could not be had, and why."""

    name: str
    arch: str
    version: str
    reason: str


class Marks(typing.NamedTuple):
    """The packages ("name:arch") that came in as dependencies, and those on hold (hold, versionlock, lock)."""

    auto: typing.FrozenSet[str]
    held: typing.FrozenSet[str]


class Family(abc.ABC):
    """One package manager on this host. Files are given as items in a folder: `folder/item.filename`.

    Raise `PatchError` for whatever a caller cannot go on from; its message names the tool and what it said.
    """

    name = ""  # apt | dnf | zypper
    rival_units = ()  # systemd units (timers, services) that update packages by themselves

    def __init__(self, shell):
        self.shell = shell

    @classmethod
    @abc.abstractmethod
    def detect(cls, shell):
        """Whether this host is of this family; cheap (the presence of programs, os-release)."""

    @abc.abstractmethod
    def architecture(self):
        """The native architecture as items name it: amd64, x86_64."""

    @abc.abstractmethod
    def installed(self):
        """List every installed package (`Package`), marks included."""

    @abc.abstractmethod
    def compare(self, left, right):
        """Compare two versions by the family's rules: < 0, 0, > 0."""

    @abc.abstractmethod
    def refresh(self):
        """Read the repositories' indexes anew (waits for a lock with a bound)."""

    @abc.abstractmethod
    def candidates(self, installed):
        """List, as dictionaries of the `scan` report, what the repositories offer that is newer than installed."""

    @abc.abstractmethod
    def describe(self, items):
        """List, as dictionaries of the `scan` report's candidates, what repositories say of exactly these versions.

        Items that no repository offers any more are left out: the caller sees from this which are unavailable.
        """

    @abc.abstractmethod
    def resolve(self, upgrades):
        """Predict (`Simulation`) what the repositories would install for exactly these versions, new dependencies too.

        For staging, where the lock is made: a new dependency comes in the version that the repositories prefer.
        """

    @abc.abstractmethod
    def simulate(self, upgrades, available, folder):
        """Predict the transaction that brings `upgrades` to their locked versions; change nothing.

        `upgrades` are installed here in an older version. `available` are locked items that are not installed here:
        they may come in as new dependencies, in the locked version, and only where needed. With `folder` "" the files
        are not here yet: predict from the repositories, with the exact locked versions. With a folder predict with
        exactly the files in it, so that a newer candidate in a repository changes nothing.
        """

    @abc.abstractmethod
    def download(self, items, folder):
        """Fetch exactly these versions from the repositories into `folder`, each as `item.filename`.

        One process for all. Return the items that no repository gave (they are pushed from the controller). The
        caller checks sha256 afterwards; a file that is already there is not fetched by the caller's doing.
        """

    @abc.abstractmethod
    def secure_old(self, packages, folder):
        """Put the files of installed `packages` (`Package`) into `folder`: from the cache, a repository, or repacked.

        Return (list of `Secured`, list of `Missing`).
        """

    @abc.abstractmethod
    def install(self, upgrades, available, folder, log):
        """Carry out what `simulate` with the same arguments said: one transaction, from the files alone.

        Keeps configuration files, asks nothing, runs without a time limit, appends the manager's output to the file
        `log`. Raises `PatchError` with the manager's last words when it failed. Does not care for marks.
        """

    @abc.abstractmethod
    def simulate_restore(self, back, remove, folder):
        """Predict the transaction of `restore` with the same arguments; change nothing."""

    @abc.abstractmethod
    def restore(self, back, remove, folder, log):
        """Put `back` (`Secured`, files in `folder`) and take `remove` ("name:arch") away, in one transaction.

        Works on a host whose last transaction failed half way, too.
        """

    def mend(self, log):  # noqa: B027 - a family whose transactions cannot break off half way has nothing to do
        """Finish what a transaction of ours that broke off (power, kill) left half way; raise where that fails."""

    @abc.abstractmethod
    def give_marks(self, marks, names):
        """Set auto marks and holds of `names` ("name:arch", installed) as `marks` says. Changes only what differs."""

    @abc.abstractmethod
    def lock_holders(self):
        """Say in a sentence each which package managers are at work now; [] when the packages are free."""

    @abc.abstractmethod
    def check_health(self):
        """List what is wrong with the package database (half-configured packages, a held lock); [] when all is well."""

    @abc.abstractmethod
    def is_kernel(self, name):
        """Whether the package brings a kernel of its own beside the others (never removed, never downgraded)."""

    @abc.abstractmethod
    def newest_kernel(self):
        """The release (as `uname -r` says it) of the newest installed kernel; "" where there is none (containers)."""

    @abc.abstractmethod
    def reboot_reasons(self):
        """Sentences from the family's own sources why a reboot is needed (/run/reboot-required, needs-restarting)."""
