"""The rule for one setting of a configuration that arrives over HTTP, written on the setting's field.

    steps: Annotated[int, OverHttp(largest=100_000)] = 468

Whoever may start runs from a browser may choose numbers and tasks. Which code runs, which files are read and where
results go is decided by the person who runs the server. A field without a rule cannot be set over HTTP at all.

The numbers are far above what a run on a large cluster wants, and below what harms the machines. Somebody who needs
more uses the command line, or sets VIDEOSSR_ALLOW_ANY_CONFIG=1 on the server.
"""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class OverHttp:
    """What one setting may say over HTTP. Exactly one rule is given; `also` adds to `place`.

    Attributes:
        largest: the largest number, for a number or a list of numbers.
        largest_by_task: the largest number, for a mapping from task names to numbers.
        longest: the most characters, for a text.
        choice: the setting's own type lists what there is to choose from, so nothing more is checked.
        place: a path or an address: below one of the server's open roots, or below its folder of runs.
        also: a regular expression of further values that a place may have.
        closed: why the setting cannot be set; only its default may be repeated. Continues "because ...".
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
