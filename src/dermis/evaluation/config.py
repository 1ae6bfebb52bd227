"""What to evaluate: the ``evaluation`` part of a recipe."""

from dataclasses import MISSING, dataclass, field, fields, replace
from pathlib import Path
from typing import Annotated, Any

from tyro.constructors import PrimitiveConstructorSpec

from dermis.cases.seven_point import rule_of
from dermis.evaluation.finetune_config import FineTuneConfig
from dermis.registry import unknown

PROTOCOLS = {
    "prompts": "prompt classification with the learned temperature",
    "make": "prompt classification as MAKE and Derm1M publish it: 8 templates, fixed logit scale 100",
    "concepts": "each annotated concept by prompts with and without it, as in MONET and MAKE",
    "retrieval": "picture to text and text to picture among the split's cases",
    "knn": "weighted nearest neighbours among the training pictures",
    "linear_probe": "logistic regression on the training pictures, penalty chosen on valid or by patients",
    "panderm": "the linear probe of PanDerm and Derm1M: their solver, on fractions of the training split",
    "few_shot": "logistic regression on k training cases per class, over several draws",
    "low_shot": "logistic regression on a share of each class's training cases, over several draws",
    "similar": "picture to picture: are the nearest training pictures of the same class?",
    "table_retrieval": "picture to metadata and back, phenotype to patient, in the model's own spaces (SLIMP)",
    "labels": "the labels that the model was taught, as it predicts them itself",
    "second_stage": "the same mixed with support vector machines that also see the table (FusionM4Net)",
    "derm7pt": "seven-point checklist and diagnosis as SM3's Table I: own predictions, or probes on the features",
    "finetune": "fine-tuning on the training split, scored on the split; settings in `finetune`",
    "generation": "texts that the model writes about pictures, beside the chief complaints (m2cg)",
    "pairs": "does a lesion's dermoscopy find its photograph? SM3's Table III, on each split",
}
"""protocol -> what it does"""
LEARNING = ("knn", "linear_probe", "panderm", "few_shot", "low_shot")
"""protocols that learn the diagnosis from the split `train`"""
READING = ("prompts", "make", "concepts", "retrieval")
"""protocols that compare pictures with texts"""
CLASSIFYING = ("prompts", "make", *LEARNING)
DIAGNOSES = (*CLASSIFYING, "similar")
"""protocols about the one class of a case"""
FROM_TRAINING = (*LEARNING, "similar", "derm7pt")
"""protocols that look at the split `train`, which they cannot be scored on; `finetune` has folds too"""
INPUTS = {
    "image": "",
    "table": "table",
    "both": "image and table",
    "extrapolated": "image and extrapolated table",
    "shuffled": "image and shuffled table",
}
"""what learning protocols see -> what their name says of it"""
LABELLING = ("labels", "second_stage", "derm7pt", "finetune")
"""protocols about several labels a case"""
USED_BY = {
    "classes": DIAGNOSES,
    "merge": DIAGNOSES,
    "templates": ("prompts",),
    "prompt_names": ("prompts", "make"),
    "synonyms": ("prompts",),
    "scale": ("prompts", "concepts"),
    "positive": (*CLASSIFYING, *LABELLING),
    "top": (*CLASSIFYING, *LABELLING),
    "undefined": (*DIAGNOSES, *LABELLING),
    "ontology": CLASSIFYING,
    "concepts": ("concepts",),
    "concept_terms": ("concepts",),
    "concept_templates": ("concepts", "generation"),
    "text": ("retrieval",),
    "recall_at": ("retrieval", "table_retrieval"),
    "diagonal": ("retrieval",),
    "precision_at": ("similar",),
    "inputs": LEARNING,
    "probe_features": (*LEARNING, "similar"),
    "neighbours": ("knn",),
    "shots": ("few_shot",),
    "low_shot_fractions": ("low_shot",),
    "shot_seeds": ("few_shot", "low_shot"),
    "fractions": ("panderm",),
    "checklist_rule": LABELLING,
    "checklist_threshold": LABELLING,
    "metadata": ("second_stage",),
    "finetune": ("finetune",),
}
"""setting -> the protocols that look at it; the others are about every protocol or about the report"""
COUNTS = ("top", "recall_at", "precision_at", "shots")
"""settings that list numbers of 1 or more"""
SHARES = ("fractions", "low_shot_fractions")
"""settings that list shares of the training cases"""
EACH_OF = {"precision_at": "similar", "shots": "few_shot", "fractions": "panderm", "low_shot_fractions": "low_shot"}
"""setting -> the protocol that measures once for each of its values, and nothing without any"""
REPORTED = {"subgroups": (*CLASSIFYING, *LABELLING), "pictures": CLASSIFYING}
"""part of the report -> the protocols that have it; to switch it off (empty, 0) is no error with others"""


