"""dermis publish"""

import sys
from collections.abc import Sequence
from typing import Annotated

import tyro

from dermis.commands.arguments import Model, called


def publish(
    model: Model,
    to: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="TO")],
    licence: str | None = None,
    data: str | None = None,
    intended_use: str | None = None,
    out_of_scope: str | None = None,
    limits: str | None = None,
    contact: str | None = None,
    description: str | None = None,
    citation: str | None = None,
    title: str | None = None,
    onnx: bool = False,
    decision: bool = True,
    private: bool = False,
) -> int:
    """Make a model ready for other people: a folder or a repository of the hub, with a complete card.

    Weights, settings, tokenizer, recipe, report and decision are copied; paths of this machine and case ids are taken
    out, and files that dermis did not write stay behind. What the card cannot know it says it does not know.

    Args:
        model: a model folder, as `dermis train` leaves one
        to: a folder, or hf-hub:ORG/REPO (log in with `hf auth login` first)
        licence: of the weights, SPDX name (CC-BY-NC-4.0); mind those of the data and of the weights it started from
        data: what it was trained on: sets, counts, how they were collected, consent
        intended_use: who should use it for what
        out_of_scope: what it must not be used for
        limits: what it does badly, and for whom
        contact: whom to ask, or where to report harm
        description: a sentence or two
        citation: BibTeX
        title: heading of the card (the name of the folder or repository)
        onnx: write ONNX graphs of the towers too, compared with the model (extra `export`)
        decision: publish the calibrated decision, which holds feature vectors of training pictures
        private: make the repository of the hub a private one
    """
    from dermis.publish.publish import publish as published

    said = {
        "licence": licence,
        "data": data,
        "intended_use": intended_use,
        "out_of_scope": out_of_scope,
        "limits": limits,
        "contact": contact,
        "description": description,
        "citation": citation,
        "title": title,
    }
    where, notes = published(model, to, said=said, onnx=onnx, private=private, decision=decision)
    sys.stdout.write("\n".join([*notes, f"published: {where}"]) + "\n")
    return 0


def run(arguments: Sequence[str]) -> int:
    """`dermis publish`"""
    return called(publish, "publish", arguments)
