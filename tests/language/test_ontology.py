"""Ontologies: Derm1M's tree in both forms, OBO and OWL, our own tree, and distances counted by networkx and by hand."""

import json
from collections import Counter
from importlib.resources import files
from itertools import combinations

import networkx
import numpy as np
import pytest

from dermis.language.ontology import Ontology, default_ontology
from dermis.language.ontology_files import Entry
from dermis.language.prompts import class_list, class_lists

TREE = {
    "neoplasm": {
        "benign": {"melanocytic": {"Nevus, mole": {}, "halo nevus": {}}},
        "malignant": {"melanocytic": {"Melanoma, malignant melanoma": {}}},
    },
    "nail diseases": {"nail psoriasis": {}, " ": {}},
}
NOT_A_DISEASE = {"snu-134": ["abnormal"]}

OWL = """<?xml version="1.0"?>
<rdf:RDF xmlns="http://example.org/skin.owl#" xml:base="http://example.org/skin.owl"
     xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" xmlns:owl="http://www.w3.org/2002/07/owl#"
     xmlns:rdfs="http://www.w3.org/2000/01/rdf-schema#" xmlns:obo="http://purl.obolibrary.org/obo/"
     xmlns:oboInOwl="http://www.geneontology.org/formats/oboInOwl#">
  <owl:Ontology rdf:about="http://example.org/skin.owl"/>
  <owl:Class rdf:about="http://purl.obolibrary.org/obo/SKIN_1"><rdfs:label>skin disease</rdfs:label></owl:Class>
  <owl:Class rdf:about="http://purl.obolibrary.org/obo/SKIN_2"><rdfs:label>psoriasis</rdfs:label>
    <rdfs:subClassOf rdf:resource="http://purl.obolibrary.org/obo/SKIN_1"/></owl:Class>
  <owl:Class rdf:about="http://purl.obolibrary.org/obo/SKIN_3"><rdfs:label>nail disease</rdfs:label>
    <rdfs:subClassOf rdf:resource="http://purl.obolibrary.org/obo/SKIN_1"/></owl:Class>
  <owl:Class rdf:about="http://purl.obolibrary.org/obo/SKIN_4"><rdfs:label>nail psoriasis</rdfs:label>
    <rdfs:subClassOf rdf:resource="http://purl.obolibrary.org/obo/SKIN_2"/>
    <rdfs:subClassOf rdf:resource="http://purl.obolibrary.org/obo/SKIN_3"/>
    <oboInOwl:hasExactSynonym>psoriatic nail</oboInOwl:hasExactSynonym>
    <oboInOwl:hasBroadSynonym>nail trouble</oboInOwl:hasBroadSynonym></owl:Class>
</rdf:RDF>
"""


@pytest.fixture
def written(tmp_path):
    """Content -> ontology, through a file."""

    def write(content, name="skin.json"):
        (tmp_path / name).write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
        return Ontology.read(tmp_path / name)

    return write


@pytest.fixture(scope="module")
def derm1m(shared_data):
    return json.loads((shared_data / "derm_vocab" / "derm1m_ontology_tree.json").read_text(encoding="utf-8"))


def adjacency(tree):
    """Derm1M's flat form of its nested form: names alone tell nodes apart."""
    flat = {"root": list(tree)}

    def visit(children):
        for name, below in children.items():
            if below:
                flat.setdefault(name, []).extend(below)
            visit(below)

    visit(tree)
    return flat


def test_the_nested_form(written):
    skin = written(TREE)
    assert skin.nodes == (
        "neoplasm", "benign", "benign melanocytic", "Nevus", "halo nevus", "malignant", "malignant melanocytic",
        "Melanoma", "nail diseases", "nail psoriasis", "nail diseases (unnamed)",
    )  # fmt: skip
    assert skin.names("Melanoma") == ("Melanoma", "malignant melanoma")
    assert skin.lineage("Melanoma") == ("neoplasm", "malignant", "malignant melanocytic", "Melanoma")
    assert skin.ancestors("Melanoma") == {"neoplasm", "malignant", "malignant melanocytic"}
    assert skin.parents("neoplasm") == ()


def test_distances_by_hand(written):
    skin = written(TREE)
    assert skin.distance("Melanoma", "Melanoma") == 0
    assert skin.distance("Nevus", "halo nevus") == 2
    assert skin.distance("Nevus", "benign") == 2
    assert skin.distance("Nevus", "Melanoma") == 6  # three edges up to neoplasm and three down
    assert skin.distance("Melanoma", "nail psoriasis") == 6  # over the root
    assert skin.distances(["Nevus", "benign"]).tolist() == [[0, 2], [2, 0]]


