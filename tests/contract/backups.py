"""What every kind of backup has to keep. Subclass ``BackupsContract``; ``url`` leads to an empty database."""

from __future__ import annotations

import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from demo.forging import flipped
from orchestrator.adapters.store import SqlStore, open_database
from orchestrator.adapters.store.backup import DatabaseBackups
from orchestrator.adapters.store.backup_file import pack, unpacked
from orchestrator.domain.audit import SITE, Fact, broken_at
from orchestrator.domain.backup import Contents, SignedCheckpoint
from orchestrator.domain.identity import Actor
from orchestrator.domain.lifecycle import ChangeEvent, advance, requested
from orchestrator.errors import EvidenceRefused, Refused, Unavailable
from tests.fakes.values import EVENING, OPENING, change

ANNA = Actor(name="anna", account="anna")
#: What a change may be called, said in ways that a dump has to escape.
AWKWARD = "a\ttab, a \\ backslash, a\nnewline, ø ✓ and \\N or \\."


class BackupsContract:
    """Subclass it."""

    def test_what_was_backed_up_is_what_is_restored(self, backups: DatabaseBackups, url: str, tmp_path: Path) -> None:
        filled(url)
        before = state_of(url)
        backups.create(tmp_path / "b.tar.gz", EVENING)
        moved(url)
        assert state_of(url) != before
        restored(backups, tmp_path / "b.tar.gz")
        assert state_of(url) == before

    def test_backup_says_what_it_holds(self, backups: DatabaseBackups, url: str, tmp_path: Path) -> None:
        filled(url)
        checked = backups.create(tmp_path / "b.tar.gz", EVENING)
        manifest = checked.manifest
        assert (manifest.site, manifest.kind, manifest.made_at) == ("example", backups.kind, EVENING)
        assert manifest.contents == backups.present()
        assert [end.chain for end in manifest.contents.chains] == ["CHG-0001", SITE]
        assert manifest.contents.counters == {"change": 1, "token": 2}
        assert checked.checkpoint == SignedCheckpoint(seq=3, document=b'{"\\":1}', signature=b"\x00\xff")
        assert backups.check(tmp_path / "b.tar.gz") == checked

    def test_file_is_for_its_owner_alone_and_nothing_lies_beside_it(
        self, backups: DatabaseBackups, url: str, tmp_path: Path
    ) -> None:
        filled(url)
        (tmp_path / "backups").mkdir()
        backups.create(tmp_path / "backups" / "b.tar.gz", EVENING)
        assert [path.name for path in (tmp_path / "backups").iterdir()] == ["b.tar.gz"]
        assert (tmp_path / "backups" / "b.tar.gz").stat().st_mode & 0o777 == 0o600

    def test_backup_replaces_no_file(self, backups: DatabaseBackups, url: str, tmp_path: Path) -> None:
        filled(url)
        (tmp_path / "b.tar.gz").write_text("mine")
        with pytest.raises(Refused, match="replaces nothing"):
            backups.create(tmp_path / "b.tar.gz", EVENING)
        assert (tmp_path / "b.tar.gz").read_text() == "mine"

    def test_folder_that_is_not_there_is_said(self, backups: DatabaseBackups, url: str, tmp_path: Path) -> None:
        filled(url)
        with pytest.raises(Unavailable, match="there is no folder"):
            backups.create(tmp_path / "nowhere" / "b.tar.gz", EVENING)

    def test_counters_and_checkpoint_are_in_the_restored_database(
        self, backups: DatabaseBackups, url: str, tmp_path: Path
    ) -> None:
        filled(url)
        backups.create(tmp_path / "b.tar.gz", EVENING)
        newer = SignedCheckpoint(seq=9, document='{"é":"\\\\"}'.encode(), signature=b"'\xfe")
        backups.restore(tmp_path / "b.tar.gz", counters={"token": 500, "change": 40}, checkpoint=newer, aside="before")
        with stored(url) as store:
            assert store.next_change_id() == "CHG-0041"
            with store.begin() as writing:
                assert writing.lease(["web9"], "CHG-0001", now=OPENING, hold=EVENING - EVENING) == 501
        assert backups.newest_checkpoint() == newer

    def test_chains_go_on_after_a_restore(self, backups: DatabaseBackups, url: str, tmp_path: Path) -> None:
        filled(url)
        backups.create(tmp_path / "b.tar.gz", EVENING)
        moved(url)
        restored(backups, tmp_path / "b.tar.gz")
        moved(url)
        with stored(url) as store:
            assert [broken_at(store.trail(chain)) for chain in ("CHG-0001", SITE)] == ["", ""]

    def test_empty_database_holds_nothing(self, backups: DatabaseBackups, url: str) -> None:
        assert backups.present() is None
        assert backups.newest_checkpoint() is None

    def test_event_that_somebody_edited_is_found_in_the_database_itself(
        self, backups: DatabaseBackups, url: str, tmp_path: Path
    ) -> None:
        filled(url)
        edited(url)
        with pytest.raises(EvidenceRefused, match="could not be read back: chain CHG-0001: event 1"):
            backups.create(tmp_path / "b.tar.gz", EVENING)
        assert not (tmp_path / "b.tar.gz").exists()

    def test_flipped_byte_is_found(self, backups: DatabaseBackups, url: str, tmp_path: Path) -> None:
        filled(url)
        backups.create(tmp_path / "b.tar.gz", EVENING)
        raw = (tmp_path / "b.tar.gz").read_bytes()
        # The manifest comes first, and at the end what no reader of its files would look at.
        for start in (*range(10, len(raw), len(raw) // 20), *range(len(raw) - 30, len(raw))):
            (tmp_path / "b.tar.gz").write_bytes(flipped(raw, start))
            with pytest.raises(EvidenceRefused, match="damaged"):
                backups.check(tmp_path / "b.tar.gz")

    def test_backup_that_is_cut_off_is_found(self, backups: DatabaseBackups, url: str, tmp_path: Path) -> None:
        filled(url)
        backups.create(tmp_path / "b.tar.gz", EVENING)
        raw = (tmp_path / "b.tar.gz").read_bytes()
        (tmp_path / "b.tar.gz").write_bytes(raw[: len(raw) // 2])
        with pytest.raises(EvidenceRefused, match="damaged"):
            backups.check(tmp_path / "b.tar.gz")

    @pytest.mark.parametrize(
        ("edit", "said"),
        [
            (lambda c: replace(c, chains=c.chains[:-1]), "the head of chain site is not the one in the manifest"),
            (lambda c: replace(c, chains=(replace(c.chains[0], head="0" * 64), c.chains[1])), "the head of chain CHG"),
            (lambda c: replace(c, installation="other"), "installation is"),
            (lambda c: replace(c, counters={"token": 1}), "counters are"),
            (lambda c: replace(c, changes=()), "its changes do not stand where the manifest says"),
            (lambda c: replace(c, schema="9999"), "whose tables this program does not know"),
        ],
    )
    def test_manifest_that_says_something_else_is_found(
        self, backups: DatabaseBackups, url: str, tmp_path: Path, edit: Callable[[Contents], Contents], said: str
    ) -> None:
        filled(url)
        backups.create(tmp_path / "b.tar.gz", EVENING)
        with unpacked(tmp_path / "b.tar.gz") as (manifest, dump):
            pack(tmp_path / "other.tar.gz", replace(manifest, contents=edit(manifest.contents)), dump)
        assert said in "; ".join(backups.check(tmp_path / "other.tar.gz").problems)

    def test_backup_with_something_else_in_it_is_none(self, backups: DatabaseBackups, url: str, tmp_path: Path) -> None:
        with pytest.raises(Unavailable, match="cannot be read"):
            backups.check(tmp_path / "none.tar.gz")
        (tmp_path / "text.tar.gz").write_text("hello")
        with tarfile.open(tmp_path / "odd.tar.gz", "w:gz") as archive:
            archive.add(tmp_path / "text.tar.gz", "manifest.json")
        for name in ("text.tar.gz", "odd.tar.gz"):
            with pytest.raises(EvidenceRefused, match="no backup"):
                backups.check(tmp_path / name)


def filled(url: str) -> None:
    """Put a change, a site event, a lease and a checkpoint into a database."""
    with stored(url) as store:
        store.installation()
        new = replace(change(), id=store.next_change_id())
        new = replace(new, spec=replace(new.spec, title=AWKWARD))
        with store.begin() as writing:
            writing.open(new, requested(new, at=EVENING, actor=ANNA, data={"title": AWKWARD}))
            writing.note(Fact(chain=SITE, at=EVENING, actor="a", origin="a", tag="key-rotated", data={"key": AWKWARD}))
            writing.lease(["web1"], new.id, now=EVENING, hold=OPENING - EVENING)
            writing.lease(["web2"], new.id, now=EVENING, hold=OPENING - EVENING)
            writing.keep_document(new.id, "job", "one", {"said": AWKWARD})
            writing.keep_checkpoint(3, b'{"\\":1}', b"\x00\xff")


def moved(url: str) -> None:
    """Go on with the change, and enter another one."""
    with stored(url) as store:
        move = advance(store.change("CHG-0001"), ChangeEvent.STAGING_STARTED, at=OPENING, actor=ANNA)
        other = replace(change(), id=store.next_change_id(), source_key="file:2")
        with store.begin() as writing:
            writing.move(move)
            writing.open(other, requested(other, at=OPENING, actor=ANNA, data={}))


def edited(url: str) -> None:
    from sqlalchemy import text

    database = open_database(url)
    with database.writer.begin() as connection:
        connection.execute(
            text("UPDATE audit_event SET document = replace(document, 'anna', 'olga') WHERE chain = 'CHG-0001'")
        )
    database.close()


def restored(backups: DatabaseBackups, file: Path) -> str:
    counters = backups.check(file).manifest.contents.counters
    return backups.restore(file, counters=counters, checkpoint=None, aside="before")


def state_of(url: str) -> object:
    with stored(url) as store:
        return (
            list(store.changes()),
            list(store.heads()),
            [list(store.trail(head.chain)) for head in store.heads()],
            list(store.leases()),
            store.documents("CHG-0001", "job"),
            store.last_checkpoint(),
            store.installation(),
            len(store.undelivered()),
        )


@contextmanager
def stored(url: str) -> Iterator[SqlStore]:
    database = open_database(url)
    try:
        yield SqlStore(database)
    finally:
        database.close()
