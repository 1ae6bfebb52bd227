"""Which packages are there, which are missing and for what, and which combinations are known to be bad."""

import importlib
import re
from dataclasses import dataclass
from functools import cache
from importlib import metadata, util

from dermis.doctor.note import Note
from dermis.publish.paths import clean_text

IMPORTED = {
    "numpy": "numpy", "pandas": "pandas", "pyarrow": "pyarrow", "pillow": "PIL", "opencv-python-headless": "cv2",
    "torch": "torch", "torchvision": "torchvision", "timm": "timm",
}  # fmt: skip
"""package -> module: those with compiled parts that fail to load in ways that a version does not show"""
REPLACED = {"simplejpeg": "JPEGs are decoded by Pillow, more slowly, and of damage only truncation is noticed"}
"""required packages that dermis can do without -> at what price"""


@dataclass(frozen=True)
class Extra:
    """What `pip install 'dermis[NAME]'` brings: package -> the module that it is imported as; and what needs it."""

    modules: dict[str, str]
    needed_for: str

    def versions(self) -> dict[str, str | None]:
        """Package -> version; None if it is not there, and "another's" if another package brings the module.

        faiss-gpu is as good as faiss-cpu.
        """
        return {p: (version(p) or "another's") if _there(module) else None for p, module in self.modules.items()}


EXTRAS = {
    "corpus": Extra({"py3langid": "py3langid"}, "dermis corpus, its rule `language` (or --skip language)"),
    "dicom": Extra({"pydicom": "pydicom"}, "pictures in DICOM, dermis import dicom"),
    "export": Extra(
        {"onnx": "onnx", "onnxscript": "onnxscript", "onnxruntime": "onnxruntime"}, "dermis publish --onnx"
    ),
    "heic": Extra({"pillow-heif": "pillow_heif"}, "pictures in HEIC, as phones take them"),
    "hf": Extra({"transformers": "transformers"}, "text towers `hf:…`, model folders in the layout of transformers"),
    "llm": Extra({"openai": "openai"}, "dermis knowledge --server.url … (a language model reads the captions)"),
    "lora": Extra({"peft": "peft"}, "dermis evaluate --protocol finetune with finetune.lora"),
    "ontology": Extra({"pronto": "pronto"}, "dermis knowledge --ontology with an OBO or OWL file"),
    "search": Extra({"faiss-cpu": "faiss"}, "dermis search --index-above (exact search needs nothing)"),
    "serve": Extra(
        {"fastapi": "fastapi", "uvicorn": "uvicorn", "python-multipart": "python_multipart",
         "prometheus-client": "prometheus_client"},
        "dermis serve",
    ),
    "text": Extra({"sacrebleu": "sacrebleu"}, "BLEU of generated texts in dermis evaluate"),
    "track": Extra({"tensorboard": "tensorboard"}, "dermis train with training.tensorboard"),
}  # fmt: skip


def _there(module: str) -> bool:
    return util.find_spec(module) is not None


def version(package: str) -> str | None:
    """The installed version; None without the package."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def required() -> dict[str, str]:
    """Package -> the oldest version that will do, as the installed dermis itself records it."""
    lines = [line for line in metadata.requires("dermis") or () if "extra ==" not in line]
    return {m[1]: m[2] for line in lines if (m := re.match(r"([\w.-]+)\s*>=\s*([\d.]+)", line))}


def package_notes() -> list[Note]:
    """What is missing, too old or does not load among what every command needs."""
    notes = []
    for package, oldest in required().items():
        found = version(package)
        if found is None and package in REPLACED:
            notes.append(Note("warning", f"{package} is missing: {REPLACED[package]} (pip install {package})."))
        elif found is None and not _there(IMPORTED.get(package, package.replace("-", "_"))):
            notes.append(Note("broken", f"{package} is missing: pip install '{package}>={oldest}'."))
        elif found is not None and _release(found) < _release(oldest):
            notes.append(Note("broken", f"{package} {found} is too old: pip install '{package}>={oldest}'."))
        elif package in IMPORTED and (why := trouble(IMPORTED[package])):
            notes.append(Note("broken", f"{package} {found} is installed but does not load: {why}"))
    return notes


@cache
def trouble(module: str) -> str | None:
    """Why importing ``module`` fails, in a sentence without anybody's folders; None if it loads."""
    try:
        if module in ("torchvision", "timm"):
            importlib.import_module("dermis.torchvision_operators")
        importlib.import_module(module)
    except Exception as error:  # a compiled part may raise anything; that is what is asked
        said = str(error).strip().splitlines() or [""]
        return f"{type(error).__name__}: {clean_text(said[0])}."
    return None


def combination_notes() -> list[Note]:
    """Combinations of packages that are known to be bad, and whether dermis deals with them."""
    notes = []
    if trouble("torch") is None and _operators_repaired():
        sentence = "torchvision's compiled part cannot load beside this torch: handled, its Python part is enough."
        notes.append(Note("note", sentence))
    if trouble("PIL") is None and not _pillow_reads("webp"):
        notes.append(Note("warning", "this Pillow reads no WebP: such pictures are refused (pip install -U pillow)."))
    others = [p for p in ("opencv-python", "opencv-contrib-python", "opencv-contrib-python-headless") if version(p)]
    if others and version("opencv-python-headless"):
        notes.append(
            Note("warning", f"opencv-python-headless and {others[0]} write the same files, and the later one wins: "
                 f"pip uninstall {others[0]} opencv-python-headless && pip install opencv-python-headless.")
        )  # fmt: skip
    return notes


def _operators_repaired() -> bool:
    return importlib.import_module("dermis.torchvision_operators").repaired()


def _pillow_reads(format_name: str) -> bool:
    from PIL import features

    return bool(features.check(format_name))


def _release(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", text.partition("+")[0])[:3])