def test_similarity_by_hand(written):
    nodes = ["Nevus", "halo nevus", "Melanoma", "benign", "nail psoriasis"]
    expected = [
        [1, 6 / 8, 2 / 8, 4 / 6, 0],
        [6 / 8, 1, 2 / 8, 4 / 6, 0],
        [2 / 8, 2 / 8, 1, 2 / 6, 0],
        [4 / 6, 4 / 6, 2 / 6, 1, 0],
        [0, 0, 0, 0, 1],
    ]
    np.testing.assert_allclose(written(TREE).similarity(nodes), expected, atol=1e-12)


def test_a_disease_of_two_parents(written):
    skin = written(
        "psoriasis:\n  plaque:\n    nail psoriasis | psoriatic nail:\nnail disease:\n  nail psoriasis:\n", "a.yaml"
    )
    assert skin.parents("nail psoriasis") == ("plaque", "nail disease")
    assert skin.lineage("nail psoriasis") == ("nail disease", "nail psoriasis")  # the shorter way
    assert skin.ancestors("nail psoriasis") == {"plaque", "psoriasis", "nail disease"}
    assert skin.distance("nail psoriasis", "plaque") == 1
    # over "plaque" (depth 2, one edge) and not over the lineage, which has only the root in common
    assert skin.similarity(["nail psoriasis", "plaque"])[0, 1] == pytest.approx(4 / 5)


@pytest.mark.parametrize(
    ("spelling", "node"),
    [
        ("bowens disease", "bowen disease"), ("Bowen’s  Disease", "bowen disease"), ("nevi", "melanocytic nevus"),
        ("Darier-White disease", "darier disease"), ("café-au-lait macules", "cafe au lait macule"),
        ("seborrhoeic keratoses", "seborrheic keratosis"), ("haemangioma", "angioma"), ("XANTHOMAS", "xanthoma"),
        ("basal-cell carcinomas", "basal cell carcinoma"), ("naevus spilus", "nevus spilus"), ("", None), ("?", None),
        ("nevus of nobody", None),
    ],
)  # fmt: skip
def test_spellings_that_do_not_matter(spelling, node):
    assert default_ontology().find(spelling) == node


def test_unknown_names_get_the_nearest():
    with pytest.raises(ValueError, match=r"unknown disease 'melanomma'\. Did you mean 'melanoma'"):
        default_ontology().node("melanomma")
    with pytest.raises(ValueError, match="unknown node of the ontology 'malignant melanoma'"):
        default_ontology().lineage("malignant melanoma")  # a synonym is no node


@pytest.mark.parametrize("name", class_lists())
def test_every_class_of_every_protocol_is_in_our_tree(name):
    missing = [disease for disease in class_list(name) if default_ontology().find(disease) is None]
    assert missing == NOT_A_DISEASE.get(name, [])


@pytest.mark.parametrize(
    ("name", "group"),
    [
        ("melanoma", "malignant neoplasm"), ("nevus", "benign neoplasm"), ("dyshidrosiform eczema", "eczema"),
        ("tinea manus", "fungal infection"), ("kerion", "fungal infection"), ("scabies", "infection or infestation"),
        ("actinic keratosis", "premalignant neoplasm"), ("nail psoriasis", "nail disorder"),
        ("lupus subacute", "connective tissue disease"), ("verruca plana", "viral infection"),
    ],
)  # fmt: skip
def test_our_tree_says_what_a_dermatologist_says(name, group):
    skin = default_ontology()
    assert group in skin.ancestors(skin.node(name))


def test_our_file_loses_no_line_and_no_name_means_two_diseases():
    text = (files("dermis.language") / "data" / "diseases.yaml").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    skin = default_ontology()
    assert sum(max(1, len(skin.parents(node))) for node in skin.nodes) == len(lines)
    assert [name for node in skin.nodes for name in skin.names(node) if skin.find(name) != node] == []


@pytest.mark.data
def test_the_tree_of_derm1m(written, derm1m):
    skin = written(derm1m)
    assert len(skin) == 371
    assert Counter(len(skin.lineage(node)) for node in skin.nodes) == {1: 7, 2: 88, 3: 109, 4: 148, 5: 19}
    inner = {parent for node in skin.nodes for parent in skin.parents(node)}
    assert len(set(skin.nodes) - inner) == 317
    assert [node for node in skin.nodes if "unnamed" in node] == ["Bullous disease (unnamed)"]
    assert skin.lineage(skin.node("melanoma"))[:2] == ("proliferations", "malignant")


