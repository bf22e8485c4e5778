"""All pretext tasks, by name."""

from typing import Any

from pretext.tasks.counting import Counting
from pretext.tasks.grounding import Grounding
from pretext.tasks.jigsaw import Jigsaw
from pretext.tasks.task import Task

TASKS: dict[str, Task[Any]] = {
    Grounding.name: Grounding(),
    Jigsaw.name: Jigsaw(),
    Counting.name: Counting(),
}
