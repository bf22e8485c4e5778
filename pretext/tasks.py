"""All pretext tasks, by name."""

from typing import Any

from pretext.counting import Counting
from pretext.grounding import Grounding
from pretext.jigsaw import Jigsaw
from pretext.task import Task

TASKS: dict[str, Task[Any]] = {
    Grounding.name: Grounding(),
    Jigsaw.name: Jigsaw(),
    Counting.name: Counting(),
}
