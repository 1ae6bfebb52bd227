"""What a schema reads of a table, value by value, and the words for what it does not."""

import numpy as np
import pandas as pd

from dermis.cases.table_schema import TableSchema
from dermis.evaluation.known_values import known_values, unknown_values

ANGLE = "lesion.tbp_lv_symm_2axis_angle"
SITES = ["arm", "back", "face", "foot", "hand", "leg"]
SCHEMAS = {
    "lesion": TableSchema({"lesion.size": (2.0, 1.0)}, {"lesion.site": SITES}, {ANGLE: 180.0}),
    "patient": TableSchema({}, {"patient.sex": ["female", "male"], "patient.skin": ["I", "II"]}),
}
TABLE = pd.DataFrame(
    {
        "lesion.size": [0.0, None, 3.0, None],
        ANGLE: [None, 0.0, 90.0, None],
        "lesion.site": ["arm", "scalp", None, "scalp"],
        "patient.sex": ["F", "M", "M", None],
        "patient.age": [1.0, 2.0, 3.0, 4.0],
    },
    index=[5, 6, 7, 8],
)


def test_each_value_is_read_or_not():
    expected = {
        "lesion.size": [True, False, True, False],  # 0 is a value
        ANGLE: [False, True, True, False],
        "lesion.site": [True, False, False, False],
        "patient.sex": [False] * 4,
        "patient.skin": [False] * 4,  # the table lacks the column
    }
    pd.testing.assert_frame_equal(known_values(SCHEMAS, TABLE), pd.DataFrame(expected, index=TABLE.index))
    parts = TABLE.drop(columns=ANGLE).assign(**{f"{ANGLE}_sin": [0.0, None, 1.0, None], f"{ANGLE}_cos": 1.0})
    assert known_values(SCHEMAS, parts)[ANGLE].tolist() == [True, False, True, False]
    assert known_values({"lesion": TableSchema({}, {})}, TABLE).shape == (4, 0)


def test_what_is_unknown_is_said_with_the_commonest_and_what_is_known():
    assert unknown_values(SCHEMAS, TABLE) == [
        "lesion.site, 2 of 3 values, such as 'scalp' (known: arm, back, face, foot, hand, …)",
        "patient.sex, all 3 values, such as 'M' (known: female, male)",
    ]
    right = TABLE.assign(**{"patient.sex": "male", "lesion.site": np.array(SITES)[[0, 1, 2, 5]]})
    assert unknown_values(SCHEMAS, right) == []
