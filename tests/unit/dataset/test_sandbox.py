"""`dataset.sandbox`: a decoder that hangs or crashes affects only its own video."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dataset.sandbox import Sandbox
from pretext.video.frames import FrameSpec, SampledVideo
from pretext.video.info import Skipped
from tests.unit.pretext.made import moving_frames, write_video

SPEC = FrameSpec(num_frames=8, min_pixels=4096, max_pixels=4096)


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    others = _children()  # children of earlier tests, such as multiprocessing's resource tracker
    with Sandbox("tests.unit.dataset.acts:act", timeout_s=600.0) as made:
        yield made
        children = _children() - others
    assert not children & _children()  # None is left.


def _children() -> set[int]:
    """Return the ids of our child processes, including zombies."""
    found = set()
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rsplit(")", 1)[1].split()
        except OSError:  # It has just ended.
            continue
        if int(fields[1]) == os.getpid():
            found.add(int(status.parent.name))
    return found


def test_calls_go_to_one_child_and_back(sandbox: Sandbox) -> None:
    child, arguments = sandbox.call("echo", 1, {"two": [3.0]})
    assert arguments == (1, {"two": [3.0]})
    assert child != os.getpid()
    assert sandbox.call("echo")[0] == child
    assert child in _children()


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("crash", "decoding it killed its process (SIGSEGV)"),
        ("exit", "decoding it ended its process (exit status 3)"),
    ],
)
def test_a_child_that_dies_loses_its_video_and_the_next_call_starts_another(
    sandbox: Sandbox, how: str, reason: str
) -> None:
    first, _ = sandbox.call("echo")
    assert sandbox.call(how) == Skipped(how, reason)
    assert first not in _children()
    second, _ = sandbox.call("echo")
    assert second != first
    assert sandbox.call(how) == Skipped(how, reason)  # Also if it is the first call of a child.
    assert sandbox.call(how) == Skipped(how, reason)


@pytest.mark.parametrize("how", ["hang", "hang and ignore"])
def test_a_child_that_hangs_is_ended(sandbox: Sandbox, how: str) -> None:
    first, _ = sandbox.call("echo")
    sandbox._timeout_s = 0.5  # Set after the child has started, which may take longer.
    assert sandbox.call(how) == Skipped(how, "decoding did not end within 0.5 s")
    assert first not in _children()
    sandbox._timeout_s = 600.0
    second, _ = sandbox.call("echo")
    assert second != first


def test_a_video_error_keeps_the_child(sandbox: Sandbox) -> None:
    child, _ = sandbox.call("echo")
    assert sandbox.call("refuse") == Skipped("refuse", "is of no use")
    assert sandbox.call("memory") == Skipped("memory", "it takes more than 16 GiB of memory")
    assert sandbox.call("echo")[0] == child


def test_an_unexpected_error_costs_one_video_and_is_reported(sandbox: Sandbox) -> None:
    child, _ = sandbox.call("echo")
    reason = "inspecting it failed (KeyError: 'what we did wrong')"
    assert sandbox.call("mistake") == Skipped("mistake", reason)
    assert sandbox.call("echo")[0] == child


def test_output_of_decoders_is_dropped(sandbox: Sandbox, capfd: pytest.CaptureFixture[str]) -> None:
    assert sandbox.call("words") == "said"
    assert sandbox.call("crash").reason
    assert capfd.readouterr() == ("", "")


def test_a_closed_sandbox_can_be_used_again(sandbox: Sandbox) -> None:
    sandbox.close()
    first, _ = sandbox.call("echo")
    sandbox.close()
    assert first not in _children()
    sandbox.close()
    assert sandbox.call("echo")[0] != first


def test_a_child_ends_if_its_parent_is_killed() -> None:
    """An idle child notices that the connection closed; the killed parent cannot tell it."""
    program = (
        "import os, signal\n"
        "from dataset.sandbox import Sandbox\n"
        "print(Sandbox('tests.unit.dataset.acts:act').call('echo')[0], flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", program],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == -signal.SIGKILL, run.stderr
    child = Path("/proc") / run.stdout.strip()
    deadline = time.monotonic() + 600
    while child.exists() and child.joinpath("stat").read_text().rsplit(")", 1)[1].split()[0] != "Z":
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_videos_are_inspected_and_a_pipe_without_a_writer_times_out(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", moving_frames(20), [number / 10 for number in range(20)])
    pipe = tmp_path / "pipe.mp4"
    os.mkfifo(pipe)  # open() waits for a writer in native code.
    (tmp_path / "text.mp4").write_text("no video")
    with Sandbox(timeout_s=600.0) as sandbox:
        video = sandbox.call(str(path), SPEC)
        assert isinstance(video, SampledVideo)
        assert video.frame_stats is not None
        sandbox._timeout_s = 1.0
        assert sandbox.call(str(pipe), SPEC) == Skipped(str(pipe), "decoding did not end within 1 s")
        sandbox._timeout_s = 600.0
        refused = sandbox.call(str(tmp_path / "text.mp4"), SPEC)
        assert isinstance(refused, Skipped)
        assert refused.reason.startswith("cannot be read as a video")
        again = sandbox.call(str(path), SPEC)
        assert again.frame_stats == video.frame_stats
        assert again.indices.tolist() == video.indices.tolist()
