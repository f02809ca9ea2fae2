"""Reading apt: recorded answers of a Debian 12 host with pending security updates."""

from tests.unit.plugins.rpm_support import load

apt_text = load("apt_text")
model = load("model")

SIMULATION = """\
The following packages will be upgraded:
  openssl tzdata
2 upgraded, 1 newly installed, 2 to remove and 0 not upgraded.
Inst libssl3 [3.0.20-1~deb12u2] (3.0.22-1~deb12u2 Debian-Security:12/oldstable-security [amd64])
Inst python3.11-minimal [3.11.2-6+deb12u8] (3.11.2-6+deb12u9 Debian-Security:12/oldstable-security [amd64]) []
Inst tzdata [2026b-0+deb12u1] (2026f-0+deb12u1 Debian-Security:12/oldstable-security [all])
Inst libc6:i386 [2.36-9+deb12u13] (2.36-9+deb12u14 Debian:12.15/oldstable [i386]) [libc6:amd64 ]
Inst labtool-extra (1.1 localhost [amd64])
Remv oldtool [1.0]
Purg oldlib:i386 [1:2.0-1]
Conf libssl3 (3.0.22-1~deb12u2 Debian-Security:12/oldstable-security [amd64])
"""

RELEASES = """\
Package files:
 100 /var/lib/dpkg/status
     release a=now
 500 http://mirror.example/debian-security bookworm-security/main amd64 Packages
     release v=12,o=Debian,a=oldstable-security,n=bookworm-security,l=Debian-Security,c=main,b=amd64
     origin mirror.example
 500 http://mirror.example/debian bookworm/main amd64 Packages
     release v=12.15,o=Debian,a=oldstable,n=bookworm,l=Debian,c=main,b=amd64
     origin mirror.example
 990 http://mirror.example/lab lab-security/main amd64 Packages
     release o=Patch Lab,a=lab-security,n=lab-security,l=Patch Lab Security,c=main,b=amd64
     origin mirror.example
Pinned packages:
     openssl -> 3.0.20-1~deb12u2 with priority 1001
"""

POLICY = """\
openssl:
  Installed: 3.0.20-1~deb12u2
  Candidate: 3.0.22-1~deb12u2
  Version table:
     3.0.22-1~deb12u2 500
        500 http://mirror.example/debian-security bookworm-security/main amd64 Packages
 *** 3.0.20-1~deb12u2 500
        500 http://mirror.example/debian bookworm/main amd64 Packages
        100 /var/lib/dpkg/status
libc6:i386:
  Installed: (none)
  Candidate: 2.36-9+deb12u14
  Version table:
     2.36-9+deb12u14 500 (phased 20%)
        500 http://mirror.example/debian bookworm/main i386 Packages
"""


def test_simulation_is_read_with_new_removed_and_foreign_packages() -> None:
    found = [tuple(one) for one in apt_text.parse_transitions(SIMULATION, "amd64")]
    assert found == [
        ("libssl3", "amd64", "3.0.20-1~deb12u2", "3.0.22-1~deb12u2"),
        ("python3.11-minimal", "amd64", "3.11.2-6+deb12u8", "3.11.2-6+deb12u9"),
        ("tzdata", "all", "2026b-0+deb12u1", "2026f-0+deb12u1"),
        ("libc6", "i386", "2.36-9+deb12u13", "2.36-9+deb12u14"),
        ("labtool-extra", "amd64", "", "1.1"),
        ("oldtool", "amd64", "1.0", ""),
        ("oldlib", "i386", "1:2.0-1", ""),
    ]


def test_repositories_are_told_apart_by_what_they_say_of_themselves() -> None:
    found = apt_text.parse_releases(RELEASES)
    security = found["http://mirror.example/debian-security bookworm-security/main"]
    assert security.is_security()
    assert security.describe() == "Debian:12/Debian-Security"
    assert not found["http://mirror.example/debian bookworm/main"].is_security()
    assert found["http://mirror.example/lab lab-security/main"].describe() == "Patch Lab/Patch Lab Security"


def test_policy_names_each_version_and_who_has_it() -> None:
    found = apt_text.parse_policy(POLICY)
    openssl = found["openssl"]
    assert (openssl.installed, openssl.candidate) == ("3.0.20-1~deb12u2", "3.0.22-1~deb12u2")
    assert openssl.sources["3.0.20-1~deb12u2"] == ["http://mirror.example/debian bookworm/main"]
    assert found["libc6:i386"].installed == ""
    assert list(found["libc6:i386"].sources) == ["2.36-9+deb12u14"]


def test_stanzas_keep_their_whole_text_and_their_fields() -> None:
    text = "Package: a\nVersion: 1\nDescription: short\n Version: not a field\n\nPackage: b\nVersion: 2\n"
    one, other = apt_text.parse_stanzas(text)
    assert (one["Version"], other["Package"]) == ("1", "b")
    assert one[""].endswith("not a field")


def test_last_words_prefer_errors() -> None:
    told = "Reading package lists...\nE: Sub-process /usr/bin/dpkg returned an error code (1)\nDone."
    assert apt_text.last_words(told) == "E: Sub-process /usr/bin/dpkg returned an error code (1)"
