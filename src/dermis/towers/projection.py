"""Projection heads of contrastive methods: features h of width D into the space z where the loss compares them.

Shapes: B rows, D features, E projection.
"""

from torch import Tensor, nn

from dermis.registry import unknown

HEADS = ("simclr", "simclr-released", "moco")


def projection(kind: str, dim: int, width: int) -> nn.Sequential:
    """A head from ``dim`` to ``width``.

    ``simclr``: two layers with ReLU (SimCLR, arXiv 2002.05709, Section 2.1), batch-normalised as its release;
    ``simclr-released``: three layers without biases, a batch norm after each, the last without scale and shift
    (Dylan-H-Wang/skin-sm3 @ 255038f, simclr.py:17-27, after facebookresearch's SimCLR);
    ``moco``: two layers with biases and no norm (MoCo v2, arXiv 2003.04297, Section 2). Raises ValueError for others.
    """
    if kind == "simclr":
        return nn.Sequential(*_normed(dim, dim), nn.Linear(dim, width, bias=False), nn.BatchNorm1d(width))
    if kind == "simclr-released":
        last = (nn.Linear(dim, width, bias=False), nn.BatchNorm1d(width, affine=False))
        return nn.Sequential(*_normed(dim, dim), *_normed(dim, dim), *last)
    if kind == "moco":
        return nn.Sequential(nn.Linear(dim, dim), nn.ReLU(), nn.Linear(dim, width))
    raise unknown("projection head", kind, HEADS)


def _normed(dim: int, width: int) -> tuple[nn.Module, ...]:
    return nn.Linear(dim, width, bias=False), nn.BatchNorm1d(width), nn.ReLU()


class PairHeads(nn.Module):
    """Features of two pictures of a case into one space, so that the pair can be found among others (SM3, Figure 3).

    ``dims``: picture column -> width of its tower. ``shared``: one head for all (``sep_shared``), which asks for equal
    widths; else one for each (``sep_sep``). Raises ValueError for a shared head on towers of different widths.
    """

    def __init__(self, dims: dict[str, int], *, width: int = 128, shared: bool = False) -> None:
        super().__init__()
        if shared and len(set(dims.values())) > 1:
            raise ValueError(f"a shared head needs towers of equal width; they are {dims}.")
        names = ["shared"] if shared else list(dims)
        widths = {"shared": next(iter(dims.values())), **dims}
        self.heads = nn.ModuleDict({name: projection("simclr-released", widths[name], width) for name in names})
        self.shared = shared

    def forward(self, picture: str, h_BD: Tensor) -> Tensor:
        """``picture``'s features -> (B, E), not normalised."""
        return self.heads["shared" if self.shared else picture](h_BD)
