"""MAKE's step: text tower, loss and the whole of it, against the plain way, in the same run.

    python benchmarks/make.py [text loss step] [--rounds 5] [--chunk 512] [--threads 1]

Plain: every case's 3 + 8 texts padded to 77 tokens and encoded, missing ones too; every text row against every text
row (the case's picture repeated for each of its texts); patches against all texts of the batch. Ours: each real string
once, without padding; no (texts x texts) or (patches x texts) tensor. Both compute the same loss and gradient, checked.

What is encoded is frozen below: lengths and repetitions as counted in the ten public rows of MAKE's training table (4.0
texts a case, 81 tokens in them, 34 of 40 distinct), and for the loss 2,048 cases that share 200 disease texts. CPU time
of the process, median of the rounds, versions taking turns. Peak: extra resident memory of forward and backward, each
version in a process of its own (Linux).
"""

import argparse
import subprocess
import sys
from collections.abc import Callable

import torch
import torch.nn.functional as F
from measuring import extra_megabytes, medians
from torch import Tensor

import dermis.torchvision_operators  # noqa: F401 (before open_clip)
from dermis.batch.texts import ragged
from dermis.losses.multi_aspect import diagnosis_weights, multi_aspect_pooled
from dermis.methods.make import MAKE, MAKEConfig
from dermis.towers.open_clip import open_clip_two_tower
from dermis.towers.ragged import padded
from dermis.towers.text import small_text_tower

N, CONTEXT, START, END = 11, 77, 49406, 49407
# tokens with start and end of eight cases' texts; a negative number repeats the text of that case
RAW = [42, 38, 33, 31, 28, 27, 24, 22]
DISEASE = [22, 20, -1, 19, 18, -2, 17, 16]
CONCEPT = [16, 14, 13, 12, 11, 10, 9, 9]
SENTENCES = [[25], [21], [19], [16], [13], [-3], [11], [10]]


def frozen_batch(cases: int, seed: int = 0) -> dict[str, Tensor]:
    """Ragged texts of the first ``cases`` of the eight; tokens at random between start and end."""
    generator = torch.Generator().manual_seed(seed)
    made: dict[tuple[int, int, int], str] = {}
    ids: dict[str, list[int]] = {}

    def text(case: int, kind: int, place: int, length: int) -> str:
        if length < 0:
            return made[(-length - 1, kind, place)]
        name = made[(case, kind, place)] = f"text {case} {kind} {place}"
        ids[name] = [START, *torch.randint(0, START, (length - 2,), generator=generator).tolist(), END]
        return name

    texts = [
        [(0, text(i, 0, 0, RAW[i])), (1, text(i, 1, 0, DISEASE[i])), (2, text(i, 2, 0, CONCEPT[i]))]
        + [(3, text(i, 3, k, length)) for k, length in enumerate(SENTENCES[i])]
        for i in range(cases)
    ]
    return {"row_B": torch.arange(cases), **ragged(texts, lambda strings: [ids[s] for s in strings])}


