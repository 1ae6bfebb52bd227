"""What to evaluate: the ``evaluation`` part of a recipe."""

from dataclasses import dataclass, field

from dermis.registry import unknown

PROTOCOLS = {
    "prompts": "prompt classification with the learned temperature",
    "make": "prompt classification as MAKE and Derm1M publish it: 8 templates, fixed logit scale 100",
    "retrieval": "picture to text and text to picture among the split's cases",
    "knn": "weighted nearest neighbours among the training pictures",
    "linear_probe": "logistic regression on the training pictures, penalty chosen on valid or by patients",
    "panderm": "the linear probe of PanDerm and Derm1M: their solver, on fractions of the training split",
    "few_shot": "logistic regression on k training cases per class, over several draws",
}
"""protocol -> what it does"""


@dataclass(kw_only=True)
class EvaluationConfig:
    """Protocols and their settings; everything is deterministic given ``seed``."""

    protocols: list[str] = field(default_factory=lambda: ["prompts", "retrieval", "knn", "linear_probe"])
    """which of the keys of ``PROTOCOLS`` to run, in this order"""
    split: str = "test"
    """the manifest's split that is scored; probes and neighbours learn from `train`"""
    classes: list[str] | str | None = None
    """class names in label order, the name of a published class list, or none: the manifest's own diagnoses, sorted"""
    templates: list[str] | str = "single"
    """prompt templates of `prompts`: sentences with {} for the class, or a named set"""
    prompt_names: dict[str, list[str]] | None = None
    """what a class is called in prompts, where that is not its label"""
    synonyms: dict[str, list[str]] | None = None
    """other names of classes: `prompts` is run a second time with these instead"""
    scale: float | None = None
    """fixed logit scale of `prompts`; none: the model's learned one"""
    positive: str | None = None
    """a class whose own precision, recall, specificity, F1, AUROC and AUPR are wanted"""
    top: list[int] = field(default_factory=lambda: [3])
    """the k of accuracy@k; those above the number of classes are left out"""
    undefined: str = "nan"
    """metrics of classes without cases: "nan" leaves them out of macro means, "zero" counts them as 0"""
    text: str = "caption"
    """the text column of `retrieval`"""
    recall_at: list[int] = field(default_factory=lambda: [1, 5, 10, 50])
    """the k of recall@k; those above the number of cases are left out"""
    diagonal: bool = False
    """retrieval as CLIP publishes it: a duplicate of the right text is an error"""
    probe_features: str = "projected"
    """what kNN and probes see: "projected" (the space shared with texts) or "trunk" (the tower's pooled vector)"""
    neighbours: int = 20
    """voting training pictures of `knn`"""
    shots: list[int] = field(default_factory=lambda: [1, 4, 16])
    """cases per class of `few_shot`"""
    shot_seeds: int = 5
    """draws of those cases"""
    fractions: list[float] = field(default_factory=lambda: [0.1, 1.0])
    """shares of each class's training cases of `panderm` (published: 0.1, 0.3, 0.5, 1)"""
    subgroups: list[str] = field(default_factory=lambda: ["skin_tone", "patient.sex", "patient.age", "source"])
    """columns to report by, where the manifest has them; ages in bands of 20 years"""
    seed: int = 0
    """of the bootstrap, the cross-validation and the few-shot draws"""
    n_boot: int = 1000
    """draws of the patient bootstrap"""
    pictures: int = 12
    """example pictures in the report; 0: none leave the machine"""

    def __post_init__(self) -> None:
        for name in self.protocols:
            if name not in PROTOCOLS:
                raise unknown("protocol", name, PROTOCOLS)
        if self.probe_features not in ("projected", "trunk"):
            raise unknown("stage of features", self.probe_features, ("projected", "trunk"))
        if not self.protocols:
            raise ValueError(f"no protocol is given; there are {', '.join(PROTOCOLS)}.")
        prompts = {"prompts"} & set(self.protocols)
        if not prompts and (self.synonyms is not None or self.scale is not None):
            raise ValueError("synonyms and scale belong to the protocol `prompts`, which is not among the protocols.")
        if self.prompt_names is not None and not {"prompts", "make"} & set(self.protocols):
            raise ValueError("prompt_names belongs to `prompts` and `make`, which are not among the protocols.")
        if self.undefined not in ("nan", "zero"):
            raise unknown("handling of undefined metrics", self.undefined, ("nan", "zero"))
        if self.n_boot < 1:
            raise ValueError(f"n_boot must be at least 1; it is {self.n_boot}.")
        if self.shot_seeds < 2:
            raise ValueError(
                f"shot_seeds must be at least 2, or there is no spread to report; it is {self.shot_seeds}."
            )
