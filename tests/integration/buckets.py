"""Buckets for tests: a folder with a file:// address, or a bucket on a local server that speaks S3."""

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from store.files import Files


@contextmanager
def bucket(kind: str, tmp_path: Path) -> Iterator[str]:
    """Yield the address of an empty bucket, with its credentials in the environment."""
    if kind == "file":
        yield (tmp_path / "bucket").as_uri()
        return
    server = shutil.which("moto_server")
    if server is None:
        pytest.skip(
            "moto_server is not on PATH: install 'moto[s3,server]>=5.2.5' into a separate environment"
        )
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    surroundings = {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    with (tmp_path / "moto.log").open("wb") as log, pytest.MonkeyPatch.context() as patch:
        process = subprocess.Popen([server, "-H", "127.0.0.1", "-p", str(port)], stdout=log, stderr=log)
        try:
            for name, value in surroundings.items():
                patch.setenv(name, value)
            _make("videossr", port)
            yield "s3://videossr/runs"
        finally:
            process.kill()
            process.wait(30)


def _make(name: str, port: int) -> None:
    from pyarrow.fs import AwsStandardS3RetryStrategy, S3FileSystem

    deadline = time.monotonic() + 300
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            break
        except OSError:
            assert time.monotonic() < deadline, "the S3 server accepts no connection"
            time.sleep(0.1)
    server = S3FileSystem(
        endpoint_override=f"127.0.0.1:{port}",
        scheme="http",
        allow_bucket_creation=True,
        retry_strategy=AwsStandardS3RetryStrategy(max_attempts=1),
    )
    server.create_dir(name)
    try:
        with server.open_output_stream(f"{name}/try") as stream:
            stream.write(b"x")
    except OSError as error:
        pytest.skip(f"this moto_server refuses pyarrow's uploads (5.2.5 accepts them): {error}")


def folders(address: str) -> set[str]:
    """Return the names of a bucket's top-level folders."""
    return {name.partition("/")[0] for name in Files(address).names()}
