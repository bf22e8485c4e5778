"""Weight transfer over gloo: the CPU twin of vLLM's `nccl` engine, for machines without a GPU.

Registered with vLLM's factories by the `vllm.general_plugins` entry point in pyproject.toml. Rank 0 of
the group is the learner's rank 0; the rollout engines follow. Only what differs from NCCL stands here:
opening the group, and moving the bytes. The update's life cycle (layer-wise reload) is inherited.

    learner   fill 0 │ fill 1 │ fill 2 │ ...          three things at once, in two slots on either side:
    wire             │ send 0 │ send 1 │ ...          the push takes about as long as the engine's loading,
    engine                    │ load 0 │ load 1 ...   which is vLLM's own and the slowest of the three
"""

import socket
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, wait
from dataclasses import asdict, dataclass
from datetime import timedelta
from itertools import count
from threading import Thread
from typing import Any, ClassVar, Self

import torch
import torch.distributed as dist
from vllm.distributed.weight_transfer.base import (
    TrainerInitInfo,
    VLLMWeightSyncClient,
    WeightSource,
    WeightTransferInitInfo,
)
from vllm.distributed.weight_transfer.factory import WeightTransferEngineFactory, WeightTransferTrainerFactory
from vllm.distributed.weight_transfer.nccl_engine import (
    NCCLTrainerWeightTransferEngine,
    NCCLWeightTransferEngine,
    NCCLWeightTransferUpdateInfo,
)
from vllm.model_executor.model_loader.reload.layerwise import get_layerwise_info

from weight_sync.buckets import Bucket, plan_buckets


@dataclass
class GlooInitInfo(WeightTransferInitInfo):
    """How a rollout engine joins: rendezvous address, its rank, the group's size, and the wire's bucket size."""

    master_address: str
    master_port: int
    rank_offset: int
    world_size: int
    timeout_s: float
    bucket_bytes: int


@dataclass
class GlooTrainerInitInfo(TrainerInitInfo):
    """How the learner's rank 0 opens the group. `world_size` counts it and every rollout engine."""

    backend: ClassVar[str] = "gloo"

    master_address: str
    master_port: int
    world_size: int
    timeout_s: float
    bucket_bytes: int


class _GlooGroup:
    """A process group outside torch.distributed's global one, with a deadline on every operation.

    Buckets lie in two slots in turn, which are kept from push to push: fresh memory costs five times the copy
    into it. One that is larger than a slot, a single huge parameter, has memory for its time alone.
    """

    def __init__(self, info: GlooInitInfo | GlooTrainerInitInfo, rank: int) -> None:
        timeout = timedelta(seconds=info.timeout_s)
        torch_dist: Any = dist  # its stores are not declared as exported
        store = torch_dist.TCPStore(
            info.master_address,
            info.master_port,
            info.world_size,
            is_master=rank == 0,
            timeout=timeout,
            wait_for_workers=False,  # the group's own rendezvous below waits
        )
        prefixed = torch_dist.PrefixStore("videossr-weights", store)
        options = torch_dist.ProcessGroupGloo._Options()
        options._timeout = timeout
        # By itself gloo listens where the host's name leads: on many hosts 127.0.1.1, where no other gets.
        address = _own_address_towards(info.master_address)
        options._devices = [torch_dist.ProcessGroupGloo.create_device(hostname=address)]
        self._group = torch_dist.ProcessGroupGloo(prefixed, rank, info.world_size, options)
        self._store = store  # the rendezvous lives as long as its master's store
        self._slots = tuple(torch.empty(info.bucket_bytes, dtype=torch.uint8) for _ in range(2))

    def send(self, sizes: Sequence[int]) -> Iterator[torch.Tensor]:
        """Yield memory to fill for each bucket, [size] uint8; it goes out when the next one is asked for."""
        on_their_way: deque[Any] = deque()
        for index, size in enumerate(sizes):
            if len(on_their_way) == len(self._slots):
                on_their_way.popleft().wait()
            memory = self._slot(index, size)
            yield memory
            on_their_way.append(self._broadcast(memory))
        for work in on_their_way:
            work.wait()

    def receive(self, sizes: Sequence[int]) -> Iterator[torch.Tensor]:
        """Yield each bucket's bytes, [size] uint8, good until the next one is asked for."""
        memories = map(self._slot, count(), sizes)
        arriving = ((memory, self._broadcast(memory)) for memory in memories)  # begins when it is asked for
        bucket = next(arriving, None)
        while bucket is not None:
            memory, work = bucket
            work.wait()
            bucket = next(arriving, None)  # comes while this one is loaded
            yield memory

    def _slot(self, index: int, size: int) -> torch.Tensor:
        slot = self._slots[index % len(self._slots)]
        return slot[:size] if size <= slot.numel() else torch.empty(size, dtype=torch.uint8)

    def _broadcast(self, tensor: torch.Tensor) -> Any:
        options = dist.BroadcastOptions()
        options.rootRank = 0
        options.asyncOp = True
        return self._group.broadcast([tensor], options)

    def destroy(self) -> None:
        self._group.shutdown()


def _own_address_towards(address: str) -> str:
    """Ours on the way to `address`, which nothing is sent to: connecting a datagram socket looks up the route alone."""
    family, _, _, _, where = socket.getaddrinfo(address, 1, type=socket.SOCK_DGRAM)[0]
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.connect(where)
        return str(sock.getsockname()[0])


