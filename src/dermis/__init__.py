"""dermis: dermatology representations from what a clinic really has.

    import dermis
    model = dermis.load("demo/run/model")
    dermis.classify(model, "photo.jpg", ["melanoma", "nevus"])

Names below are imported when they are first used: `import dermis` alone loads nothing heavy.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_HOMES = {
    "load": "dermis.model",
    "save": "dermis.model",
    "classify": "dermis.model.use",
    "encode_pictures": "dermis.model.use",
    "encode_texts": "dermis.model.use",
    "generate": "dermis.model.use",
    "predict_labels": "dermis.model.use",
    "read_checklist": "dermis.evaluation.checklist",
    "embed_pictures": "dermis.model.embed",
    "decide": "dermis.decision.decider",
    "Decider": "dermis.decision.decider",
    "write_embeddings": "dermis.search.embedding",
    "Embeddings": "dermis.search.folder",
    "nearest_cases": "dermis.search.nearest",
    "evaluate": "dermis.evaluation.evaluate",
    "import_set": "dermis.cases.catalogue",
    "make_cases": "dermis.cases.synthetic",
    "Manifest": "dermis.cases.manifest",
}
__all__ = [*sorted(_HOMES), "__version__"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'dermis' has no attribute {name!r}; it has {', '.join(__all__)}.")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