def as_padded(batch: dict[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """The same texts as the release lays them out: tokens (B·N, 77), empty texts as start and end; mask; string ids."""
    cases = len(batch["row_B"])
    tokens_SL, _ = padded(batch["tokens"], batch["offsets_S1"], CONTEXT)
    tokens_RL = torch.zeros(cases * N, CONTEXT, dtype=torch.int64)
    tokens_RL[:, 0], tokens_RL[:, 1] = START, END
    mask_R, string_R = torch.zeros(cases * N, dtype=torch.bool), torch.full((cases * N,), -1)
    seen: dict[tuple[int, int], int] = {}
    for text, owner, kind in zip(*(batch[k].tolist() for k in ("text_of_T", "owner_T", "kind_T")), strict=True):
        place = seen[owner, kind] = seen.get((owner, kind), -1) + 1
        row = owner * N + kind + place
        tokens_RL[row], mask_R[row], string_R[row] = tokens_SL[text], True, text
    return tokens_RL, mask_R, string_R


def plain_loss(
    image_BD: Tensor, text_RD: Tensor, pooled_BD: Tensor, mask_R: Tensor, string_R: Tensor, scale: Tensor
) -> Tensor:
    """MAKE's loss with whole matrices: (B·N, B·N) for the pictures, (B·N, B) for the texts and the patches."""
    rows, cases = len(text_RD), len(image_BD)
    owner_R = torch.arange(rows) // N
    owns_RB = torch.zeros(rows, cases, dtype=torch.bool)
    by_string = torch.zeros(int(string_R.max()) + 1, cases, dtype=torch.bool)
    by_string[string_R[mask_R], owner_R[mask_R]] = True
    owns_RB[mask_R] = by_string[string_R[mask_R]]
    kind_R = (torch.arange(rows) % N).clamp(max=3)
    weight_R = torch.zeros_like(text_RD[:, 0])
    weight_R[mask_R] = diagnosis_weights(text_RD[mask_R], owner_R[mask_R], kind_R[mask_R], cases)

    logits_RR = scale * image_BD[owner_R] @ text_RD.T
    left_out_RR = owns_RB.T[owner_R] | ~mask_R
    left_out_RR.fill_diagonal_(False)
    i2t_R = F.cross_entropy(logits_RR.masked_fill(left_out_RR, -torch.inf), torch.arange(rows), reduction="none")

    def to_image(vector_BD: Tensor) -> Tensor:
        log_p_RB = (scale * text_RD @ vector_BD.T).log_softmax(1)
        own_R = log_p_RB.masked_fill(~owns_RB, -torch.inf)[mask_R].logsumexp(1) - owns_RB[mask_R].sum(1).log()
        return torch.zeros_like(log_p_RB[:, 0]).index_put((mask_R.nonzero().squeeze(1),), -own_R)

    def mean(loss_R: Tensor, among_R: Tensor) -> Tensor:
        return (weight_R * loss_R)[among_R].sum() / weight_R[among_R].sum()

    sentence_R = mask_R & (kind_R == 3)
    mkcl = (mean(i2t_R, mask_R) + mean(to_image(image_BD), mask_R)) / 2
    return mkcl + 0.7 * mean(to_image(pooled_BD), sentence_R)


def loss_case(name: str, cases: int, chunk: int) -> dict[str, tuple[Callable[[], Tensor], list[Tensor]]]:
    """``shared``: raw and concept texts distinct, 200 disease texts, 2,117 sentences; ``distinct``: all rows are."""
    generator = torch.Generator().manual_seed(0)
    mask_BN = torch.ones(cases, N, dtype=torch.bool)
    string_BN = torch.arange(cases * N).reshape(cases, N)
    if name == "shared":
        mask_BN[:, 4:], mask_BN[: cases * 69 // 2048, 4] = False, True
        string_BN[:, 1] = torch.randint(0, max(cases * 200 // 2048, 1), (cases,), generator=generator) * N + 1
    mask_R, string_R = mask_BN.flatten(), string_BN.flatten()
    image_BD, pooled_BD, string_RD = (
        F.normalize(torch.randn(n, 512, generator=generator), dim=-1) for n in (cases, cases, cases * N)
    )
    owner_T = torch.arange(cases).repeat_interleave(N)[mask_R]
    kind_T = torch.arange(N).clamp(max=3).repeat(cases)[mask_R]
    scale = torch.tensor(1 / 0.07)
    text_RD, text_TD = string_RD[string_R], string_RD[string_R][mask_R]
    for x in (image_BD, text_RD, text_TD, pooled_BD, scale):
        x.requires_grad_()
    has_raw_B = torch.ones(cases, dtype=torch.bool)

    def ours() -> Tensor:
        return multi_aspect_pooled(
            image_BD, text_TD, pooled_BD, has_raw_B, owner_T, kind_T, scale, distinct_T=string_R[mask_R], chunk=chunk
        )["loss"]

    return {
        "plain": (
            lambda: plain_loss(image_BD, text_RD, pooled_BD, mask_R, string_R, scale),
            [image_BD, pooled_BD, scale, text_RD],
        ),
        "ours": (ours, [image_BD, pooled_BD, scale, text_TD]),
    }


def said(what: str, figures: dict[str, float], unit: str, digits: int = 2) -> None:
    ratio = figures["plain"] / max(figures["ours"], 1e-9)
    cells = "  ".join(f"{name} {value:.{digits}f} {unit}" for name, value in figures.items())
    print(f"{what:44}{cells}  ratio {ratio:.2f}", flush=True)


def text_benchmark(rounds: int) -> None:
    torch.manual_seed(0)
    tower = small_text_tower(512, 2, 8)
    batch = frozen_batch(8)
    tokens_RL, mask_R, string_R = as_padded(batch)
    pooled_RD, pooled_SD = tower.encoder(tokens_RL), tower.features(batch["tokens"], batch["offsets_S1"]).pooled_BD
    torch.testing.assert_close(pooled_RD[mask_R], pooled_SD[string_R[mask_R]], atol=1e-5, rtol=0)
    versions = {
        "plain": lambda: tower.encoder(tokens_RL)[mask_R].sum().backward(),
        "ours": lambda: tower.features(batch["tokens"], batch["offsets_S1"]).pooled_BD.sum().backward(),
    }
    print(f"texts: 8 cases, {int(mask_R.sum())} texts, {len(batch['offsets_S1']) - 1} distinct, "
          f"{len(batch['tokens'])} tokens; plain {tokens_RL.numel()}")  # fmt: skip
    said("text tower, width 512, 2 layers", medians(versions, rounds), "s", 3)


def loss_benchmark(rounds: int, chunk: int, cases: int) -> None:
    for name in ("shared", "distinct"):
        versions = loss_case(name, cases, chunk)
        values = {which: loss().item() for which, (loss, _) in versions.items()}
        gradients = {which: torch.autograd.grad(loss(), inputs) for which, (loss, inputs) in versions.items()}
        assert abs(values["plain"] - values["ours"]) < 1e-4, values
        for ours, plain in zip(gradients["ours"][:3], gradients["plain"][:3], strict=True):
            torch.testing.assert_close(ours, plain, atol=1e-4, rtol=1e-3)
        del gradients
        runs = {w: (lambda loss=loss, x=x: torch.autograd.grad(loss(), x)) for w, (loss, x) in versions.items()}
        said(f"loss, B = {cases}, N = {N}, texts {name}", medians(runs, rounds), "s")
        del versions, runs
        peaks = {which: peak(name, which, cases, chunk) for which in ("plain", "ours")}
        said("  peak memory", peaks, "MB", 0)
    grown = " ".join(f"{b}: {peak('shared', 'ours', b, chunk):.0f}" for b in (cases, 2 * cases, 4 * cases))
    print(f"  our peak in MB by B, texts shared: {grown}", flush=True)


def peak(name: str, which: str, cases: int, chunk: int) -> float:
    command = [sys.executable, __file__, "--peak", name, which, "--cases", str(cases), "--chunk", str(chunk)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def print_own_peak(name: str, which: str, cases: int, chunk: int) -> None:
    loss, inputs = loss_case(name, 32, 4)[which]
    torch.autograd.grad(loss(), inputs)
    loss, inputs = loss_case(name, cases, chunk)[which]
    print(extra_megabytes(lambda: torch.autograd.grad(loss(), inputs)))


def step_benchmark(rounds: int) -> None:
    """ViT-B/16 and its text tower, four cases at 224 px, AdamW included; the image tower alone is the floor."""
    torch.manual_seed(0)
    model = open_clip_two_tower("ViT-B-16")
    page = MAKE(model, MAKEConfig())
    batch = frozen_batch(4) | {"image_BVCHW": torch.randn(4, 1, 3, 224, 224)}
    tokens_RL, mask_R, string_R = as_padded(batch)
    optimiser = torch.optim.AdamW(page.parameters(), lr=0.0)

    def plain() -> Tensor:
        image_BE, patch_BPE = model.encode_image_and_patches(batch["image_BVCHW"][:, 0])
        text_RE = F.normalize(model.text_head(model.text.encoder(tokens_RL)), dim=-1)
        raw_R = torch.arange(4) * N
        similarity_BPR = patch_BPE @ text_RE.T  # every patch with every text of the batch
        z_BP = similarity_BPR[torch.arange(4), :, raw_R]
        pooled_BE = torch.einsum("bp,bpe->be", z_BP / z_BP.sum(1, keepdim=True), patch_BPE)
        scale = model.logit_scale.exp()
        unit = (F.normalize(image_BE, dim=-1), text_RE, F.normalize(pooled_BE, dim=-1))
        return plain_loss(*unit, mask_R, string_R, scale)

    values = plain().item(), page(batch)["loss"].item()
    assert abs(values[0] - values[1]) < 1e-4, values

    def step(loss: Callable[[], Tensor]) -> Callable[[], None]:
        def run() -> None:
            optimiser.zero_grad()
            loss().backward()
            optimiser.step()

        return run

    def image() -> Tensor:
        return sum(x.sum() for x in model.encode_image_and_patches(batch["image_BVCHW"][:, 0]))  # type: ignore[return-value]

    found = medians({"plain": step(plain), "ours": step(lambda: page(batch)["loss"]), "image": step(image)}, rounds)
    said("step, ViT-B/16, B = 4", {k: found[k] for k in ("plain", "ours")}, "s")
    said("  image tower alone", {"plain": found["plain"], "ours": found["image"]}, "s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", default=["text", "loss", "step"], help="text, loss, step")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--chunk", type=int, default=512, help="rows at a time in our loss")
    parser.add_argument("--cases", type=int, default=2048, help="B of the loss")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--peak", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.peak:
        print_own_peak(*arguments.peak, arguments.cases, arguments.chunk)
        return
    for part in arguments.parts:
        {
            "text": lambda: text_benchmark(arguments.rounds),
            "loss": lambda: loss_benchmark(arguments.rounds, arguments.chunk, arguments.cases),
            "step": lambda: step_benchmark(arguments.rounds),
        }[part]()


if __name__ == "__main__":
    main()
