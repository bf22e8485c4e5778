"""The learner's line to the producer side: Experience's orders as the learner's own types."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import ray

from actors.messages import Group, Member, ParityFailure, PushOrder, Report, SaveOrder, TrainOrder
from actors.process_info import here
from learner.batch import PromptTensors, TrainingGroup
from learner.loop import Order, Push, Save, Stop, Train

_POLL_S = 10.0  # one long poll; between two the worker can be interrupted


@dataclass(frozen=True)
class LearnerPort:
    """One learner rank's port, for one session.

    Args:
        experience: handle of the Experience actor.
        session: this life of the learner group.
        push_timeout_s: deadline of each step of a push.
    """

    experience: Any
    session: str
    push_timeout_s: float

    def joined(self, rank: int) -> None:
        self.experience.learner_joined.remote(rank, here())

    def begin(self, step: int, cursor: int) -> None:
        ray.get(self.experience.begin.remote(self.session, step, cursor))

    def order(self, number: int) -> Order:
        while (order := ray.get(self.experience.order.remote(self.session, number, _POLL_S))) is None:
            pass
        if isinstance(order, TrainOrder):
            return Train(order.step, [training_group(group) for group in order.groups])
        if isinstance(order, PushOrder):
            client = RolloutMembers(order.members, order.policy_version, self.push_timeout_s)
            return Push(order.policy_version, tuple(member.life for member in order.members), client)
        if isinstance(order, SaveOrder):
            return Save(order.step, order.cursor, order.score)
        return Stop()

    def report(self, number: int, *, failure: str | None, metrics: dict[str, float], seconds: float) -> None:
        report = Report(failure, metrics, seconds)
        ray.get(self.experience.report.remote(self.session, number, report))

    def parity_broken(self, number: int, message: str, sample: dict[str, Any]) -> None:
        report = Report(parity_failure=ParityFailure(message, sample))
        ray.get(self.experience.report.remote(self.session, number, report))


def training_group(group: Group) -> TrainingGroup:
    """A group as the learner takes it; its prompt is fetched by the rank that trains it."""
    meta = group.prompt.meta
    return TrainingGroup(
        group_id=group.group_id,
        task=meta.task,
        fetch_prompt=partial(_fetch, group.prompt.model_input),
        prompt_tokens=meta.num_tokens,
        completions=tuple(rollout.token_ids for rollout in group.rollouts),
        rollout_logprobs=tuple(rollout.logprobs for rollout in group.rollouts),
        rewards=tuple(rollout.reward for rollout in group.rollouts),
        truncated=tuple(rollout.finish_reason == "length" for rollout in group.rollouts),
        policy_version=group.policy_version,
    )


def _fetch(reference: Any) -> PromptTensors:
    prompt: PromptTensors = ray.get(reference)
    return prompt


class RolloutMembers:
    """Rollout workers as the receiving side of a push (weight_sync.sender.RolloutClient)."""

    def __init__(self, members: Sequence[Member], policy_version: int, timeout_s: float) -> None:
        self._members, self._policy_version, self._timeout_s = members, policy_version, timeout_s
        self._not_waited_for: list[Any] = []

    @property
    def num_ranks(self) -> int:
        return sum(member.num_ranks for member in self._members)

    def init_weight_transfer_engine(self, init_info: dict[str, Any]) -> None:
        ranks_before = 0

        def call(member: Member) -> Any:
            nonlocal ranks_before
            info = dict(init_info)
            if "rank_offset" in info:  # each engine's ranks follow those of the engines before it
                info["rank_offset"] += ranks_before
                ranks_before += member.num_ranks
            return member.worker.init_weight_transfer_engine.remote(info)

        self._on_all("join the weight transfer", call)

    def start_weight_update(self) -> None:
        # A worker takes calls in the order they are made, so the next call answers for this one too: with many
        # workers, a round of answers is what a small push costs.
        self._not_waited_for = [member.worker.start_weight_update.remote() for member in self._members]

    def update_weights(self, update_info: dict[str, Any]) -> None:
        self._on_all("receive the weights", lambda member: member.worker.update_weights.remote(update_info))

    def finish_weight_update(self, weight_version: str | None = None) -> None:
        version = self._policy_version
        self._on_all("finish the update", lambda member: member.worker.finish_weight_update.remote(version))

    def _on_all(self, what: str, call: Callable[[Member], Any]) -> None:
        """Call every member at once and wait for all, naming those that did not answer in time."""
        calls = {call(member): member.index for member in self._members}
        done, late = ray.wait(list(calls), num_returns=len(calls), timeout=self._timeout_s)
        if late:
            names = ", ".join(str(calls[reference]) for reference in late)
            raise TimeoutError(f"rollout worker {names} did not {what} within {self._timeout_s:.0f} s.")
        not_waited_for, self._not_waited_for = self._not_waited_for, []
        ray.get(not_waited_for + done)
