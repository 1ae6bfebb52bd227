"""Consultations from real table columns: real facts, our wording, marked as narrated; never a diagnosis.

A dialogue, one turn a line, "Doctor:" and "Patient:" in turn, and a chief complaint, as M2CG (image, dialogue and
complaint of a case) takes them. What the row does not know is not asked, or answered "I don't know"; what it knows is
asked most of the time, and the complaint tells a part of it. Note that what is missing may tell the label (in
PAD-UFES-20 most patient columns are empty for three diagnoses only), and a dialogue shows what is missing.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple, TypeVar

import numpy as np

from dermis.language.consultation_facts import COLUMNS, facts_of, place_of, words
from dermis.language.narrate import M, case_rng, with_texts
from dermis.language.wording import fill

ASKED = 0.85
"""how often the doctor asks for what the row knows"""
UNSURE = 0.15
"""how often the doctor asks for what it does not know, and is told so"""
TOLD = 0.6
"""how often the complaint tells what it could"""
T = TypeVar("T")


class Consultation(NamedTuple):
    """A dialogue and a chief complaint; None where the row knows nothing that would be told."""

    dialogue: str | None
    complaint: str | None


def tell_consultation(row: Mapping[str, object], rng: np.random.Generator) -> Consultation:
    """A consultation about ``row``: the same row tells differently each time.

    What is drawn does not depend on what is missing. Raises ValueError for a measure that is no number.
    """
    data, facts, place = words(), facts_of(row), place_of(row)
    draws = dict(zip(data["topics"], map(_Draws._make, rng.random((len(data["topics"]), 5)).tolist()), strict=True))
    noun, opening, first = rng.random(3).tolist()
    if not facts and place is None:
        return Consultation(None, None)
    slots = {"noun": _one_of(data["nouns"], noun), "site": place}
    greeting, reason = _one_of(data["openings"], opening)
    turns = [(greeting, fill(reason, slots)), *_turns(facts, draws, alone=place is None)]
    dialogue = "\n".join(f"Doctor: {question}\nPatient: {answer}" for question, answer in turns)
    return Consultation(dialogue, _complaint(facts, draws, _one_of(data["complaints"], first), slots))


class _Draws(NamedTuple):
    """Random numbers in [0, 1) of one topic."""

    asked: float
    question: float
    answer: float
    told: float
    wording: float


def _turns(facts: Mapping[str, str], draws: Mapping[str, _Draws], alone: bool) -> Iterator[tuple[str, str]]:
    """Questions and answers; where they stand ``alone`` (no site is known), one of them is told for certain."""
    certain = next(iter(facts), None) if alone else None
    for topic, told in words()["topics"].items():
        draw = draws[topic]
        question = _one_of(told["questions"], draw.question)
        if topic not in facts:
            if draw.asked < UNSURE and topic not in ("person", "child"):
                yield question, _one_of(words()["unsure"], draw.answer)
        elif draw.asked < ASKED or topic == certain:
            answer = _one_of(_wordings(told["answers"], facts[topic]), draw.answer)
            yield question.replace("{}", facts[topic]), answer.replace("{}", facts[topic])


def _complaint(
    facts: Mapping[str, str], draws: Mapping[str, _Draws], wording: str, slots: Mapping[str, str | None]
) -> str | None:
    said = {t: _wordings(words()["topics"][t].get("complaint", {}), value) for t, value in facts.items()}
    able = [topic for topic in facts if said[topic] or topic == "duration"]
    told = [topic for topic in able if draws[topic].told < TOLD]
    if slots["site"] is None:
        told = told or able[:1]
        if not told:
            return None
    sentences = [fill(wording, {**slots, "duration": facts["duration"] if "duration" in told else None})]
    sentences += [_one_of(said[t], draws[t].wording).replace("{}", facts[t]) for t in told if t != "duration"]
    return " ".join(sentence[:1].upper() + sentence[1:] for sentence in sentences)


def _wordings(by_value: Mapping[str, Sequence[str]], value: str) -> Sequence[str]:
    return by_value.get("any") or by_value.get(value, ())


def _one_of(options: Sequence[T], draw: float) -> T:
    return options[int(draw * len(options))]


def narrate_consultations(manifest: M, *, seed: int) -> M:
    """``manifest`` with a dialogue and a complaint for every case that tells one; their TEXT_origin is "narrated".

    Texts of another origin stay as they are. Deterministic per seed and case_id. Raises ValueError if not one of
    ``COLUMNS`` is in the table.
    """
    table = manifest.table
    columns = [c for c in COLUMNS if c in table]
    if not columns:
        raise ValueError(f"no consultation to tell: the manifest has none of {', '.join(COLUMNS)}.")
    rows = zip(table[columns].to_dict("records"), table["case_id"], strict=True)
    told = [tell_consultation(row, case_rng(seed, 0, f"consultation/{case}")) for row, case in rows]
    for kind in Consultation._fields:
        table = with_texts(table, kind, [getattr(t, kind) for t in told])
    return dataclasses.replace(manifest, table=table)
