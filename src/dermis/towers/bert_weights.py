"""The tensors of a BERT under transformers' names, and which of them a generator's parameter starts from."""

from collections.abc import Mapping

from torch import Tensor

_OUTSIDE = {
    "token": "embeddings.word_embeddings",
    "position": "embeddings.position_embeddings",
    "norm": "embeddings.LayerNorm",
    "head.0": "cls.predictions.transform.dense",
    "head.2": "cls.predictions.transform.LayerNorm",
}
_IN_A_LAYER = {
    "own.query": "attention.self.query",
    "own.key": "attention.self.key",
    "own.value": "attention.self.value",
    "own.out": "attention.output.dense",
    "own.norm": "attention.output.LayerNorm",
    "feed.wide": "intermediate.dense",
    "feed.narrow": "output.dense",
    "feed.norm": "output.LayerNorm",
}
_IN_A_LAYER |= {
    ours.replace("own", "cross"): f"cross{theirs}" for ours, theirs in _IN_A_LAYER.items() if ours.startswith("own")
}


def bert_name(ours: str) -> str:
    """``layers.3.own.query.weight`` -> ``encoder.layer.3.attention.self.query.weight``."""
    if ours == "bias_V":
        return "cls.predictions.bias"
    part, kind = ours.rsplit(".", 1)
    if not part.startswith("layers."):
        return f"{_OUTSIDE[part]}.{kind}"
    _, layer, sublayer = part.split(".", 2)
    return f"encoder.layer.{layer}.{_IN_A_LAYER[sublayer]}.{kind}"


def only_in_some(theirs: str) -> bool:
    """Whether an ordinary BERT may lack this tensor: cross-attention is a decoder's, the head a language model's."""
    return ".crossattention." in theirs or theirs.startswith("cls.")


def bert_tensors(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A BERT's tensors without the prefix ``bert.``, its first segment's vector added to its positions.

    Old files call a layer norm's weight and bias gamma and beta.
    """
    plain = {
        name.removeprefix("bert.")
        .replace("LayerNorm.gamma", "LayerNorm.weight")
        .replace("LayerNorm.beta", "LayerNorm.bias"): tensor
        for name, tensor in state.items()
    }
    segments, positions = "embeddings.token_type_embeddings.weight", "embeddings.position_embeddings.weight"
    if segments in plain and positions in plain:
        plain[positions] = plain[positions] + plain.pop(segments)[0]
    return plain
