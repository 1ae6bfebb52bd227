"""Let timm and open_clip import beside a CPU-only torch.

torchvision's Linux wheels carry a compiled part that needs CUDA libraries. Beside a CPU-only torch that part cannot
load, and ``import torchvision`` stops with "operator torchvision::nms does not exist" (a RuntimeError, so nobody's
``except ImportError`` catches it). Declaring the two operators that torchvision registers shapes for is enough: timm
and open_clip use its pure-Python transforms only. Where the compiled part loads, nothing is declared.

Import this module before timm, open_clip or torchvision.
"""

import importlib.util
from pathlib import Path

import torch

_library: torch.library.Library | None = None  # kept alive: the operators vanish with it


def _compiled_part_loads() -> bool:
    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None:
        return True  # nothing to repair
    for library in Path(spec.origin).parent.glob("_C*.so"):
        try:
            torch.ops.load_library(str(library))
        except OSError:
            return False
    return True


def declare() -> None:
    """Declare ``torchvision::nms`` and ``torchvision::qnms`` if, and only if, torchvision cannot load its own."""
    global _library
    if _library is None and not _compiled_part_loads():
        _library = torch.library.Library("torchvision", "DEF")
        for name in ("nms", "qnms"):
            _library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")


def repaired() -> bool:
    """Did torchvision's operators have to be declared?"""
    return _library is not None


declare()
