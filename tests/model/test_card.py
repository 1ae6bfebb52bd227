"""The card says what is known, and that the rest is not."""

from dermis.model.card import Card, render

ENTRY = {
    "protocol": "prompt classification",
    "metric": "macro AUROC",
    "n": 2015,
    "value": 0.9123,
    "interval": [0.9, 0.92],
}


def test_a_bare_card_says_what_is_missing_and_what_it_is_not_for(tiny):
    text = render(tiny(), Card(), "derm-small")
    assert text.startswith("---\nlicense: unknown\n")
    for part in ("# derm-small", "not a medical device", "Not stated.", "None recorded.", "test_vit", "160 x 160"):
        assert part in text
    assert 'create_model_and_transforms("local-dir:derm-small")' in text


def test_a_full_card_shows_metrics_with_intervals(tiny):
    card = Card(title="Title", data="HAM10000, 8,010 cases", licence="CC-BY-NC-4.0", citation="@article{x}")
    text = render(tiny(size=96), card, "m", recipe=object(), report={"entries": [ENTRY, ENTRY | {"interval": None}]})
    assert "| prompt classification | macro AUROC | 2015 | 0.912 | 0.900 to 0.920 |" in text
    assert "| 0.912 | – |" in text
    assert "force_image_size=96" in text
    assert "```bibtex\n@article{x}\n```" in text
    assert "license: CC-BY-NC-4.0" in text
