"""Published models: the list and what `dermis list models` says of them."""

import re

import pytest

from dermis.commands.list import TOPICS, lines
from dermis.model.known import known_models

# hub ids from the papers' own pages
HUB = {
    "make": "xieji-x/MAKE",
    "dermlip-vit-b-16": "redlessone/DermLIP_ViT-B-16",
    "dermlip-panderm": "redlessone/DermLIP_PanDerm-base-w-PubMed-256",
    "o-make": "Xieji-Li/MAGEN-O-MAKE",
    "monet": "chanwkim/monet",
    "biomedclip": "microsoft/BiomedCLIP-PubMedBERT_256-vit_base_patch16_224",
    "medsiglip": "google/medsiglip-448",
}


def test_the_hub_ids_are_the_published_ones():
    assert {key: known_models()[key].hub for key in HUB} == HUB
    assert set(known_models()) - set(HUB) == {"clip", "siglip", "pmc-clip"}


def test_every_entry_says_data_and_has_a_well_formed_hub_id():
    for model in known_models().values():
        assert model.data
        assert model.hub is None or re.fullmatch(r"[\w.-]+/[\w.-]+", model.hub)


@pytest.mark.parametrize(
    ("key", "architecture"), [("clip", "ViT-B-16"), ("siglip", "ViT-B-16-SigLIP"), ("monet", "ViT-L-14")]
)
def test_sizes_are_those_that_open_clip_builds(key, architecture):
    import open_clip
    import torch

    with torch.device("meta"):
        model = open_clip.create_model(architecture, device="meta")
    assert known_models()[key].parameters == round(sum(p.numel() for p in model.parameters()) / 1e6)


def test_dermis_list_models_names_place_size_licence_and_data():
    text = "\n".join(lines("models"))
    assert "models" in TOPICS
    assert all(f"hf-hub:{hub}" in text for hub in HUB.values())
    assert re.search(r"biomedclip .*196 M parameters\n.*licence: MIT; data: PMC-15M", text)
    assert re.search(r"pmc-clip .*not on the hub as a model, size not known\n.*see the model's page", text)
