"""Weight transfer over gloo: the CPU twin of vLLM's `nccl` engine, for machines without a GPU.

Registered with vLLM's factories by the `vllm.general_plugins` entry point in pyproject.toml. Rank 0 of the group is
the learner's rank 0; the rollout engines follow. Only what differs from NCCL is here: opening the group and moving
the bytes. The life cycle of an update (layer-wise reload) is inherited from vLLM's NCCL engine.

    learner   fill 0 │ fill 1 │ fill 2 │ ...          filling, sending and loading overlap, with two slots on each
    network          │ send 0 │ send 1 │ ...          side, so a push takes about as long as the slowest of the
    engine                    │ load 0 │ load 1 ...   three: the engine's loading, which is vLLM's
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
    """How a rollout engine joins: address of the rendezvous, its rank, size of the group, size of a bucket."""

    master_address: str
    master_port: int
    rank_offset: int
    world_size: int
    timeout_s: float
    bucket_bytes: int


@dataclass
class GlooTrainerInitInfo(TrainerInitInfo):
    """How the learner's rank 0 opens the group. `world_size` includes rank 0 and every rollout engine."""

    backend: ClassVar[str] = "gloo"

    master_address: str
    master_port: int
    world_size: int
    timeout_s: float
    bucket_bytes: int


class _GlooGroup:
    """A process group besides torch.distributed's global one, with a deadline for every operation.

    Buckets use two slots in turn, which are kept between pushes: to allocate memory takes five times as long as to
    fill it. A bucket larger than a slot holds one huge parameter and gets temporary memory.
    """

    def __init__(self, info: GlooInitInfo | GlooTrainerInitInfo, rank: int) -> None:
        timeout = timedelta(seconds=info.timeout_s)
        torch_dist: Any = dist  # torch does not declare its stores as exported
        store = torch_dist.TCPStore(
            info.master_address,
            info.master_port,
            info.world_size,
            is_master=rank == 0,
            timeout=timeout,
            wait_for_workers=False,  # the group's rendezvous below waits
        )
        prefixed = torch_dist.PrefixStore("videossr-weights", store)
        options = torch_dist.ProcessGroupGloo._Options()
        options._timeout = timeout
        # Without this, gloo listens at the address of the host's name, on many hosts 127.0.1.1, which others cannot
        # reach.
        address = _own_address_towards(info.master_address)
        options._devices = [torch_dist.ProcessGroupGloo.create_device(hostname=address)]
        self._group = torch_dist.ProcessGroupGloo(prefixed, rank, info.world_size, options)
        self._store = store  # kept, because the rendezvous ends with its master's store
        self._slots = tuple(torch.empty(info.bucket_bytes, dtype=torch.uint8) for _ in range(2))

    def send(self, sizes: Sequence[int]) -> Iterator[torch.Tensor]:
        """Yield memory to fill for each bucket, [size] uint8. It is sent when the caller asks for the next one."""
        in_flight: deque[Any] = deque()
        for index, size in enumerate(sizes):
            if len(in_flight) == len(self._slots):
                in_flight.popleft().wait()
            memory = self._slot(index, size)
            yield memory
            in_flight.append(self._broadcast(memory))
        for work in in_flight:
            work.wait()

    def receive(self, sizes: Sequence[int]) -> Iterator[torch.Tensor]:
        """Yield the bytes of each bucket, [size] uint8, valid until the caller asks for the next one."""
        memories = map(self._slot, count(), sizes)
        arriving = (
            (memory, self._broadcast(memory)) for memory in memories
        )  # a broadcast begins at each next()
        bucket = next(arriving, None)
        while bucket is not None:
            memory, work = bucket
            work.wait()
            bucket = next(arriving, None)  # arrives while the caller loads this one
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
    """Return the address of this host on its route to `address`.

    Nothing is sent: connecting a datagram socket only looks up the route.
    """
    family, _, _, _, where = socket.getaddrinfo(address, 1, type=socket.SOCK_DGRAM)[0]
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.connect(where)
        return str(sock.getsockname()[0])


class GlooWeightTransferEngine(NCCLWeightTransferEngine):
    """The engine's half of a push."""

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
            raise RuntimeError("gloo weight transfer: the engine has not joined a transfer group.")

        dtypes = [getattr(torch, name) for name in update_info.dtype_names]
        parameters = zip(update_info.names, dtypes, update_info.shapes, strict=True)
        buckets = plan_buckets(parameters, self._bucket_bytes)
        for memory, bucket in zip(group.receive(_sizes(buckets)), buckets, strict=True):
            self.model.load_weights([(entry.name, entry.view(memory)) for entry in bucket.entries])
            _detach(self.model, memory)

    def finish_weight_update(self) -> None:
        super().finish_weight_update()
        # vLLM on CPU multiplies by a packed copy of lm_head. Its reload refreshes a tied embedding but not that
        # copy, so the engine would generate with old weights.
        lm_head = getattr(getattr(self.model, "language_model", self.model), "lm_head", None)
        if lm_head is not None and hasattr(lm_head, "quant_method"):
            lm_head.quant_method.process_weights_after_loading(lm_head)


def _detach(model: torch.nn.Module, memory: torch.Tensor) -> None:
    """Copy what vLLM's reload still refers to in `memory`, because the second next bucket overwrites it.

    vLLM loads a layer when it has all of its weights. Until then it keeps references to those that came before, for
    example to a query weight whose key weight is in the next bucket.
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
    """The learner's half of a push. Every learner rank makes one; only rank 0 joins the group and sends."""

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
        # The engines block in their half of the rendezvous, so both halves must run at the same time.
        (engine.model_update_group, _) = _both(  # type: ignore[assignment]
            lambda: _GlooGroup(init_info, rank=0),
            lambda: client.init_weight_transfer_engine(asdict(worker_info)),
        )
        return engine

    def _broadcast(self, source: WeightSource, meta: list[Any]) -> None:
        if not self.is_sender:
            for _ in source:  # gathering a parameter is a collective of all learner ranks
                pass
            return
        group: Any = self.model_update_group
        parameters = self._checked_iter(source, meta)
        buckets = plan_buckets(
            ((each.name, each.dtype, each.shape) for each in meta), self.packed_buffer_size_bytes
        )
        for memory, bucket in zip(group.send(_sizes(buckets)), buckets, strict=True):
            for entry in bucket.entries:
                entry.view(memory).copy_(next(parameters)[1])
        for _ in parameters:  # _checked_iter raises if the source has more parameters than announced
            pass


def _both(*calls: Callable[[], Any]) -> list[Any]:
    """Run both halves of a rendezvous and return their results. If one fails, raise without waiting for the other.

    The threads are daemons, because a half whose peer is dead blocks until its deadline and must not delay the end of
    the process.
    """
    futures: list[Future[Any]] = [Future() for _ in calls]

    def run(call: Callable[[], Any], future: "Future[Any]") -> None:
        try:
            future.set_result(call())
        except BaseException as error:  # raised by future.result() below
            future.set_exception(error)

    for call, future in zip(calls, futures, strict=True):
        Thread(target=run, name="rendezvous", args=(call, future), daemon=True).start()
    for future in wait(futures, return_when=FIRST_EXCEPTION).done:
        future.result()
    return [future.result() for future in futures]


def register() -> None:
    """Register `gloo` with vLLM's factories. vLLM may call this more than once in a process."""
    if "gloo" not in WeightTransferEngineFactory._registry:
        WeightTransferEngineFactory.register_engine("gloo", GlooWeightTransferEngine)
        WeightTransferTrainerFactory.register_engine("gloo", GlooTrainerWeightTransferEngine)
