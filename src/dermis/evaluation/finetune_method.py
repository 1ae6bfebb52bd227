"""Fine-tuning as a method: all of the model learns, what patterns leave, or adapters; each at its own rate."""

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from fnmatch import fnmatchcase

from torch import Tensor, nn

from dermis.evaluation.finetune_config import FineTuneConfig
from dermis.methods.multi_label import MultiLabel, MultiLabelConfig, label_loss
from dermis.towers import lora
from dermis.towers.branches import Branches
from dermis.towers.freeze import is_frozen
from dermis.towers.label_heads import USED_BY
from dermis.towers.layer_decay import lr_factors

TOWERS, LABELS = "picture_towers", "parts.labels"


class FineTuneMethod(MultiLabel):
    """The multi-label classifier on a pre-trained model, fine-tuned as ``config`` says.

    ``model`` has towers and at most label heads. What a frozen module does stays the same to the bit: it is in
    evaluation mode, batch statistics included. ``gone_on_from``: how many weights of the model's label heads the heads
    here start with, and how many there were. Raises ValueError for settings that do not fit the model.
    """

    def __init__(self, model: Branches, config: FineTuneConfig, targets: dict[str, list[str]]) -> None:
        assert set(model.parts) <= {"labels"}
        before = dict(model.parts["labels"].named_parameters()) if "labels" in model.parts else {}
        heads = heads_of(model, config, targets)
        super().__init__(model, heads)
        self.adapters = 0
        fit = fitting(before, model.parts["labels"])
        if config.new_heads and not any(name.startswith("heads.") for name in fit):
            raise ValueError("new_heads has no effect: the model has no heads that these labels would go on from.")
        kept = [name for name in fit if not (heads.new_heads and name.startswith("heads."))]
        self.gone_on_from = sum(before[name].numel() for name in kept), sum(p.numel() for p in before.values())
        self._freeze(config)
        self.factor: dict[nn.Parameter, float] = {}
        if config.layer_decay is not None:
            for tower in model.picture_towers.values():
                factors = lr_factors(tower, config.layer_decay)
                self.factor |= {p: factors[name] for name, p in tower.named_parameters() if p.requires_grad}
            if not self.factor:
                raise ValueError("layer_decay has no effect: every tower is frozen.")

    @property
    def towers_learn(self) -> bool:
        """Will features change?"""
        return not is_frozen(self.model.picture_towers)

    @property
    def counts(self) -> tuple[int, int]:
        """How many weights learn, and how many there are."""
        sizes = [(p.numel(), p.requires_grad) for p in self.model.parameters()]
        return sum(size for size, learns in sizes if learns), sum(size for size, _ in sizes)

    def embed(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Features of the cases (B, D): stored ones where the batch has them."""
        if "stored_BD" in batch:
            return {"features": batch["stored_BD"]}
        return {"features": self.model.encode_first_views(batch)}

    def loss(self, embeddings: Mapping[str, Tensor], batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Equation (1) of ``MultiLabel``."""
        return {"loss": label_loss(self.model.parts["labels"](embeddings["features"]), batch["label_BL"])}

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        return self.loss(self.embed(batch), batch)

    def param_groups(self) -> list[dict]:
        """What learns, by the factor of its learning rate."""
        groups: dict[float, list[nn.Parameter]] = {}
        for parameter in self.parameters():
            if parameter.requires_grad:
                groups.setdefault(self.factor.get(parameter, 1.0), []).append(parameter)
        return [{"params": parameters, "lr_factor": factor} for factor, parameters in groups.items()]

    def train(self, mode: bool = True) -> "FineTuneMethod":
        super().train(mode)
        for module in self.modules():
            if is_frozen(module):
                module.eval()
        return self

    def finished_model(self) -> Branches:
        """The model in evaluation mode, adapters merged into the weights."""
        if self.adapters:
            lora.merge(self.model.picture_towers)
        return self.model.eval()

    def _freeze(self, config: FineTuneConfig) -> None:
        model, adapted = self.model, list[str]()
        names = [name for name, _ in model.named_parameters()]
        learns = set(names)
        if config.lora is not None:
            adapted = [f"{TOWERS}.{layer}.weight" for layer in lora.adaptable(model.picture_towers)]
            if not adapted:
                kinds = " and ".join({type(next(t.children())).__name__ for t in model.picture_towers.values()})
                raise ValueError(f"lora adapts linear layers, and {kinds} has none: leave lora out.")
            learns = {name for name in learns if name in adapted or name.startswith(LABELS)}
        frozen = matched(config.freeze, names, learns)
        if not learns - frozen:
            raise ValueError("nothing is left to learn: freeze matches every parameter.")
        model.requires_grad_(False)
        parameters = dict(model.named_parameters())
        if config.lora is not None:
            layers = [name for name in adapted if name not in frozen]
            if not layers:
                raise ValueError("lora has nothing to adapt: freeze matches every linear layer.")
            learns -= set(adapted)
            self.adapters = len(layers)
            layers = [name.removeprefix(f"{TOWERS}.").removesuffix(".weight") for name in layers]
            lora.adapt(model.picture_towers, layers, config.lora)
        for name in learns - frozen:
            parameters[name].requires_grad_(True)


def heads_of(model: Branches, config: FineTuneConfig, targets: dict[str, list[str]]) -> MultiLabelConfig:
    """The settings of the heads; those that were taught other labels get new last layers."""
    own = {}
    fresh = config.new_heads
    if "labels" in model.parts:
        old = model.parts["labels"]
        fresh = fresh or (old.classes is not None and list(old.classes.items()) != list(targets.items()))
        if config.relation == "keep":
            given = model.settings["labels"]
            used = {name for name, relations in USED_BY.items() if old.relation in relations}
            own = {"relation": old.relation, **{name: given[name] for name in given if name in used}}
    if config.relation != "keep":
        own = {"relation": config.relation}
        own |= {k: getattr(config, k) for k in ("width", "dropout") if getattr(config, k) is not None}
    return MultiLabelConfig(targets=targets, new_heads=fresh, **own)


def matched(patterns: Sequence[str], names: Sequence[str], learns: set[str]) -> set[str]:
    """The names that a pattern matches; ValueError for a pattern that matches none, or none of those that learn."""
    found: set[str] = set()
    for pattern in patterns:
        hits = {name for name in names if fnmatchcase(name, pattern)}
        if not hits:
            raise ValueError(f"freeze: {pattern!r} matches no parameter of the model; {_near(pattern, names)}.")
        if not hits & learns:
            raise ValueError(f"freeze: {pattern!r} has no effect: what it matches would not learn anyway.")
        found |= hits
    return found


def _near(pattern: str, names: Sequence[str]) -> str:
    parts = [name.split(".") for name in names]
    blocks = dict.fromkeys(".".join([*p[:depth], "*"]) for p in parts for depth in range(1, len(p)))
    near = get_close_matches(pattern, [*blocks, *names], n=3, cutoff=0.6)
    if near:
        return f"near it: {', '.join(near)}"
    return f"there are {', '.join(block for block in blocks if block.count('.') <= 2)}"


def fitting(before: Mapping[str, nn.Parameter], labels: nn.Module) -> list[str]:
    """The weights ``before`` that ``labels`` has too, in the same shape."""
    own = {name: p.shape for name, p in labels.named_parameters()}
    return [name for name, p in before.items() if own.get(name) == p.shape]
