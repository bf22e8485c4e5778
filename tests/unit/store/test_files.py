"""Tests that store.files works the same with paths and URLs, and checks the address of a bucket."""

from pathlib import Path

import pytest

from store.files import FILE_ERRORS, Files, check_bucket


@pytest.fixture(params=["path", "address"])
def files(request: pytest.FixtureRequest, tmp_path: Path) -> Files:
    folder = tmp_path / "a bucket"
    return Files(str(folder) if request.param == "path" else folder.as_uri())


def test_written_files_are_read_listed_and_downloaded(files: Files, tmp_path: Path) -> None:
    assert files.names() == []
    files.write("b/deep/1.bin", b"12345")
    files.write("a.txt", b"one")
    files.write("a.txt", b"two")
    assert files.names() == ["a.txt", "b/deep/1.bin"]
    assert (files.read("a.txt"), files.read("b/deep/1.bin", 2)) == (b"two", b"12")
    below = files.below("b")
    assert (below.names(), below.read("deep/1.bin")) == (["deep/1.bin"], b"12345")
    target = tmp_path / "here"
    target.mkdir()
    below.download(target)
    assert (target / "deep" / "1.bin").read_bytes() == b"12345"
    with pytest.raises(FileNotFoundError):
        files.read("none")


def test_an_address_keeps_its_options() -> None:
    own = Files("s3://bucket/runs/?region=eu-west-1").below("mine").below("checkpoints")
    assert own.address == "s3://bucket/runs/mine/checkpoints?region=eu-west-1"


def test_an_address_that_cannot_be_reached_raises_file_errors(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for address in (f"{tmp_path}/file", f"{tmp_path.as_uri()}/file", "nothing://bucket/runs"):
        with pytest.raises(FILE_ERRORS):
            Files(address).write("a", b"")


@pytest.mark.parametrize(
    "address", ["s3://bucket", "gs://bucket/runs", "abfs://container@account.dfs.core/x"]
)
def test_the_address_of_a_bucket_loses_its_trailing_slash(address: str) -> None:
    assert check_bucket(f"{address}/") == address


@pytest.mark.parametrize(
    ("address", "rule"),
    [
        ("", "not the address of a bucket"),
        ("bucket", "not the address of a bucket"),
        ("/data/bucket", "not the address of a bucket"),
        ("s3://", "not the address of a bucket"),
        ("s3://bucket/../other", "not the address of a bucket"),
        ("file:///data/%2e%2e/etc", "not the address of a bucket"),
        ("s3://bucket/%2E./other", "not the address of a bucket"),
        ("s3://bucket/a%2f..%2fb", "not the address of a bucket"),
        ("s3://bucket/a b", "not the address of a bucket"),
        ("s3://key:secret@bucket/runs", "contains a password"),
    ],
)
def test_other_addresses_are_refused_with_the_rule(address: str, rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        check_bucket(address)
