"""First colours: each anchor takes what the frames that see it show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from avatar3d.template import SHEET, Template
from recon.fit.inpaint import fill_unseen
from recon.fit.light import estimate_light, shading
from recon.fit.neighbours import nearest, reflected
from recon.fit.observation import Sighting, in_picture, sample
from render.metrics.sharpness import LUMA

MAX_ALBEDO = 1.5  # skin in shade, once the shade is taken out, may exceed a photo's white
_DEPTH_TOLERANCE_M = 0.005
_INNER_DEPTH_TOLERANCE_M = 0.0025  # teeth and eyes lie close behind lips and lids
_MIN_COSINE = 0.2
_CLEAR_COSINE = 0.4  # from here on an anchor is seen as well as can be
_HAIR_THICK_M = 0.003  # above this an anchor stands off the surface and may be seen edge-on
# When the near half of a face is believed instead: colours, cosines, and the share of the skin seen
# whose other half is not (a quarter: turned by some 30 degrees).
_UNLIKE, _WORSE_COSINE, _TURNED = 0.15, 0.05, 0.25
_INNER = ("left_eyeball", "right_eyeball", "upper_teeth", "lower_teeth", "gums", "tongue", "mouth")
_USUAL_SKIN = 0.6
_TEETH_BRIGHTNESS = (0.7, 1.08)  # teeth are light beside dark skin, and not glaring beside pale
_COLOURFUL = 0.15  # range of skin's channels over their mean, of the palest skin in colour
# The mouth's inside where no frame shows it, under light that makes skin 0.6 bright.
_PLAUSIBLE = {
    ("mouth",): (0.28, 0.10, 0.09),
    ("gums",): (0.55, 0.30, 0.28),
    ("tongue",): (0.58, 0.28, 0.27),
}
_TEETH = (0.86, 0.82, 0.75)
# Little light falls into a mouth: behind the lips by the first it begins to fail, farther by the
# second it has lost two thirds, and so much of it is left in the throat.
_DIM_FROM_M, _DIM_BY_M, _DIMMEST = 0.018, 0.035, 0.25


@dataclass(frozen=True)
class FirstColors:
    colors: np.ndarray  # [N, 3] albedo under the light
    sightings: np.ndarray  # [N] how many frames show this anchor, each counted by how well
    light: Tensor | None  # [9, 3], None where it could not be told


def unproject(
    template: Template,
    sightings: Sequence[Sighting],
    heights: np.ndarray,
    light_ridge: float | None,
) -> FirstColors:
    """Median over the frames that see an anchor well, then mirrored, then spread from neighbours.

    With `light_ridge` the light is estimated and taken out first, so that what is mirrored and
    spread is the skin's colour and not a shadow.
    """
    samples, weights = zip(*(_look(template, sighting, heights) for sighting in sightings))
    light = None
    if light_ridge is not None:
        normals = [sighting.normals for sighting in sightings]
        light = estimate_light(template, samples, normals, weights, light_ridge)
        lit = template.lit.numpy()
        samples = [s / shading(light, n, lit) for s, n in zip(samples, normals)]
    samples, weights = np.stack(samples), np.stack(weights)  # [F, N, 3], [F, N]
    weights = weights * ~_covered_aslant(template, samples, weights)
    seen = (weights > 0).any(0)
    good = (weights > 0) & (weights >= 0.5 * weights.max(0))
    colors = _masked_median(samples, good)

    sighted = np.minimum(weights / _CLEAR_COSINE, 1.0).sum(0)
    skin = np.median(colors[template.is_part("face").numpy() & seen], axis=0)
    folded = np.any([sighting.folded for sighting in sightings], axis=0)
    colors = fill_unseen(template, colors, np.minimum(sighted, 1.0), folded)
    dim = _dim(template)[:, None]
    for parts, plausible in _PLAUSIBLE.items():
        inside = template.is_part(*parts).numpy()
        usual = dim[inside] * _in_picture_of(np.array(plausible), skin, (0.0, np.inf))
        # What shines through slightly open lips is mostly shadow: believe half of it.
        colors[inside] = np.where(seen[inside, None], 0.5 * colors[inside] + 0.5 * usual, usual)
    colors[template.is_part("upper_teeth", "lower_teeth").numpy() & ~seen] = usual_teeth(skin)
    scalp = template.is_part("scalp").numpy()
    colors[scalp] *= 0.8  # under the hair it is darker than what the hair shows
    return FirstColors(
        colors=np.clip(colors, 0, MAX_ALBEDO).astype(np.float32),
        sightings=sighted.astype(np.float32),
        light=light,
    )


def _dim(template: Template) -> np.ndarray:
    """The share of the light that falls as deep into the mouth as the anchors lie, [N]."""
    depth = float(template.head.stomion[2]) - template.neutral_points()[:, 2].numpy()
    return np.clip(np.exp(-(depth - _DIM_FROM_M) / _DIM_BY_M), _DIMMEST, 1.0)


def usual_teeth(skin: np.ndarray) -> np.ndarray:
    """The colour [3] of teeth in a picture with such skin [3]."""
    return _in_picture_of(np.array(_TEETH), skin, _TEETH_BRIGHTNESS)


def _in_picture_of(
    plausible: np.ndarray, skin: np.ndarray, limits: tuple[float, float]
) -> np.ndarray:
    """A colour [3] of the mouth's inside as a picture with such skin [3] would have it: as bright or
    dark, within limits, and as colourful; in a grey picture it is grey.
    """
    brightness = np.clip(skin.mean() / _USUAL_SKIN, *limits)
    chroma = np.clip(np.ptp(skin) / max(skin.mean(), 1e-3) / _COLOURFUL, 0.0, 1.0)
    grey = plausible @ np.array(LUMA)
    return np.clip((grey + chroma * (plausible - grey)) * brightness, 0, 1)


def _look(
    template: Template, sighting: Sighting, heights: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Colours [N, 3] and how well this frame sees each anchor, [N], 0 where it does not."""
    observation = sighting.observation
    points = sighting.positions + sighting.normals * heights[:, None]
    pixels, depth = sighting.project(points)
    cosine = sighting.facing(points, sighting.normals)
    surface = sample(np.minimum(sighting.depth, 1e3), pixels)
    tolerance = np.where(
        template.is_part(*_INNER).numpy(), _INNER_DEPTH_TOLERANCE_M, _DEPTH_TOLERANCE_M
    )
    seen = (
        (depth < surface + tolerance)
        & (cosine > np.where(heights > _HAIR_THICK_M, 0.0, _MIN_COSINE))
        & (sample(observation.core, pixels) > 0.8)
        & in_picture(observation, pixels)
        & (template.layer.numpy() != SHEET)
        & ~sighting.folded
    )
    # Hair has no surface to be seen aslant.
    least = np.where(heights > _HAIR_THICK_M, 0.5 * _CLEAR_COSINE, 0.05)
    return sample(observation.colors, pixels), np.where(seen, np.maximum(cosine, least), 0.0)


def _covered_aslant(template: Template, samples: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Mask [F, N] of skin on the far half of a turned face that is unlike the near half.

    What is seen of it is hair before it, what lies behind its outline, or the shade that the head
    itself throws; the same frame shows the near half better. A face that looks about ahead may have
    a side in shade: there both halves are believed.
    """
    members = np.where(template.is_part("face", "eyelids").numpy())[0]
    points = template.neutral_points().numpy()[members]
    mirror = members[nearest(points, reflected(points))[1][:, 0]]
    unlike = np.abs(samples[:, members] - samples[:, mirror]).max(-1) > _UNLIKE
    own, other = weights[:, members], weights[:, mirror]
    lone = ((own > 0) & (other == 0)).sum(1) / np.maximum((own > 0).sum(1), 1)
    worse = (own < other - _WORSE_COSINE) & (lone > _TURNED)[:, None]
    covered = np.zeros(weights.shape, bool)
    covered[:, members] = unlike & worse
    return covered


def _masked_median(values: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Median over the first axis of the entries in `mask` [F, N]; 0 where there is none."""
    masked = np.ma.array(values, mask=np.repeat(~mask[..., None], values.shape[-1], axis=-1))
    return np.ma.median(masked, axis=0).filled(0.0)
