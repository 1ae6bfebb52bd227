"""Prompt classification against the published procedure as loops, and the right to be called zero-shot."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from dermis.evaluation.prompt_classification import prompt_scores, protocol_name, seen_in_training, text_classifier
from dermis.model.use import encode_texts


class Letters(torch.nn.Module):
    """A two-tower model whose text embedding counts letters: enough to check who is encoded, and how."""

    def __init__(self):
        super().__init__()
        self.text = SimpleNamespace(tokenizer=self.tokenizer)
        self.table = torch.nn.Embedding(256, 8)
        torch.nn.init.normal_(self.table.weight, generator=torch.Generator().manual_seed(0))
        self.calls = []

    def tokenizer(self, texts):
        self.calls += texts
        return [list(text.encode()) for text in texts]

    def encode_text(self, tokens, offsets_S1, normalize=False):
        assert not self.training
        assert not torch.is_grad_enabled()
        rows = torch.stack([part.mean(0) for part in self.table(tokens).split(offsets_S1.diff().tolist())])
        return F.normalize(rows, dim=-1) if normalize else rows


def test_texts_come_back_in_order_and_each_distinct_one_is_encoded_once():
    model = Letters().train()
    texts = ["melanoma on the back", "nevus", "melanoma on the back", "wart", "nevus"]
    found = encode_texts(model, texts, batch_size=2)
    alone = np.stack([encode_texts(Letters(), [text])[0] for text in texts])
    np.testing.assert_allclose(found, alone, atol=1e-6)
    assert sorted(model.calls) == sorted(set(texts))
    assert model.training
    assert found.dtype == np.float32


def test_classifier_and_scores_are_the_published_procedure():
    rng = np.random.default_rng(0)
    vectors = {sentence: rng.normal(size=4) * 3 for sentence in "abcde"}
    prompts = [["a", "b", "c"], ["d", "e"]]
    image = rng.normal(size=(3, 4)).astype(np.float32)

    found = prompt_scores(image, text_classifier(lambda texts: np.stack([vectors[t] for t in texts]), prompts), 100)

    weights = []
    for own in prompts:  # normalised text per template -> mean -> renormalise
        mean = sum(vectors[t] / np.linalg.norm(vectors[t]) for t in own) / len(own)
        weights.append(mean / np.linalg.norm(mean))
    for row, v in zip(found, image, strict=True):
        logits = torch.tensor([100 * (v / np.linalg.norm(v)) @ w for w in weights])
        np.testing.assert_allclose(row, torch.softmax(logits, 0).numpy(), rtol=1e-4, atol=1e-7)


def test_scale_changes_confidence_but_not_the_decision():
    rng = np.random.default_rng(1)
    image, classes = rng.normal(size=(20, 4)), rng.normal(size=(3, 4))
    soft, sharp = (prompt_scores(image, classes, scale) for scale in (1.0, 100.0))
    assert (soft.argmax(1) == sharp.argmax(1)).all()
    assert (soft.max(1) < sharp.max(1)).all()
    np.testing.assert_allclose(prompt_scores(image, classes, 1e6).sum(1), 1)


def test_classes_are_found_in_training_texts_as_whole_words():
    texts = [
        "A photo of a Blue-Nevus.",
        "nevi everywhere, nevuses",
        "melanoma_in situ",
        "melanoma_in situ",
        "eczema/atopic",
    ]
    seen = seen_in_training(["nevus", "blue nevus", "melanoma", "atopic eczema", "acne"], texts)
    assert seen == {"nevus": 1, "blue nevus": 1, "melanoma": 1, "atopic eczema": 0, "acne": 0}


def test_a_synonym_used_as_prompt_counts_as_seen():
    assert seen_in_training({"nevus": ["mole", "naevus"], "wart": "verruca"}, ["one mole"]) == {"nevus": 1, "wart": 0}


def test_zero_shot_is_said_only_where_nothing_was_seen():
    assert protocol_name({"acne": 0, "wart": 0}) == "zero-shot"
    assert protocol_name({"acne": 0, "wart": 3}) == "prompt classification"
    assert protocol_name(None) == "prompt classification"  # nobody knows


def test_wrong_arguments_are_answered_with_a_sentence():
    with pytest.raises(ValueError, match="class number 1 has no prompt"):
        text_classifier(lambda texts: np.ones((len(texts), 2)), [["a"], []])
    with pytest.raises(ValueError, match="scale must be positive; it is 0"):
        prompt_scores(np.eye(2), np.eye(2), 0)
