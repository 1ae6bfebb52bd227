"""What one raw text says, how that is worded for training, and how a dictionary reads it without a language model.

MAKE (Yan et al., MICCAI 2025) has a large language model name the disease and the visual concepts of each caption,
maps the disease to its path in the ontology and trains on both as sentences. Here ``reader`` names them by phrases,
rules for negation and the ontology (docs/knowledge.md says how well), or ``language_model`` asks a model.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from dermis.language import patient
from dermis.language.lexicon import Lexicon
from dermis.language.mentions import contexts
from dermis.language.ontology import Ontology
from dermis.language.sentences import split_sentences
from dermis.language.vocabulary import CONCEPT, DISEASE, DISEASE_OR_SIGN, SITE, SYMPTOM, split_non, vocabulary
from dermis.language.words import words

DOUBTS = frozenset({"negated", "uncertain", "past", "of another"})
_DIAGNOSED = "This is a skin photo diagnosed as "
_SHOWS = "This skin photo shows "


@dataclass(frozen=True, kw_only=True)
class Knowledge:
    """What one raw text says, in the words of the vocabulary; empty where it says nothing."""

    disease: str | None = None
    """a node of the ontology; None: no definitive diagnosis"""
    concepts: tuple[str, ...] = ()
    """canonical words of the lexicon, in order of appearance"""
    body_site: str | None = None
    symptoms: tuple[str, ...] = ()
    age: float | None = None
    """years"""
    sex: str | None = None
    """female, male"""


def disease_text(node: str, ontology: Ontology) -> str:
    """ "This is a skin photo diagnosed as inflammatory, eczema, atopic dermatitis." (MAKE's wording, root to leaf)."""
    return f"{_DIAGNOSED}{', '.join(ontology.lineage(node))}."


def concept_text(concepts: Iterable[str]) -> str:
    """ "This skin photo shows plaque, scale." (MAKE's wording)."""
    return f"{_SHOWS}{', '.join(concepts)}."


def named_diseases(text: str | None) -> str | None:
    """What ``disease_text`` put into its sentence, root to leaf; None for a text of another wording."""
    return _inside(text, _DIAGNOSED)


def named_concepts(text: str | None) -> str | None:
    """What ``concept_text`` put into its sentence; None for a text of another wording."""
    return _inside(text, _SHOWS)


def _inside(text: str | None, opening: str) -> str | None:
    stated = isinstance(text, str) and text.startswith(opening)
    return text.removeprefix(opening).removesuffix(".") if stated and text else None


def reader(ontology: Ontology, lexicon: Lexicon) -> Callable[[str], Knowledge]:
    """A function from a text to its knowledge; the vocabularies are compiled once.

    - The longest phrase of all vocabularies wins, so that "erythema nodosum" is a disease and no erythema.
    - A concept counts where at least one mention is not negated, uncertain, past or somebody else's.
    - The disease is the most specific node that is stated so; where the text states several, the one that it calls
      the diagnosis ("diagnosed as", "consistent with"); None where that leaves none or more than one. Topmost nodes
      ("infection") are no diagnosis; a sign or symptom as well ("scar") only where called the diagnosis.
    - The body site is the one named first.
    """
    tagger = vocabulary(ontology, lexicon)

    def read(text: str) -> Knowledge:
        stated: dict[tuple[str, str], None] = {}
        called: set[str] = set()
        for sentence in split_sentences(text):
            tokens = split_non(words(sentence), tagger)
            spans = tagger(tokens)
            for span, context in zip(spans, contexts(tokens, spans) if spans else (), strict=True):
                if context & DOUBTS:
                    continue
                explicit = "explicit diagnosis" in context
                for kind, name in span.labels:
                    if kind not in (DISEASE, DISEASE_OR_SIGN):
                        stated[kind, name] = None
                    elif explicit or (kind == DISEASE and "uncertain disease" not in context):
                        stated[DISEASE, name] = None
                        if explicit:
                            called.add(name)
        of = {kind: tuple(name for k, name in stated if k == kind) for kind in (DISEASE, CONCEPT, SITE, SYMPTOM)}
        return Knowledge(
            disease=_the_one(of[DISEASE], ontology) or _the_one([n for n in of[DISEASE] if n in called], ontology),
            concepts=of[CONCEPT],
            body_site=next(iter(of[SITE]), None),
            symptoms=of[SYMPTOM],
            age=patient.age(text),
            sex=patient.sex(text),
        )

    return read


def _the_one(diseases: Sequence[str], ontology: Ontology) -> str | None:
    """The most specific of them, if all others are its ancestors."""
    specific = [d for d in diseases if not any(d in ontology.ancestors(other) for other in diseases)]
    return specific[0] if len(specific) == 1 else None
