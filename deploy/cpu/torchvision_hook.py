"""Lets PyPI's torchvision be imported beside a CPU build of torch.

PyPI ships torchvision compiled for CUDA. Beside a CPU torch its compiled operators cannot be loaded,
and `torchvision._meta_registrations` then fails because it registers fakes for two operators that do
not exist. Nothing here calls those operators (they belong to object detection), so declaring their
signatures is enough. This has to happen in every process that may import torchvision, vLLM's
subprocesses included, hence at interpreter level: `install.sh` puts this file and a `.pth` that
imports it into site-packages. It costs nothing until torchvision is imported, and does nothing where
the operators are there.
"""

import importlib.abc
import importlib.machinery
import sys
from collections.abc import Sequence
from types import ModuleType

_TRIGGER = "torchvision._meta_registrations"  # imported right after the compiled operators were tried
_SCHEMAS = {
    "nms": "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}
_libraries: list[object] = []  # an operator lives as long as the Library that declared it


class _DeclareMissingOperators(importlib.abc.MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname == _TRIGGER:
            sys.meta_path.remove(self)
            _declare_missing_operators()
        return None  # the ordinary finders load the module


def _declare_missing_operators() -> None:
    import torch

    for name, schema in _SCHEMAS.items():
        if not hasattr(torch.ops.torchvision, name):
            library = torch.library.Library("torchvision", "FRAGMENT")
            library.define(schema)
            _libraries.append(library)


sys.meta_path.insert(0, _DeclareMissingOperators())
