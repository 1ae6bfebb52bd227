"""How near generated texts come to their references, case by case, so that intervals can resample patients.

BLEU-4 (Papineni et al., ACL 2002), 0 to 100, over the corpus as sacrebleu counts it (Post, WMT 2018; the extra `text`):
tokens by its 13a, or by its zh (each Han character a token) where the references hold Han characters.

ROUGE-L (Lin 2004), 0 to 1, the mean over cases of F = (1 + β²) R P / (R + β² P), where R and P are the longest common
subsequence over the length of the reference and of the text; β = 1 (coco-caption prints β = 1.2).

CIDEr-D (Vedantam et al., CVPR 2015), 0 to 10, what everybody reports as CIDEr; the mean over cases of

    10/4 Σ_n exp(−(l_c − l_s)² / 2σ²) Σ_k min(g_k(c), g_k(s)) g_k(s) / (‖g(c)‖ ‖g(s)‖),   n = 1 … 4, σ = 6,
    g_k = count of the n-gram k · log(cases / references that hold k).

As in the authors' release g counts, where the paper takes shares (they differ in the minimum alone), and words are not
stemmed. Rarity is that among all given references, also when cases are resampled.

ROUGE-L and CIDEr-D read words: runs of letters and digits in lower case, each Han character one, no punctuation. A case
has one reference; an empty text scores 0.

Shapes: N cases, R weight vectors (bootstrap draws).
"""

import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import chain

import numpy as np

ORDER = 4
"""longest n-gram of BLEU and CIDEr"""
SIGMA = 6.0
"""tokens: the width of CIDEr-D's penalty on length"""
HAN = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_WORD = re.compile(rf"[{HAN}]|[^\W_{HAN}]+")


def words(text: str) -> list[str]:
    """Runs of letters and digits, in lower case; a Han character is a word. For English, Chinese and both at once."""
    return _WORD.findall(text.casefold())


def text_statistics(texts: Sequence[str], references: Sequence[str]) -> Callable[[np.ndarray], dict[str, np.ndarray]]:
    """What ``bootstrap.intervals`` takes: case weights (R, N) -> "BLEU-4", "ROUGE-L" and "CIDEr-D", (R,) each.

    Raises ValueError if ``references`` are others in number than ``texts``, if there are none, or without sacrebleu.
    """
    counts_NK, rouge_N, cider_N = bleu_counts(texts, references), rouge_l(texts, references), cider_d(texts, references)

    def statistics(weight_RN: np.ndarray) -> dict[str, np.ndarray]:
        share_RN = weight_RN / weight_RN.sum(axis=1, keepdims=True)
        return {"BLEU-4": bleu(counts_NK, weight_RN), "ROUGE-L": share_RN @ rouge_N, "CIDEr-D": share_RN @ cider_N}

    return statistics


def bleu_counts(texts: Sequence[str], references: Sequence[str]) -> np.ndarray:
    """What a corpus BLEU adds up, (N, 10): n-grams in common (4), of the text (4), length of text and of reference."""
    _paired(texts, references)
    metrics = _sacrebleu()
    chinese = any(re.search(f"[{HAN}]", reference) for reference in references)
    # effective_order is about the sentence's own score, which is not used
    of_sentence = metrics.BLEU(tokenize="zh" if chinese else "13a", effective_order=True).sentence_score
    found = [of_sentence(text, [reference]) for text, reference in zip(texts, references, strict=True)]
    return np.array([[*s.counts, *s.totals, s.sys_len, s.ref_len] for s in found], dtype=np.float64)


def bleu(counts_NK: np.ndarray, weight_RN: np.ndarray) -> np.ndarray:
    """Corpus BLEU-4 (R,) of weighted ``bleu_counts``; an order without a match is smoothed as sacrebleu's default."""
    compute = _sacrebleu().BLEU.compute_bleu
    sums_RK = np.rint(weight_RN @ counts_NK).astype(int).tolist()
    return np.array([compute(k[:ORDER], k[ORDER : 2 * ORDER], *k[-2:], smooth_method="exp").score for k in sums_RK])


def rouge_l(texts: Sequence[str], references: Sequence[str], beta: float = 1.0) -> np.ndarray:
    """ROUGE-L's F of each case (N,) float64."""
    _paired(texts, references)
    scores = []
    for said, meant in zip(map(words, texts), map(words, references), strict=True):
        common = common_subsequence(said, meant)
        precision, recall = common / max(len(said), 1), common / max(len(meant), 1)
        scores.append((1 + beta**2) * precision * recall / (recall + beta**2 * precision) if common else 0.0)
    return np.array(scores)


def common_subsequence(a: Sequence[str], b: Sequence[str]) -> int:
    """Length of the longest common subsequence, a row of the table a step as the bits of one number (Hyyrö 2004)."""
    places: dict[str, int] = {}
    for i, token in enumerate(a):
        places[token] = places.get(token, 0) | 1 << i
    full = row = (1 << len(a)) - 1
    for token in b:
        met = row & places.get(token, 0)
        row = ((row + met) | (row - met)) & full
    return len(a) - row.bit_count()


def cider_d(texts: Sequence[str], references: Sequence[str]) -> np.ndarray:
    """CIDEr-D of each case (N,) float64; its mean is the corpus score."""
    _paired(texts, references)
    said, meant = [words(t) for t in texts], [words(r) for r in references]
    score_N = np.zeros(len(texts))
    for n in range(1, ORDER + 1):
        of_text, of_reference = [_ngrams(w, n) for w in said], [_ngrams(w, n) for w in meant]
        holds = Counter(chain.from_iterable(of_reference))  # each reference once an n-gram
        rarity = {gram: math.log(len(texts) / max(holds[gram], 1)) for gram in chain(holds, *of_text)}
        for i, (c, s) in enumerate(zip(of_text, of_reference, strict=True)):
            g_c, g_s = ({gram: count * rarity[gram] for gram, count in own.items()} for own in (c, s))
            norm = math.hypot(*g_c.values()) * math.hypot(*g_s.values())
            if norm:
                clipped = sum(min(value, g_s[gram]) * g_s[gram] for gram, value in g_c.items() if gram in g_s)
                score_N[i] += clipped / norm
    gap_N = np.array([len(c) - len(s) for c, s in zip(said, meant, strict=True)])
    return 10 / ORDER * score_N * np.exp(-(gap_N**2) / (2 * SIGMA**2))


def _ngrams(tokens: Sequence[str], n: int) -> Counter[tuple[str, ...]]:
    return Counter(zip(*(tokens[k:] for k in range(n)), strict=False))


def _paired(texts: Sequence[str], references: Sequence[str]) -> None:
    if not texts or len(texts) != len(references):
        raise ValueError(
            f"each text needs its reference: there are {len(texts)} texts and {len(references)} references."
        )


def _sacrebleu():  # noqa: ANN202 (a module of an extra)
    try:
        from sacrebleu import metrics
    except ImportError:
        raise ValueError("BLEU needs sacrebleu: pip install 'dermis[text]'.") from None
    return metrics