def _classes_of_words(words: list[str]) -> dict[str, list[str]]:
    classes: dict[str, list[str]] = {}
    for word in words:
        name, equals, diagnosis = word.partition("=")
        if not equals:
            raise ValueError(f"{word!r} is not CLASS=DIAGNOSIS.")
        classes.setdefault(name, []).append(diagnosis)
    return classes


# plain lists in a dictionary cannot be told apart on a command line: where does the next class begin?
FLAG_OF_CLASSES = PrimitiveConstructorSpec(
    nargs="*",
    metavar="CLASS=DIAGNOSIS …",
    instance_from_str=_classes_of_words,
    is_instance=lambda value: value is None or isinstance(value, dict),
    str_from_instance=lambda classes: [f"{name}={d}" for name, ds in (classes or {}).items() for d in ds],
)
"""how a mapping of classes to diagnoses is written on the command line"""


@dataclass(kw_only=True)
class EvaluationConfig:
    """Protocols and their settings; everything is deterministic given ``seed``."""

    protocols: list[str] = field(default_factory=lambda: ["prompts", "retrieval", "knn", "linear_probe"])
    """names of `dermis list protocols`, run in this order"""
    split: str = "test"
    """the manifest's split that is scored, or `all` cases; probes and neighbours learn from `train`"""
    classes: list[str] | str | None = None
    """class names in label order, the name of a published class list, or none: the manifest's own diagnoses, sorted"""
    merge: Annotated[dict[str, list[str]] | None, FLAG_OF_CLASSES] = None
    """classes made of diagnoses, instead of `classes`: {malignant: [melanoma, …], benign: [nevus, …]}; cases of other
    diagnoses are left out. On the command line: malignant=melanoma benign=nevus …"""
    templates: list[str] | str = "single"
    """prompt templates of `prompts`: sentences with {} for the class, or a named set"""
    prompt_names: dict[str, list[str]] | None = None
    """what a class is called in prompts, where that is not its label"""
    synonyms: dict[str, list[str]] | None = None
    """other names of classes: `prompts` is run a second time with these instead"""
    scale: float | None = None
    """fixed logit scale of `prompts` and `concepts`; none: the model's learned one"""
    positive: str | None = None
    """a class whose own precision, recall, specificity, F1, AUROC and AUPR are wanted; of several labels a case: of
    those that have it"""
    top: list[int] = field(default_factory=lambda: [3])
    """the k of accuracy@k; those above the number of classes are left out"""
    undefined: str = "nan"
    """metrics of classes without cases: "nan" leaves them out of macro means, "zero" counts them as 0"""
    ontology: str | None = None
    """also accuracy at each level of this disease ontology and the distance of errors: a file, or `default` for ours"""
    concepts: list[str] | None = None
    """concepts of `concepts`; none: all columns concept.NAME, and finding.NAME that may be absent"""
    concept_terms: Path | None = None
    """JSON file of their names in prompts, {"concept": ["term", …]}; none: ours"""
    concept_templates: str = "make-concepts"
    """template set with references: make-concepts or monet"""
    text: str = "caption"
    """the text column of `retrieval`"""
    recall_at: list[int] = field(default_factory=lambda: [1, 5, 10, 50])
    """the k of recall@k; those above the number of cases are left out"""
    precision_at: list[int] = field(default_factory=lambda: [1, 5, 10])
    """the k of `similar`: precision and mean average precision among the k nearest training pictures"""
    diagonal: bool = False
    """retrieval as CLIP publishes it: a duplicate of the right text is an error"""
    inputs: list[str] = field(default_factory=lambda: ["image"])
    """what kNN and probes see, each in turn: image; table (the metadata alone); both; extrapolated (the picture beside
    the metadata of the nearest training picture); shuffled (beside those of another case: a control)"""
    probe_features: str | None = None
    """what kNN and probes see: "projected" (the space shared with texts) or "trunk" (the tower's pooled vector); none:
    projected where there are texts"""
    neighbours: int = 20
    """voting training pictures of `knn`"""
    shots: list[int] = field(default_factory=lambda: [1, 4, 16])
    """cases per class of `few_shot`"""
    low_shot_fractions: list[float] = field(default_factory=lambda: [0.01, 0.05, 0.1, 0.25])
    """shares of each class's training cases of `low_shot`; one that leaves a class fewer than 5 is left out"""
    shot_seeds: int = 5
    """draws of the cases of `few_shot` and `low_shot`"""
    fractions: list[float] = field(default_factory=lambda: [0.1, 1.0])
    """shares of each class's training cases of `panderm` (published: 0.1, 0.3, 0.5, 1)"""
    checklist_rule: str = "weighted"
    """how the seven-point checklist counts: "weighted" (major criteria 2, minor 1) or "revised" (1 each)"""
    checklist_threshold: int | None = None
    """score from which melanoma is suspected; none: 3 weighted, 1 revised"""
    metadata: list[str] | None = None
    """categories lesion.NAME and patient.NAME that `second_stage` sees; none: all"""
    finetune: FineTuneConfig = field(default_factory=FineTuneConfig)
    """settings of `finetune`"""
    subgroups: list[str] = field(default_factory=lambda: ["skin_tone", "patient.sex", "patient.age", "source"])
    """columns to report by, where the manifest has them; ages in bands of 20 years. Of several labels: their means"""
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
            if self.protocols.count(name) > 1:
                raise ValueError(f"protocols names {name!r} twice.")
        if self.probe_features not in (None, "projected", "trunk"):
            raise unknown("stage of features", self.probe_features, ("projected", "trunk"))
        if not self.protocols:
            raise ValueError(f"no protocol is given; there are {', '.join(PROTOCOLS)}.")
        for f in fields(self):
            default = f.default if f.default_factory is MISSING else f.default_factory()
            users, value = (USED_BY | REPORTED).get(f.name, self.protocols), getattr(self, f.name)
            switched_off = f.name in REPORTED and not value
            if value != default and not switched_off and not set(users) & set(self.protocols):
                which = " and ".join(f"`{user}`" for user in users)
                raise ValueError(f"{f.name} has no effect: it belongs to {which}, which is not among the protocols.")
        rule = rule_of(self.checklist_rule)
        if self.checklist_threshold is not None and not 1 <= self.checklist_threshold <= rule.highest:
            raise ValueError(f"checklist_threshold is 1 to {rule.highest}, not {self.checklist_threshold}.")
        if self.split != "test" and "second_stage" in self.protocols:
            raise ValueError(f"second_stage learns from `valid`, so it is scored on split `test`, not {self.split!r}.")
        if self.split == "all" and (learning := [p for p in self.protocols if p in FROM_TRAINING]):
            raise ValueError(f"{learning[0]} learns from the split `train`, so it cannot be scored on split `all`.")
        if self.undefined not in ("nan", "zero"):
            raise unknown("handling of undefined metrics", self.undefined, ("nan", "zero"))
        if self.n_boot < 1:
            raise ValueError(f"n_boot must be at least 1; it is {self.n_boot}.")
        if self.shot_seeds < 2:
            raise ValueError(
                f"shot_seeds must be at least 2, or there is no spread to report; it is {self.shot_seeds}."
            )
        if self.neighbours < 1:
            raise ValueError(f"neighbours must be at least 1; it is {self.neighbours}.")
        if self.scale is not None and not self.scale > 0:
            raise ValueError(f"scale must be positive; it is {self.scale}.")
        self._check_lists()
        self._check_inputs()
        self._check_merge()

    def _check_lists(self) -> None:
        for name in COUNTS:
            if min(getattr(self, name), default=1) < 1:
                raise ValueError(f"{name} lists numbers of 1 or more; it is {getattr(self, name)}.")
        for name in SHARES:
            if wrong := [share for share in getattr(self, name) if not 0 < share <= 1]:
                raise ValueError(f"{name} lists shares above 0 and at most 1; one is {wrong[0]}.")
        for name, protocol in EACH_OF.items():
            if not getattr(self, name):
                raise ValueError(f"{name} is empty, so {protocol} would measure nothing.")

    def _check_inputs(self) -> None:
        for name in self.inputs:
            if name not in INPUTS:
                raise unknown("input", name, INPUTS)
        if not self.inputs or len(set(self.inputs)) < len(self.inputs):
            raise ValueError(f"inputs names each of what is seen once; it is {self.inputs}.")

    def _check_merge(self) -> None:
        if self.merge is None:
            return
        if self.classes is not None:
            raise ValueError("classes has no effect beside merge, whose keys are the classes.")
        if self.ontology is not None:
            raise ValueError("ontology is about diagnoses: leave it out where merge makes classes of them.")
        if empty := [name for name, diagnoses in self.merge.items() if not diagnoses]:
            raise ValueError(f"class {empty[0]!r} of merge has no diagnosis.")
        members = [diagnosis for diagnoses in self.merge.values() for diagnosis in diagnoses]
        if repeated := [diagnosis for diagnosis in members if members.count(diagnosis) > 1]:
            raise ValueError(f"merge names diagnosis {repeated[0]!r} twice.")


def only(config: EvaluationConfig, protocols: list[str], **changes: Any) -> EvaluationConfig:
    """The same for these of its protocols; settings that none of them uses are at their default, and ``changes``."""
    default = EvaluationConfig()
    unused = [name for name, users in (USED_BY | REPORTED).items() if not set(users) & set(protocols)]
    return replace(config, protocols=protocols, **{name: getattr(default, name) for name in unused} | changes)
