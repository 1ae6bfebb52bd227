"""dermis knowledge"""

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from dermis.commands.arguments import called
from dermis.language.chat import Server
from dermis.language.knowledge import Knowledge
from dermis.language.lexicon import Lexicon, default_lexicon
from dermis.language.ontology import Ontology, default_ontology


@dataclass(kw_only=True)
class Extract:
    """Read the disease, the visual concepts and the patient out of raw captions, and write them as knowledge texts.

    Fills disease_text, concept_text, sentences, lesion.localization, lesion.symptoms, patient.age and patient.sex where
    they are null; what is given stays. Without a server a dictionary and rules for negation read the texts offline;
    with --server.url and --server.model a language model does. What was read is kept: the same command continues.
    """

    cases: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="CASES")]
    """cases.parquet or cases.csv; or a .jsonl of records with a text field"""
    out: Path | None = None
    """where to write the result; none: over the manifest, records to NAME.knowledge.jsonl"""
    text: str = "caption"
    """the column or field to read"""
    ontology: Path | None = None
    """diseases: Derm1M's JSON, our YAML, .obo or .owl; none: ours"""
    lexicon: Path | None = None
    """concepts: group -> concept -> spellings as YAML or JSON; none: ours"""
    cache: Path = Path("runs/knowledge")
    """folder where answers are kept, so that an interrupted run continues"""

    @property
    def origin(self) -> str:
        """What TEXT_origin says of the texts."""
        return "lexicon"


@dataclass(kw_only=True)
class ExtractByModel(Extract):
    __doc__ = Extract.__doc__
    server: Server
    """a language model behind an OpenAI-compatible server (without any of these: the dictionary, offline)"""
    estimate: bool = False
    """only say how many requests, tokens and how much money the language model would take"""

    @property
    def origin(self) -> str:
        return self.server.origin


def run(arguments: Sequence[str]) -> int:
    """`dermis knowledge`"""
    about_model = any(a.startswith(("--server", "--estimate", "-h", "--help")) for a in arguments)
    schema = ExtractByModel if about_model else Extract
    asked = called(schema, "knowledge", arguments)
    if asked.cases.suffix.lower() == ".jsonl":
        return _records(asked)

    from dermis.cases.knowledge_columns import fill
    from dermis.cases.manifest import Manifest

    manifest = Manifest.read(asked.cases)
    manifest.require([asked.text], "reading knowledge out of texts")
    rows = manifest.table[asked.text].notna().to_numpy()
    told = iter(_answers(asked, manifest.table.loc[rows, asked.text].tolist()))
    known = [next(told) if there else None for there in rows]
    manifest, counts = fill(manifest, known, _vocabulary(asked)[0], asked.origin, asked.text)
    path = manifest.write(asked.out or asked.cases)
    for column, count in counts.items():
        there = len(manifest.table[column].dropna()) if column in manifest else 0
        sys.stdout.write(f"{column}: {count} filled, {there - count} given before\n")
    sys.stdout.write(f"{len(manifest)} cases in {path}\n")
    return 0


def _records(asked: Extract) -> int:
    """A .jsonl in, the same records with what their text says out."""
    from dermis.cases.whole_files import written_whole
    from dermis.language.knowledge import concept_text, disease_text
    from dermis.language.sentences import sub_texts

    records = list(_read_jsonl(asked.cases, asked.text))
    ontology = _vocabulary(asked)[0]
    out = asked.out or asked.cases.with_suffix(".knowledge.jsonl")
    answers = _answers(asked, [record[asked.text] for record in records])
    with written_whole(out) as (scratch,), scratch.open("w", encoding="utf-8") as file:
        for record, known in zip(records, answers, strict=True):
            if known is not None:
                texts = {
                    "disease_text": disease_text(known.disease, ontology) if known.disease else None,
                    "concept_text": concept_text(known.concepts) if known.concepts else None,
                    "sentences": sub_texts(record[asked.text]),
                }
                record |= {"knowledge": asdict(known), **texts, "origin": asked.origin}
            file.write(json.dumps(record, ensure_ascii=False) + "\n")
    diseases, concepts = (sum(bool(k and getattr(k, of)) for k in answers) for of in ("disease", "concepts"))
    sys.stdout.write(f"{len(records)} records in {out}: {diseases} with a disease, {concepts} with concepts\n")
    return 0


def _read_jsonl(path: Path, field: str) -> list[dict[str, Any]]:
    if not path.is_file():
        raise ValueError(f"no records at {path}.")
    records = []
    for number, line in enumerate(path.read_text(encoding="utf-8-sig").split("\n"), 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except ValueError as error:
            raise ValueError(f"{path}, line {number} is not JSON: {error}") from None
        if not isinstance(record, dict) or not isinstance(record.get(field), str):
            have = ", ".join(record) if isinstance(record, dict) else type(record).__name__
            raise ValueError(f"{path}, line {number} has no text {field!r} (--text); it has {have}.")
        records.append(record)
    if not records:
        raise ValueError(f"{path} is empty.")
    return records


def _vocabulary(asked: Extract) -> tuple[Ontology, Lexicon]:
    ontology = Ontology.read(asked.ontology) if asked.ontology else default_ontology()
    return ontology, Lexicon.read(asked.lexicon) if asked.lexicon else default_lexicon()


def _answers(asked: Extract, texts: list[str]) -> Sequence[Knowledge | None]:
    from dermis.language import dictionary
    from dermis.progress import counting

    ontology, lexicon = _vocabulary(asked)
    if isinstance(asked, ExtractByModel):
        return _ask(asked, texts, ontology, lexicon)
    if before := dictionary.kept(texts, ontology, lexicon, asked.cache):
        sys.stderr.write(f"continuing: {before} of {len(set(texts))} texts are in {asked.cache}\n")
    with counting("reading texts") as progress:
        return dictionary.extract(texts, ontology, lexicon, cache=asked.cache, progress=progress)


def _ask(asked: ExtractByModel, texts: list[str], ontology: Ontology, lexicon: Lexicon) -> Sequence[Knowledge | None]:
    from dermis.language import language_model
    from dermis.progress import counting

    expected = language_model.estimate(texts, ontology, lexicon, asked.server, cache=asked.cache)
    sys.stderr.write(f"{expected}\n")
    if asked.estimate:
        sys.exit(0)
    with counting("asking the language model") as progress:
        answers = language_model.extract(texts, ontology, lexicon, asked.server, cache=asked.cache, progress=progress)
    for index, reason in language_model.read_failures(asked.cache):
        sys.stderr.write(f"text {index + 1} has no answer: {reason}\n")
    return answers
