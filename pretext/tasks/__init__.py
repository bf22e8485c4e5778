"""All pretext tasks, by name. A new one is added here, three times, and nowhere else (see docs/tasks.md)."""

from typing import Any, Literal

from pydantic import BaseModel

from pretext.tasks.counting import Counting, CountingParams
from pretext.tasks.grounding import Grounding, GroundingParams
from pretext.tasks.jigsaw import Jigsaw, JigsawParams
from pretext.tasks.task import Task, TaskParams

TASKS: dict[str, Task[Any]] = {
    Grounding.name: Grounding(),
    Jigsaw.name: Jigsaw(),
    Counting.name: Counting(),
}

TaskName = Literal["grounding", "jigsaw", "counting"]


class TaskSettings(BaseModel, frozen=True, extra="forbid"):
    """The parameters of every task, as a section of a configuration has them."""

    grounding: GroundingParams = GroundingParams()
    jigsaw: JigsawParams = JigsawParams()
    counting: CountingParams = CountingParams()

    @property
    def params_by_task(self) -> dict[str, TaskParams]:
        """Each task's parameters, by its name."""
        return {name: getattr(self, name) for name in TASKS}
