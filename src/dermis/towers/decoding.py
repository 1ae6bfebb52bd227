"""Which text a generator says: its likeliest tokens, the best of a beam search, or draws from the nucleus.

A search asks a ``Step`` for the logits after each row's last token; it knows neither generator nor cache. Rows are the
texts under way, case by case, equally many for each case. The nucleus: Holtzman et al., The Curious Case of Neural Text
Degeneration, ICLR 2020, Section 3.1.

Shapes: B cases, R rows, K beams, C = 2K candidates, V vocabulary, L tokens said.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

Step = Callable[[Tensor, Tensor | None], Tensor]
"""last tokens (R,), and which row of the step before each row continues (R,) (None: the same one) -> logits (R, V)"""


@dataclass(frozen=True)
class Rules:
    """What may be said: from ``min_tokens`` tokens before the end to ``max_tokens`` with it, and some never."""

    end: int
    min_tokens: int = 1
    max_tokens: int = 60
    never: tuple[int, ...] = ()

    def allowed(self, logits_RV: Tensor, said: int) -> Tensor:
        """The logits, -inf where a token may not follow after ``said`` tokens."""
        barred = [*self.never, *([self.end] if said < self.min_tokens else [])]
        return logits_RV.index_fill(1, torch.tensor(barred, dtype=torch.int64, device=logits_RV.device), -torch.inf)

    def texts(self, said_BL: Tensor) -> list[list[int]]:
        """Each row up to its end, which is left out."""
        rows = said_BL.tolist()
        return [row[: row.index(self.end)] if self.end in row else row for row in rows]


def greedy(step: Step, start_B: Tensor, rules: Rules) -> list[list[int]]:
    """The likeliest next token, again and again."""
    return _one_by_one(step, start_B, rules, lambda logits_BV, _: logits_BV.argmax(1))


def nucleus(
    step: Step, start_B: Tensor, rules: Rules, top_p: float = 0.9, temperature: float = 1.0, seed: int = 0
) -> list[list[int]]:
    """Each token drawn from softmax(logits / ``temperature``), cut to its nucleus.

    The nucleus is the smallest set of likeliest tokens that together have at least ``top_p``. The numbers that decide
    are drawn on the CPU for all cases and places at once: a seed says the same on every device, and a case's draws
    depend on its place in the batch only. Raises ValueError unless 0 < ``top_p`` <= 1 and ``temperature`` > 0.
    """
    if not 0 < top_p <= 1 or temperature <= 0:
        raise ValueError(f"top_p must be in (0, 1] and temperature above 0, not {top_p} and {temperature}.")
    draw = torch.Generator().manual_seed(seed)
    draw_BL = 1 - torch.rand(len(start_B), rules.max_tokens, generator=draw).to(start_B.device)  # never 0

    def choose(logits_BV: Tensor, said: int) -> Tensor:
        p_BV, order_BV = (logits_BV.float() / temperature).softmax(1).sort(1, descending=True)
        p_BV = p_BV.masked_fill(p_BV.cumsum(1) - p_BV >= top_p, 0)
        # back in the vocabulary's order, so that two tokens that are nearly alike may change ranks and nothing happens
        mass_BV = torch.zeros_like(p_BV).scatter(1, order_BV, p_BV).cumsum(1)
        return torch.searchsorted(mass_BV, draw_BL[:, said, None] * mass_BV[:, -1:])[:, 0]

    return _one_by_one(step, start_B, rules, choose)


def _one_by_one(step: Step, start_B: Tensor, rules: Rules, choose: Callable[[Tensor, int], Tensor]) -> list[list[int]]:
    token_B, open_B = start_B, torch.ones_like(start_B, dtype=torch.bool)
    said: list[Tensor] = []
    while len(said) < rules.max_tokens and open_B.any():
        token_B = choose(rules.allowed(step(token_B, None), len(said)), len(said)).where(open_B, rules.end)
        open_B = open_B & (token_B != rules.end)
        said.append(token_B)
    return rules.texts(torch.stack(said, 1))


def beam(step: Step, start_B: Tensor, rules: Rules, beams: int = 4, length_penalty: float = 1.0) -> list[list[int]]:
    """The best text that is found by following the ``beams`` likeliest beginnings.

    A text's score is Σ log p / n^``length_penalty``, its n tokens counted with the end: 0 prefers short texts, 1 is
    the mean. Of the 2K likeliest continuations, those among the first K that end are complete, and the best complete
    text is kept; the K likeliest others go on. A case is done when K texts are complete, or when no beginning could
    still win: Σ log p only falls, so that at best it stays and is divided by the greatest n^penalty to come. What is
    open after ``max_tokens`` counts as complete. Raises ValueError for fewer than one beam.
    """
    if beams < 1:
        raise ValueError(f"a beam search needs at least one beam, not {beams}.")
    cases, first_B1 = len(start_B), torch.arange(len(start_B), device=start_B.device)[:, None]
    score_BK = torch.full((cases, beams), -torch.inf, device=start_B.device)
    score_BK[:, 0] = 0  # the beams of a case begin alike: one of them counts
    said_BKL = start_B.new_full((cases, beams, rules.max_tokens), rules.end)
    best_B, text_BL, complete_B = torch.full_like(score_BK[:, 0], -torch.inf), said_BKL[:, 0], 0
    token_R, row_R = start_B.repeat_interleave(beams), None
    for n in range(1, rules.max_tokens + 1):
        logp_RV = rules.allowed(step(token_R, row_R).float().log_softmax(1), n - 1)
        vocabulary = logp_RV.shape[1]
        sum_BC, which_BC = (score_BK[..., None] + logp_RV.unflatten(0, (cases, beams))).flatten(1).topk(2 * beams)
        beam_BC, token_BC = which_BC // vocabulary, which_BC % vocabulary
        said_BCL = said_BKL[first_B1, beam_BC]
        said_BCL[:, :, n - 1] = token_BC

        ends_BC = token_BC == rules.end
        ends_BK = (ends_BC[:, :beams] | (n == rules.max_tokens)) & sum_BC[:, :beams].isfinite()
        won_B, winner_B = (sum_BC[:, :beams] / n**length_penalty).masked_fill(~ends_BK, -torch.inf).max(1)
        text_BL = said_BCL[first_B1[:, 0], winner_B].where((won_B > best_B)[:, None], text_BL)
        best_B = best_B.maximum(won_B)
        complete_B = complete_B + ends_BK.sum(1)

        # each beam can end in one way, so that of 2K candidates at least K go on
        go_on_BK = ends_BC.int().argsort(dim=1, stable=True)[:, :beams]
        score_BK = sum_BC.gather(1, go_on_BK)
        hope_B = score_BK[:, 0] / (rules.max_tokens if length_penalty > 0 else n + 1) ** length_penalty
        done_B = (complete_B >= beams) | (best_B >= hope_B)
        if done_B.all():
            break
        score_BK = score_BK.masked_fill(done_B[:, None], -torch.inf)
        said_BKL, token_R = said_BCL[first_B1, go_on_BK], token_BC.gather(1, go_on_BK).flatten()
        row_R = (first_B1 * beams + beam_BC.gather(1, go_on_BK)).flatten()
    return rules.texts(text_BL)
