"""`dataset.sandbox`: whatever a decoder does costs the video at hand, and nothing else."""

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
    others = _children()  # of tests before, as multiprocessing's resource tracker
    with Sandbox("tests.unit.dataset.acts:act", timeout_s=600.0) as made:
        yield made
        children = _children() - others
    assert not children & _children()  # none is left


def _children() -> set[int]:
    """Our children that run or wait to be buried."""
    found = set()
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rsplit(")", 1)[1].split()
        except OSError:  # it has just ended
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
def test_a_child_that_dies_costs_its_video_and_the_next_call_has_a_new_one(
    sandbox: Sandbox, how: str, reason: str
) -> None:
    first, _ = sandbox.call("echo")
    assert sandbox.call(how) == Skipped(how, reason)
    assert first not in _children()
    second, _ = sandbox.call("echo")
    assert second != first
    assert sandbox.call(how) == Skipped(how, reason)  # also as the first thing that a child does
    assert sandbox.call(how) == Skipped(how, reason)


@pytest.mark.parametrize("how", ["hang", "hang and ignore"])
def test_a_child_that_hangs_is_ended(sandbox: Sandbox, how: str) -> None:
    first, _ = sandbox.call("echo")
    sandbox._timeout_s = 0.5  # only now: to start a child takes longer on a busy machine
    assert sandbox.call(how) == Skipped(how, "decoding did not end within 0.5 s")
    assert first not in _children()
    sandbox._timeout_s = 600.0
    second, _ = sandbox.call("echo")
    assert second != first


def test_a_refusal_keeps_the_child(sandbox: Sandbox) -> None:
    child, _ = sandbox.call("echo")
    assert sandbox.call("refuse") == Skipped("refuse", "is of no use")
    assert sandbox.call("memory") == Skipped("memory", "it takes more than 16 GiB of memory")
    assert sandbox.call("echo")[0] == child


def test_a_mistake_of_ours_costs_one_video_and_is_told_as_such(sandbox: Sandbox) -> None:
    child, _ = sandbox.call("echo")
    reason = "inspecting it failed (KeyError: 'what we did wrong')"
    assert sandbox.call("mistake") == Skipped("mistake", reason)
    assert sandbox.call("echo")[0] == child


def test_words_of_decoders_are_not_passed_on(sandbox: Sandbox, capfd: pytest.CaptureFixture[str]) -> None:
    assert sandbox.call("words") == "said"
    assert sandbox.call("crash").reason
    assert capfd.readouterr() == ("", "")


def test_a_closed_guard_can_be_used_again(sandbox: Sandbox) -> None:
    sandbox.close()
    first, _ = sandbox.call("echo")
    sandbox.close()
    assert first not in _children()
    sandbox.close()
    assert sandbox.call("echo")[0] != first


def test_a_child_whose_guard_is_killed_ends_too() -> None:
    """Idle, it sees its link close; the guard's own process has no time to say anything."""
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


def test_videos_are_inspected_and_a_pipe_that_nobody_writes_is_given_up(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", moving_frames(20), [number / 10 for number in range(20)])
    pipe = tmp_path / "pipe.mp4"
    os.mkfifo(pipe)  # open() waits for a writer, in native code
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
