"""All vocabularies as one: which phrases are a disease, a concept, a body site, a symptom, or only look like one."""

import hashlib
import re
from collections.abc import Iterator
from functools import cache
from importlib.resources import files

import yaml

from dermis.language.lexicon import Lexicon
from dermis.language.ontology import Ontology
from dermis.language.tagging import Tagger
from dermis.language.words import plain_words

VERSION = 1
"""of the rules that read with these vocabularies; kept answers of another version are not used"""

DISEASE, CONCEPT, SITE, SYMPTOM, NOTHING = "disease", "concept", "body site", "symptom", "nothing"
DISEASE_OR_SIGN = "disease or sign"
"""the kind of a disease whose name is that of a concept or symptom as well ("scar", "pruritus")"""

Label = tuple[str, str]
"""(kind, name)"""


def vocabulary(ontology: Ontology, lexicon: Lexicon) -> Tagger[Label]:
    """A tagger of every spelling; topmost nodes ("infection") are no disease.

    A name that holds a body site, or ends in a concept, says that too: "scalp psoriasis", "venous ulcer".
    """
    return Tagger(_phrases(ontology, lexicon))


def fingerprint(ontology: Ontology, lexicon: Lexicon) -> str:
    """Changes with the rules and with every vocabulary, so that what was read with others is read again."""
    nodes = [(node, ontology.names(node), ontology.lineage(node)) for node in ontology.nodes]
    parts: list[object] = [VERSION, lexicon.fingerprint, nodes]
    for name in ("contexts.yaml", "body_sites_and_symptoms.yaml"):
        parts.append((files("dermis.language") / "data" / name).read_text(encoding="utf-8"))
    return hashlib.blake2b(repr(parts).encode(), digest_size=16).hexdigest()


def _phrases(ontology: Ontology, lexicon: Lexicon) -> Iterator[tuple[str, Label]]:
    seen = [(spelling, (CONCEPT, concept)) for spelling, concept in lexicon.phrases()]
    seen += [(phrase, (NOTHING, phrase)) for phrase in lexicon.decoys] + list(_sites_and_symptoms())
    yield from seen
    tagger = Tagger(seen)
    for node in ontology.nodes:
        for name in ontology.names(node):
            if not ontology.parents(node):
                yield name, (NOTHING, node)
                continue
            whole = {kind for kind, _ in tagger.labels(name)}
            yield name, (DISEASE_OR_SIGN if whole & {CONCEPT, SYMPTOM} else DISEASE, node)
            parts = plain_words(name)
            for span in tagger(parts):  # "venous ulcer" shows an ulcer, "scalp psoriasis" sits on the scalp
                for kind, part in span.labels:
                    if kind == SITE or (kind == CONCEPT and span.end == len(parts)):
                        yield name, (kind, part)


@cache
def _sites_and_symptoms() -> tuple[tuple[str, Label], ...]:
    groups = yaml.safe_load((files("dermis.language") / "data" / "body_sites_and_symptoms.yaml").read_text("utf-8"))
    known = [
        (spelling, (kind, name))
        for kind in (SITE, SYMPTOM)
        for name, spellings in groups[kind].items()
        for spelling in (name, *spellings)
    ]
    decoys = [phrase for kind in ("not a body site", "not a symptom") for line in groups[kind] for phrase in line]
    return (*known, *((phrase, (NOTHING, phrase)) for phrase in decoys))


def split_non(tokens: list[str], tagger: Tagger[Label]) -> list[str]:
    """ "nonscarring" -> "non", "scarring", where the rest is a word of the vocabulary and the whole is not."""
    return [
        part
        for word in tokens
        for part in (
            ("non", word[3:])
            if re.match(r"non\w", word) and not tagger.labels(word) and tagger.labels(word[3:])
            else (word,)
        )
    ]
