"""What a generator says about its memory, by one of the searches; each token is read once.

Shapes: B cases, M places of the memory, R rows (texts under way, case by case).
"""

from collections.abc import Callable

import torch
from torch import Tensor

from dermis.registry import unknown
from dermis.towers.decoding import Rules, Step, beam, greedy, nucleus
from dermis.towers.generator import Generator

STRATEGIES = ("beam", "greedy", "nucleus")


def remembering(generator: Generator, memory_BMD: Tensor, mask_BM: Tensor | None = None) -> Step:
    """Steps that read each token once."""
    cache = generator.look_at(memory_BMD, mask_BM)

    def step(token_R: Tensor, row_R: Tensor | None) -> Tensor:
        if row_R is not None:
            cache.choose(row_R)
        return generator.step(token_R[:, None], cache)[:, -1]

    return step


def rereading(generator: Generator, memory_BMD: Tensor, mask_BM: Tensor | None = None) -> Step:
    """Steps that read the whole text, and the memory, anew: slow, and what ``remembering`` is measured by."""
    said_RL: list[Tensor] = []

    def step(token_R: Tensor, row_R: Tensor | None) -> Tensor:
        before = [said_RL.pop() if row_R is None else said_RL.pop()[row_R]] if said_RL else []
        said_RL.append(torch.cat([*before, token_R[:, None]], 1))
        copies = len(token_R) // len(memory_BMD)
        mask_RM = None if mask_BM is None else mask_BM.repeat_interleave(copies, 0)
        return generator(said_RL[0], memory_BMD.repeat_interleave(copies, 0), mask_RM)[:, -1]

    return step


@torch.no_grad()
def generate(
    generator: Generator,
    memory_BMD: Tensor,
    mask_BM: Tensor | None = None,
    *,
    strategy: str = "beam",
    beams: int = 4,
    top_p: float = 0.9,
    temperature: float = 1.0,
    min_tokens: int = 1,
    max_tokens: int | None = None,
    length_penalty: float = 1.0,
    seed: int = 0,
    steps: Callable[[Generator, Tensor, Tensor | None], Step] = remembering,
) -> list[list[int]]:
    """What the generator says about each case: token ids without start and end.

    Each text has at least ``min_tokens`` tokens before its end and at most ``max_tokens`` with it (None: what the
    generator can say); padding and start are never said. ``beams`` and ``length_penalty`` (0 prefers short texts, 1 is
    the mean) are for beam search, ``top_p``, ``temperature`` and ``seed`` for the nucleus. Dropout is off. Raises
    ValueError for an unknown strategy or a wrong setting of it, for lengths that the generator cannot say, and for a
    case all of whose memory is masked.
    """
    if strategy not in STRATEGIES:
        raise unknown("strategy", strategy, STRATEGIES)
    max_tokens = generator.max_tokens if max_tokens is None else max_tokens
    if not 0 <= min_tokens <= max_tokens <= generator.max_tokens or max_tokens < 1:
        raise ValueError(
            f"a text has 1 to {generator.max_tokens} tokens of this generator, not {min_tokens} to {max_tokens}."
        )
    if mask_BM is not None and not mask_BM.any(1).all():
        raise ValueError("a case has no memory to speak about: all of it is masked.")
    if not len(memory_BMD):
        return []
    training = generator.training
    generator.eval()
    step = steps(generator, memory_BMD, mask_BM)
    start_B = torch.full((len(memory_BMD),), generator.start, device=memory_BMD.device)
    never = {generator.pad, generator.start} - {generator.end}  # some tokenizers pad or start with their end
    rules = Rules(generator.end, min_tokens, max_tokens, tuple(never))
    try:
        if strategy == "greedy":
            return greedy(step, start_B, rules)
        if strategy == "nucleus":
            return nucleus(step, start_B, rules, top_p, temperature, seed)
        return beam(step, start_B, rules, beams, length_penalty)
    finally:
        generator.train(training)
