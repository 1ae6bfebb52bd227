"""dermis generate"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from dermis.cases.manifest import Manifest
from dermis.commands.arguments import ManifestFile, Model, called, loaded, typed
from dermis.progress import counting

OF_STRATEGY = {"beams": "beam", "length_penalty": "beam", "top_p": "nucleus", "temperature": "nucleus"}
"""setting -> the only strategy that looks at it"""


def generate(
    model: Model,
    manifest: ManifestFile,
    out: Path,
    split: str = "test",
    dialogues: bool = True,
    strategy: Literal["beam", "greedy", "nucleus"] = "beam",
    beams: int | None = None,
    length_penalty: float | None = None,
    top_p: float | None = None,
    temperature: float | None = None,
    min_tokens: int = 1,
    max_tokens: int | None = None,
    seed: int = 0,
    root: Path | None = None,
) -> int:
    """Write a text about each picture with a model that learnt to (m2cg: the chief complaint).

    OUT has a row a case: case_id, text and, where the manifest has it, the complaint. Where there are complaints, the
    texts are compared with them: BLEU-4, ROUGE-L, CIDEr-D, concept F1, with intervals over patients. For the share of
    mentioned concepts that the picture does not show: `dermis evaluate MODEL MANIFEST --protocol generation`.

    Args:
        model: a model folder, local-dir:FOLDER or hf-hub:ORG/REPO
        manifest: cases.parquet or cases.csv
        out: the texts, a .csv file
        split: train, valid, test or all
        dialogues: let the model read the consultation beside the picture, if it was taught to
        strategy: beam search, the likeliest next token, or drawn from the likeliest tokens
        beams: beam: texts kept at each step (4)
        length_penalty: beam: 0 prefers short texts, 1 is the mean over tokens (1)
        top_p: nucleus: probability of the tokens drawn from (0.9)
        temperature: nucleus: below 1 bolder for the likely ones, above 1 for the others (1)
        min_tokens: a text has at least so many tokens
        max_tokens: and at most so many (default: what the model can)
        seed: of the draws and of the intervals
        root: image root, if not the one that the manifest records
    """
    import pandas as pd

    from dermis.evaluation.generation import measure_texts
    from dermis.evaluation.setting import scored_cases
    from dermis.model.folder import name_of
    from dermis.model.generate import generate_texts, generator_of

    given = {"beams": beams, "length_penalty": length_penalty, "top_p": top_p, "temperature": temperature}
    search = {name: value for name, value in given.items() if value is not None}
    for name in search:
        if OF_STRATEGY[name] != strategy:
            flag = name.replace("_", "-")
            raise ValueError(f"--{flag} has no effect with strategy {strategy}; it is about {OF_STRATEGY[name]}.")
    if out.suffix.lower() != ".csv":
        raise ValueError(f"the texts are a .csv file, and {out} is not named like one.")
    cases = Manifest.read(manifest, root)
    cases = scored_cases(cases, split) if "split" in cases or split != "all" else cases
    speaker = loaded(model)
    writer = generator_of(speaker)
    search |= {"strategy": strategy, "min_tokens": min_tokens, "max_tokens": max_tokens, "seed": seed}
    with counting("writing texts") as progress:
        said = generate_texts(speaker, cases, dialogues=dialogues and writer.text_visible, progress=progress, **search)
    table = pd.DataFrame({"case_id": cases.table["case_id"], "text": said})
    if "complaint" in cases:
        table["complaint"] = cases.table["complaint"]
    out.parent.mkdir(parents=True, exist_ok=True)
    table.to_csv(out, index=False)
    lines = [f"{len(table)} texts in {out}"]
    if bad := int(table["text"].isna().sum()):
        lines.append(f"{bad} pictures could not be opened: no text.")
    if "complaint" in cases:
        rows = table["text"].notna() & table["complaint"].notna()
        told = cases.select(rows.to_numpy(dtype=bool))
        shared = {
            "protocol": "generation", "model": name_of(model), "dataset": manifest.stem, "split": split,
            "seed": seed, "command": typed(),
        }  # fmt: skip
        found = measure_texts(table["text"][rows].tolist(), told, shared, seed=seed)
        lines += [f"{entry.metric:<20}{entry.text()}  n = {entry.n}" for entry in found]
    sys.stdout.write("\n".join(lines) + "\n")
    return 0


def run(arguments: Sequence[str]) -> int:
    """`dermis generate`"""
    return called(generate, "generate", arguments)
