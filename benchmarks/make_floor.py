"""What a step of MAKE must cost at least: FLOPs counted on ViT-B/16 and its text tower, bytes kept for backward.

    python benchmarks/make_floor.py

FLOPs are PyTorch's own count (2 per multiply-add, matrix products only), training = 3 x forward. The texts
are the frozen ones of benchmarks/make.py. Bytes are those of the tensors that autograd keeps (float32), parameters
excluded, for one and two slices of cases; the rest is arithmetic on them.
"""

import torch
from make import as_padded, frozen_batch
from measuring import kept_bytes
from torch.utils.flop_counter import FlopCounterMode

from dermis.methods.make import MAKE, MAKEConfig
from dermis.towers.open_clip import open_clip_two_tower

PAIRS, EPOCHS, BATCH = 403_563, 15, 2048
PEAK = 790e12
"""bf16 FLOP per second measured on an H200"""


def kept(page: MAKE, cases: int) -> int:
    batch = frozen_batch(cases) | {"image_BVCHW": torch.randn(cases, 1, 3, 224, 224)}
    return kept_bytes(lambda: page.embed(batch), page.parameters())


def main() -> None:
    model = open_clip_two_tower("ViT-B-16")
    page = MAKE(model, MAKEConfig())
    batch = frozen_batch(8)
    tokens_RL, _, _ = as_padded(batch)
    with torch.no_grad():
        with FlopCounterMode(display=False) as image:
            model.encode_image_and_patches(torch.zeros(1, 3, 224, 224))
        with FlopCounterMode(display=False) as plain:
            model.text.encoder(tokens_RL)
        with FlopCounterMode(display=False) as ours:
            model.text.features(batch["tokens"], batch["offsets_S1"])
    image_flop, plain_flop, ours_flop = image.get_total_flops(), plain.get_total_flops() / 8, ours.get_total_flops() / 8
    print(f"forward, per case: image {image_flop / 1e9:.1f} GFLOP; 11 padded texts {plain_flop / 1e9:.1f}; "
          f"real, distinct, packed {ours_flop / 1e9:.2f}")  # fmt: skip
    for name, text in (("released layout", plain_flop), ("ours", ours_flop)):
        case = 3 * (image_flop + text)
        total = case * PAIRS * EPOCHS
        print(f"training, {name}: {case / 1e9:.0f} GFLOP a case, {total:.2e} in all, "
              f"{total / PEAK / 60:.0f} minutes at the measured peak, {total / PEAK / 30:.0f} at half of it; "
              f"with GradCache (4 instead of 3 forwards) {total * 4 / 3 / PEAK / 30:.0f} at half")  # fmt: skip
    one, two = kept(page, 1), kept(page, 3)
    case = (two - one) / 2
    print(f"kept for backward: {case / 1e6:.0f} MB a case in float32, half of it in bf16")
    for slices in (1, 4, 16, 32):
        print(f"  batch {BATCH} in {slices} slices of {BATCH // slices}: {case * BATCH / slices / 1e9:.1f} GB float32")
    vectors = BATCH * (2 + 4.03) * 512 * 4
    print(f"  embeddings of the whole batch, and their gradients: {2 * vectors / 1e6:.0f} MB")


if __name__ == "__main__":
    main()
