"""Classification by prompts: which class's sentences lie nearest to the picture (Radford et al. 2021, section 3.1.4).

A class's vector is the mean of the unit-length embeddings of its prompts, scaled to unit length again; the scores are
softmax(scale · v · W). ``scale`` is the model's learned temperature, or the fixed 100 of the published evaluators
(MAKE @ ded1959, zero_shot.py), which ranks the same within a picture but not across pictures and is not calibrated.

This is "zero-shot" only for classes whose names were not in the training texts; ``seen_in_training`` tells.

Shapes: N pictures, C classes, D embedding.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

PUBLISHED_SCALE = 100.0
"""the fixed logit scale of the published evaluators"""


def text_classifier(embed: Callable[[list[str]], np.ndarray], prompts: Sequence[Sequence[str]]) -> np.ndarray:
    """Class vectors W (C, D), unit length; ``prompts[c]`` are class c's sentences, ``embed`` gives them as (M, D)."""
    if empty := [c for c, own in enumerate(prompts) if not own]:
        raise ValueError(f"class number {empty[0]} has no prompt.")
    embedding_MD = unit_length(np.asarray(embed([sentence for own in prompts for sentence in own])))
    ends = np.cumsum([len(own) for own in prompts])[:-1]
    return unit_length(np.stack([own.mean(axis=0) for own in np.split(embedding_MD, ends)]))


def prompt_scores(image_ND: np.ndarray, class_CD: np.ndarray, scale: float) -> np.ndarray:
    """softmax(scale · v · W) as probabilities (N, C) float64; pictures are scaled to unit length here."""
    if not scale > 0:
        raise ValueError(f"scale must be positive; it is {scale}.")
    logit_NC = scale * (unit_length(image_ND).astype(np.float64) @ class_CD.T.astype(np.float64))
    logit_NC -= logit_NC.max(axis=1, keepdims=True)
    odds_NC = np.exp(logit_NC)
    return odds_NC / odds_NC.sum(axis=1, keepdims=True)


def unit_length(x_ND: np.ndarray) -> np.ndarray:
    """Rows scaled to length one; rows of zeros stay zeros."""
    return x_ND / np.maximum(np.linalg.norm(x_ND, axis=1, keepdims=True), 1e-12)


def seen_in_training(
    names: Mapping[str, Iterable[str]] | Sequence[str], training_texts: Iterable[str]
) -> dict[str, int]:
    """In how many distinct training texts does each class occur, under any of its names, as whole words?

    ``names``: class names, or class -> the names used as prompts. Case, punctuation and spacing do not count; other
    forms of a word do ("nevi" is not "nevus"), so give the synonyms too where it matters.
    """
    texts = {f" {_words(text)} " for text in training_texts}
    names = names if isinstance(names, Mapping) else {name: [name] for name in names}
    counts = {}
    for name, forms in names.items():
        wanted = [f" {_words(form)} " for form in {name, *([forms] if isinstance(forms, str) else forms)}]
        counts[name] = sum(any(form in text for form in wanted) for text in texts)
    return counts


def protocol_name(seen: Mapping[str, int] | None) -> str:
    """What the evaluation may be called: "zero-shot" only if it is known that no class was in the training texts."""
    return "zero-shot" if seen is not None and not any(seen.values()) else "prompt classification"


def _words(text: str) -> str:
    return re.sub(r"[\W_]+", " ", text.casefold()).strip()
