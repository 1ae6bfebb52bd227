"""The report's plots as inline SVG that follows the reader's light or dark page. No display, no global state.

Shapes: N cases, C classes.
"""

import io
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from dermis.evaluation.calibration import expected_calibration_error, reliability_curve
from dermis.evaluation.metrics import confusion_matrix
from dermis.evaluation.ranking import auroc

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK = "#123457"
"""stands for the page's text colour; replaced by currentColor in the SVG"""
ACCENT = "#0f766e"
CURVES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#7f7f7f", "#8c564b")
"""Okabe & Ito's colours, told apart by colour-blind readers, without the two that vanish on black or white"""
STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "dermis",
    "text.parse_math": False,
    "font.size": 9,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "axes.linewidth": 0.6,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
}
NAMED = 30
"""a confusion matrix with more classes has no names and no numbers in its cells"""


def plots_of(score_NC: np.ndarray, label_N: np.ndarray, classes: Sequence[str]) -> dict[str, str]:
    """Title -> SVG of all plots of one classification protocol."""
    return {
        "Confusion matrix": confusion_plot(label_N, score_NC.argmax(axis=1), classes),
        "ROC curves, each class against the rest": roc_plot(score_NC, label_N, classes),
        "Reliability: does 80 % sure mean 80 % right?": reliability_plot(score_NC, label_N),
    }


def confusion_plot(label_N: np.ndarray, predicted_N: np.ndarray, classes: Sequence[str]) -> str:
    """Share of each true class (row) that was called each class (column), with the counts in the cells."""
    from matplotlib import rc_context
    from matplotlib.colors import LinearSegmentedColormap
    from matplotlib.figure import Figure

    count_CC = confusion_matrix(label_N, predicted_N, len(classes))
    share_CC = count_CC / np.maximum(count_CC.sum(axis=1, keepdims=True), 1)
    named = len(classes) <= NAMED
    names = [_short(c) for c in classes] if named else []
    # inches, set here: letting matplotlib find them would draw everything twice
    side = min(8.4, max(1.6, 0.42 * len(classes)))
    margin = 0.45 + 0.072 * max(map(len, names), default=3)
    width, height = margin + side + 1.0, margin + side + 0.1
    with rc_context(STYLE):
        figure = Figure(figsize=(width, height))
        axes = figure.add_axes((margin / width, margin / height, side / width, side / height))
        axes.set(xlabel="called", ylabel="truth")
        fade = LinearSegmentedColormap.from_list("fade", [f"{ACCENT}00", ACCENT])
        cells = axes.pcolormesh(share_CC, cmap=fade, vmin=0, vmax=1, rasterized=not named)
        axes.invert_yaxis()
        axes.spines[:].set_visible(False)
        if named:
            middle = np.arange(len(classes)) + 0.5
            axes.set_xticks(middle, names, rotation=90)
            axes.set_yticks(middle, names)
            axes.tick_params(length=0)
            for i, j in zip(*np.nonzero(count_CC), strict=True):
                colour = "white" if share_CC[i, j] > 0.55 else INK
                axes.text(j + 0.5, i + 0.5, str(count_CC[i, j]), ha="center", va="center", fontsize=7, color=colour)
        beside = (margin + side + 0.15) / width, (margin + 0.2 * side) / height, 0.12 / width, 0.6 * side / height
        bar = figure.colorbar(cells, cax=figure.add_axes(beside), label="share of the true class")
        bar.outline.set_visible(False)
        return _svg(figure, "Confusion matrix: rows are the truth, columns what the model called it")


def reliability_plot(probability_NC: np.ndarray, label_N: np.ndarray) -> str:
    """Accuracy against confidence in bins, and how many cases have which confidence."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    confidence, accuracy, share = (row[0] for row in reliability_curve(probability_NC, label_N))
    edges = np.linspace(0, 1, len(share) + 1)
    error = expected_calibration_error(probability_NC, label_N)[0]
    with rc_context(STYLE):
        figure = Figure(figsize=(4.4, 4.8))
        figure.subplots_adjust(left=0.14, right=0.97, bottom=0.1, top=0.98, hspace=0.08)
        upper, lower = figure.subplots(2, 1, height_ratios=[4, 1], sharex=True)
        upper.plot([0, 1], [0, 1], color=INK, linewidth=0.8, linestyle=(0, (4, 3)), label="as it should be")
        upper.plot(
            confidence,
            accuracy,
            color=ACCENT,
            marker="o",
            markersize=4,
            linewidth=1.4,
            clip_on=False,
            label="this model",
        )
        upper.set(xlim=(0, 1), ylim=(0, 1), ylabel="share that was right")
        upper.legend(title=f"calibration error {error:.3f}", loc="upper left")
        lower.bar(edges[:-1], share, width=np.diff(edges), align="edge", color=ACCENT, alpha=0.6)
        lower.set(xlabel="confidence in the first choice", ylabel="cases")
        return _svg(figure, f"Reliability curve, expected calibration error {error:.3f}")


def roc_plot(score_NC: np.ndarray, label_N: np.ndarray, classes: Sequence[str]) -> str:
    """ROC curves of each class against the rest: of the eight with most cases, where there are more."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    cases = np.bincount(label_N, minlength=len(classes))
    shown = [c for c in np.argsort(-cases, kind="stable")[: len(CURVES)] if 0 < cases[c] < len(label_N)]
    with rc_context(STYLE):
        figure = Figure(figsize=(4.8, 4.8))
        figure.subplots_adjust(left=0.12, right=0.98, bottom=0.11, top=0.97)
        axes = figure.add_subplot(aspect="equal", xlabel="1 − specificity", ylabel="sensitivity")
        axes.plot([0, 1], [0, 1], color=INK, linewidth=0.8, linestyle=(0, (4, 3)))
        for colour, c in zip(CURVES, shown, strict=False):
            area = auroc(score_NC[:, c], label_N == c)[0]
            _roc(axes, score_NC[:, c], label_N == c, color=colour, label=f"{_short(classes[c])} {area:.3f}")
        axes.set(xlim=(-0.01, 1), ylim=(0, 1.01))
        axes.legend(loc="lower right", fontsize=8, title="AUROC")
        return _svg(figure, "ROC curve of each class against the others")


def _roc(axes: "Axes", score_N: np.ndarray, positive_N: np.ndarray, **style: str) -> None:
    order = np.argsort(-score_N, kind="stable")
    last_of_tie = np.r_[np.flatnonzero(np.diff(score_N[order])), len(order) - 1]
    hits, misses = np.cumsum(positive_N[order])[last_of_tie], np.cumsum(~positive_N[order])[last_of_tie]
    axes.plot(np.r_[0, misses / misses[-1]], np.r_[0, hits / hits[-1]], linewidth=1.4, **style)


def _short(name: str, length: int = 26) -> str:
    return name if len(name) <= length else name[: length - 1] + "…"


def _svg(figure: "Figure", description: str) -> str:
    out = io.StringIO()
    figure.savefig(out, format="svg", transparent=True, metadata={"Date": None})
    svg = out.getvalue()[out.getvalue().index("<svg") :]
    svg = re.sub(r"font-family:[^;\"]*", "font-family: system-ui, sans-serif", svg.replace(INK, "currentColor"))
    svg = re.sub(r"font: ([\d.]+)px [^;\"]*", r"font: \1px system-ui, sans-serif", svg)
    return svg.replace("<svg", f'<svg role="img" aria-label="{description}"', 1)
