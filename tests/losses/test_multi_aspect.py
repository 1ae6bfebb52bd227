"""multi_aspect: against MAKE's equations written as loops, each option; chunks; rows of several ranks; odd batches."""

import itertools
import math

import pytest
import torch
import torch.nn.functional as F

from dermis.losses.multi_aspect import (
    DISEASE,
    RAW,
    SENTENCE,
    diagnosis_weights,
    multi_aspect,
    multi_aspect_pooled,
    patches_of_raw_text,
)

CASES, PATCHES, WIDTH = 5, 4, 6
# case 1 has no raw text, case 2 no disease text, case 3 no sentences, case 4 no text but one sentence
OCCURRENCES = [
    *((0, 0), (0, 1), (0, 2), (0, 3), (0, 3), (0, 3)),
    *((1, 1), (1, 3), (1, 3)),
    *((2, 0), (2, 2), (2, 3), (2, 3)),
    *((3, 0), (3, 1), (3, 2)),
    *((4, 3),),
]
OWNER, KIND = (list(column) for column in zip(*OCCURRENCES, strict=True))
# disease of 0, 1 and 3; a sentence of 0 is the raw text of 2; a sentence of 1 twice; concept of 0 and 2
STRING = [0, 1, 2, 3, 4, 5, 1, 6, 6, 4, 2, 7, 8, 9, 1, 10, 11]


@pytest.fixture
def given(det):
    """Pictures, one vector per string, patches; float64 with gradient."""
    image = F.normalize(det((CASES, WIDTH), 41), dim=-1).requires_grad_()
    strings = F.normalize(det((12, WIDTH), 42) + 0.7, dim=-1).requires_grad_()  # most cosines are positive
    patch = det((CASES, PATCHES, WIDTH), 43).requires_grad_()
    return image, strings, patch, torch.tensor(4.0, dtype=torch.float64, requires_grad=True)


def owners_of(t, string):
    return sorted({OWNER[u] for u in range(len(OWNER)) if string[u] == string[t]})


def equations(image, text, patch, scale, *, string=None, lambda_s=0.7, i2t="texts", siblings="excluded",
              weights="ratio", weigh=("i2t", "t2i", "slra"), reduction="mean"):  # fmt: skip
    """Equations 3 to 8, one exponential at a time."""
    T, B = range(len(OWNER)), range(len(image))
    string = list(T) if string is None else string

    def score(x, y):
        return torch.exp(scale * sum(a * b for a, b in zip(x, y, strict=True)))

    e_k = {}
    for b in B:
        raw = [t for t in T if OWNER[t] == b and KIND[t] == RAW]
        if raw:
            z = [patch[b, p] @ text[raw[0]] for p in range(PATCHES)]
            vector = sum(patch[b, p] * z[p] / sum(z) for p in range(PATCHES))
            e_k[b] = vector / vector.norm()

    def weight(t):
        disease = [u for u in T if OWNER[u] == OWNER[t] and KIND[u] == DISEASE]
        if KIND[t] != SENTENCE or not disease or weights == "none":
            return 1.0
        c = {u: (text[disease[0]] @ text[u]).item() for u in T if OWNER[u] == OWNER[t] and KIND[u] == SENTENCE}
        if weights == "exp":
            return math.exp(c[t] - max(c.values()))
        return min(max(c[t] / max(c.values()), 0.0), 1.0)

    def to_image(t, vectors):
        owners = [o for o in owners_of(t, string) if o in vectors]
        below = sum(score(vectors[n], text[t]) for n in vectors)
        return -torch.log(sum(score(vectors[o], text[t]) / below for o in owners) / len(owners))

    def to_text(t):
        b = OWNER[t]
        own = [u for u in T if b in owners_of(u, string)]
        among = [u for u in T if u == t or u not in own] if siblings == "excluded" else T
        below = sum(score(image[b], text[u]) for u in among)
        wanted = [u for u in T if OWNER[u] == b] if siblings == "soft" else [t]
        return -sum(torch.log(score(image[b], text[u]) / below) for u in wanted) / len(wanted)

    def reduced(term, losses):
        w = {t: weight(t) if term in weigh else 1.0 for t in losses}
        total = sum(w[t] * losses[t] for t in losses)
        return total if reduction == "sum" else total / sum(w.values())

    images = {b: image[b] for b in B}
    t2i = {t: to_image(t, images) for t in T}
    found = {"t2i": reduced("t2i", t2i)}
    found["i2t"] = reduced("i2t", t2i if i2t == "images" else {t: to_text(t) for t in T})
    found["slra"] = reduced("slra", {t: to_image(t, e_k) for t in T if KIND[t] == SENTENCE and OWNER[t] in e_k})
    found["mkcl"] = (found["i2t"] + found["t2i"]) / 2
    return found | {"loss": found["mkcl"] + lambda_s * found["slra"]}


