"""Weight transfer over gloo: the CPU twin of vLLM's `nccl` engine, for machines without a GPU.

Registered with vLLM's factories by the `vllm.general_plugins` entry point in pyproject.toml. Rank 0 of
the group is the learner's rank 0; the rollout engines follow. Only what differs from NCCL stands here:
opening the group, and moving the bytes. The update's life cycle (layer-wise reload) is inherited.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_EXCEPTION, Future, wait
from dataclasses import asdict, dataclass
from datetime import timedelta
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


@dataclass
class GlooInitInfo(WeightTransferInitInfo):
    """How a rollout engine joins: rendezvous address, its rank and the group's size."""

    master_address: str
    master_port: int
    rank_offset: int
    world_size: int
    timeout_s: float


@dataclass
class GlooTrainerInitInfo(TrainerInitInfo):
    """How the learner's rank 0 opens the group. `world_size` counts it and every rollout engine."""

    backend: ClassVar[str] = "gloo"

    master_address: str
    master_port: int
    world_size: int
    timeout_s: float


class _GlooGroup:
    """A process group outside torch.distributed's global one, with a deadline on every operation."""

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
        self._group = torch_dist.ProcessGroupGloo(prefixed, rank, info.world_size, timeout)
        self._store = store  # the rendezvous lives as long as its master's store

    def broadcast(self, tensor: torch.Tensor) -> None:
        options = dist.BroadcastOptions()
        options.rootRank = 0
        self._group.broadcast([tensor], options).wait()

    def destroy(self) -> None:
        self._group.shutdown()


class GlooWeightTransferEngine(NCCLWeightTransferEngine):
    """The rollout engine's half."""

    init_info_cls = GlooInitInfo  # type: ignore[assignment]

    def init_transfer_engine(self, init_info: GlooInitInfo) -> None:  # type: ignore[override]
        self.shutdown()
        rank = init_info.rank_offset + self.parallel_config.rank
        self.model_update_group = _GlooGroup(init_info, rank)  # type: ignore[assignment]

    def update_weights(self, update_info: dict[str, Any]) -> None:
        # The base class ends with torch.accelerator.synchronize(), which a CPU build of torch refuses.
        self.receive_weights(self.parse_update_info(update_info))

    def receive_weights(self, update_info: NCCLWeightTransferUpdateInfo) -> None:
        group: Any = self.model_update_group
        if group is None:
            raise RuntimeError("gloo weight transfer: the engine has not joined a group yet.")

        def received() -> Iterator[tuple[str, torch.Tensor]]:
            for name, dtype, shape in zip(
                update_info.names, update_info.dtype_names, update_info.shapes, strict=True
            ):
                weight = torch.empty(shape, dtype=getattr(torch, dtype))
                group.broadcast(weight)
                yield name, weight

        self.model.load_weights(received())

    def finish_weight_update(self) -> None:
        super().finish_weight_update()
        # vLLM on CPU multiplies by a pre-packed copy of lm_head. Its reload refreshes a tied embedding but
        # not that copy, which would go on answering with the old weights.
        lm_head = getattr(getattr(self.model, "language_model", self.model), "lm_head", None)
        if lm_head is not None and hasattr(lm_head, "quant_method"):
            lm_head.quant_method.process_weights_after_loading(lm_head)


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
        engine = cls(client=client, source=source, is_sender=init_info.is_sender, packed=False)
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
        for _, tensor in self._checked_iter(source, meta):
            group.broadcast(tensor.contiguous())


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
        Thread(target=run, args=(call, future), daemon=True).start()
    for future in wait(futures, return_when=FIRST_EXCEPTION).done:
        future.result()
    return [future.result() for future in futures]


def register() -> None:
    """Make `gloo` known to vLLM's factories; vLLM may call this more than once in a process."""
    if "gloo" not in WeightTransferEngineFactory._registry:
        WeightTransferEngineFactory.register_engine("gloo", GlooWeightTransferEngine)
        WeightTransferTrainerFactory.register_engine("gloo", GlooTrainerWeightTransferEngine)
