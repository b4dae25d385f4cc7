import errno
import os
import threading

import pytest

from deniability.errors import InputError, OutputError
from deniability.wire import files
from deniability.wire.files import read_capped, write_atomic


def test_round_trip(tmp_path):
    path = tmp_path / "bundle.json"
    for data in (b"", b"x", os.urandom((1 << 20) + 5)):
        write_atomic(path, data)
        assert read_capped(path, len(data), what="bundle") == data
        assert [entry.name for entry in tmp_path.iterdir()] == ["bundle.json"]


def test_too_large(tmp_path):
    path = tmp_path / "bundle.json"
    path.write_bytes(b"12345")
    with pytest.raises(InputError, match=r"the bundle is too large \(expected at most 4 bytes\)"):
        read_capped(path, 4, what="bundle")


@pytest.mark.skipif(not os.path.exists("/dev/zero"), reason="no /dev/zero")  # noqa: PTH110
def test_an_endless_file_is_given_up(tmp_path):
    del tmp_path
    with pytest.raises(InputError, match="too large"):
        read_capped("/dev/zero", 3 << 20, what="bundle")


def test_what_cannot_be_read_is_named(tmp_path):
    plain = tmp_path / "plain"
    plain.write_bytes(b"")
    for path, message in (
        (tmp_path / "none", "no such bundle"),
        (plain / "below", "no such bundle"),
        (tmp_path, "is a folder"),
        ("a\0b", "cannot read this bundle"),
        (tmp_path / ("x" * 5000), "cannot read this bundle"),
    ):
        with pytest.raises(InputError, match=message) as caught:
            read_capped(path, 10, what="bundle")
        assert caught.value.where == str(path)


def test_a_forbidden_file_is_named(tmp_path, monkeypatch):
    # By a patch: the superuser, whom tests may run as, is forbidden nothing
    def forbidden(*_arguments, **_options):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(files.Path, "open", forbidden)
    with pytest.raises(InputError, match="not allowed to read this bundle"):
        read_capped(tmp_path / "x", 10, what="bundle")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes")
def test_a_pipe_is_read_to_its_end(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(b"x" * 100_000,))
    writer.start()
    assert len(read_capped(pipe, 100_000, what="bundle")) == 100_000
    writer.join()
    with pytest.raises(OutputError, match="is a device or pipe"):
        write_atomic(pipe, b"x")


@pytest.mark.skipif(os.name != "posix", reason="POSIX permission bits")
def test_modes_hold_and_respect_the_umask(tmp_path):
    before = os.umask(0o022)
    try:
        for mode, expected in ((0o600, 0o600), (0o644, 0o644), (0o666, 0o644)):
            path = tmp_path / f"{mode:o}"
            write_atomic(path, b"x", mode=mode)
            assert path.stat().st_mode & 0o777 == expected
        os.umask(0o077)
        write_atomic(tmp_path / "quiet", b"x")
        assert (tmp_path / "quiet").stat().st_mode & 0o777 == 0o600
    finally:
        os.umask(before)


def test_a_key_file_replaces_a_readable_one_with_its_own_mode(tmp_path):
    path = tmp_path / "k.pem"
    path.write_bytes(b"old")
    path.chmod(0o644)
    write_atomic(path, b"new", mode=0o600)
    assert path.stat().st_mode & 0o077 == 0


def test_not_overwriting(tmp_path, monkeypatch):
    path = tmp_path / "k.pem"
    write_atomic(path, b"first", overwrite=False)
    with pytest.raises(OutputError, match="exists already"):
        write_atomic(path, b"second", overwrite=False)
    assert path.read_bytes() == b"first"

    # Another process takes the name between the look and the move
    taken = tmp_path / "taken"
    write_synced = files._write_synced

    def slow(*arguments):
        write_synced(*arguments)
        taken.write_bytes(b"theirs")

    monkeypatch.setattr(files, "_write_synced", slow)
    with pytest.raises(OutputError, match="exists already"):
        write_atomic(taken, b"ours", overwrite=False)
    assert taken.read_bytes() == b"theirs"
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["k.pem", "taken"]


def test_not_overwriting_where_links_are_not_supported(tmp_path, monkeypatch):
    def unsupported(*_arguments):
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(files.os, "link", unsupported)
    write_atomic(tmp_path / "a", b"1", overwrite=False)
    with pytest.raises(OutputError, match="exists already"):
        write_atomic(tmp_path / "a", b"2", overwrite=False)
    assert (tmp_path / "a").read_bytes() == b"1"


def test_places_that_cannot_be_written_are_named(tmp_path):
    plain = tmp_path / "plain"
    plain.write_bytes(b"")
    for path, message in (
        (tmp_path, "is a folder"),
        (tmp_path / "none" / "x", "its folder does not exist"),
        (plain / "x", "its folder does not exist"),
        ("/dev/null", "is a device or pipe"),
        ("a\0b", "cannot be written"),
        (tmp_path / ("x" * 5000), "cannot be written"),
    ):
        with pytest.raises(OutputError, match=message) as caught:
            write_atomic(path, b"x")
        assert caught.value.where == str(path)


def test_a_name_as_long_as_names_can_be(tmp_path):
    path = tmp_path / ("x" * 255)
    write_atomic(path, b"x")
    assert path.read_bytes() == b"x"


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (errno.ENOSPC, "the disk is full"),
        (errno.EDQUOT, "the disk is full"),
        (errno.EROFS, "the folder is read-only"),
        (errno.EACCES, "not allowed to write here"),
        (errno.EIO, "cannot be written"),
    ],
)
def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path, monkeypatch, number, message):
    path = tmp_path / "bundle.json"
    path.write_bytes(b"old")

    def fail(_descriptor):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(files.os, "fsync", fail)
    with pytest.raises(OutputError, match=message):
        write_atomic(path, b"new")
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["bundle.json"]


def test_an_interrupted_write_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
    path = tmp_path / "bundle.json"
    path.write_bytes(b"old")

    def interrupt(_descriptor):
        raise KeyboardInterrupt

    monkeypatch.setattr(files.os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_atomic(path, b"new")
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["bundle.json"]
