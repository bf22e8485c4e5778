"""Makes PyPI's torchvision importable with a CPU build of torch.

PyPI's torchvision is compiled for CUDA. With a CPU torch its compiled operators cannot be loaded, and
`torchvision._meta_registrations` fails because it registers fakes for two operators that do not exist. We never call
those operators (they are for object detection), so declaring their signatures is enough. This must happen in every
process that may import torchvision, including vLLM's subprocesses. So `install.sh` puts this file into site-packages,
with a `.pth` file that imports it when Python starts. It costs nothing until torchvision is imported, and does
nothing if the operators exist.
"""

import importlib.abc
import importlib.machinery
import sys
from collections.abc import Sequence
from types import ModuleType

_TRIGGER = "torchvision._meta_registrations"  # imported right after loading the compiled operators was tried
_SCHEMAS = {
    "nms": "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}
_libraries: list[object] = []  # an operator exists as long as the Library that declared it


class _DeclareMissingOperators(importlib.abc.MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname == _TRIGGER:
            sys.meta_path.remove(self)
            _declare_missing_operators()
        return None  # leave loading to the ordinary finders


def _declare_missing_operators() -> None:
    import torch

    for name, schema in _SCHEMAS.items():
        if not hasattr(torch.ops.torchvision, name):
            library = torch.library.Library("torchvision", "FRAGMENT")
            library.define(schema)
            _libraries.append(library)


sys.meta_path.insert(0, _DeclareMissingOperators())
