"""From skin to picture: light, hair, ruler, gel, lens and sensor."""

import cv2
import numpy as np

from dermis.cases.synthetic.draws import Draws
from dermis.cases.synthetic.patient import Patient
from dermis.cases.synthetic.pigments import Layers, colour
from dermis.cases.synthetic.shot import Shot
from dermis.cases.synthetic.strokes import dots, lines
from dermis.cases.synthetic.textures import fractal
from dermis.cases.synthetic.view import View, frame_view, smoothstep

_HAIRY = {
    "head neck": 1.0,
    "chest": 1.0,
    "upper limbs": 0.9,
    "lower limbs": 1.2,
    "back": 0.6,
    "abdomen": 0.7,
    "acral": 0.0,
}


def expose(layers: Layers, view: View, shot: Shot, patient: Patient, site: str, *, dermoscopic: bool) -> np.ndarray:
    """Take the picture: uint8 (size, size, 3), RGB."""
    size = view.size
    frame = frame_view(size)
    draws = Draws(shot.seed)
    along_x, along_y = np.cos(shot.light), np.sin(shot.light)
    step = (np.arange(size, dtype=np.float32) + 0.5) / size - 0.5
    shade = shot.exposure + shot.slope * (along_x * step[None] + along_y * step[:, None])
    shade = shade.astype(np.float32)
    if not dermoscopic:
        shade += _relief_shading(layers.height, view, float(along_x), float(along_y))
    rgb = colour(layers, shade, np.array(shot.balance, np.float32), patient.melanin)
    _hair(rgb, frame, draws, patient, site, shot.field_mm)
    if dermoscopic:
        _gel(rgb, frame, draws, shot)
    if shot.ruler:
        _ruler(rgb, shot)
    blur = shot.blur * size
    if blur > 0.2:
        rgb = cv2.GaussianBlur(rgb, (0, 0), blur)
    if shot.vignette < 2:
        distance = np.sqrt(step[None] ** 2 + step[:, None] ** 2)
        rgb *= (1 - smoothstep(distance, shot.vignette, shot.vignette + 0.03))[..., None]
    grain = frame.sample(fractal(0.2, 8), 256 / size, draws.uniforms(2))
    chroma = frame.sample(fractal(0.4, 9), 256 / size, draws.uniforms(2))
    rgb *= 255
    rgb += (shot.noise * grain)[..., None]
    rgb[..., 2] += shot.noise * chroma
    rgb[..., 0] -= 0.6 * shot.noise * chroma
    return np.clip(rgb + 0.5, 0, 255).astype(np.uint8)


def _relief_shading(height: np.ndarray, view: View, along_x: float, along_y: float) -> np.ndarray:
    """Log light of a tilted surface: brighter where it faces the lamp."""
    slope_x = cv2.Sobel(height, cv2.CV_32F, 1, 0, ksize=3, scale=view.scale / 8)
    slope_y = cv2.Sobel(height, cv2.CV_32F, 0, 1, ksize=3, scale=view.scale / 8)
    facing = -(along_x * slope_x + along_y * slope_y)
    # The lamp stands where light comes from: the side it falls on brightens less than the far side darkens.
    return 0.55 * np.tanh(facing) - 0.06 * np.abs(facing).clip(0, 2)


def _hair(rgb: np.ndarray, frame: View, draws: Draws, patient: Patient, site: str, field_mm: float) -> None:
    number = int(patient.hair * _HAIRY[site] * (5 + 0.9 * field_mm) * draws.uniform(0.2, 1.2))
    if not number:
        return
    flow = draws.uniform(0, 2 * np.pi)
    bend = np.linspace(-1, 1, 7)[None]
    start, side, turn, curl = draws.uniforms(4 * number).reshape(4, number, 1)
    heading = flow + 1.1 * (turn - 0.5)
    length = min(0.7, 6 / field_mm) * (0.6 + 0.8 * side)
    x = 1.3 * start - 0.15 + length * (np.cos(heading) * bend - 0.5 * (curl - 0.5) * np.sin(heading) * bend**2)
    y = 1.3 * draws.uniforms(number)[:, None] - 0.15
    y = y + length * (np.sin(heading) * bend + 0.5 * (curl - 0.5) * np.cos(heading) * bend**2)
    width = min(0.012, 0.09 / field_mm)
    cover = (0.85 * lines(frame, np.stack([x, y], -1), width))[..., None]
    tint = np.exp(-patient.hair_melanin * np.array([0.56, 0.70, 0.86], np.float32))
    rgb += cover * (np.minimum(tint, rgb * 0.75) - rgb)


def _gel(rgb: np.ndarray, frame: View, draws: Draws, shot: Shot) -> None:
    """Reflections and air bubbles of the immersion gel."""
    if not shot.glare:
        return
    spots = draws.uniforms(3 * shot.glare).reshape(3, shot.glare)
    centres, radii = spots[:2].T, 0.006 + 0.016 * spots[2] ** 2
    bubble = dots(frame, centres, radii)
    rim = dots(frame, centres, 1.5 * radii) - bubble
    rgb += (0.75 * bubble)[..., None] * (1 - rgb)
    rgb *= 1 - 0.22 * np.maximum(rim, 0)[..., None]


def _ruler(rgb: np.ndarray, shot: Shot) -> None:
    """A paper scale along the lower edge with a mark each millimetre and a longer one each five."""
    size = rgb.shape[0]
    top = round(0.91 * size)
    strip = rgb[top:]
    strip[:] = 0.82 + 0.12 * strip
    at = (np.arange(size) + 0.5) / size * shot.field_mm
    pixel = shot.field_mm / size
    reach = np.where((at % 5) < pixel, 0.75, np.where((at % 1) < pixel, 0.4, 0.0))
    depth = (np.arange(size - top) + 0.5)[:, None] / (size - top)
    strip[depth < reach[None]] *= 0.25