class GlooWeightTransferEngine(NCCLWeightTransferEngine):
    """The rollout engine's half."""

    init_info_cls = GlooInitInfo  # type: ignore[assignment]

    def init_transfer_engine(self, init_info: GlooInitInfo) -> None:  # type: ignore[override]
        self.shutdown()
        rank = init_info.rank_offset + self.parallel_config.rank
        self.model_update_group = _GlooGroup(init_info, rank)  # type: ignore[assignment]
        self._bucket_bytes = init_info.bucket_bytes

    def update_weights(self, update_info: dict[str, Any]) -> None:
        # The base class ends with torch.accelerator.synchronize(), which a CPU build of torch refuses.
        self.receive_weights(self.parse_update_info(update_info))

    def receive_weights(self, update_info: NCCLWeightTransferUpdateInfo) -> None:
        group: Any = self.model_update_group
        if group is None:
            raise RuntimeError("gloo weight transfer: the engine has not joined a group yet.")

        dtypes = [getattr(torch, name) for name in update_info.dtype_names]
        parameters = zip(update_info.names, dtypes, update_info.shapes, strict=True)
        buckets = plan_buckets(parameters, self._bucket_bytes)
        for memory, bucket in zip(group.receive(_sizes(buckets)), buckets, strict=True):
            self.model.load_weights([(piece.name, piece.view(memory)) for piece in bucket.pieces])
            _let_go(self.model, memory)

    def finish_weight_update(self) -> None:
        super().finish_weight_update()
        # vLLM on CPU multiplies by a pre-packed copy of lm_head. Its reload refreshes a tied embedding but
        # not that copy, which would go on answering with the old weights.
        lm_head = getattr(getattr(self.model, "language_model", self.model), "lm_head", None)
        if lm_head is not None and hasattr(lm_head, "quant_method"):
            lm_head.quant_method.process_weights_after_loading(lm_head)


def _let_go(model: torch.nn.Module, memory: torch.Tensor) -> None:
    """Copy what vLLM's reload still refers to in `memory`, which the next bucket but one will overwrite.

    It loads a layer when all of it has come: what came of the others (a query weight whose key is in the next
    bucket, an embedding with padded rows) it keeps by reference until then.
    """
    start = memory.untyped_storage().data_ptr()
    for layer in model.modules():
        for _, call in get_layerwise_info(layer).loaded_weights:
            for name, value in call.arguments.items():
                if isinstance(value, torch.Tensor) and value.untyped_storage().data_ptr() == start:
                    call.arguments[name] = value.clone()


def _sizes(buckets: Sequence[Bucket]) -> list[int]:
    return [bucket.num_bytes for bucket in buckets]


class GlooTrainerWeightTransferEngine(NCCLTrainerWeightTransferEngine):
    """The learner's half. Every learner rank makes one; only rank 0 joins the group and sends."""

    init_info_cls = GlooTrainerInitInfo  # type: ignore[assignment]

    @classmethod
    def trainer_init(  # type: ignore[override]
        cls,
        init_info: GlooTrainerInitInfo,
        *,
        client: VLLMWeightSyncClient,
        source: WeightSource | None = None,
    ) -> Self:
        assert source is not None
        engine = cls(
            client=client,
            source=source,
            is_sender=init_info.is_sender,
            packed_buffer_size_bytes=init_info.bucket_bytes,
        )
        if not engine.is_sender:
            return engine
        fields = asdict(init_info)
        del fields["rank"]
        worker_info = GlooInitInfo(rank_offset=1, **fields)
        # The engines block in their half of the rendezvous, so both halves must run at once.
        (engine.model_update_group, _) = _both(  # type: ignore[assignment]
            lambda: _GlooGroup(init_info, rank=0),
            lambda: client.init_weight_transfer_engine(asdict(worker_info)),
        )
        return engine

    def _broadcast(self, source: WeightSource, meta: list[Any]) -> None:
        if not self.is_sender:
            for _ in source:  # materialising a parameter is a collective of all learner ranks
                pass
            return
        group: Any = self.model_update_group
        parameters = self._checked_iter(source, meta)
        buckets = plan_buckets(
            ((each.name, each.dtype, each.shape) for each in meta), self.packed_buffer_size_bytes
        )
        for memory, bucket in zip(group.send(_sizes(buckets)), buckets, strict=True):
            for piece in bucket.pieces:
                piece.view(memory).copy_(next(parameters)[1])
        for _ in parameters:  # none is left, or the source said too few
            pass


def _both(*calls: Callable[[], Any]) -> list[Any]:
    """Run two halves of a rendezvous at once; if one fails, raise at once and let the other time out alone.

    Daemon threads, because a half whose peer is dead blocks for its whole deadline and must not hold up the
    process's end.
    """
    futures: list[Future[Any]] = [Future() for _ in calls]

    def run(call: Callable[[], Any], future: "Future[Any]") -> None:
        try:
            future.set_result(call())
        except BaseException as error:  # raised where the result is asked for
            future.set_exception(error)

    for call, future in zip(calls, futures, strict=True):
        Thread(target=run, name="rendezvous", args=(call, future), daemon=True).start()
    for future in wait(futures, return_when=FIRST_EXCEPTION).done:
        future.result()
    return [future.result() for future in futures]


def register() -> None:
    """Make `gloo` known to vLLM's factories; vLLM may call this more than once in a process."""
    if "gloo" not in WeightTransferEngineFactory._registry:
        WeightTransferEngineFactory.register_engine("gloo", GlooWeightTransferEngine)
        WeightTransferTrainerFactory.register_engine("gloo", GlooTrainerWeightTransferEngine)
