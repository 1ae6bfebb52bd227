"""SM3's checkpoints (Wang et al., arXiv 2310.18583) as ``Branches``: a tower a picture and what was built on them.

Facts from Dylan-H-Wang/skin-sm3 @ 255038f, and @ 58adaf4 for inference.py. A checkpoint is a dictionary with the
tensors under ``state_dict``, of one of three kinds:

    backbone_train: ckp_*.pth            {derm,clinic}_backbone.{encoder,projector}, cross_proj
    mlc_train:      ckp_*.pth            extractor.{derm,clinic}_backbone, projectors, mlc_sa, prototypes without biases
    mlc_eval:       best_{linear,finetune}.pth                                     the same, prototypes with biases

The first becomes the part "pair", the others "labels"; without biases they were taught clusters, which have no names.
``encoder.`` may be missing from the names. Depths and widths are read off the tensors; that the Transformer has one
head and that embeddings are not normalised no file says, run.sh does. ``projector``, the heads of the contrast within a
modality, is left out, and that is said.

Pictures: squashed to 224 x 224 pixels, SM3's own mean and standard deviation. SM3 cuts 25 pixels off each side of
Derm7pt's pictures before, because they have a frame. That belongs to those pictures, not to the model: trim them before
they are shown to it, and show other pictures as they are.
"""

import logging
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from dermis.cases.catalogue.derm7pt import DIAGNOSES, FINDINGS
from dermis.towers.branches import Branches
from dermis.towers.build import BranchesConfig, ImageTowerConfig, build_branches
from dermis.towers.layouts import OPEN_CLIP, SETTINGS, TRANSFORMERS, pmc_clip
from dermis.towers.weights import FOLDER, HUB, UNPICKLED, load_strictly, read_checkpoint

log = logging.getLogger(__name__)

MEAN, STD, SIZE = (0.7833, 0.6712, 0.6026), (0.2139, 0.2472, 0.2571), 224
CLASSES = {"diagnosis": list(DIAGNOSES), **{f"finding.{name}": list(classes) for name, classes in FINDINGS.items()}}
"""label -> its classes, both in the order of the release: DIAG, PN, BWV, VS, PIG, STR, DaG, RS"""
ARCHITECTURES: dict[tuple[str | int, ...], str] = {
    ("basic", 2, 2, 2, 2): "resnet18",
    ("basic", 3, 4, 6, 3): "resnet34",
    ("bottleneck", 3, 4, 6, 3): "resnet50",
    ("bottleneck", 3, 4, 23, 3): "resnet101",
    ("bottleneck", 3, 8, 36, 3): "resnet152",
}
"""kind and number of blocks -> torchvision's and timm's name; both name the tensors alike"""


def named(source: str) -> Path | None:
    """The file that ``source`` is, if it ends as a checkpoint does and is no folder."""
    path = Path(source.removeprefix(FOLDER))
    return path if not source.startswith(HUB) and path.suffix in UNPICKLED and not path.is_dir() else None


def found(folder: Path) -> Path | None:
    """The checkpoint of a folder without settings, which no other layout knows; raises ValueError for several."""
    if any((folder / name).is_file() for name in (SETTINGS, OPEN_CLIP, TRANSFORMERS)) or pmc_clip.recognised(folder):
        return None
    files = sorted(path for path in folder.iterdir() if path.suffix in UNPICKLED)
    if len(files) > 1:
        names = ", ".join(path.name for path in files[:5])
        raise ValueError(f"{folder} holds several checkpoints ({names}); give the path of one.")
    return files[0] if files else None


def read(path: Path) -> Branches:
    """The model of a checkpoint, with what the file has of parts.

    Raises ValueError, with a sentence, for a file that is no checkpoint of SM3 or that is not safe to open, and naming
    tensors that are missing, left over or of another shape.
    """
    if not path.is_file():
        raise ValueError(f"no checkpoint at {path}.")
    tensors = read_checkpoint(path)
    extractor = "extractor." if any(name.startswith("extractor.") for name in tensors) else ""
    encoder = "encoder." if f"{extractor}derm_backbone.encoder.conv1.weight" in tensors else ""
    derm, clinic = (f"{extractor}{picture}_backbone.{encoder}" for picture in ("derm", "clinic"))
    _expect(tensors, [f"{derm}conv1.weight", f"{clinic}conv1.weight"], path)
    image = ImageTowerConfig(
        name=_architecture((name.removeprefix(derm) for name in tensors if name.startswith(derm)), path),
        size=SIZE, mean=MEAN, std=STD, interpolation="bilinear", resize_mode="squash",
    )  # fmt: skip
    model = build_branches(BranchesConfig(image=image), pretrained=False)
    rules = {re.escape(derm): "picture_towers.dermoscopy.trunk.", re.escape(clinic): "picture_towers.image.trunk."}
    with torch.random.fork_rng(devices=[]):
        if any(name.startswith("cross_proj.") for name in tensors):
            rules |= _add_pair(model, tensors, path)
        if any(name.startswith("prototypes.") for name in tensors):
            rules |= _add_labels(model, tensors, path)
    load_strictly(model, _renamed(tensors, rules, path), str(path))
    return model.eval()


