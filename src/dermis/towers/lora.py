"""Low-rank adapters on a tower's linear layers: the layer's own weight stays, W + B A learns (Hu et al., ICLR 2022).

peft (an extra) makes and merges them. α equals the rank, so its factor α / r is 1. Only layers that a pass through the
tower calls are adapted: where a network uses a layer's weight without calling it (attention of open_clip's own vision
transformers, qkv of BEiT and EVA), an adapter would be ignored without a word.
"""

from collections.abc import Collection

import torch
from torch import nn


def adaptable(towers: nn.ModuleDict) -> list[str]:
    """Names of the linear layers that a pass through the towers calls; puts the towers into evaluation mode."""
    called: set[str] = set()
    hooks = [
        module.register_forward_pre_hook(lambda *_, name=name: called.add(name))
        for name, module in towers.named_modules()
        if isinstance(module, nn.Linear)
    ]
    towers.eval()
    try:
        with torch.no_grad():
            for tower in towers.values():
                tower.features(torch.zeros(1, 3, *tower.transform.size, device=next(tower.parameters()).device))
    finally:
        for hook in hooks:
            hook.remove()
    return [name for name, _ in towers.named_modules() if name in called]


def adapt(towers: nn.ModuleDict, layers: Collection[str], rank: int) -> None:
    """Put an adapter on each of ``layers``, all else frozen; A is drawn from the global generator, B starts at 0.

    Raises ValueError if peft is not installed.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError:
        raise ValueError("lora needs the extra: pip install 'dermis[lora]'.") from None
    inject_adapter_in_model(LoraConfig(r=rank, lora_alpha=rank, target_modules=list(layers)), towers)


def merge(towers: nn.ModuleDict) -> None:
    """Add the adapters to the weights that they adapt and take them off; the towers have their first names again."""
    from peft.tuners.lora import LoraLayer

    for name, module in list(towers.named_modules()):
        if isinstance(module, LoraLayer):
            module.merge()
            towers.set_submodule(name, module.get_base_layer())
