"""Which metadata of each set a method may see: all that describes lesion and patient, nothing that tells the label."""

from pathlib import Path

import pandas as pd
import pytest
import yaml

from dermis.cases.catalogue import import_set

RECIPES = Path(__file__).parents[3] / "recipes"

SITE, AGE_SEX = ["lesion.localization"], ["patient.age", "patient.sex"]
SETS = {
    "ham10000": ("ham10000_200x150", [*SITE, *AGE_SEX]),
    "isic2019": ("isic2019_tables", [*SITE, *AGE_SEX]),
    "isic2020": ("isic2020_tables", [*SITE, *AGE_SEX]),
    "milk10k": ("milk10k_tables", [*SITE, *AGE_SEX, "patient.skin_tone_class"]),
    "pad-ufes-20": (
        "pad_ufes20_subset",
        [
            *SITE, "lesion.diameter_1", "lesion.diameter_2", "lesion.itch", "lesion.grew", "lesion.hurt",
            "lesion.changed", "lesion.bleed", "lesion.elevation", *AGE_SEX, "patient.background_father",
            "patient.background_mother", "patient.smoke", "patient.drink", "patient.pesticide",
            "patient.skin_cancer_history", "patient.cancer_history", "patient.has_piped_water",
            "patient.has_sewage_system", "patient.fitzpatrick",
        ],
    ),
}  # fmt: skip
PROXIES = (
    "dx_type", "biops", "confirm", "confidence", "iddx", "mel_", "target", "benign", "malignan", "histopath",
    "thickness", "melanocytic", "diagnos", "difficulty",
)  # fmt: skip
TBP = (
    "A", "Aext", "B", "Bext", "C", "Cext", "H", "Hext", "L", "Lext", "areaMM2", "area_perim_ratio",
    "color_std_mean", "deltaA", "deltaB", "deltaL", "deltaLB", "deltaLBnorm", "eccentricity", "location",
    "location_simple", "minorAxisMM", "nevi_confidence", "norm_border", "norm_color", "perimeterMM",
    "radial_color_std_max", "stdL", "stdLExt", "symm_2axis", "symm_2axis_angle", "x", "y", "z",
)  # fmt: skip


@pytest.mark.data
@pytest.mark.parametrize("name", SETS)
def test_the_real_tables_give_these_columns(shared_data, name):
    folder, expected = SETS[name]
    table = import_set(name, shared_data / folder).table
    metadata = [c for c in table if c.startswith(("lesion.", "patient."))]
    assert metadata == expected
    assert not [c for c in metadata for word in PROXIES if word in c.lower()]


@pytest.mark.data
def test_slice3d_gives_everything_that_its_test_part_has(shared_data):
    """What also the test part of a competition has cannot be the answer; the rest of the training table is left out."""
    folder = shared_data / "isic2024_sample"
    table = import_set("isic2024", folder).table
    metadata = {c.split(".")[1] for c in table if c.startswith(("lesion.", "patient."))}
    measured = {f"tbp_lv_{name}" for name in TBP}
    assert measured | {"tbp_tile_type", "clin_size_long_diam_mm"} <= set(pd.read_csv(folder / "test-metadata.csv"))
    as_direction = {"tbp_lv_symm_2axis_angle_sin", "tbp_lv_symm_2axis_angle_cos"}
    others = {"localization", "tbp_tile_type", "clin_size_long_diam_mm", "age", "sex"}
    assert metadata == (measured - {"tbp_lv_symm_2axis_angle"}) | as_direction | others


@pytest.mark.data
@pytest.mark.parametrize(
    "name, left_out",
    [("isic2019", set()), ("pad-ufes-20", set()), ("milk10k", {"inflammatory or infectious condition"})],
)
def test_malignant_and_benign_of_the_recipes_are_the_diagnoses_of_the_set(shared_data, name, left_out):
    recipe = yaml.safe_load((RECIPES / f"slimp_{name.replace('-', '_')}.yaml").read_text())
    merged = [diagnosis for names in recipe["evaluation"]["merge"].values() for diagnosis in names]
    diagnoses = set(import_set(name, shared_data / SETS[name][0]).table["diagnosis"].dropna())
    assert diagnoses - set(merged) == left_out
    assert set(merged) <= diagnoses
