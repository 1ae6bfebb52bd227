"""What a language model answered: read, and held against the vocabulary."""

import json
from collections.abc import Callable
from typing import Any, NamedTuple

from dermis.language.knowledge import Knowledge
from dermis.language.lexicon import Lexicon
from dermis.language.ontology import Ontology

KEYS = ("disease", "concepts", "body_site", "symptoms", "age", "sex")
SEXES = ("female", "male")
OLDEST = 125.0  # years


class UnreadableError(ValueError):
    """An answer that is not the JSON object that was asked for; the message says what is wrong with it."""


class Checked(NamedTuple):
    """An answer in the words of the vocabulary."""

    knowledge: Knowledge
    wrong: tuple[str, ...]
    """what the answer said and the vocabulary does not have: not in ``knowledge``"""


def read_answer(content: str) -> dict[str, Any]:
    """The JSON object in what a model wrote: thoughts before it, words around it and a code fence are passed over.

    Raises UnreadableError if there is none, if a key is missing or a value has the wrong type.
    """
    content = content.rpartition("</think>")[2]
    start = content.find("{")
    if start < 0:
        raise UnreadableError("it holds no JSON object")
    try:
        answer, _ = json.JSONDecoder().raw_decode(content, start)
    except (json.JSONDecodeError, RecursionError) as error:
        raise UnreadableError(f"it is not valid JSON ({error})") from None
    if missing := [key for key in KEYS if key not in answer]:
        raise UnreadableError(f"it has no key {missing[0]!r}")
    for key in ("disease", "body_site", "sex"):
        if not isinstance(answer[key], str | None):
            raise UnreadableError(f"{key!r} must be text or null")
    for key in ("concepts", "symptoms"):
        if not isinstance(answer[key], list) or not all(isinstance(item, str) for item in answer[key]):
            raise UnreadableError(f"{key!r} must be a list of texts")
    if isinstance(answer["age"], bool) or not isinstance(answer["age"], int | float | None):
        raise UnreadableError("'age' must be a number or null")
    return answer


def check(answer: dict[str, Any], ontology: Ontology, lexicon: Lexicon, read: Callable[[str], Knowledge]) -> Checked:
    """The answer of ``read_answer`` in the words of the vocabulary: spellings are mapped to nodes and concepts.

    ``read`` (``knowledge.reader``) names body sites and symptoms; one that it does not know stays as it is.
    """
    wrong: list[str] = []

    def allowed(word: str | None, found: str | None) -> str | None:
        if word is not None and found is None:
            wrong.append(word)
        return found

    disease, sex = answer["disease"], answer["sex"]
    disease = allowed(disease, None if disease is None else ontology.find(disease))
    concepts = [allowed(word, lexicon.find(word)) for word in answer["concepts"]]
    sex = allowed(sex, sex.casefold() if sex and sex.casefold() in SEXES else None)
    site = (answer["body_site"] or "").strip()
    symptoms = [name for said in map(str.strip, answer["symptoms"]) if said for name in read(said).symptoms or (said,)]
    age = None if answer["age"] is None else float(answer["age"])
    if age is not None and not 0 <= age <= OLDEST:  # NaN too: Python's JSON reads it
        wrong.append(f"age {age:g}")
        age = None
    knowledge = Knowledge(
        disease=disease,
        concepts=tuple(dict.fromkeys(c for c in concepts if c is not None)),
        body_site=(read(site).body_site or site) if site else None,
        symptoms=tuple(dict.fromkeys(symptoms)),
        age=age,
        sex=sex,
    )
    return Checked(knowledge, tuple(wrong))
