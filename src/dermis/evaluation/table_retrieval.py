"""Protocol `table_retrieval`: pictures and metadata, phenotypes and patients, in the spaces that they were taught.

A lesion's picture asks for its row of the table among those of all cases, and the row for the picture (SLIMP's lesion
level; of `table_clip` and SLIMP's flat rival all columns are one row). A patient's lesions together ask for the
patient's row, and the other way round. Rows that read alike are one answer: many patients are of one age and sex, and
no model could tell which of them was meant. By chance is what an order at random would get with as many right answers.

Cases and patients of whom nothing is known that the model reads take no part, and a level of which fewer than two have
anything is left out; the notes say so. Patients are the groups that training pools: a patient, else a lesion, else a
case; the patient's row is that of the first case.

Shapes: N cases or patients, D features, W table features, S distinct rows, E width of a space.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from dermis.cases.table_schema import TableSchema
from dermis.evaluation.bootstrap import intervals
from dermis.evaluation.known_values import unknown_values
from dermis.evaluation.report import Entry, Section, entries
from dermis.evaluation.retrieval import by_chance, image_to_text, text_to_image
from dermis.evaluation.setting import Cases, Setting

PATIENT = "patient"
FEWEST = 2
"""cases or patients with metadata of a level, below which there is nothing to choose from"""


@dataclass(frozen=True)
class Sides:
    """Two sides of a space. ``names``: the protocol of each direction; row n of ``asking`` belongs to the row
    ``row_of`` [n] of ``rows``; ``group``: the patient of each, for the intervals."""

    names: tuple[str, str]
    what: str
    asking: np.ndarray
    rows: np.ndarray
    row_of: np.ndarray
    group: pd.Series


def table_retrieval(setting: Setting, shared: dict[str, Any]) -> tuple[list[Entry], list[Section]]:
    """Entries of each level that the model has a space for, both directions.

    Raises ValueError for a model without such spaces, and where no level has two cases or patients with metadata.
    """
    config, found, sections = setting.config, list[Entry](), list[Section]()
    if not {"tables", "spaces"} <= set(getattr(setting.model, "parts", ())):
        raise ValueError(
            "protocol 'table_retrieval' needs a model whose pictures and metadata share a space (slimp, table_clip)."
        )
    cases = setting.cases(config.split)
    spaces, bare = spaces_of(setting.model, cases)
    where = " or ".join(bare)
    strange = "; ".join(unknown_values(setting.model.parts["tables"].schemas, cases.manifest.table))
    if not spaces:
        but = f"; not known are {strange}" if strange else ""
        raise ValueError(f"protocol 'table_retrieval' needs two cases or more with a known value in {where}{but}.")
    if bare:
        setting.notes.append(f"table_retrieval: fewer than two cases have a known value in {where}: left out.")
    if strange:
        setting.notes.append(f"table_retrieval: values that the model does not know count as missing: {strange}.")
    for sides in spaces:
        size = {"n": len(sides.row_of), "patients": sides.group.nunique()}
        ks = tuple(k for k in config.recall_at if k <= size["n"])
        about = (
            f"Among {size['n']} {sides.what} with metadata; {len(sides.rows)} different rows, equal ones are one "
            "answer; only queries are resampled."
        )
        for protocol, ask in zip(sides.names, (image_to_text, text_to_image), strict=True):
            ranks = ask(sides.asking, sides.rows, sides.row_of, ks)
            chance = by_chance(ranks.positives, size["n"], ks)
            numbers = intervals(ranks.metrics, sides.group, n_boot=config.n_boot, seed=config.seed)
            for metric, number in numbers.items():
                notes = f"by chance {chance[metric]:.3g}" if metric in chance else ""
                found += entries({metric: number}, protocol=protocol, notes=notes, **size, **shared)
            sections.append(Section(shared["model"], protocol, about))
    return found, sections


def spaces_of(model: Any, cases: Cases) -> tuple[list[Sides], list[str]]:
    """The spaces of a model, with the cases in them: pictures and rows of each level; phenotypes and patients. And the
    columns, in words, of each level of which too little is known."""
    import torch

    from dermis.model.embed_tables import embed_tables
    from dermis.model.look import evaluating

    tables, spaces = model.parts["tables"], model.parts["spaces"]
    device = next(model.parameters()).device

    def tensor(x: np.ndarray) -> Any:
        return torch.as_tensor(x, device=device)

    table, group = cases.manifest.table, cases.manifest.groups()
    levels = [level for level in tables.names if level != PATIENT]
    found, bare = list[Sides](), list[str]()
    h = {level: embed_tables(model, table, levels=[level]) for level in tables.names}
    with evaluating(model), torch.inference_mode():
        for level in levels:
            rows, first, row_of = _distinct(tables.schemas[level], table, np.arange(len(table)))
            if len(rows) < FEWEST:
                bare.append(_named(level, tables.schemas[level]))
                continue
            u_NE = spaces.project("image", tensor(cases.trunk[rows])).float().cpu().numpy()
            v_SE = spaces.project(level, tensor(h[level][first])).float().cpu().numpy()
            names = f"image-to-table retrieval, {level}", f"table-to-image retrieval, {level}"
            found.append(Sides(names, "cases", u_NE, v_SE, row_of, group.iloc[rows]))
        if PATIENT not in tables.names:
            return found, bare
        owner_N, owners = pd.factorize(group)
        first_P = np.unique(owner_N, return_index=True)[1]
        chosen, first, row_of = _distinct(tables.schemas[PATIENT], table, first_P)
        if len(chosen) < FEWEST:
            return found, [*bare, _named(PATIENT, tables.schemas[PATIENT])]
        lesions = tensor(np.concatenate([h[level] for level in levels], axis=1)) if levels else None
        w_PE = spaces.phenotype(tensor(cases.trunk), lesions, tensor(owner_N), len(owners)).float().cpu().numpy()
        q_SE = spaces.project(PATIENT, tensor(h[PATIENT][first])).float().cpu().numpy()
        names = "phenotype-to-patient retrieval", "patient-to-phenotype retrieval"
        found.append(Sides(names, "patients", w_PE[owner_N[chosen]], q_SE, row_of, group.iloc[chosen]))
    return found, bare


def _named(level: str, schema: TableSchema) -> str:
    return f"the model's {level} columns {', '.join(schema.columns)}"


def _distinct(schema: TableSchema, table: pd.DataFrame, among: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Those of the positions ``among`` of whom something is known (N,); where each distinct row first stands (S,); and
    which of these each of them has (N,)."""
    from dermis.batch.tables import same_rows

    arrays = schema.arrays(table.iloc[among])
    known = (~arrays.missing_NF).any(axis=1) | (arrays.cat_NG > 0).any(axis=1)
    same_N = same_rows(arrays)[known]
    _, first_S, row_of_N = np.unique(same_N, return_index=True, return_inverse=True)
    return among[known], among[known][first_S], row_of_N
