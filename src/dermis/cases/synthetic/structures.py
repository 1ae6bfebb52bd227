"""Dermoscopic structures: the seven-point criteria and the concepts, each where the latent says it is."""

from collections.abc import Callable

import numpy as np

from dermis.cases.synthetic.draws import Draws
from dermis.cases.synthetic.latent import Lesion, Place
from dermis.cases.synthetic.lesion import region
from dermis.cases.synthetic.outline import DIRECTIONS, Field, radius_at
from dermis.cases.synthetic.pigments import Layers
from dermis.cases.synthetic.strokes import dots, lines
from dermis.cases.synthetic.textures import CELLS, cells, fractal, spots
from dermis.cases.synthetic.vessels import vessel_paths
from dermis.cases.synthetic.view import View, smoothstep

IN_PHOTOGRAPH = {
    "pigment_network": 0.0,
    "blue_whitish_veil": 0.2,
    "vascular_structures": 0.12,
    "pigmentation": 0.7,
    "streaks": 0.2,
    "dots_and_globules": 0.1,
    "regression_structures": 0.35,
    "milia_like_cysts": 0.15,
    "comedo_like_openings": 0.3,
    "leaf_like_areas": 0.3,
    "red_lacunae": 0.35,
    "central_white_patch": 0.3,
}
"""How much of a structure's contrast a photograph shows; dermoscopy shows 1."""


def paint_structures(
    layers: Layers,
    view: View,
    field: Field,
    lesion: Lesion,
    cover: np.ndarray,
    radius: np.ndarray,
    *,
    dermoscopic: bool,
) -> None:
    """Paint all structures of the lesion over its body.

    ``cover`` (size, size) is the lesion's body, ``radius`` its outline (outline.radii).
    """
    noise = view.sample(fractal(1.6, 7), 4.0, Draws(lesion.texture, 3).uniforms(2))

    def seen(structure: str) -> np.float32:
        return np.float32(1.0 if dermoscopic else IN_PHOTOGRAPH[structure])

    found, concepts, places = lesion.findings, lesion.concepts, lesion.places
    _pigmentation(layers, view, field, found["pigmentation"], places["pigmentation"], noise, seen("pigmentation"))
    if dermoscopic and found["pigment_network"] != "absent":
        _network(layers, view, lesion, cover, noise)
    if found["streaks"] != "absent":
        _streaks(layers, field, lesion, radius, seen("streaks"))
    if found["dots_and_globules"] != "absent":
        _globules(layers, view, lesion, radius, seen("dots_and_globules"))
    if concepts["leaf_like_areas"]:
        _leaves(layers, view, lesion, radius, seen("leaf_like_areas"))
    if found["blue_whitish_veil"] == "present":
        veil = region(view, places["blue_whitish_veil"], 2.2 * noise, field) * seen("blue_whitish_veil")
        veil = veil * (0.8 + 0.2 * noise)
        layers.melanin *= 1 - 0.55 * veil
        layers.deep += 0.95 * veil
        layers.white += 0.2 * veil
    if found["regression_structures"] != "absent":
        _regression(layers, view, field, lesion, noise, seen("regression_structures"))
    if concepts["central_white_patch"]:
        patch = smoothstep(field.depth + 0.09 * noise, 0.4, 0.8) * seen("central_white_patch")
        layers.melanin *= 1 - 0.75 * patch
        layers.white += (0.42 + 0.1 * noise) * patch
    if concepts["red_lacunae"]:
        _lacunae(layers, view, lesion, radius, seen("red_lacunae"))
    _horn(layers, view, lesion, radius, seen)
    if found["vascular_structures"] != "absent":
        _vessels(layers, view, lesion, seen("vascular_structures"))


def _pigmentation(
    layers: Layers, view: View, field: Field, value: str, place: Place, noise: np.ndarray, seen: np.float32
) -> None:
    if value == "absent":
        return
    if value == "diffuse regular":
        blotch = smoothstep(field.depth, 0.08, 0.3)
    elif value == "localized regular":
        blotch = region(view, Place(0.0, 0.0, 0.5), 0.3 * noise, field)
    elif value == "diffuse irregular":
        blotch = region(view, Place(place.angle, place.distance, 1.9 * place.radius), 2.5 * noise, field)
    else:
        blotch = region(view, place, 1.4 * noise, field)
    layers.melanin += (0.55 if "irregular" in value else 0.4) * seen * blotch


