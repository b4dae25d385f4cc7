import hashlib
import os

import pytest

from deniability.crypto.digest import FileDigest, model_digest, sha256_file, sha256_hex
from deniability.errors import CommitmentError, InputError

A, B = "a" * 64, "b" * 64


def test_files_are_hashed_in_chunks(tmp_path):
    for size in (0, 1, 1 << 20, (1 << 21) + 3):
        data = os.urandom(size)
        path = tmp_path / "model.pt"
        path.write_bytes(data)
        assert sha256_file(path) == (hashlib.sha256(data).hexdigest(), size)
        assert sha256_hex(data) == hashlib.sha256(data).hexdigest()


def test_what_is_no_file_is_named(tmp_path):
    for path in (tmp_path, tmp_path / "none", "/dev/null", "a\0b"):
        with pytest.raises(InputError) as caught:
            sha256_file(path)
        assert caught.value.where == str(path)


def test_the_model_digest_is_of_the_canonical_list_whatever_the_order():
    one, other = FileDigest("a.bin", 1, A), FileDigest("b/c.bin", 2, B)
    text = (
        f'[{{"path":"a.bin","sha256":"{A}","size":1}},{{"path":"b/c.bin","sha256":"{B}","size":2}}]'
    )
    assert model_digest([other, one]) == hashlib.sha256(text.encode()).hexdigest()
    assert model_digest([one, other]) == model_digest([other, one])


def test_swapping_two_shards_changes_the_digest():
    kept = [FileDigest("1", 5, A), FileDigest("2", 5, B)]
    swapped = [FileDigest("1", 5, B), FileDigest("2", 5, A)]
    assert model_digest(kept) != model_digest(swapped)


def test_a_file_list_without_files_or_with_one_twice_is_refused():
    with pytest.raises(CommitmentError, match="no files"):
        model_digest([])
    with pytest.raises(CommitmentError, match="twice"):
        model_digest([FileDigest("x", 1, A), FileDigest("x", 2, B)])


@pytest.mark.parametrize(
    "path",
    [
        "",
        ".",
        "..",
        "../x",
        "a/../b",
        "/etc/passwd",
        "a//b",
        "a/",
        "a\\b",
        "a\nb",
        "\u202ex",
        "./a",
    ],
)
def test_names_that_leave_the_folder_or_deceive_are_refused(path):
    with pytest.raises(CommitmentError):
        FileDigest(path, 1, A)


@pytest.mark.parametrize(
    ("size", "sha256"), [(-1, A), (2**53, A), (1, "A" * 64), (1, "a" * 63), (1, "g" * 64), (1, "")]
)
def test_sizes_and_digests_must_be_possible(size, sha256):
    with pytest.raises(CommitmentError):
        FileDigest("x", size, sha256)
