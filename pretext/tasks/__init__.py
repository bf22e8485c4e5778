"""The pretext tasks, by name.

- `task`: the base class Task, its parameters, and the material that a sample is drawn from
- `grounding`, with the anomalies in `perturb`; `jigsaw`; `counting`, with its shapes in `shapes`
- `balance`: distributions of truths under which a constant answer earns little

A new task is added in three places of this file. docs/tasks.md explains an example; the scoring rules are in `reward/`.
"""

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
    """The parameters of every task, as fields of a configuration section."""

    grounding: GroundingParams = GroundingParams()
    jigsaw: JigsawParams = JigsawParams()
    counting: CountingParams = CountingParams()

    @property
    def params_by_task(self) -> dict[str, TaskParams]:
        """The parameters of each task, by its name."""
        return {name: getattr(self, name) for name in TASKS}