def _network(layers: Layers, view: View, lesion: Lesion, cover: np.ndarray, noise: np.ndarray) -> None:
    draws = Draws(lesion.texture, 4)
    shift = draws.uniforms(2)
    typical = lesion.findings["pigment_network"] == "typical"
    if typical:
        edge = view.sample(cells(0.55, 1), CELLS * 0.165, shift)
        line = 1 - smoothstep(edge, 0.04, 0.36)
        strength = cover * (0.8 + 0.2 * noise.clip(-1.5, 1.5))
    else:
        edge = view.sample(cells(1.3, 2), CELLS * 0.25, shift)
        line = 1 - smoothstep(edge - 0.10 * noise.clip(-1, 2), 0.06, 0.34)
        place = lesion.places["pigment_network"]
        x, y = view.coordinates
        dx, dy = x - place.distance * np.cos(place.angle), y - place.distance * np.sin(place.angle)
        # An atypical network is stressed on one side and breaks off.
        strength = cover * (
            0.35 + 1.1 * smoothstep(1.2 * place.radius - np.sqrt(dx * dx + dy * dy) + 0.1 * noise, 0, 0.4)
        )
    layers.melanin += strength * (0.85 * line - 0.28).astype(np.float32)


def _streaks(layers: Layers, field: Field, lesion: Lesion, radius: np.ndarray, seen: np.float32) -> None:
    draws = Draws(lesion.texture, 5)
    turn = np.arange(DIRECTIONS) * (2 * np.pi / DIRECTIONS)
    if lesion.findings["streaks"] == "regular":
        count = 20 + draws.below(8)
        spike = smoothstep(np.cos(count * turn + 0.5 * np.sin(3 * turn)), -0.1, 0.7)
        reach = np.full(DIRECTIONS, 0.42)
    else:
        spike, reach = np.zeros(DIRECTIONS), np.full(DIRECTIONS, 0.25)
        for _ in range(9):
            at = lesion.places["streaks"].angle + draws.uniform(-0.75, 0.75)
            off = np.abs((turn - at + np.pi) % (2 * np.pi) - np.pi)
            ray = np.exp(-((off / draws.uniform(0.035, 0.07)) ** 2))
            spike = np.maximum(spike, draws.uniform(0.7, 1.2) * ray)
            reach += ray * draws.uniform(0.0, 0.3)
    at = field.direction
    spike_here, reach_here = spike.astype(np.float32)[at], (reach * radius).astype(np.float32)[at]
    band = smoothstep(field.inside, -0.12, -0.02) * (1 - smoothstep(field.inside, 0.4 * reach_here, reach_here))
    layers.melanin += np.float32(1.0) * seen * spike_here * band


def _points(draws: Draws, radius: np.ndarray, number: int, most: float) -> np.ndarray:
    """(number, 2) points spread evenly over the lesion, up to ``most`` of its radius."""
    turn = draws.uniform(0, 2 * np.pi)
    wobble = draws.uniforms(2 * number).reshape(2, number) - 0.5
    order = np.arange(number)
    # A sunflower spiral is even without being a grid.
    angle = turn + order * 2.399963 + 0.5 * wobble[0]
    distance = most * np.sqrt((order + 0.5) / number) * (1 + 0.12 * wobble[1])
    return (distance * radius_at(radius, angle % (2 * np.pi)))[:, None] * np.stack([np.cos(angle), np.sin(angle)], 1)


def _globules(layers: Layers, view: View, lesion: Lesion, radius: np.ndarray, seen: np.float32) -> None:
    draws = Draws(lesion.texture, 6)
    if lesion.findings["dots_and_globules"] == "regular":
        number = 34 + draws.below(14)
        plane = dots(view, _points(draws, radius, number, 0.85), np.full(number, 0.052))
        layers.melanin += 0.75 * seen * plane
        return
    place = lesion.places["dots_and_globules"]
    number = 16 + draws.below(10)
    spread = draws.uniforms(3 * number).reshape(3, number)
    angle, distance = 2 * np.pi * spread[0], 1.25 * place.radius * np.sqrt(spread[1])
    centre = place.distance * np.array([np.cos(place.angle), np.sin(place.angle)])
    points = centre + distance[:, None] * np.stack([np.cos(angle), np.sin(angle)], 1)
    layers.melanin += 1.15 * seen * dots(view, points, 0.03 + 0.075 * spread[2] ** 2)


