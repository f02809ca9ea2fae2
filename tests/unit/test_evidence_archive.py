"""A bundle can be packed in one way only, and documents can be written in one way only."""

from __future__ import annotations

import gzip
import io
import tarfile
import zlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.adapters.evidence.archive import Entry, header, is_name, members, pack
from orchestrator.adapters.evidence.bundle import host_file, task_file
from orchestrator.adapters.evidence.strict import Malformed, moment, parse, parse_lines
from orchestrator.domain.canonical import Plain, canonical
from orchestrator.domain.evidence import TaskFile

FILES = {"a.json": b"{}", "packages/web1.before.json": b"x" * 700, "tasks/t.jsonl": b""}
LONG = f"packages/{'h' * 80}.before.json"


def packed(folder: Path, files: dict[str, bytes]) -> Path:
    target = folder / "bundle.tar.gz"
    pack(target, [Entry(name=name, size=len(raw), chunks=[raw]) for name, raw in sorted(files.items())])
    return target


def unpacked(path: Path) -> dict[str, bytes]:
    return {member.name: b"".join(member.chunks) for member in members(path)}


def repacked(folder: Path, tar: bytes) -> Path:
    """Return a gzip file with our header around any tar."""
    packer = zlib.compressobj(6, zlib.DEFLATED, -zlib.MAX_WBITS)
    tail = zlib.crc32(tar).to_bytes(4, "little") + len(tar).to_bytes(4, "little")
    (folder / "other.tar.gz").write_bytes(
        bytes.fromhex("1f8b08000000000000ff") + packer.compress(tar) + packer.flush() + tail
    )
    return folder / "other.tar.gz"


def test_what_was_packed_is_unpacked(tmp_path: Path) -> None:
    assert unpacked(packed(tmp_path, FILES | {LONG: b"y"})) == FILES | {LONG: b"y"}


def test_same_files_give_the_same_bytes(tmp_path: Path) -> None:
    first = packed(tmp_path, FILES).read_bytes()
    assert packed(tmp_path, FILES).read_bytes() == first


def test_any_tar_program_reads_it(tmp_path: Path) -> None:
    with tarfile.open(packed(tmp_path, FILES | {LONG: b"y"})) as tar:
        found = {m.name: tar.extractfile(m).read() for m in tar.getmembers()}  # type: ignore[union-attr]
        assert {(m.uid, m.gid, m.mtime, m.mode) for m in tar.getmembers()} == {(0, 0, 0, 0o644)}
    assert found == FILES | {LONG: b"y"}


def test_nothing_lies_there_when_packing_failed(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="changed meanwhile"):
        pack(tmp_path / "bundle.tar.gz", [Entry(name="a.json", size=3, chunks=[b"{}"])])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "name", ["../a", "/a", "a/../b", "a/b/c", "a//b", "a/", "./a", ".", "..", "", "ä", "a\n", "a b"]
)
def test_name_that_leads_elsewhere_is_no_name(name: str) -> None:
    assert not is_name(name)
    with pytest.raises(ValueError, match="no room"):
        header(name, 0)


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.CHRTYPE, tarfile.XHDTYPE])
def test_what_is_no_plain_file_is_refused(tmp_path: Path, kind: bytes) -> None:
    info = tarfile.TarInfo("a.json")
    info.type, info.linkname = kind, "/etc/passwd"
    with pytest.raises(Malformed, match="plain files"):
        unpacked(repacked(tmp_path, info.tobuf(tarfile.USTAR_FORMAT) + bytes(1024)))


@pytest.mark.parametrize("name", ["../../etc/cron.d/x", "/etc/passwd"])
def test_file_that_would_land_elsewhere_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(Malformed, match="plain files"):
        unpacked(repacked(tmp_path, tarfile.TarInfo(name).tobuf(tarfile.USTAR_FORMAT) + bytes(1024)))


def test_two_files_of_one_name_are_refused(tmp_path: Path) -> None:
    one = header("a.json", 0)
    with pytest.raises(Malformed, match="each comes once"):
        unpacked(repacked(tmp_path, one + one + bytes(1024)))


def test_files_out_of_order_are_refused(tmp_path: Path) -> None:
    with pytest.raises(Malformed, match="sorted"):
        unpacked(repacked(tmp_path, header("b.json", 0) + header("a.json", 0) + bytes(1024)))


def test_something_hidden_in_the_padding_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Malformed, match="hidden"):
        unpacked(repacked(tmp_path, header("a.json", 2) + b"{}" + b"!" * 510 + bytes(1024)))


@pytest.mark.parametrize("end", [b"", bytes(512), bytes(1536), bytes(1024) + b"x"])
def test_end_that_is_no_end_is_refused(tmp_path: Path, end: bytes) -> None:
    with pytest.raises(Malformed):
        unpacked(repacked(tmp_path, header("a.json", 0) + end))


