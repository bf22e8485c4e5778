"""`learner.loop`, order by order, and `actors.workers.learner_port`'s view of a group."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from actors.messages import Group, Prompt, PromptMeta, Rollout
from actors.workers.learner_port import training_group
from learner.algorithm.parity import ParityError
from learner.batch import TrainingGroup
from learner.loop import Order, Push, Save, Stop, Train, carry_out_orders


@dataclass
class Policy:
    """Trains nothing; `broken` is the step over which parity breaks."""

    rank: int = 0
    broken: int | None = None
    trained: list[int] = field(default_factory=list)

    def update(self, groups: Sequence[TrainingGroup], *, step: int) -> dict[str, float]:
        if step == self.broken:
            raise ParityError(f"group {step}-0: they differ", {"token": 3})
        self.trained.append(step)
        return {"policy/loss": step / 2}


@dataclass
class Port:
    """Gives the orders of a list, and keeps what is said of them."""

    orders: list[Order]
    said: list[tuple[Any, ...]] = field(default_factory=list)

    def begin(self, step: int, cursor: int) -> None:
        raise AssertionError("the loop itself begins nothing")

    def order(self, number: int) -> Order:
        return self.orders[number]

    def report(self, number: int, *, failure: str | None, metrics: dict[str, float], seconds: float) -> None:
        assert seconds >= 0
        self.said.append((number, failure, metrics))

    def joined(self, rank: int) -> None:
        pass

    def parity_broken(self, number: int, message: str, sample: dict[str, Any]) -> None:
        self.said.append((number, message, sample))


PUSH = Push(0, ("life",), None)  # type: ignore[arg-type]
SAVE = Save(1, 8, 0.5)


def carried_out(policy: Policy, *orders: Order) -> tuple[list[tuple[Any, ...]], list[Save]]:
    """What the port heard, and what was saved; every push fails."""
    port, saved = Port([*orders, Stop()]), list[Save]()
    carry_out_orders(policy, port, push=lambda order: "no route to host", save=saved.append)
    return port.said, saved


def test_every_order_is_carried_out_and_reported_in_its_turn() -> None:
    policy = Policy()
    said, saved = carried_out(policy, PUSH, Train(0, []), SAVE, Train(1, []))
    assert said == [
        (0, "no route to host", {}),
        (1, None, {"policy/loss": 0.0}),
        (2, None, {}),
        (3, None, {"policy/loss": 0.5}),
        (4, None, {}),  # the stop
    ]
    assert (saved, policy.trained) == ([SAVE], [0, 1])


def test_other_ranks_do_the_same_and_are_silent() -> None:
    policy = Policy(rank=1)
    said, saved = carried_out(policy, PUSH, Train(0, []), SAVE)
    assert (said, saved, policy.trained) == ([], [SAVE], [0])


def test_any_rank_says_that_parity_is_broken_and_none_tries_again() -> None:
    for rank in (0, 1):
        policy = Policy(rank=rank, broken=0)
        said, _ = carried_out(policy, Train(0, []))
        assert said[0] == (0, "group 0-0: they differ", {"token": 3})
        assert policy.trained == []


def test_a_group_as_the_learner_takes_it() -> None:
    meta = PromptMeta("train", 4, "jigsaw", "Which?", "21", "{}", 70, ())
    full = Rollout("train-4-0", (7, 8), (-0.5, -0.25), "21", "stop", 1.0, True)
    cut = replace(full, token_ids=(7,), logprobs=(-0.5,), finish_reason="length", reward=0.0)
    made = training_group(Group("3-1", Prompt(meta, None, None), (full, cut), policy_version=2))
    assert (made.group_id, made.task, made.prompt_tokens, made.policy_version) == ("3-1", "jigsaw", 70, 2)
    assert (made.completions, made.rollout_logprobs) == (((7, 8), (7,)), ((-0.5, -0.25), (-0.5,)))
    assert (made.rewards, made.truncated) == ((1.0, 0.0), (False, True))
