"""Tests of messages and progress bars, with a terminal and without."""

import io

import pytest

from cluster import terminal
from cluster.terminal import CountingProgress, say, write


class FakeTerminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_without_a_terminal_a_count_is_printed_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    with CountingProgress("Looking at videos", said.append) as counting:
        counting.show(1, 30)
        assert said == []
        monkeypatch.setattr(terminal, "LOG_INTERVAL_S", 0.0)
        counting.show(2, 30, "1 skipped")
        counting.show(3, 30, title="Drawing samples")
    assert said == ["Looking at videos: 2 of 30, 1 skipped", "Drawing samples: 3 of 30"]


def test_a_message_stands_above_a_moving_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = FakeTerminal()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(terminal._SCREEN, "output", screen)
    with CountingProgress("Looking at videos") as counting:
        counting.show(1, 30, "none skipped")
        say("Dashboard: http://127.0.0.1:8470 [not a style]")
    printed = screen.getvalue()
    assert "Dashboard: http://127.0.0.1:8470 [not a style]\n" in printed
    assert "1/30" in printed
    assert terminal._SCREEN.bar is None


def test_messages_end_where_they_say(capsys: pytest.CaptureFixture[str]) -> None:
    write("a job's ")
    write("line\n")
    say("a message")
    assert capsys.readouterr().out == "a job's line\na message\n"
