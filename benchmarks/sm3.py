"""SM3's contrast step, two pictures of a case and two views of each: ``python benchmarks/sm3.py``

Plain: every view of every picture is decoded and augmented by itself (Pillow, torchvision v1), passes through its
torchvision ResNet by itself, and each loss builds its 2B x 2B matrix and picks positives and negatives out of it by
masks, as the release does. Ours: each picture is decoded once for both views, timm's ResNet runs channels-last, losses
are log-sum-exps. Towers have the same weights; the loss on the same views is compared before timing.

One thread, CPU time of this process, median of the repetitions, the versions taking turns.
"""

import argparse
import io
from functools import partial

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

import dermis.torchvision_operators  # noqa: F401 (before torchvision)

# isort: split
from measuring import medians
from pictures import photographs
from torchvision import models
from torchvision import transforms as T

from dermis.batch.augment import AUGMENTATIONS, Normalise, views
from dermis.methods.sm3 import SM3, SM3Config
from dermis.towers.build import BranchesConfig, ImageTowerConfig, build_branches

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
PLAIN = T.Compose([
    T.RandomResizedCrop(224, scale=(0.5, 1.0)),
    T.RandomApply([T.ColorJitter(0.8, 0.8, 0.8, 0.2)], p=0.8),
    T.RandomGrayscale(p=0.2),
    T.RandomHorizontalFlip(),
    T.RandomApply([T.GaussianBlur(3, (0.1, 2.0))], p=0.5),
    T.ToTensor(),
    T.Normalize(MEAN, STD),
])  # fmt: skip


def plain_views(pictures: list[bytes]) -> Tensor:
    """(B, 2, C, H, W), each view from its own decoding."""
    return torch.stack([
        torch.stack([PLAIN(Image.open(io.BytesIO(data)).convert("RGB")) for _ in range(2)]) for data in pictures
    ])  # fmt: skip


def our_views(pictures: list[bytes], rng: np.random.Generator) -> Tensor:
    """The same, decoded once."""
    normalise = Normalise(MEAN, STD)
    return torch.stack([torch.from_numpy(views(d, AUGMENTATIONS["sm3"], rng, normalise, count=2)) for d in pictures])


def masked_nt_xent(z1: Tensor, z2: Tensor, temperature: float = 0.1) -> Tensor:
    """Positives and negatives gathered by masks out of the whole matrix."""
    z = F.normalize(torch.cat([z1, z2]), dim=1)
    case = torch.arange(len(z1)).repeat(2)
    other = ~torch.eye(len(z), dtype=torch.bool)
    similar = (z @ z.T)[other].view(len(z), -1)
    same = (case[:, None] == case)[other].view(len(z), -1)
    logits = torch.cat([similar[same].view(len(z), 1), similar[~same].view(len(z), -1)], 1) / temperature
    return F.cross_entropy(logits, torch.zeros(len(z), dtype=torch.int64))


class Plain(nn.Module):
    """Two torchvision networks and the heads of ``page``."""

    def __init__(self, page: SM3, name: str) -> None:
        super().__init__()
        self.nets = nn.ModuleDict({n: getattr(models, name)() for n in page.model.pictures})
        for n, net in self.nets.items():
            net.fc = nn.Identity()
            net.load_state_dict(page.model.picture_towers[n].trunk.state_dict())
        self.page = page

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        h = {n: [net(batch[f"{n}_BVCHW"][:, v].contiguous()) for v in (0, 1)] for n, net in self.nets.items()}
        loss = torch.zeros(())
        for n in h:
            loss = loss + masked_nt_xent(*self.page.own[n](torch.cat(h[n])).chunk(2))
        pair = self.page.model.parts["pair"]
        for v in (0, 1):
            loss = loss + masked_nt_xent(*(pair(n, h[n][v]) for n in h)) / 2
        return loss


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", nargs="+", default=["resnet18", "resnet50"])
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--repetitions", type=int, default=5)
    asked = parser.parse_args()
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    pictures = {n: photographs(512, 768, asked.batch, 90_000) for n in ("dermoscopy", "image")}
    rng = np.random.default_rng(0)
    read = {
        "plain": lambda: {f"{n}_BVCHW": plain_views(p) for n, p in pictures.items()},
        "ours": lambda: {f"{n}_BVCHW": our_views(p, rng) for n, p in pictures.items()},
    }
    for name in asked.networks:
        model = build_branches(BranchesConfig(image=ImageTowerConfig(name=name, size=224)))
        page = SM3(model, SM3Config(as_released=True))
        steps = {"plain": Plain(page, name), "ours": lambda batch, page=page: page(batch)["loss"]}
        batch = read["ours"]()
        with torch.no_grad():
            values = {version: float(step(batch)) for version, step in steps.items()}
        assert abs(values["plain"] - values["ours"]) < 1e-3, values

        def step(version: str, steps: dict = steps, batch: dict | None = batch) -> None:
            steps[version](read[version]() if batch is None else batch).backward()

        print(f"\n{name}, 224 px, {asked.batch} cases, JPEGs of 768 x 512; loss {values['ours']:.4f} in both")
        parts = {
            "pictures into views": {v: read[v] for v in read},
            "forward, loss, backward": {v: partial(step, v) for v in read},
            "whole step": {v: partial(step, v, batch=None) for v in read},
        }
        for part, versions in parts.items():
            took = medians(versions, asked.repetitions)
            ratio = took["plain"] / took["ours"]
            print(f"  {part:26}{took['plain']:8.2f} s {took['ours']:8.2f} s   {ratio:5.2f}")


if __name__ == "__main__":
    main()
