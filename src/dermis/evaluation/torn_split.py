"""What learns from one split and is scored on another must not meet a patient on both sides.

Zero-shot protocols learn from no split, so a torn one does not matter to them. Fine-tuning looks itself (``rounds``).
"""

from collections.abc import Sequence

from dermis.cases.leakage import assert_no_leak
from dermis.cases.manifest import Manifest
from dermis.evaluation.config import FROM_TRAINING
from dermis.evaluation.label_predictions import taught_derm7pt
from dermis.evaluation.setting import Setting


def refuse_torn_split(setting: Setting, *, official: bool = False) -> None:
    """Raise ValueError if the split tears a patient, lesion or original and a protocol learns from a part of it.

    An ``official`` split is that of a published table, which stays what it is: the setting's notes then say what it
    tears.
    """
    own = ("derm7pt",) if taught_derm7pt(setting.model) else ()  # its own predictions, which learn nothing here
    protocols = [name for name in setting.config.protocols if name not in own]
    if official:
        setting.notes += torn_said(setting.manifest, protocols)
    elif _learning(protocols):
        assert_no_leak(setting.manifest)


def torn_said(manifest: Manifest, protocols: Sequence[str]) -> list[str]:
    """A sentence on the groups that the split tears, if there are any and one of the protocols learns from a split."""
    learning = _learning(protocols)
    if not learning or "split" not in manifest:
        return []
    parts = manifest.table["split"].groupby(manifest.groups()).nunique()
    torn = int((parts > 1).sum())
    names = ", ".join(f"`{name}`" for name in learning)
    said = (
        f"The official split tears {torn} of {len(parts)} groups of cases with a patient, lesion or original in "
        f"common: {names} may know from training what is scored."
    )
    return [said] if torn else []


def _learning(protocols: Sequence[str]) -> list[str]:
    return [name for name in protocols if name in (*FROM_TRAINING, "second_stage")]
