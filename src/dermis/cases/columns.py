"""The manifest's columns by name, and what they mean (docs/design.md, "Manifest")."""

PICTURES = ("image", "dermoscopy")
PATHS = (*PICTURES, "mask")
GROUP_KEYS = ("patient_id", "lesion_id", "origin_id")
"""The group of every split: the first of these that a row has, so that no patient stands on both sides."""

TEXT_KINDS = {"caption": 0, "disease_text": 1, "concept_text": 2, "sentences": 3, "dialogue": 4, "complaint": 5}
"""text column -> kind_T of the batch"""

PREFIXES = {
    "finding.": "multi-label findings with classes (seven-point checklist)",
    "concept.": "annotated concepts, 0 to 1",
    "lesion.": "lesion-level metadata: numbers or categories",
    "patient.": "patient-level metadata: numbers or categories",
}

FIXED = {
    "case_id": "unique id of the case: one lesion at one visit",
    "patient_id": "id of the patient",
    "lesion_id": "id of the lesion; several photographs of one lesion are several rows with one lesion_id",
    "image": "path under the image root; archive.zip!/member, file.hdf5!/key and file.npz!/array/17 are paths too",
    "dermoscopy": "path of the paired dermoscopic picture of the same lesion",
    "modality": "clinical, dermoscopic, tbp-tile, … of `image`",
    "mask": "path of the lesion mask",
    "fold": "given fold",
    "origin_id": "of an augmented copy the case_id of its original; of others where the picture is from (a video)",
    "caption": "raw caption",
    "disease_text": "knowledge text about the disease",
    "concept_text": "knowledge text about the visual concepts",
    "sentences": "list of sub-texts",
    "dialogue": "consultation",
    "complaint": "chief complaint",
    "diagnosis": "class label",
    "skin_tone": 'Fitzpatrick type "1" to "6" or a band ("1-2")',
    "split": "train, valid or test",
    "source": "where the case is from",
    "licence": "its licence",
}
"""column -> meaning; beside these a manifest may hold the PREFIXES' columns and TEXT_origin for each text column"""

SPLITS = ("train", "valid", "test")


def known(column: str) -> bool:
    """Is ``column`` one that the manifest defines?"""
    return (
        column in FIXED
        or column.startswith(tuple(PREFIXES))
        or (column.endswith("_origin") and column.removesuffix("_origin") in TEXT_KINDS)
    )
