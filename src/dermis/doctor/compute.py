"""What a training step computes with on this machine: only what the code of dermis does, yes or no, and why."""

from dataclasses import dataclass

import torch

from dermis import torchvision_operators  # noqa: F401 (before timm)
from dermis.training.precision import choose


@dataclass(frozen=True)
class Feature:
    """``used``: does training on this machine use it, as the recipes stand?"""

    name: str
    used: bool
    why: str


def features() -> list[Feature]:
    """What of the hardware's abilities is used."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    dtype, reason = choose("auto", device)
    bf16 = "" if device.type == "cuda" else "; " + _bf16_of_cpu(device)
    return [
        Feature("bf16", dtype == torch.bfloat16, reason + bf16),
        _fused_attention(device),
        Feature("channels_last", True, "pictures are turned for towers of convolutions; others have no use for it"),
        _tf32(device),
        *_only_on_gpus(device.type == "cuda"),
        Feature("torch.compile", False, "off unless training.compile is set (it pays on GPUs)"),
        Feature(
            "repeatable sums", device.type == "cpu",
            "a CPU adds up in a fixed order, which costs about a tenth of a small model's step"
            if device.type == "cpu" else "a GPU adds up in any order",
        ),
    ]  # fmt: skip


def _bf16_of_cpu(device: torch.device) -> str:
    try:
        choose("bf16", device)
    except ValueError:
        return "this CPU has no units for bf16, and training.precision bf16 is refused"
    return "this CPU has units for bf16: training.precision bf16 uses them"


def _fused_attention(device: torch.device) -> Feature:
    from timm.layers import use_fused_attn

    if not use_fused_attn():
        return Feature("fused attention", False, "timm's is switched off: unset TIMM_FUSED_ATTN")
    where = "flash kernels in bf16" if device.type == "cuda" else "torch's kernel for CPUs"
    return Feature("fused attention", True, f"towers call torch's scaled_dot_product_attention ({where})")


def _tf32(device: torch.device) -> Feature:
    if device.type == "cpu":
        return Feature("TF32", False, "NVIDIA GPUs have it")
    if torch.cuda.get_device_capability(device) < (8, 0):
        return Feature("TF32", False, "this GPU is older than TF32")
    products = torch.get_float32_matmul_precision() != "highest"
    convolutions = "convolutions in fp32 use it" if torch.backends.cudnn.allow_tf32 else "convolutions neither"
    return Feature("TF32", products, f"dermis leaves torch's setting for matrix products in fp32; {convolutions}")


def _only_on_gpus(on_gpu: bool) -> list[Feature]:
    memory = "batches are pinned and copied while the GPU computes" if on_gpu else "nothing is copied to a GPU"
    adamw = "one kernel for all parameters" if on_gpu else "the parameters are not on a GPU"
    return [Feature("pinned memory", on_gpu, memory), Feature("fused AdamW", on_gpu, adamw)]
