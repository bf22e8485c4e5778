"""Sends the policy's weights to the rollout engines through vLLM's weight-transfer API."""

import logging
import math
import socket
from collections.abc import Iterator
from concurrent.futures import Future
from threading import Thread
from typing import Any, Protocol

import torch

from weight_sync.rollout_client import RolloutClient

logger = logging.getLogger(__name__)

# Size of one message. On a CPU, two such slots on each side stay in its cache. On GPUs it limits the memory of a push,
# because the engine and the learner take almost all there is.
BUCKET_BYTES = {"gloo": 32 * 2**20, "nccl": 256 * 2**20, "ipc": 256 * 2**20}


class PushedPolicy(Protocol):
    """What a push needs from the policy (learner.modeling.policy_weights.PolicyWeights)."""

    rank: int
    device: torch.device

    def named_parameters(self, *, trained_only: bool) -> Iterator[tuple[str, torch.Tensor]]: ...

    def parameter_shapes(self, *, trained_only: bool) -> list[tuple[str, torch.dtype, tuple[int, ...]]]: ...


class PushHung(RuntimeError):
    """A push that neither ended nor failed: a thread is stuck in a collective, so the process must be restarted."""


class WeightSender:
    """Opens a transfer group with a set of rollout engines and sends the policy through it.

    When an engine dies or joins, its owner (`weight_sync.pusher.Pusher`) makes a new sender. All learner ranks make one
    and call `send` together; only rank 0 communicates with the engines.

    Args:
        backend: "gloo", "nccl" or "ipc".
        timeout_s: deadline of each call to the engines; a whole push may take twice as long.
        trained_only: leave out frozen parameters. Engines have those from the model folder they started from, unless
            they slept at vLLM's level 2, which discards all weights.
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
        """Send the parameters; return when all engines use them.

        Args:
            client: the engines, the same ones at every call.

        Raises:
            PushHung: the push did not end within its deadline. gloo has its own deadlines; NCCL waits for ever for a
                dead peer.
            Exception: the error on this rank. The other ranks return, because gathering a parameter is a collective
                of all ranks (ZeRO-3) and a rank that fails still takes part in all of them.
        """
        outcome: Future[None] = Future()

        def send() -> None:
            if self._policy.device.type == "cuda":  # a new thread starts on device 0
                torch.cuda.set_device(self._policy.device)
                torch.cuda.empty_cache()  # for engines that share the GPU and wake up now
            self._source.new_pass()
            try:
                self._open(client)
                self._engine.client = client
                self._engine.send_weights()
                outcome.set_result(None)
            except Exception as error:  # raised below, in the caller's thread
                self._source.finish_pass()
                outcome.set_exception(error)

        Thread(target=send, daemon=True).start()
        try:  # the deadlines of calls to engines come first; their errors name the late worker
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
            logger.info("opened a %s transfer group with %d engine ranks", self._backend, client.num_ranks)

    def _init_info(self, num_engine_ranks: int) -> Any:
        from vllm.distributed.weight_transfer.factory import WeightTransferTrainerFactory

        info_class = WeightTransferTrainerFactory._registry[self._backend]().init_info_cls
        bucket_bytes = BUCKET_BYTES[self._backend]
        if self._backend == "ipc":
            shapes = self._policy.parameter_shapes(trained_only=self._trained_only)
            largest = max((math.prod(shape) * dtype.itemsize for _, dtype, shape in shapes), default=0)
            # vLLM's ipc refuses a parameter larger than its buffer; without packing, all gathered weights would stay in
            # memory until the end.
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
        """Leave the transfer group."""
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
    """Return the policy as vLLM's WeightSource. The class is defined here because its base class needs vLLM."""
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
            """Gather the parameters that this push has not gathered yet, as the other ranks do."""
            for _ in self._running if self._running is not None else iter(self):
                pass

    return PolicySource()