@pytest.mark.data
def test_both_forms_of_derm1m_agree(written, derm1m):
    flat_file = adjacency(derm1m)
    assert len({*flat_file, *(name for children in flat_file.values() for name in children)}) == 370  # the published
    assert len(flat_file) == 53
    nested, flat = written(derm1m), written(flat_file, "flat.json")
    # the flat form cannot tell benign "melanocytic" from malignant
    apart = {"benign melanocytic", "malignant melanocytic", "benign non-melanocytic", "malignant non-melanocytic"}
    renamed = {"Condyloma acuminatum", "Verruca vulgaris Condyloma acuminatum"}
    same = [node for node in nested.nodes if not (nested.ancestors(node) | {node}) & (apart | renamed)]
    assert len(same) > 280
    assert all(flat.lineage(node) == nested.lineage(node) and flat.names(node) == nested.names(node) for node in same)
    assert (flat.distances(same[::5]) == nested.distances(same[::5])).all()
    assert flat.parents("melanocytic") == ("benign", "malignant")


@pytest.mark.data
def test_distances_of_derm1m_are_networkxs(written, derm1m):
    skin = written(derm1m)
    graph = networkx.Graph((parent, node) for node in skin.nodes for parent in skin.parents(node) or ["the root"])
    chosen = skin.nodes[::9]
    lengths = dict(networkx.all_pairs_shortest_path_length(graph))
    assert all(skin.distance(a, b) == lengths[a][b] for a, b in combinations(chosen, 2))


def test_obo_written_by_pronto(tmp_path):
    pronto = pytest.importorskip("pronto")
    terms = pronto.Ontology()
    by_name = {}
    for number, name in enumerate(["skin disease", "psoriasis", "nail disease", "nail psoriasis", "old name"]):
        by_name[name] = terms.create_term(f"SKIN:{number}")
        by_name[name].name = name
    for name, parent in [("psoriasis", "skin disease"), ("nail disease", "skin disease"),
                         ("nail psoriasis", "psoriasis"), ("nail psoriasis", "nail disease")]:  # fmt: skip
        by_name[name].superclasses().add(by_name[parent])
    by_name["nail psoriasis"].add_synonym("psoriatic nail", scope="EXACT")
    by_name["nail psoriasis"].add_synonym("nail trouble", scope="BROAD")
    by_name["old name"].obsolete = True
    with (tmp_path / "skin.obo").open("wb") as file:
        terms.dump(file, format="obo")
    assert_nail_psoriasis(Ontology.read(tmp_path / "skin.obo"))


def test_owl_written_by_hand(written):
    pytest.importorskip("pronto")
    assert_nail_psoriasis(written(OWL, "skin.owl"))


def assert_nail_psoriasis(skin):
    assert set(skin.nodes) == {"psoriasis", "nail disease", "nail psoriasis"}  # "skin disease" is the root
    assert set(skin.parents("nail psoriasis")) == {"psoriasis", "nail disease"}
    assert skin.names("nail psoriasis") == ("nail psoriasis", "psoriatic nail")
    assert skin.distance("psoriasis", "nail disease") == 2


@pytest.mark.parametrize(
    ("content", "name", "sentence"),
    [
        ("{", "a.json", "is not a readable ontology"),
        ("[1]", "a.json", "must be a mapping"),
        ("{}", "a.json", "holds no disease"),
        ('{"a": ["b"]}', "a.json", 'needs the key "root"'),
        ('{"root": ["a"], "b": ["c"]}', "a.json", "'b' has children but is nobody's child"),
        ('{"root": ["a"], "a": ["b"], "b": ["a"]}', "a.json", "goes round in a circle"),
        ('{"a":' * 3000 + "{}" + "}" * 3000, "a.json", "is not a readable ontology"),
        ("a: [b", "a.yaml", "is not a readable ontology"),
        ("a: 3", "a.yaml", "must be a mapping"),
        ('{"root": [1]}', "a.json", "the children of 'root' must be a list of names"),
        ('{"root": ["a"], "a": [{"b": 1}]}', "a.json", "the children of 'a' must be a list of names"),
        ("a: {' | ': }", "a.yaml", r"a node has no name: ' \| '"),
        ("", "a.txt", "unknown kind of ontology file '.txt'"),
    ],
)
def test_broken_files_are_explained(written, content, name, sentence):
    with pytest.raises(ValueError, match=sentence):
        written(content, name)


def test_broken_entries_are_explained():
    with pytest.raises(ValueError, match="two nodes of the ontology are called 'a'"):
        Ontology([Entry("a"), Entry("a")])
    with pytest.raises(ValueError, match="'a' is a kind of 'b', which is not in the ontology"):
        Ontology([Entry("a", ("b",))])
