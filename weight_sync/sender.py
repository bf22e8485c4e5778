"""Sending the policy's weights to the rollout engines through vLLM's weight-transfer API."""

import math
import socket
from collections.abc import Iterator
from concurrent.futures import Future
from threading import Thread
from typing import Any, Protocol

import torch

from weight_sync.rollout_client import RolloutClient

# One message's size. On a CPU that is what stays warm in two slots on either side; on GPUs it bounds the memory
# that a push takes beside engine and learner, which have filled theirs.
BUCKET_BYTES = {"gloo": 32 * 2**20, "nccl": 256 * 2**20, "ipc": 256 * 2**20}


class PushedPolicy(Protocol):
    """What a push needs of the policy (learner.policy.DeepSpeedPolicy)."""

    rank: int
    device: torch.device

    def named_parameters(self, *, trained_only: bool) -> Iterator[tuple[str, torch.Tensor]]: ...

    def parameter_shapes(self, *, trained_only: bool) -> list[tuple[str, torch.dtype, tuple[int, ...]]]: ...


class PushHung(RuntimeError):
    """A push neither ended nor failed: a thread is stuck in a collective, and only a new process helps."""


class WeightSender:
    """Opens a transfer group with the current rollout engines and sends the policy through it.

    One sender serves one set of engines: when a member dies or joins, the owner makes a new sender.
    All learner ranks make it and call `send` together; only rank 0 talks to the engines.

    Args:
        backend: "gloo", "nccl" or "ipc".
        timeout_s: deadline of each of the engines' answers; a whole push has twice as long.
        trained_only: leave frozen parameters out. For engines that hold them from the model folder they started
            from; not for those that slept at vLLM's level 2, which have lost everything.
    """

    def __init__(
        self, policy: PushedPolicy, *, backend: str, timeout_s: float, trained_only: bool = False
    ) -> None:
        from vllm.plugins import load_general_plugins

        load_general_plugins()  # registers "gloo"
        self._policy, self._backend, self._timeout_s = policy, backend, timeout_s
        self._trained_only = trained_only
        self._source = _policy_source(policy, trained_only=trained_only)
        self._engine: Any = None  # vLLM's trainer engine, once the group is open

    def send(self, client: RolloutClient) -> None:
        """Push the parameters; returns when all engines serve them.

        Args:
            client: the engines; the same set at every call.

        Raises:
            PushHung: no end after the deadline. gloo has deadlines of its own; NCCL waits for ever for a dead peer.
            Exception: whatever broke the transfer on this rank. The other ranks of this push return: gathering a
                parameter is a collective of all (ZeRO-3), so a rank that fails still takes its part in every one.
        """
        outcome: Future[None] = Future()

        def send() -> None:
            if self._policy.device.type == "cuda":  # a new thread starts on device 0
                torch.cuda.set_device(self._policy.device)
                torch.cuda.empty_cache()  # engines that share the GPU wake up now
            self._source.new_pass()
            try:
                self._open(client)
                self._engine.client = client
                self._engine.send_weights()
                outcome.set_result(None)
            except Exception as error:  # raised below, on the caller's thread
                self._source.finish_pass()
                outcome.set_exception(error)

        Thread(target=send, daemon=True).start()
        try:  # the engines' own deadlines come first, and say who was late
            error = outcome.exception(2 * self._timeout_s)
        except TimeoutError:
            raise PushHung(f"a weight push did not end within {2 * self._timeout_s:.0f} s.") from None
        if error is not None:
            raise error

    def _open(self, client: RolloutClient) -> None:
        if self._engine is None:
            from vllm.distributed.weight_transfer.factory import WeightTransferTrainerFactory

            info = self._init_info(client.num_ranks)
            self._engine = WeightTransferTrainerFactory.trainer_init(info, client=client, source=self._source)

    def _init_info(self, num_engine_ranks: int) -> Any:
        from vllm.distributed.weight_transfer.factory import WeightTransferTrainerFactory

        info_class = WeightTransferTrainerFactory._registry[self._backend]().init_info_cls
        bucket_bytes = BUCKET_BYTES[self._backend]
        if self._backend == "ipc":
            shapes = self._policy.parameter_shapes(trained_only=self._trained_only)
            largest = max((math.prod(shape) * dtype.itemsize for _, dtype, shape in shapes), default=0)
            # vLLM's ipc refuses a parameter larger than its buffer; unpacked, all gathered weights live to the end.
            return info_class(
                rank=self._policy.rank, packed=True, packed_buffer_size_bytes=max(bucket_bytes, largest)
            )
        fields: dict[str, Any] = {
            "master_address": _own_address(),
            "master_port": _free_port(),
            "world_size": 1 + num_engine_ranks,
            "rank": self._policy.rank,
        }
        if self._backend == "gloo":
            return info_class(**fields, timeout_s=self._timeout_s, bucket_bytes=bucket_bytes)
        return info_class(**fields, packed=True, packed_buffer_size_bytes=bucket_bytes)

    def close(self) -> None:
        if self._engine is not None:
            self._engine.shutdown()


def _own_address() -> str:
    import ray

    return str(ray.util.get_node_ip_address())


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("", 0))
        return int(sock.getsockname()[1])


def _policy_source(policy: PushedPolicy, *, trained_only: bool) -> Any:
    """The policy as vLLM's WeightSource; defined in a function because the base class needs vLLM."""
    from vllm.distributed.weight_transfer.base import ParamMeta, WeightSource

    class PolicySource(WeightSource):
        def __init__(self) -> None:
            self._running: Iterator[tuple[str, Any]] | None = None

        def metadata(self) -> list[Any]:
            shapes = policy.parameter_shapes(trained_only=trained_only)
            return [ParamMeta(name, dtype, shape) for name, dtype, shape in shapes]

        def __iter__(self) -> Iterator[tuple[str, Any]]:
            self._running = policy.named_parameters(trained_only=trained_only)
            return self._running

        def new_pass(self) -> None:
            self._running = None

        def finish_pass(self) -> None:
            """Gather what this push has not gathered, all of it if it never began: the other ranks do."""
            for _ in self._running if self._running is not None else iter(self):
                pass

    return PolicySource()
