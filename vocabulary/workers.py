"""The roles of a run's processes, and the states of one such worker."""

from typing import Literal

WorkerRole = Literal["learner", "rollout", "prompts", "rewards"]
LEARNER: WorkerRole = "learner"  # a rank of the Ray Train group
ROLLOUT: WorkerRole = "rollout"  # holds one vLLM engine
PROMPTS: WorkerRole = "prompts"  # builds prompts from recipes
REWARDS: WorkerRole = "rewards"  # scores completions

# Role titles for people, in the order of the data flow.
ROLE_TITLES: dict[WorkerRole, str] = {
    PROMPTS: "Prompt workers",
    ROLLOUT: "Rollout workers",
    REWARDS: "Reward workers",
    LEARNER: "Learner ranks",
}

# "lost": Ray gave up restarting it.
Liveness = Literal["starting", "running", "lost"]
STARTING: Liveness = "starting"
RUNNING: Liveness = "running"
LOST: Liveness = "lost"
