"""The log-sum-exps of a similarity matrix, by rows and by columns, without ever holding the matrix.

Softmax losses over a batch need, of the N x M matrix of logits, only the log-sum-exp of each row and of each column.
Rows are visited a chunk at a time: a chunk's rows are complete, columns are accumulated. Backward makes each chunk's
logits again from the vectors and the finished sums, so four matrix products replace three and memory is O(chunk · M).
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

Keep = Callable[[slice], Tensor]


def pairwise_logsumexp(
    x_ND: Tensor,
    y_MD: Tensor,
    scale: Tensor | float,
    *,
    log_weight_M: Tensor | None = None,
    keep: Keep | None = None,
    chunk: int | None = None,
) -> tuple[Tensor, Tensor]:
    """Row sums log Σ_j w_j exp(scale·x_i·y_j) and column sums log Σ_i exp(scale·x_i·y_j), of shapes N and M.

    ``log_weight_M`` (no gradient) is log w, 0 if None: a text that occurs c times counts once at -log c.
    ``keep(rows)`` says for a slice of rows which pairs take part, as booleans (b, M); the sum over none is -inf.
    ``chunk``: rows at a time; None keeps the whole matrix for backward, which is faster while it fits.
    Raises ValueError for a chunk below 1.
    """
    scale = torch.as_tensor(scale, dtype=x_ND.dtype, device=x_ND.device).reshape(())
    if chunk is not None:
        return _Chunked.apply(x_ND, y_MD, scale, log_weight_M, keep, rows_at_a_time(chunk))
    logits_NM = (scale * x_ND) @ y_MD.T
    weighted_NM = logits_NM if log_weight_M is None else logits_NM + log_weight_M
    if keep is None:
        return weighted_NM.logsumexp(1), logits_NM.logsumexp(0)
    # -inf everywhere in a row would make NaN gradients; where there is nothing to sum, a finite stand-in makes none
    nothing = torch.finfo(logits_NM.dtype).min / 2
    left_out_NM = ~keep(slice(0, len(x_ND)))
    sums = (
        weighted_NM.masked_fill(left_out_NM, nothing).logsumexp(1),
        logits_NM.masked_fill(left_out_NM, nothing).logsumexp(0),
    )
    row_N, column_M = (total.masked_fill(total < nothing / 2, -torch.inf) for total in sums)
    return row_N, column_M


def segment_logsumexp(logit_E: Tensor, segment_E: Tensor, segments: int) -> Tensor:
    """log Σ exp over the entries of each segment, of shape (segments,); -inf for a segment without entries."""
    top_S = logit_E.new_full((segments,), -torch.inf).scatter_reduce(0, segment_E, logit_E.detach(), "amax")
    exp_E = (logit_E - top_S[segment_E]).exp()
    total_S = torch.zeros_like(top_S).index_add(0, segment_E, exp_E)
    # log 0 would be right where nothing was added, but its gradient would be NaN
    return torch.where(total_S > 0, top_S + total_S.clamp_min(torch.finfo(total_S.dtype).tiny).log(), -torch.inf)


def rows_at_a_time(chunk: int) -> int:
    """``chunk`` if it is a possible one; raises ValueError otherwise."""
    if chunk < 1:
        raise ValueError(f"chunk must be at least 1 row, or None for all at once, not {chunk}.")
    return chunk


def _logits(x_ND: Tensor, y_MD: Tensor, scale: Tensor, keep: Keep | None, rows: slice) -> Tensor:
    logits_bM = (scale * x_ND[rows]) @ y_MD.T
    return logits_bM if keep is None else logits_bM.masked_fill(~keep(rows), -torch.inf)


class _Chunked(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x_ND: Tensor, y_MD: Tensor, scale: Tensor, log_weight_M: Tensor | None, keep: Keep | None, chunk: int
    ) -> tuple[Tensor, Tensor]:
        row_N = x_ND.new_empty(len(x_ND))
        column_M = x_ND.new_full((len(y_MD),), -torch.inf)
        for rows in slices(len(x_ND), chunk):
            logits_bM = _logits(x_ND, y_MD, scale, keep, rows)
            column_M = torch.logaddexp(column_M, logits_bM.logsumexp(0))
            row_N[rows] = (logits_bM if log_weight_M is None else logits_bM.add_(log_weight_M)).logsumexp(1)
        ctx.save_for_backward(x_ND, y_MD, scale, log_weight_M, row_N, column_M)
        ctx.keep, ctx.chunk = keep, chunk
        ctx.set_materialize_grads(False)
        return row_N, column_M

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor | None) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        row_grad_N, column_grad_M = grad_outputs
        if row_grad_N is None and column_grad_M is None:
            return (None,) * 6
        x_ND, y_MD, scale, log_weight_M, row_N, column_M = ctx.saved_tensors
        # the sum over no pairs has no gradient: exp(-inf - 0) is 0, where exp(-inf - -inf) is not a number
        row_N, column_M = (total.masked_fill(total == -torch.inf, 0) for total in (row_N, column_M))
        x_grad_ND, y_grad_MD = torch.zeros_like(x_ND), torch.zeros_like(y_MD)
        for rows in slices(len(x_ND), ctx.chunk):
            logits_bM = _logits(x_ND, y_MD, scale, ctx.keep, rows)
            parts = []
            if column_grad_M is not None:
                parts.append((logits_bM - column_M).exp_().mul_(column_grad_M))
            if row_grad_N is not None:
                if log_weight_M is not None:
                    logits_bM.add_(log_weight_M)
                parts.append(logits_bM.sub_(row_N[rows, None]).exp_().mul_(row_grad_N[rows, None]))
            logits_grad_bM = parts[0] if len(parts) == 1 else parts[0].add_(parts[1])
            x_grad_ND[rows] = logits_grad_bM @ y_MD
            y_grad_MD.addmm_(logits_grad_bM.T, x_ND[rows])
        # d logits_ij / d scale = x_i·y_j, and Σ_j of it weighted is x_i · (row i of x's gradient before scaling)
        scale_grad = (x_ND * x_grad_ND).sum()
        return x_grad_ND.mul_(scale), y_grad_MD.mul_(scale), scale_grad, None, None, None


def slices(length: int, chunk: int) -> list[slice]:
    """``length`` rows in slices of ``chunk``; the last one may reach beyond the end."""
    return [slice(first, first + chunk) for first in range(0, length, chunk)]