def _expect(tensors: Mapping[str, Tensor], names: Iterable[str], path: Path) -> None:
    if missing := [name for name in names if name not in tensors]:
        there = ", ".join(list(tensors)[:3]) + (", …" if len(tensors) > 3 else "")
        raise ValueError(f"{path} is no checkpoint of SM3: expected {', '.join(missing)}; found {there or 'nothing'}.")


def _architecture(names: Iterable[str], path: Path) -> str:
    """The ResNet whose tensors these are."""
    names = set(names)
    blocks = [len({name.split(".")[1] for name in names if name.startswith(f"layer{n}.")}) for n in (1, 2, 3, 4)]
    kind = "bottleneck" if "layer1.0.conv3.weight" in names else "basic"
    if (kind, *blocks) not in ARCHITECTURES:
        known = ", ".join(ARCHITECTURES.values())
        raise ValueError(f"{path} has towers of {'-'.join(map(str, blocks))} {kind} blocks; known are {known}.")
    return ARCHITECTURES[(kind, *blocks)]


def _add_pair(model: Branches, tensors: Mapping[str, Tensor], path: Path) -> dict[str, str]:
    """The heads that pair the modalities: one for both (sep_shared) or one each (sep_sep)."""
    shared = "cross_proj.0.weight" in tensors
    last = "cross_proj.6.weight" if shared else "cross_proj.0.6.weight"
    _expect(tensors, [last], path)
    model.add("pair", width=tensors[last].shape[0], shared=shared)
    if shared:
        return {r"cross_proj\.": "parts.pair.heads.shared."}
    return {rf"cross_proj\.{i}\.": f"parts.pair.heads.{picture}." for i, picture in enumerate(model.pictures)}


def _add_labels(model: Branches, tensors: Mapping[str, Tensor], path: Path) -> dict[str, str]:
    """The labels' heads: with biases they were taught Derm7pt's classes, without them clusters."""
    _expect(tensors, ["mlc_sa.linear1.weight"], path)
    bias = "prototypes.0.bias" in tensors
    counts = [len(t) for name, t in tensors.items() if name.startswith("prototypes.") and name.endswith(".weight")]
    if bias and counts != [len(classes) for classes in CLASSES.values()]:
        wanted = ", ".join(str(len(classes)) for classes in CLASSES.values())
        raise ValueError(f"{path} has heads of {', '.join(map(str, counts))} classes; Derm7pt's labels have {wanted}.")
    feedforward, width = tensors["mlc_sa.linear1.weight"].shape
    classes = CLASSES if bias else counts
    model.add("labels", classes=classes, relation="tel", width=width, heads=1, feedforward=feedforward, bias=bias)
    return {
        r"projectors\.projectors\.(\d+)\.0\.": r"parts.labels.projections.\1.",
        r"mlc_sa\.": "parts.labels.mixer.",
        r"prototypes\.": "parts.labels.heads.",
    }


def _renamed(tensors: Mapping[str, Tensor], rules: Mapping[str, str], path: Path) -> dict[str, Tensor]:
    """Under our names; a name without a rule stays, for strict loading to report."""
    contrast = [name for name in tensors if re.match(r"(derm|clinic)_backbone\.projector\.", name)]
    if contrast:
        log.warning("%s: left out, heads of the contrast within a modality: projector", path)
    renamed = {}
    for name in (name for name in tensors if name not in contrast):
        rule = next((rule for rule in rules if re.match(rule, name)), None)
        renamed[name if rule is None else re.sub(rule, rules[rule], name, count=1)] = tensors[name]
    return renamed