def _leaves(layers: Layers, view: View, lesion: Lesion, radius: np.ndarray, seen: np.float32) -> None:
    draws = Draws(lesion.texture, 7)
    place = lesion.places["leaf_like_areas"]
    angle = place.angle + np.repeat([-0.5, -0.17, 0.17, 0.5], 3) + 0.1 * (draws.uniforms(12) - 0.5)
    # Each leaf: three discs that grow towards the border.
    distance = np.tile([0.62, 0.74, 0.86], 4) * radius_at(radius, angle % (2 * np.pi))
    points = distance[:, None] * np.stack([np.cos(angle), np.sin(angle)], 1)
    plane = dots(view, points, np.tile([0.05, 0.075, 0.1], 4)) * seen
    layers.deep += 0.75 * plane
    layers.melanin += 0.45 * plane


def _regression(layers: Layers, view: View, field: Field, lesion: Lesion, noise: np.ndarray, seen: np.float32) -> None:
    place, value = lesion.places["regression_structures"], lesion.findings["regression_structures"]
    area = region(view, place, 1.5 * noise, field) * seen
    scar, pepper = area, area
    if value == "combinations":
        scar = area * smoothstep(noise, -0.5, 0.3)
        pepper = area - scar
    layers.melanin *= 1 - 0.75 * area
    if value != "blue areas":
        layers.white += (0.4 + 0.12 * noise) * scar
    if value != "white areas":
        grains = smoothstep(view.sample(spots(4.0, 4), 2.2, Draws(lesion.texture, 8).uniforms(2)), 0.1, 1.0)
        layers.deep += pepper * (0.3 + 0.75 * grains)


def _lacunae(layers: Layers, view: View, lesion: Lesion, radius: np.ndarray, seen: np.float32) -> None:
    draws = Draws(lesion.texture, 9)
    number = 9 + draws.below(7)
    plane = dots(view, _points(draws, radius, number, 0.78), 0.11 + 0.09 * draws.uniforms(number))
    layers.blood += seen * (0.9 * plane - 0.5 * (1 - plane) * (layers.blood > 0.6))
    layers.deep += 0.18 * seen * plane


def _horn(layers: Layers, view: View, lesion: Lesion, radius: np.ndarray, seen: Callable[[str], np.float32]) -> None:
    if lesion.concepts["milia_like_cysts"]:
        draws = Draws(lesion.texture, 10)
        number = 9 + draws.below(8)
        cysts = dots(view, _points(draws, radius, number, 0.82), 0.025 + 0.035 * draws.uniforms(number))
        layers.keratin += 0.7 * seen("milia_like_cysts") * cysts
    if lesion.concepts["comedo_like_openings"]:
        draws = Draws(lesion.texture, 11)
        number = 7 + draws.below(7)
        plugs = dots(view, _points(draws, radius, number, 0.8), 0.05 + 0.06 * draws.uniforms(number))
        layers.melanin += 1.2 * seen("comedo_like_openings") * plugs


def _vessels(layers: Layers, view: View, lesion: Lesion, seen: np.float32) -> None:
    value = lesion.findings["vascular_structures"]
    draws = Draws(lesion.texture, 12)
    at = "regression_structures" if value == "within regression" else "vascular_structures"
    if value == "dotted":
        place = lesion.places[at]
        spread = draws.uniforms(60).reshape(2, 30)
        angle, distance = 2 * np.pi * spread[0], 1.3 * place.radius * np.sqrt(spread[1])
        centre = place.distance * np.array([np.cos(place.angle), np.sin(place.angle)])
        plane = dots(view, centre + distance[:, None] * np.stack([np.cos(angle), np.sin(angle)], 1), np.full(30, 0.035))
        layers.blood += 1.3 * seen * plane
        return
    for width, paths in vessel_paths(value, lesion.places[at], draws).items():
        layers.blood += 1.3 * seen * lines(view, paths, width)
