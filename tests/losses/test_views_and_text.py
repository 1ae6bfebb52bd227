"""M2CG's equation (6) as loops in both readings, chunks, several ranks' own rows."""

import pytest
import torch
import torch.nn.functional as F

from dermis.losses.views_and_text import views_and_text


@pytest.fixture
def rows():
    generator = torch.Generator().manual_seed(3)
    drawn = [torch.randn(5, 4, generator=generator, dtype=torch.float64) for _ in range(3)]
    return [F.normalize(x, dim=-1) for x in drawn]


def cosine(a, b):
    return (a @ b) / (a.norm() * b.norm())


def equation_6(views, text, temperature, weight, reading):
    """-1/2N Σ_i Σ_k: as the paper prints it, or with sim(u_i, v_ik) as the second numerator."""
    cases, total = len(text), 0.0
    for i in range(cases):
        for k in range(2):
            to_text = sum(torch.exp(cosine(views[k][i], text[j]) / temperature) for j in range(cases))
            to_view = sum(torch.exp(cosine(text[i], views[k][j]) / temperature) for j in range(cases))
            paired = torch.exp(cosine(views[k][i], text[i]) / temperature)
            of_case = sum(view[i] / view[i].norm() for view in views)
            second = paired if reading == "views" else torch.exp(cosine(of_case, text[i]) / temperature)
            total = total + weight * torch.log(paired / to_text) + (1 - weight) * torch.log(second / to_view)
    return -total / (2 * cases)


@pytest.mark.parametrize("reading", ["views", "printed"])
@pytest.mark.parametrize("chunk", [None, 2])
def test_it_is_the_equation_as_loops(rows, reading, chunk):
    for temperature, weight in ((0.1, 0.75), (0.5, 0.2)):
        ours = views_and_text(*rows, temperature, weight=weight, reading=reading, chunk=chunk)
        loops = equation_6(rows[:2], rows[2], temperature, weight, reading)
        assert ours.item() == pytest.approx(loops.item(), abs=1e-9)
        unit = [r.detach().clone().requires_grad_() for r in rows]
        normal = views_and_text(*(F.normalize(r, dim=-1) for r in unit), temperature, weight=weight, reading=reading)
        by_loops = equation_6(unit[:2], unit[2], temperature, weight, reading)
        for own, its in zip(torch.autograd.grad(normal, unit), torch.autograd.grad(by_loops, unit), strict=True):
            torch.testing.assert_close(own, its, rtol=0, atol=1e-8)


@pytest.mark.parametrize("reading", ["views", "printed"])
def test_the_mean_over_ranks_own_rows_is_the_whole(rows, reading):
    whole = views_and_text(*rows, 0.1, reading=reading)
    shares = [views_and_text(*rows, 0.1, reading=reading, first=i, rows=1) for i in range(5)]
    torch.testing.assert_close(torch.stack(shares).mean(), whole, rtol=1e-12, atol=0)


def test_equal_views_make_both_readings_one(rows):
    view, _, text = rows
    ours = [views_and_text(view, view, text, 0.1, reading=reading) for reading in ("views", "printed")]
    torch.testing.assert_close(*ours, rtol=1e-12, atol=0)


def test_another_reading_is_refused(rows):
    with pytest.raises(ValueError, match="Did you mean 'printed'"):
        views_and_text(*rows, 0.1, reading="print")