OPTIONS = [
    {},
    {"siblings": "negatives"},
    {"siblings": "soft"},
    {"i2t": "images"},
    {"weights": "exp"},
    {"weights": "none"},
    {"weigh": ("i2t", "slra")},
    {"weigh": (), "reduction": "sum"},
    {"reduction": "sum", "siblings": "negatives", "weights": "exp", "lambda_s": 1.3},
]


@pytest.mark.parametrize("distinct", [False, True], ids=["literal", "shared"])
@pytest.mark.parametrize("chunk", [None, 2])
@pytest.mark.parametrize("options", OPTIONS, ids=lambda o: "-".join(map(str, o.values())) or "default")
def test_equals_the_equations_as_loops(given, options, chunk, distinct):
    image, strings, patch, scale = given
    ids = torch.tensor(STRING) * 3 + 1 if distinct else None
    text = strings[STRING]
    found = multi_aspect(
        image, text, patch, torch.tensor(OWNER), torch.tensor(KIND), scale, distinct_T=ids, chunk=chunk, **options
    )
    loops = equations(image, text, patch, scale, string=STRING if distinct else None, **options)
    assert found.keys() == loops.keys()
    for name, value in loops.items():
        torch.testing.assert_close(found[name], value, atol=1e-11, rtol=0, msg=name)
    for ours, theirs in zip(
        torch.autograd.grad(found["loss"], given, retain_graph=True),
        torch.autograd.grad(loops["loss"], given),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs, atol=1e-10, rtol=0)


def test_options_do_not_all_say_the_same(given):
    image, strings, patch, scale = given
    losses = [
        multi_aspect(image, strings[STRING], patch, torch.tensor(OWNER), torch.tensor(KIND), scale,
                     distinct_T=torch.tensor(STRING), **options)["loss"].item()
        for options in OPTIONS
    ]  # fmt: skip
    assert all(abs(a - b) > 1e-4 for a, b in itertools.combinations(losses, 2)), losses


@pytest.mark.parametrize("form", ["ratio", "exp"])
def test_weights_are_those_of_equation_7_and_carry_no_gradient(form):
    text = torch.tensor([[1.0, 0], [0.6, 0.8], [0.8, -0.6], [-0.6, 0.8], [0.0, 1.0]]).requires_grad_()
    owner, kind = torch.zeros(5, dtype=torch.int64), torch.tensor([DISEASE, SENTENCE, SENTENCE, SENTENCE, RAW])
    found = diagnosis_weights(text, owner, kind, cases=1, form=form)
    expected = [1, 0.75, 1, 0, 1] if form == "ratio" else [1, math.exp(-0.2), 1, math.exp(-1.4), 1]
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float32))
    assert not found.requires_grad


def test_sentences_that_all_contradict_the_diagnosis_weigh_alike():
    text = torch.tensor([[1.0, 0], [-0.6, 0.8], [-0.8, -0.6], [0.0, 1.0]])
    owner, kind = torch.zeros(4, dtype=torch.int64), torch.tensor([DISEASE, SENTENCE, SENTENCE, RAW])
    assert diagnosis_weights(text, owner, kind, cases=1).tolist() == [1, 1, 1, 1]
    zero = torch.tensor([[1.0, 0], [0.0, 1.0], [-0.6, 0.8], [1.0, 0]])
    assert diagnosis_weights(zero, owner, kind, cases=1).tolist() == [1, 1, 1, 1]


@pytest.mark.parametrize("distinct", [False, True], ids=["literal", "shared"])
@pytest.mark.parametrize("options", OPTIONS, ids=lambda o: "-".join(map(str, o.values())) or "default")
def test_shares_of_the_ranks_average_to_the_whole(given, options, distinct):
    image, strings, patch, scale = given
    image, patch = torch.cat([image, image[:1] * 0.9]), torch.cat([patch, patch[:1]])  # six cases: three ranks of two
    text, owner, kind = strings[STRING], torch.tensor(OWNER), torch.tensor(KIND)
    pooled, has_raw = patches_of_raw_text(patch, text, owner, kind)
    given_all = (image, text, pooled, has_raw, owner, kind, scale)
    ids = torch.tensor(STRING) if distinct else None
    whole = multi_aspect_pooled(*given_all, distinct_T=ids, **options)
    ranks = [
        multi_aspect_pooled(*given_all, distinct_T=ids, chunk=chunk, first=first, rows=2, **options)
        for chunk, first in ((None, 0), (1, 2), (2, 4))
    ]
    for name, value in whole.items():
        torch.testing.assert_close(sum(r[name] for r in ranks) / 3, value, atol=1e-12, rtol=0, msg=name)
    parts = torch.autograd.grad(sum(r["loss"] for r in ranks) / 3, given, retain_graph=True)
    for ours, theirs in zip(parts, torch.autograd.grad(whole["loss"], given), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-12, rtol=0)


