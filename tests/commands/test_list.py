"""dermis list"""

import pytest

from dermis.cases.catalogue import READERS
from dermis.cases.catalogue.pages import first_sentence, paragraphs
from dermis.commands.list import lines


def test_each_data_set_is_listed_with_its_licence_and_how_to_obtain_it():
    shown = lines("datasets")
    assert len(shown) == 2 * len(list(READERS))
    for name, line, below in zip(READERS, shown[::2], shown[1::2], strict=True):
        said = paragraphs(READERS[name].__doc__)
        assert line.split() == [name, *READERS.summary(name).split()]
        licence, obtain = first_sentence(said["Licence"]), first_sentence(said["Obtain"])
        assert below == f"{' ' * 18}licence: {licence}; obtain: {obtain}"
    at = shown.index(next(line for line in shown if line.startswith("hiba ")))
    assert shown[at + 1].strip() == (
        "licence: CC BY; each picture's own is in the licence column; obtain: `isic image download --collections 251 "
        "FOLDER` with the ISIC archive's client, isic-cli; no account is needed"
    )


def test_the_topic_is_called_datasets():
    with pytest.raises(ValueError, match=r"unknown topic 'dataset'\. Did you mean 'datasets'"):
        lines("dataset")
