"""Mailboxes as MTAs and mail readers change them."""

import os
from pathlib import Path

import pytest

from onionmx.selftest.mailbox import MAX_ANSWER, MailboxError, Maildir, Mbox, open_mailbox, usual_mailboxes
from tests.net.stranger import UID, root_only


def contents(box: Maildir | Mbox) -> list[bytes]:
    return [content for _, content in box.arrived()]


def test_a_maildir(tmp_path: Path) -> None:
    box = open_mailbox(tmp_path)
    assert isinstance(box, Maildir)
    assert contents(box) == []
    (tmp_path / "new").mkdir()
    (tmp_path / "cur").mkdir()
    (tmp_path / "new" / "1.a").write_bytes(b"one")
    assert contents(box) == [b"one"]
    assert contents(box) == []
    (tmp_path / "new" / "1.a").rename(tmp_path / "cur" / "1.a:2,S")
    (tmp_path / "cur" / "2.a:2,").write_bytes(b"two")
    assert list(box.arrived()) == [(tmp_path / "cur" / "2.a:2,", b"two")]


def test_what_was_there_before_is_not_looked_at(tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "1.a").write_bytes(b"one")
    assert contents(Maildir(tmp_path)) == []


def test_things_in_a_maildir_that_are_no_message(tmp_path: Path) -> None:
    box = Maildir(tmp_path)
    (tmp_path / "new").mkdir()
    os.mkfifo(tmp_path / "new" / "fifo")
    (tmp_path / "new" / "folder").mkdir()
    (tmp_path / "new" / "link").symlink_to(tmp_path / "nothing")
    (tmp_path / "new" / "device").symlink_to("/dev/zero")
    (tmp_path / "new" / "large").write_bytes(b"x" * (MAX_ANSWER + 1))
    (tmp_path / "new" / "message").write_bytes(b"one")
    assert [content for content in contents(box) if content] == [b"one"]


def test_an_mbox(tmp_path: Path) -> None:
    path = tmp_path / "mbox"
    box = open_mailbox(path)
    assert isinstance(box, Mbox)
    assert contents(box) == []
    path.write_bytes(b"From a@b Sun Nov 29 07:00:00 2026\nSubject: 1\n\none\n\n")
    assert contents(box) == [b"Subject: 1\n\none\n\n"]
    with path.open("ab") as file:
        file.write(b"From a@b Sun Nov 29 07:00:00 2026\nSubject: 2\n\ntwo")
    assert contents(box) == [b"Subject: 1\n\none\n", b"Subject: 2\n\ntwo"]
    assert contents(Mbox(path)) == []


def test_an_mbox_that_a_mail_reader_has_shortened(tmp_path: Path) -> None:
    path = tmp_path / "mbox"
    path.write_bytes(b"From a\nold\n\n" * 100)
    box = Mbox(path)
    path.write_bytes(b"From a\nSubject: new\n\n")
    assert contents(box) == [b"Subject: new\n\n"]


def test_an_mbox_that_is_none(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    box = Mbox(tmp_path / "mbox")
    (tmp_path / "mbox").symlink_to("/dev/zero")
    assert contents(box) == []
    assert contents(Mbox(tmp_path / "fifo")) == []
    (tmp_path / "file").write_text("")
    with pytest.raises(MailboxError):
        Mbox(tmp_path / "file" / "mbox")


def test_where_a_user_has_mail(tmp_path: Path) -> None:
    assert usual_mailboxes("alice", tmp_path) == [Path("/var/mail/alice")]
    (tmp_path / "Maildir" / "new").mkdir(parents=True)
    assert usual_mailboxes("alice", tmp_path) == [Path("/var/mail/alice"), tmp_path / "Maildir"]


def test_nothing_is_deleted_where_a_link_leads(tmp_path: Path) -> None:
    box, elsewhere = tmp_path / "box", tmp_path / "elsewhere"
    for folder in (box / "new", elsewhere):
        folder.mkdir(parents=True)
    mailbox = Maildir(box)
    for folder in (box / "new", elsewhere):
        (folder / "1.a").touch()
    mailbox.remove(elsewhere / "1.a")
    assert (elsewhere / "1.a").exists()
    mailbox.remove(box / "new" / "1.a")
    assert not (box / "new" / "1.a").exists()
    mailbox.remove(box / "new" / "1.a")  # a mail reader was faster
    (box / "new").rmdir()
    (box / "new").symlink_to(elsewhere)
    with pytest.raises(MailboxError, match="cannot be deleted"):
        mailbox.remove(box / "new" / "1.a")
    assert (elsewhere / "1.a").exists()


@root_only
def test_root_deletes_nothing_of_others(tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    os.chown(tmp_path, UID, UID)
    mailbox = Maildir(tmp_path)
    (tmp_path / "new" / "1.a").touch()
    with pytest.raises(MailboxError, match="not that of the mailbox's owner"):
        mailbox.remove(tmp_path / "new" / "1.a")
    os.chown(tmp_path / "new", UID, UID)
    mailbox.remove(tmp_path / "new" / "1.a")
    assert not (tmp_path / "new" / "1.a").exists()
