"""The rule for one setting of a configuration that arrives over HTTP, written on the setting's field.

    steps: Annotated[int, OverHttp(largest=100_000)] = 468

A person who may start runs from a browser may choose numbers and tasks. Only the person who runs the server decides
which code runs, which files are read and where results go. A field without a rule cannot be set over HTTP at all.

The limits are far above the needs of a run on a large cluster, and below what harms the machines. For larger values,
use the command line, or set VIDEOSSR_ALLOW_ANY_CONFIG=1 on the server.
"""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class OverHttp:
    """The values that one setting may have over HTTP. Exactly one rule is given; `also` adds to `place`.

    Attributes:
        largest: largest value of a number, or of each number in a list.
        largest_by_task: largest number in a mapping from task names to numbers.
        longest: largest number of characters of a text.
        choice: the setting's type lists its values, so nothing more is checked.
        place: the setting is a path or an address, below one of the server's open roots or below its folder of runs.
        also: regular expression of further values of a place.
        closed: reason why only the setting's default may be sent; continues "because ...".
    """

    largest: float | None = None
    largest_by_task: float | None = None
    longest: int | None = None
    choice: bool = False
    place: Literal["roots", "runs_dir"] | None = None
    also: str | None = None
    closed: str | None = None

    def __post_init__(self) -> None:
        rules = (
            self.largest,
            self.largest_by_task,
            self.longest,
            self.choice or None,
            self.place,
            self.closed,
        )
        if sum(rule is not None for rule in rules) != 1:
            raise ValueError(f"{self}: gives more or fewer than one rule. Give exactly one.")
        if self.also is not None and self.place is None:
            raise ValueError(f"also={self.also!r}: extends `place` only. Give a place, or leave it out.")
