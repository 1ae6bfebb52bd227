"""Attention roll-out (Abnar & Zuidema, ACL 2020, arXiv 2005.00928): how much of each patch attention lets through.

    A_l = (mean over heads of layer l's attention) + 1, each row then divided by its sum
    R   = A_L … A_2 A_1                                                                                            (1)

The 1 stands for the residual branch. Row i of R says of which input tokens the last layer's token i is mixed, if
values, MLPs and the true weight of the residual branch are left out of account. A map is the patches' part of the row
of what the tower pools:

    token       the class token's row, as in the paper
    avg         mean of the patches' rows, also where there is a class token: the pooled vector has nothing of it
    token+avg   mean of these two
    map         mean of the patches' rows; the attention of the pooling itself is left out

What falls on class and register tokens is not shown, so a map sums to less than 1. Position biases are part of the
attention; gates after it are left out.

Memory: heads are averaged in each layer as it runs, and R grows with it: the heads of one layer and a few N x N
matrices are held, whatever the depth. Shapes: N tokens, h x w patches.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import torch
from open_clip.transformer import ResidualAttentionBlock
from torch import Tensor, nn

from dermis.towers.image import ImageTower
from dermis.towers.open_clip import OpenClipImageTower

READABLE = ("Attention", "AttentionRope", "EvaAttention", "RelPosAttention")
"""timm's layers in which every token attends to every token by one softmax; names, since files moved"""


def attention_layers(tower: nn.Module) -> list[nn.Module]:
    """The self-attention of each block, in order; empty if this tower has none that can be rolled out.

    Read off its parts; nothing runs. Windows, pooled tokens and differences of two softmaxes cannot be rolled out.
    """
    if isinstance(tower, OpenClipImageTower):
        blocks = list(tower.encoder.transformer.resblocks) if tower.has_patches else []
        return [block.attn for block in blocks] if all(type(b) is ResidualAttentionBlock for b in blocks) else []
    if not isinstance(tower, ImageTower) or tower.is_grid:
        return []
    trunk: Any = tower.trunk
    blocks = list(getattr(trunk, "blocks", ()))
    layers = [getattr(block, "attn", None) for block in blocks]
    in_windows = any(getattr(block, "window_size", 0) for block in blocks)
    readable = all(type(layer).__name__ in READABLE and hasattr(layer, "fused_attn") for layer in layers)
    return layers if tower.has_patches and readable and not in_windows else []


def rollout(tower: nn.Module, view_CHW: Tensor) -> np.ndarray:
    """The roll-out over the patches of a normalised picture, float32 (h, w).

    Call it in evaluation mode without gradients; the tower is afterwards as it was, also after an error. Raises
    ValueError for a tower that has no attention to roll out.
    """
    layers = attention_layers(tower)
    if not layers:
        raise ValueError(f"this image tower ({kind_of(tower)}) has no attention that can be rolled out.")
    rolled_NN: Tensor | None = None

    def add(attention_NN: Tensor) -> None:
        nonlocal rolled_NN
        mixed_NN = attention_NN.float() + torch.eye(len(attention_NN), device=attention_NN.device)
        mixed_NN /= mixed_NN.sum(dim=1, keepdim=True)
        rolled_NN = mixed_NN if rolled_NN is None else mixed_NN @ rolled_NN

    with _heard(layers, add):
        features = tower.features(view_CHW[None])
    assert rolled_NN is not None
    if features.grid is None:
        raise ValueError(f"this image tower ({kind_of(tower)}) does not say where in the picture its tokens are.")
    first = len(rolled_NN) - features.grid[0] * features.grid[1]  # class and register tokens come before the patches
    class_N, patches_N = rolled_NN[0], rolled_NN[first:].mean(dim=0)
    pool = tower.pool if isinstance(tower, ImageTower) else tower.encoder.pool_type
    row_N = {"token": class_N, "tok": class_N, "token+avg": (class_N + patches_N) / 2}.get(pool, patches_N)
    return row_N[first:].reshape(features.grid).cpu().numpy()


def kind_of(tower: nn.Module) -> str:
    """What a tower is called in a sentence: the class of the network in it."""
    return type(getattr(tower, "trunk", getattr(tower, "encoder", tower))).__name__


@contextmanager
def _heard(layers: Sequence[nn.Module], hear: Callable[[Tensor], None]) -> Iterator[None]:
    """``hear`` gets the attention of each layer that runs, mean over heads (N, N). Takes itself off at the end."""

    def of_heads(_: nn.Module, inputs: tuple[Tensor], __: Tensor) -> None:
        hear(inputs[0].mean(dim=1)[0])

    def of_torch(_: nn.Module, __: tuple[Tensor, ...], output: tuple[Tensor, Tensor]) -> None:
        hear(output[1][0])

    def ask(_: nn.Module, inputs: tuple[Tensor, ...], settings: dict[str, Any]) -> tuple[Any, Any]:
        return inputs, settings | {"need_weights": True, "average_attn_weights": True}

    with ExitStack() as undo:
        for layer in layers:
            if isinstance(layer, nn.MultiheadAttention):
                hooks = [
                    layer.register_forward_pre_hook(ask, with_kwargs=True),
                    layer.register_forward_hook(of_torch),
                ]
            else:
                # the fused kernel never has the attention in memory; the plain way passes it through its dropout
                undo.callback(setattr, layer, "fused_attn", layer.fused_attn)
                layer.fused_attn = False
                hooks = [layer.attn_drop.register_forward_hook(of_heads)]
            for hook in hooks:
                undo.callback(hook.remove)
        yield
