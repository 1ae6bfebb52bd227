"""Cases -> samples -> batches. A bad picture is replaced by another case, or left out, and said; training goes on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.utils.data import Dataset

from dermis.batch.augment import Augmentation, Normalise, views
from dermis.batch.sampler import Key
from dermis.batch.sources import TextSource
from dermis.batch.tables import LevelRows
from dermis.batch.texts import Tokenizer, ragged
from dermis.cases.manifest import Manifest
from dermis.cases.table_schema import TableSchema
from dermis.pictures import PictureError
from dermis.pictures.store import read_bytes
from dermis.towers import Transform

MAX_REPLACEMENTS = 20


@dataclass(frozen=True)
class PictureColumn:
    """How one picture column becomes ``{column}_BVCHW``: ``views`` independent draws of ``augmentation``."""

    column: str
    augmentation: Augmentation
    normalise: Normalise
    views: int = 1


def picture_columns(
    transforms: Mapping[str, Transform], augmentation: Augmentation, views: int = 1
) -> list[PictureColumn]:
    """Every picture column alike, at the size and in the colours that its tower (column -> ``Transform``) wants."""
    return [
        PictureColumn(column, replace(augmentation, size=t.size[0]), Normalise(t.mean, t.std), views)
        for column, t in transforms.items()
    ]


class CaseDataset(Dataset[dict[str, Any]]):
    """Samples by (epoch, row). What a sample holds depends only on the seed and its key, never on the worker."""

    def __init__(
        self,
        manifest: Manifest,
        *,
        pictures: Sequence[PictureColumn] = (),
        texts: TextSource | None = None,
        tables: Mapping[str, TableSchema] | None = None,
        corruption: float = 0.0,
        stored_ND: Tensor | None = None,
        labels: Sequence[int] | np.ndarray | None = None,
        seed: int = 0,
        drop_unreadable: bool = False,
    ) -> None:
        """``stored_ND``: one stored picture embedding per row; ``labels`` (N,) or (N, L): what ``label_B`` or
        ``label_BL`` says of each row; ``tables``: level -> the schema of its columns; ``corruption``: the probability
        that a table column of a sample is drawn from the other rows (``tables.LevelRows``). ``drop_unreadable``: a bad
        picture is left out of its batch, which so gets smaller: of batches whose rows belong together (patients), where
        another case would be a stranger.

        Raises ValueError if a picture column is missing, for a table that its schema cannot read, and for a
        probability outside 0 to 1.
        """
        if not 0 <= corruption <= 1:
            raise ValueError(f"corruption is a probability from 0 to 1, not {corruption}.")
        manifest.require([p.column for p in pictures], "training on pictures")
        self.root, self.rows, self.seed, self.texts = manifest.root, len(manifest), seed, texts
        self.drop_unreadable = drop_unreadable
        self.pictures = [(p, manifest.table[p.column].tolist()) for p in pictures]
        self.per_row: dict[str, Tensor] = {"row_B": torch.arange(self.rows)}
        self.corruption = corruption
        self.tables = [LevelRows(schema, manifest.table, level) for level, schema in (tables or {}).items()]
        if stored_ND is not None:
            self.per_row["stored_BD"] = stored_ND
        if labels is not None:
            label_N = torch.as_tensor(np.asarray(labels), dtype=torch.int64)
            self.per_row["label_B" if label_N.ndim == 1 else "label_BL"] = label_N
        self.per_row["patient_B"] = torch.from_numpy(pd.factorize(manifest.groups())[0].astype(np.int64))

    def __len__(self) -> int:
        return self.rows

    def __getitem__(self, key: Key) -> dict[str, Any]:
        """The sample of ``key``; if its picture cannot be opened, another case's, drawn from the same key."""
        epoch, row = key
        quarantined: list[tuple[int, str]] = []
        replacements = None
        while True:
            try:
                return self._sample(epoch, row) | {"quarantined": quarantined}
            except PictureError as error:
                quarantined.append((row, str(error)))
                if len(quarantined) > MAX_REPLACEMENTS:
                    raise ValueError(
                        f"{len(quarantined)} pictures in a row cannot be opened; the last: {error}"
                    ) from None
                replacements = replacements or np.random.default_rng([self.seed, *key, 1])
                row = int(replacements.integers(self.rows))

    def __getitems__(self, keys: Sequence[Key]) -> list[dict[str, Any]]:
        """The samples of a batch, which a loader asks for at once; without those that cannot be opened, if so wished.

        Where none can be opened, one is replaced all the same: ranks wait for each other, and need a batch each.
        """
        if not self.drop_unreadable:
            return [self[key] for key in keys]
        samples, quarantined = [], []
        for epoch, row in keys:
            try:
                samples.append(self._sample(epoch, row) | {"quarantined": []})
            except PictureError as error:
                quarantined.append((row, str(error)))
        samples = samples or [self[keys[0]]]
        samples[0]["quarantined"] = quarantined + samples[0]["quarantined"]
        return samples

    def _sample(self, epoch: int, row: int) -> dict[str, Any]:
        rng = np.random.default_rng([self.seed, epoch, row])
        sample: dict[str, Any] = {}
        for picture, paths in self.pictures:
            data = read_bytes(self.root, paths[row])
            try:
                drawn = views(data, picture.augmentation, rng, picture.normalise, count=picture.views)
            except PictureError as error:
                raise PictureError(f"{paths[row]}: {error}") from None
            sample[f"{picture.column}_BVCHW"] = torch.from_numpy(drawn)
        for name, values in self.per_row.items():
            sample[name] = values[row]
        if self.corruption:
            sample["sources"] = [level.sources(row, self.corruption, rng) for level in self.tables]
        if self.texts is not None:
            sample["texts"] = self.texts(row, rng)
        return sample


@dataclass(frozen=True)
class Collate:
    """Samples -> batch (docs/design.md); ``quarantined`` lists (row, reason) of pictures that could not be opened."""

    tokenizer: Tokenizer | None = None
    tables: Sequence[LevelRows] = ()
    """the dataset's, whose rows are looked up for the whole batch at once"""

    def __call__(self, samples: list[dict[str, Any]]) -> dict[str, Any]:
        tensors = [name for name in samples[0] if name not in ("texts", "quarantined", "sources")]
        batch: dict[str, Any] = {name: torch.stack([s[name] for s in samples]) for name in tensors}
        for i, level in enumerate(self.tables):
            source_BC = np.stack([s["sources"][i] for s in samples]) if "sources" in samples[0] else None
            batch |= level.batch(batch["row_B"], source_BC)
        if self.tokenizer is not None:
            batch |= ragged([s["texts"] for s in samples], self.tokenizer)
        batch["quarantined"] = [entry for s in samples for entry in s["quarantined"]]
        return batch
