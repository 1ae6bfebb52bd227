"""Frozen towers: weights that get no gradient and layers that stay in evaluation mode."""

from torch import nn


def freeze(module: nn.Module) -> nn.Module:
    """Stop gradients and batch statistics of ``module``; returns it."""
    return module.requires_grad_(False).eval()


def is_frozen(module: nn.Module) -> bool:
    """Does ``module`` have weights, none of which learns?"""
    parameters = list(module.parameters())
    return bool(parameters) and not any(p.requires_grad for p in parameters)