@pytest.mark.parametrize("chunk", [None, 2])
def test_finite_differences(given, chunk):
    image, strings, patch, scale = given
    owner, kind, ids = torch.tensor(OWNER), torch.tensor(KIND), torch.tensor(STRING)
    # weights are constants of the step, finite differences would move them
    assert torch.autograd.gradcheck(
        lambda i, s, p, c: multi_aspect(
            i, s[STRING], p, owner, kind, c, distinct_T=ids, weights="none", chunk=chunk
        )["loss"],
        (image, strings, patch, scale),
    )  # fmt: skip


@pytest.mark.parametrize("chunk", [None, 2])
@pytest.mark.parametrize(
    ("owner", "kind", "string"),
    [
        ([0, 0, 0], [0, 1, 3], [0, 1, 2]),  # one case: nothing to tell apart
        ([0, 1, 2], [1, 1, 1], [0, 0, 0]),  # one string for all
        ([0, 1], [2, 3], [0, 1]),  # no raw text anywhere, and a case without texts
        ([], [], []),
    ],
    ids=["one case", "one string", "no raw text", "no texts"],
)
def test_batches_with_nothing_to_learn_stay_finite(given, owner, kind, string, chunk):
    image, strings, patch, scale = given
    cases = max(3, 1) if owner != [0, 0, 0] else 1
    found = multi_aspect(
        image[:cases], strings[string], patch[:cases], torch.tensor(owner, dtype=torch.int64),
        torch.tensor(kind, dtype=torch.int64), scale, distinct_T=torch.tensor(string, dtype=torch.int64), chunk=chunk,
    )  # fmt: skip
    gradients = torch.autograd.grad(found["loss"], given, allow_unused=True)
    assert all(value.isfinite() for value in found.values())
    assert all(g is None or g.isfinite().all() for g in gradients)
    if cases == 1:
        assert found["loss"].item() == pytest.approx(0, abs=1e-12)
    if string == [0, 0, 0]:
        assert found["t2i"].item() == pytest.approx(math.log(3))
        assert found["i2t"].item() == pytest.approx(0, abs=1e-12)


def test_float32_is_close_to_float64(given):
    image, strings, patch, _ = (x.detach() for x in given)
    wide = multi_aspect(image, strings[STRING], patch, torch.tensor(OWNER), torch.tensor(KIND), 20.0)
    single = multi_aspect(
        image.float(), strings[STRING].float(), patch.float(), torch.tensor(OWNER), torch.tensor(KIND), 20.0, chunk=2
    )
    assert single["loss"].dtype == torch.float32
    torch.testing.assert_close(single["loss"].double(), wide["loss"], atol=1e-4, rtol=0)


def test_chunks_keep_no_logits_for_backward(kept_for_backward):
    cases, per_case = 64, 4
    image, text = (F.normalize(torch.randn(n, 2), dim=-1).requires_grad_() for n in (cases, cases * per_case))
    patch = torch.randn(cases, 3, 2)
    owner, kind = torch.arange(cases).repeat_interleave(per_case), torch.tensor([0, 1, 3, 3]).repeat(cases)

    def kept(chunk):
        return kept_for_backward(lambda: multi_aspect(image, text, patch, owner, kind, 9.0, chunk=chunk))

    matrix = cases * cases * per_case
    assert kept(None) > 2 * matrix
    assert kept(8) < matrix


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"siblings": "exclude"}, "siblings.*excluded"),
        ({"i2t": "image"}, "i2t.*images"),
        ({"weights": "expo"}, "weights.*exp"),
        ({"weigh": ("i2i",)}, "i2t, slra"),
        ({"reduction": "average"}, "reduction.*mean"),
        ({"i2t": "images", "siblings": "soft"}, "has no effect"),
        ({"chunk": 0}, "chunk must be at least 1"),
        ({"kind_T": torch.tensor([0] * len(KIND))}, "one raw text at most; case 0 of the batch has 6"),
        ({"kind_T": torch.tensor([1] * len(KIND))}, "one disease text at most; case 0 of the batch has 6"),
    ],
)
def test_wrong_arguments_are_explained(given, change, message):
    image, strings, patch, scale = given
    arguments = {"kind_T": torch.tensor(KIND)} | change
    with pytest.raises(ValueError, match=message):
        multi_aspect(image, strings[STRING], patch, torch.tensor(OWNER), scale=scale, **arguments)
