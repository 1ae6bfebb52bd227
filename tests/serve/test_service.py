"""What a served model can do, as plain functions: without HTTP."""

import dermis
from dermis.serve.service import Service
from dermis.serve.settings import Settings


def test_of_a_case_with_two_pictures_its_own_row_is_not_found_in_whatever_order_they_are_sent(
    pair, tiny_cases, tmp_path
):
    cases = tiny_cases[1].select(range(6))
    dermis.write_embeddings(tmp_path / "embeddings", dermis.load(pair), cases, source=str(pair))
    service = Service(Settings(model=str(pair), embeddings=str(tmp_path / "embeddings")))
    row = cases.table.iloc[2]
    for order in (("image", "dermoscopy"), ("dermoscopy", "image")):
        case = service.open({column: (cases.root / row[column]).read_bytes() for column in order})
        row_K, _ = service.search(case, service.see([case])[0], None, (), 6, None)
        assert sorted(row_K) == [0, 1, 3, 4, 5]


def test_pictures_of_another_column_are_searched_by_the_models_only_one(two_tower, tiny_cases, tmp_path):
    cases = tiny_cases[1].select(range(6))
    model = str(two_tower[0])
    dermis.write_embeddings(tmp_path / "embeddings", dermis.load(model), cases, source=model, column="dermoscopy")
    service = Service(Settings(model=model, embeddings=str(tmp_path / "embeddings")))
    case = service.open({"image": (cases.root / cases.table["dermoscopy"].iloc[2]).read_bytes()})
    row_K, _ = service.search(case, service.see([case])[0], None, (), 6, None)
    assert sorted(row_K) == [0, 1, 3, 4, 5]