def test_second_gzip_stream_behind_the_first_is_refused(tmp_path: Path) -> None:
    path = packed(tmp_path, FILES)
    path.write_bytes(path.read_bytes() + gzip.compress(b"more", mtime=0))
    with pytest.raises(Malformed, match="follows after the end of the gzip stream"):
        unpacked(path)


def test_gzip_header_that_carries_a_name_is_refused(tmp_path: Path) -> None:
    held = io.BytesIO()
    with gzip.GzipFile("secret-name", "wb", fileobj=held, mtime=5) as file:
        file.write(bytes(1024))
    (tmp_path / "other.tar.gz").write_bytes(held.getvalue())
    with pytest.raises(Malformed, match="not a gzip file as the format writes it"):
        unpacked(tmp_path / "other.tar.gz")


@settings(deadline=None)
@given(at=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_flipped_bit_changes_nothing_or_is_refused(tmp_path_factory: pytest.TempPathFactory, at: int, bit: int) -> None:
    path = packed(tmp_path_factory.mktemp("flip"), FILES)
    raw = bytearray(path.read_bytes())
    raw[at % len(raw)] ^= 1 << bit
    path.write_bytes(raw)
    try:
        assert unpacked(path) == FILES
    except Malformed:
        return


@settings(deadline=None)
@given(cut=st.integers(1, 400))
def test_file_that_was_cut_off_is_refused(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    path = packed(tmp_path_factory.mktemp("cut"), FILES)
    path.write_bytes(path.read_bytes()[:-cut])
    with pytest.raises(Malformed):
        unpacked(path)


def test_host_that_cannot_be_a_file_name_is_spelled_out() -> None:
    assert host_file("web1.example.org") == "web1.example.org"
    assert host_file("../fe80::1") == "..%2Ffe80%3A%3A1"
    assert is_name(f"packages/{host_file('h' * 250)}.before.json")
    assert host_file("h" * 250) != host_file("h" * 251)


def test_task_file_with_a_long_name_keeps_its_ending() -> None:
    def named(name: str) -> str:
        return task_file(TaskFile(name=name, sha256="", source=Path("x")))

    assert named("CHG-0001.patch.events.jsonl.gz") == "tasks/CHG-0001.patch.events.jsonl.gz"
    assert is_name(named("../etc/passwd"))
    long = named("j" * 120 + ".jsonl.gz")
    assert is_name(long)
    assert long.endswith(".jsonl.gz")
    assert long != named("j" * 121 + ".jsonl.gz")


values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text("abcXYZ_-09"), inner),
)


@given(values)
def test_canonical_json_is_read_back(value: Plain) -> None:
    assert parse(canonical(value)) == value


@pytest.mark.parametrize(
    "raw",
    [
        b'{"a":1,"a":2}', b'{"b":1,"a":2}', b'{"a": 1}', b'{"a":1}\n', b"1.0", b"1e3", b"-0", b"01", b"NaN",
        b"Infinity",
        b'"\\u0041"', b'"\\/"', b'"\\u00E9"', b'"\\ud800"', b'"\xff"', b'"\xed\xa0\x80"', b"\xef\xbb\xbf{}", b"",
        b"9007199254740992", b"9" * 5000, '{"ä":1}'.encode(), b"[" * 100 + b"]" * 100, b"[" * 100_000, b"'a'",
    ],
)  # fmt: skip
def test_other_spellings_are_no_canonical_json(raw: bytes) -> None:
    with pytest.raises(Malformed):
        parse(raw)


@pytest.mark.parametrize("raw", [b"{}", b"{}\n\n", b"\n", b"{}\r\n", b"{}\n{ }\n"])
def test_lines_are_canonical_and_each_is_ended(raw: bytes) -> None:
    with pytest.raises(Malformed):
        list(parse_lines(raw))


def test_no_lines_are_an_empty_file() -> None:
    assert list(parse_lines(b"")) == []


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-20", "2026-11-20T22:00:00", "2026-11-20T22:00:00+00:00", "2026-11-20 22:00:00Z", "2026-11-20T22:00Z",
        "2026-11-20T22:00:00.5Z", "2026-11-20T22:00:00.000000Z", "2026-13-20T22:00:00Z", "20261120T220000Z", "now", "",
    ],
)  # fmt: skip
def test_time_is_spelled_in_one_way(text: str) -> None:
    with pytest.raises(Malformed):
        moment({"at": text}, "at")


def test_time_may_carry_microseconds() -> None:
    assert moment({"at": "2026-11-20T22:00:00.000005Z"}, "at")
