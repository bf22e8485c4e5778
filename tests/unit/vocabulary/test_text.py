"""`vocabulary.text`: one line out of a long message."""

from vocabulary.text import first_line, last_line, one_line

RAY = "\x1b[36mray::Worker.make()\x1b[39m (pid=1)\n  File x\n\nValueError: the video is cut off.\n"


def test_the_cause_of_an_error_from_ray_is_its_last_line() -> None:
    assert last_line(RuntimeError(RAY)) == "ValueError: the video is cut off."


def test_the_first_line_has_no_full_stop() -> None:
    assert first_line(OSError("\nno such model.\nTry another.")) == "no such model"


def test_an_error_without_a_message_is_named_by_its_type() -> None:
    assert first_line(KeyError()) == "KeyError"
    assert last_line(TimeoutError()) == "TimeoutError"


def test_a_web_page_is_shortened_to_one_line() -> None:
    assert one_line("<xml>\n  <a/>\n") == "<xml> <a/>"
    assert len(one_line("x " * 1000)) == 300
