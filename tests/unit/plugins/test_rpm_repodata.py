"""A repository's own index."""

import gzip
import lzma
from pathlib import Path

import pytest

from tests.unit.plugins.rpm_support import FakeShell, load

repodata = load("rpm_repodata")
PRIMARY = """<?xml version="1.0" encoding="UTF-8"?>
<metadata xmlns="http://linux.duke.edu/metadata/common" packages="2">
<package type="rpm"><name>alpha</name><arch>noarch</arch><version epoch="0" ver="1.1" rel="1"/>
<checksum type="sha256" pkgid="YES">{alpha}</checksum><summary>a &lt;name>beta&lt;/name></summary>
<size package="6037" installed="12" archive="388"/><location href="noarch/alpha-1.1-1.noarch.rpm"/></package>
<package type="rpm"><name>lib+x</name><arch>x86_64</arch><version epoch="2" ver="3" rel="4"/>
<checksum type="sha512" pkgid="YES">00</checksum><size package="7" installed="1" archive="1"/>
<location href="lib%2Bx-3-4.x86_64.rpm"/></package>
</metadata>""".format(alpha="a" * 64)


def write(folder: Path, suffix: str, data: bytes) -> None:
    (folder / "repodata").mkdir()
    (folder / f"repodata/1-primary.xml{suffix}").write_bytes(data)
    (folder / "repodata/repomd.xml").write_text(
        '<repomd><data type="filelists"><location href="repodata/f.xml.gz"/></data>'
        f'<data type="primary"><checksum>0</checksum><location href="repodata/1-primary.xml{suffix}"/></data></repomd>'
    )


@pytest.mark.parametrize(("suffix", "pack"), [(".gz", gzip.compress), (".xz", lzma.compress), ("", bytes)])
def test_files_are_found_in_each_compression(tmp_path: Path, suffix: str, pack: object) -> None:
    assert callable(pack)
    write(tmp_path, suffix, pack(PRIMARY.encode()))
    (found,) = repodata.find_offers(FakeShell({}), str(tmp_path), "lab", {"alpha"})
    assert found == ("alpha", "noarch", "1.1-1", "lab", 6037, "alpha-1.1-1.noarch.rpm", "a" * 64)


def test_digest_of_another_kind_is_unknown(tmp_path: Path) -> None:
    write(tmp_path, ".gz", gzip.compress(PRIMARY.encode()))
    (found,) = repodata.find_offers(FakeShell({}), str(tmp_path), "lab", {"lib+x"})
    assert (found.version, found.sha256) == ("2:3-4", "")


def test_index_is_unpacked_by_zstd_where_python_cannot(tmp_path: Path) -> None:
    write(tmp_path, ".zst", b"packed")
    (found,) = repodata.find_offers(FakeShell({"zstd -dcq": PRIMARY}), str(tmp_path), "lab", {"alpha"})
    assert found.size == 6037


def test_index_that_is_missing_or_torn_says_nothing(tmp_path: Path) -> None:
    assert repodata.find_offers(FakeShell({}), str(tmp_path), "lab", {"alpha"}) == []
    write(tmp_path, ".gz", gzip.compress(PRIMARY.encode())[:40])
    assert repodata.find_offers(FakeShell({}), str(tmp_path), "lab", {"alpha"}) == []
