"""Protocol `pairs`: the ranks of a lesion's two pictures among all of each split (SM3's Table III).

By the towers' own features, the only space that every model has (if they are of one width), and by the projections that
were trained to meet, where the model has such heads; the paper does not say which it used.
"""

from typing import Any

import numpy as np

from dermis.cases.columns import SPLITS
from dermis.evaluation.bootstrap import intervals
from dermis.evaluation.pair_matching import AT, by_chance, match_pairs, pair_metrics
from dermis.evaluation.report import Entry, Section, entries
from dermis.evaluation.setting import Setting

PAIR = ("dermoscopy", "image")


def matched(setting: Setting, shared: dict[str, Any]) -> tuple[list[Entry], list[Section]]:
    """Entries of each split that the manifest has. Raises ValueError for a model that does not look at two pictures."""
    if set(getattr(setting.model, "pictures", ())) != set(PAIR):
        raise ValueError("protocol 'pairs' needs a model that looks at two pictures of a case (towers `branches`).")
    config, found, sections = setting.config, [], []
    has_splits = "split" in setting.manifest
    splits = [s for s in SPLITS if has_splits and (setting.manifest.table["split"] == s).any()] or [config.split]
    for split in splits:
        cases = setting.cases(split)
        groups = cases.manifest.groups()
        at = tuple(k for k in AT if k <= len(groups))
        chance = by_chance(len(groups), at)
        for space, vectors in _spaces(setting.model, cases.trunk).items():
            for direction, ranks in match_pairs(*(vectors[name] for name in PAIR), at=at).items():
                protocol = f"pair matching, {direction}, {space}"
                numbers = intervals(
                    lambda w, ranks=ranks: pair_metrics(ranks, w), groups, n_boot=config.n_boot, seed=config.seed
                )
                size = {"n": len(groups), "patients": groups.nunique()}
                for metric, number in numbers.items():
                    note = f"by chance {chance[metric]:.3g}"
                    found += entries(
                        {metric: number}, protocol=protocol, notes=note, **size, **(shared | {"split": split})
                    )
                if split == splits[-1]:
                    about = f"Each picture asks among the {len(groups)} of the other kind in the same split, by cosine."
                    sections.append(Section(shared["model"], protocol, about))
    return found, sections


def _spaces(model: Any, trunk_ND: np.ndarray) -> dict[str, dict[str, np.ndarray]]:
    """Space -> picture -> vectors (N, D)."""
    import torch

    from dermis.model.look import evaluating

    with evaluating(model), torch.inference_mode():
        h = model.apart(torch.as_tensor(trunk_ND, device=next(model.parameters()).device))
        spaces = {"features": h} if len({part.shape[1] for part in h.values()}) == 1 else {}
        if "pair" in model.parts:
            spaces["projections"] = {name: model.parts["pair"](name, part) for name, part in h.items()}
        return {s: {name: v.float().cpu().numpy() for name, v in by.items()} for s, by in spaces.items()}
