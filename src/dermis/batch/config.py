"""What a recipe can say about its data."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from dermis.cases.columns import TEXT_KINDS
from dermis.registry import unknown

STORED = "stored"


@dataclass(kw_only=True)
class NarrationConfig:
    """Captions written from table columns, with a fresh wording each time a case is seen."""

    fields: list[str] = field(
        default_factory=lambda: ["diagnosis", "patient.age", "patient.sex", "lesion.localization"]
    )
    """columns to narrate; nothing else of the table reaches the caption"""
    drop: float = 0.3
    """probability that a field is left out of one telling, so that no caption says everything"""


@dataclass(kw_only=True)
class DataConfig:
    """Cases, their texts and how their pictures are seen."""

    manifest: Path | None = None
    """cases.parquet or cases.csv (dermis import makes one); or name a reader and a root"""
    reader: str | None = None
    """reader of a public data set as it lies on disk (dermis list datasets)"""
    root: Path | None = None
    """with a reader: the data set's folder; with a manifest: its image root, if not the one it records"""
    options: dict[str, str] = field(default_factory=dict)
    """the reader's own options"""
    picture: Literal["image", "dermoscopy"] = "image"
    """the column that is the case's picture, in training and evaluation"""
    texts: list[str] | None = None
    """text columns that the method sees (None: those that it reads)"""
    join_texts: bool = False
    """these columns one after the other as a single caption: knowledge-augmented captions (Derm1M† of MAKE's tables)"""
    headings: dict[str, str] = field(default_factory=dict)
    """with join_texts: column → words before its text and a colon ("Chief complaint: …. Consultation dialogue: ….", the
    prompt of M2CG's rivals)"""
    narrate: NarrationConfig | None = None
    """write the captions from table columns instead of reading them"""
    augmentation: str = "make"
    """a family by name (dermis list augmentations), or `stored`: a frozen image tower embeds each picture once,
    without augmentation, and training reads the stored embeddings"""
    balance: bool = False
    """batches in which every class of every label is drawn equally often, of methods that learn labels of cases;
    training.batch_size is then a multiple of the number of classes (dermis.batch.balanced)"""
    lesions: int | None = None
    """draw patients and this many lesions of each at most; training.batch_size then counts patients, and an epoch shows
    every patient once (of methods that contrast patients; None: draw cases)"""
    draw_first: list[str] = field(default_factory=list)
    """with `lesions`: diagnoses whose lesions are in every draw of their patient (SLIMP's authors: the malignant ones).
    The batches are then made with labels: what is learnt from them is not self-supervised"""
    corruption: float = 0.0
    """probability that a metadata column of a case is drawn from other training cases each time it is seen (SCARF)"""
    hold_out: list[str] = field(default_factory=list)
    """diagnoses kept out of training, so that prompting them afterwards is zero-shot"""
    shuffle_texts: bool = False
    """control: each training case gets another one's texts; what such a model still scores is not learnt from texts"""
    cache: Path = Path("runs/embeddings")
    """where embeddings of pictures are kept between runs"""

    def __post_init__(self) -> None:
        if self.manifest and self.reader:
            raise ValueError("data.manifest and data.reader exclude each other: a manifest has been read already.")
        if self.lesions is not None and self.lesions < 1:
            raise ValueError(f"data.lesions must be at least 1, not {self.lesions}.")
        if self.draw_first and self.lesions is None:
            raise ValueError("data.draw_first has no effect without data.lesions, which draws patients.")
        if self.balance and self.lesions is not None:
            raise ValueError("data.balance and data.lesions exclude each other: batches are of classes or of patients.")
        if not 0 <= self.corruption < 1:
            raise ValueError(f"data.corruption is a probability from 0 to below 1, not {self.corruption}.")
        if self.options and not self.reader:
            raise ValueError("data.options are a reader's options, but no data.reader is set.")
        for column in self.texts or []:
            if column not in TEXT_KINDS:
                raise unknown("text column in data.texts", column, TEXT_KINDS)
        if self.narrate and self.texts not in (None, ["caption"]):
            raise ValueError("data.narrate writes captions; leave data.texts out.")
        if self.join_texts and len(self.texts or []) < 2:
            raise ValueError("data.join_texts joins the columns of data.texts: name two or more, in their order.")
        if self.headings and not self.join_texts:
            raise ValueError("data.headings stand before the texts that data.join_texts joins, which is off.")
        if unread := [column for column in self.headings if column not in (self.texts or [])]:
            raise ValueError(f"data.headings name columns that data.texts has not: {', '.join(unread)}.")
