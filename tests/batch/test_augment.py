"""Augmentation is torchvision's in what it does to a picture, and depends on nothing but the generator."""

import colorsys
import math
from dataclasses import replace
from io import BytesIO

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

import dermis.torchvision_operators  # noqa: F401 (before torchvision)

# isort: split
from torchvision import transforms as T
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as TF

from dermis.batch import colour
from dermis.batch.augment import AUGMENTATIONS, Augmentation, Normalise, augment, views
from dermis.batch.warp import Cut, centre, random_box, render, shrunk
from dermis.pictures.decode import decode

LEVELS = Normalise((0.0, 0.0, 0.0), (1 / 255, 1 / 255, 1 / 255))  # leaves 0 to 255 as they are


def skin(height, width, seed=0):
    """Noise of all scales around the colour of skin, as in a photograph."""
    rng = np.random.default_rng(seed)
    picture = np.full((height, width, 3), (180.0, 135.0, 115.0), np.float32)
    for octave in range(8):
        side = 2 ** (octave + 2)
        noise = rng.standard_normal((side * height // width + 2, side + 1, 3)).astype(np.float32)
        noise = noise * 0.3 + noise.mean(axis=2, keepdims=True)
        picture += 25 / 1.5**octave * cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.clip(picture, 0, 255).astype(np.uint8)


def jpeg(picture, quality=90):
    buffer = BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def difference(a, b):
    distance = np.abs(np.asarray(a, np.float64) - np.asarray(b, np.float64))
    return distance.max(), distance.mean()


SMALL = skin(224, 224)
PHOTO = skin(450, 600)


def rng(seed=0):
    return np.random.default_rng(seed)


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_every_family_gives_finite_normalised_views(name):
    normalise = Normalise((0.5, 0.4, 0.3), (0.2, 0.2, 0.2))
    drawn = views(jpeg(PHOTO), AUGMENTATIONS[name], rng(), normalise, count=3)
    assert drawn.shape == (3, 3, 224, 224)
    assert drawn.dtype == np.float32
    assert drawn.flags.c_contiguous
    assert np.isfinite(drawn).all()
    assert (drawn[0] != drawn[1]).any() == (name != "centre")


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_the_generator_alone_decides(name):
    data = jpeg(PHOTO)
    first, again, other = (views(data, AUGMENTATIONS[name], rng(seed), LEVELS, count=2) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any() == (name != "centre")


def test_every_view_takes_the_same_count_of_random_numbers():
    generators = {name: rng() for name in AUGMENTATIONS if name != "centre"}
    for name, generator in generators.items():
        views(jpeg(skin(100, 300)), AUGMENTATIONS[name], generator, LEVELS, count=3)
    assert len({generator.random() for generator in generators.values()}) == 1


def test_views_of_bytes_are_the_augmented_decoded_picture():
    data = jpeg(SMALL)
    for name in AUGMENTATIONS:
        expected = augment(decode(data), AUGMENTATIONS[name], rng(), LEVELS)
        np.testing.assert_array_equal(views(data, AUGMENTATIONS[name], rng(), LEVELS)[0], expected)


def test_normalise_is_torchvisions():
    mean, std = (0.48, 0.45, 0.40), (0.27, 0.26, 0.28)
    expected = T.Compose([T.ToTensor(), T.Normalize(mean, std)])(Image.fromarray(SMALL)).numpy()
    np.testing.assert_allclose(Normalise(mean, std)(SMALL), expected, atol=1e-6)


def test_random_boxes_are_distributed_as_torchvisions():
    height, width, scale, ratio = 300, 400, (0.3, 1.0), (3 / 4, 4 / 3)
    torch.manual_seed(0)
    image, generator = Image.new("L", (width, height)), rng()
    theirs = np.array([T.RandomResizedCrop.get_params(image, scale, ratio) for _ in range(4000)])
    ours = np.array([random_box(height, width, scale, ratio, iter(generator.random(22))) for _ in range(4000)])
    assert (ours >= 0).all()
    assert (ours[:, 0] + ours[:, 2] <= height).all()
    assert (ours[:, 1] + ours[:, 3] <= width).all()
    for column in range(4):
        quantiles = [np.quantile(boxes[:, column], (0.05, 0.25, 0.5, 0.75, 0.95)) for boxes in (ours, theirs)]
        np.testing.assert_allclose(*quantiles, atol=12)


def test_a_box_that_never_fits_is_torchvisions_fallback():
    for height, width in ((20, 400), (400, 20), (100, 140)):
        ours = random_box(height, width, (1.0, 1.0), (0.75, 1.33), iter(rng().random(22)))
        theirs = T.RandomResizedCrop.get_params(Image.new("L", (width, height)), [1.0, 1.0], [0.75, 1.33])
        assert ours == theirs


@pytest.mark.parametrize("box", [(20, 50, 400, 450), (0, 0, 450, 600), (100, 100, 250, 300)])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_a_cut_is_torchvisions_resized_crop(box, interpolation):
    theirs = TF.resized_crop(Image.fromarray(PHOTO), *box, [224, 224], InterpolationMode(interpolation))
    largest, mean = difference(render(PHOTO, (450, 600), Cut(*box), 224, interpolation), theirs)
    assert mean < 1
    assert largest < 12


@pytest.mark.parametrize("mirror", [False, True])
@pytest.mark.parametrize("upend", [False, True])
def test_the_composed_warp_is_crop_resize_flip_where_nothing_turns(mirror, upend):
    cut = Cut(31, 47, 333, 414, mirror, upend)
    plain = render(PHOTO, (450, 600), cut, 224)
    warped = render(PHOTO, (450, 600), replace(cut, zoom=1 + 1e-9), 224)
    largest, mean = difference(plain, warped)
    assert largest <= 2
    assert mean < 0.2


@pytest.mark.parametrize("angle, shift, zoom", [(20, (0, 0), 1), (-35, (0.1, -0.05), 1), (15, (0.05, 0.1), 1.2)])
def test_the_warp_is_torchvisions_affine_inside_the_picture(angle, shift, zoom):
    image, pixels = Image.fromarray(SMALL), [round(224 * s) for s in shift]
    cut = Cut(0, 0, 224, 224, angle=angle, shift=(pixels[0] / 224, pixels[1] / 224), zoom=zoom)
    ours = render(SMALL, (224, 224), cut, 224)
    affine = {"angle": angle, "translate": pixels, "scale": zoom, "shear": [0, 0]}
    theirs = np.asarray(TF.affine(image, **affine, interpolation=InterpolationMode.BILINEAR))
    covered = np.asarray(TF.affine(Image.new("L", image.size, 255), **affine)) > 0
    covered = cv2.erode(covered.astype(np.uint8), np.ones((5, 5))) > 0
    largest, mean = difference(ours[covered], theirs[covered])
    assert covered.mean() > 0.5
    assert mean < 0.8
    assert largest <= 8
    assert (ours[~covered] > 0).mean() > 0.99  # a reflection, not black


@pytest.mark.parametrize("side, divisor", [(410, 2), (830, 4), (1650, 8)])
def test_a_cut_of_a_scaled_jpeg_is_near_the_cut_of_the_whole(side, divisor):
    data = jpeg(skin(1800, 2400))
    theirs = TF.resized_crop(Image.open(BytesIO(data)), 33, 101, side, side, [224, 224])
    scaled = decode(data, at_least=1800 // divisor)
    assert scaled.shape[0] == 1800 // divisor
    largest, mean = difference(render(scaled, (1800, 2400), Cut(33, 101, side, side), 224), theirs)
    assert mean < 1.2
    assert largest < 15


def test_views_decode_no_smaller_than_the_smallest_crop_needs(monkeypatch):
    from dermis.batch import augment as module

    asked = []
    monkeypatch.setattr(
        module, "decode", lambda data, at_least: asked.append(at_least) or decode(data, at_least=at_least)
    )
    data = jpeg(skin(1000, 1000))
    full = Augmentation(scale=(1.0, 1.0), ratio=(1.0, 1.0))
    for size, expected in ((224, 250), (125, 125), (64, 125), (300, 500), (600, 1000)):
        views(data, replace(full, size=size), rng(), LEVELS)
        assert decode(data, at_least=asked.pop()).shape[0] == expected
    both = replace(full, scale=(0.01, 1.0))
    views(data, both, rng(), LEVELS, count=20)
    assert decode(data, at_least=asked.pop()).shape[0] == 1000


def test_other_formats_are_averaged_down_before_they_are_interpolated():
    fine = np.zeros((1792, 1792, 3), np.uint8)
    fine[::8] = 255
    buffer = BytesIO()
    Image.fromarray(fine).save(buffer, "PNG", compress_level=1)
    view = views(buffer.getvalue(), Augmentation(ratio=(1, 1)), rng(), LEVELS)
    assert difference(view, 255 / 8)[0] <= 1
    assert shrunk(PHOTO, 1.9) is PHOTO
    assert shrunk(PHOTO, 7.9).shape == (64, 85, 3)


@pytest.mark.parametrize("height, width", [(450, 600), (2000, 1500), (150, 200), (1000, 3000)])
@pytest.mark.parametrize("kept", [1.0, 0.875])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_evaluation_is_torchvisions_resize_and_centre_crop(height, width, kept, interpolation):
    data = jpeg(skin(height, width))
    whole = Image.open(BytesIO(data))
    mode = InterpolationMode(interpolation)
    theirs = T.Compose([T.Resize(math.floor(224 / kept), mode), T.CenterCrop(224)])(whole)
    np.testing.assert_array_equal(centre(np.asarray(whole), 224, kept, interpolation), np.asarray(theirs))
    ours = views(data, Augmentation(centre=kept, interpolation=interpolation), rng(), LEVELS)[0].transpose(1, 2, 0)
    largest, mean = difference(ours, theirs)
    scaled = min(height, width) >= 4 * 224 / kept
    assert mean < (0.5 if scaled else 1e-5)
    assert largest < (6 if scaled else 1e-4)


@pytest.mark.parametrize("name", ["brightness", "contrast", "saturation"])
@pytest.mark.parametrize("factor", [0.5, 0.8, 1.2])
def test_each_colour_step_is_torchvisions(name, factor):
    theirs = getattr(TF, f"adjust_{name}")(Image.fromarray(SMALL), factor)
    assert difference(colour.jitter(SMALL, [(name, factor)]), theirs)[0] <= 1
    assert difference(colour.jitter_exactly(SMALL, [(name, factor)]), theirs)[0] <= 1


@pytest.mark.parametrize("turns", [-0.2, -0.08, -0.04, 0.04, 0.08, 0.2, 0.5])
def test_hue_is_near_torchvisions(turns):
    theirs = TF.adjust_hue(Image.fromarray(SMALL), turns)
    assert difference(colour.jitter_exactly(SMALL, [("hue", turns)]), theirs)[1] < 1
    assert difference(colour.jitter(SMALL, [("hue", turns)]), theirs)[1] < 3
    assert difference(SMALL, theirs)[1] > 4


def test_the_hue_matrix_is_colorsys_for_the_mean_and_its_neighbours():
    for mean in rng().uniform(0, 1, (200, 3)):
        turns = float(rng(int(mean[0] * 1e6)).uniform(-0.5, 0.5))
        matrix = colour.hue_matrix(mean, turns)
        for colour_of_pixel in (mean, mean * 0.5 + 0.2, mean + rng().uniform(-1e-6, 1e-6, 3)):
            hue, saturation, value = colorsys.rgb_to_hsv(*colour_of_pixel)
            expected = colorsys.hsv_to_rgb((hue + turns) % 1, saturation, value)
            np.testing.assert_allclose(matrix @ colour_of_pixel, expected, atol=1e-5)
        np.testing.assert_allclose(matrix @ np.ones(3), np.ones(3), atol=1e-12)  # grey stays
    np.testing.assert_array_equal(colour.hue_matrix((0.5, 0.5, 0.5), 0.3), np.eye(3))


def test_a_chain_of_steps_in_any_order_is_torchvisions_chain():
    adjust = {name: getattr(TF, f"adjust_{name}") for name in colour.STEPS}
    amounts = {"brightness": 1.1, "contrast": 0.8, "saturation": 1.2, "hue": 0.03}
    for seed in range(6):
        steps = [(name, amounts[name]) for name in rng(seed).permutation(colour.STEPS)]
        theirs = Image.fromarray(SMALL)
        for name, amount in steps:
            theirs = adjust[name](theirs, amount)
        assert difference(colour.jitter_exactly(SMALL, steps), theirs)[1] < 1.5
        assert difference(colour.jitter(SMALL, steps), theirs)[1] < 3
        assert difference(colour.jitter(SMALL, steps, grey=True), TF.to_grayscale(theirs, 3))[1] < 3


def test_greyscale_is_pillows():
    grey = TF.to_grayscale(Image.fromarray(SMALL), 3)
    assert difference(colour.jitter(SMALL, [], grey=True), grey)[0] <= 1
    assert difference(colour.jitter_exactly(SMALL, [], grey=True), grey)[0] <= 1


@pytest.mark.parametrize("sigma", [0.1, 0.3, 0.7, 1.0, 1.5, 2.0])
def test_a_blur_with_as_many_taps_as_sigma_needs_is_torchvisions_with_23(sigma):
    step = np.zeros((64, 64, 3), np.uint8)
    step[:, 32:] = 255
    for picture in (SMALL, step):
        theirs = TF.gaussian_blur(Image.fromarray(picture), [23, 23], [sigma, sigma])
        assert difference(colour.blur(picture, sigma), theirs)[0] <= 1
        assert difference(colour.blur(picture, sigma, 23), theirs)[0] <= 1


def test_a_fixed_kernel_is_torchvisions():
    theirs = TF.gaussian_blur(Image.fromarray(SMALL), [3, 3], [1.7, 1.7])
    assert difference(colour.blur(SMALL, 1.7, 3), theirs)[0] <= 1
    assert difference(colour.blur(SMALL, 1.7), theirs)[0] > 5


def test_probabilities_are_kept():
    data, coloured = jpeg(SMALL), Augmentation(ratio=(1, 1), grayscale=0.3)
    generator = rng()
    grey = [np.ptp(views(data, coloured, generator, LEVELS)[0], axis=0).max() == 0 for _ in range(300)]
    assert 0.22 < np.mean(grey) < 0.38
    mirrored = Augmentation(ratio=(1, 1), horizontal_flip=1.0)
    plain = views(data, Augmentation(ratio=(1, 1)), rng(), LEVELS)
    np.testing.assert_array_equal(views(data, mirrored, rng(), LEVELS), plain[..., ::-1])
    upended = Augmentation(ratio=(1, 1), vertical_flip=1.0)
    np.testing.assert_array_equal(views(data, upended, rng(), LEVELS), plain[:, :, ::-1])


@pytest.mark.parametrize(
    "settings, sentence",
    [
        ({"interpolation": "bicubik"}, "unknown interpolation 'bicubik'. Did you mean 'bicubic'"),
        ({"horizontal_flip": 1.5}, "horizontal_flip is a probability from 0 to 1, not 1.5"),
        ({"scale": (0.5, 1.2)}, r"scale is \(low, high\) with 0 < low <= high <= 1.0, not \(0.5, 1.2\)"),
        ({"ratio": (2.0, 1.0)}, "ratio is"),
        ({"hue": 0.6, "jitter": 0.5}, "hue is from 0 to 0.5, not 0.6"),
        ({"size": 0}, "size"),
        ({"blur": 0.5, "blur_kernel": 4}, "odd"),
        ({"centre": 1.5}, "centre is the part of the shorter side that is kept, 0 to 1, not 1.5"),
        ({"jitter": 0.5}, "colour jitter needs both"),
        ({"brightness": 0.5}, "colour jitter needs both"),
        ({"blur_kernel": 3}, "blur_kernel has no effect without blur"),
        ({"blur_sigma": (1.0, 2.0)}, "blur_sigma has no effect without blur"),
        ({"centre": 1.0, "horizontal_flip": 0.5}, "horizontal_flip has no effect"),
    ],
)
def test_a_setting_that_is_wrong_or_without_effect_is_refused(settings, sentence):
    with pytest.raises(ValueError, match=sentence):
        Augmentation(**settings)
