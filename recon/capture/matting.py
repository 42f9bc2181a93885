"""Soft matte of the person with the face, and the colours that belong to it at its edge.

A person network gives a coarse matte; in a band around its edge the opacity is then estimated
from the colours of the sure foreground and background nearby, and follows the picture's edges by
a guided filter (He, Sun, Tang 2013). Foreground colours come from blurred fusion (Forte 2021,
"Approximate fast foreground colour estimation"), so nothing of the old background shines through
where hair is half transparent.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from recon.capture.landmarks import MESH_POINTS, Face
from recon.capture.opencv import cv2
from recon.capture.segmenter import person_probability

# Lengths in pixels are given at this crop size and scale with it.
REFERENCE_SIZE = 512

Image = NDArray[np.float32]  # [S, S, 3] sRGB in 0..1
Matte = NDArray[np.float32]  # [S, S] in 0..1


def matte_person(
    crop_image: NDArray[np.uint8], wide_image: NDArray[np.uint8] | None, face: Face
) -> Matte:
    """Matte f32 [S, S] of the person whose `face` (landmarks in crop px) is given.

    `crop_image` u8 [S, S, 3]; `wide_image` shows twice as much around the same centre, or None:
    the network errs less where it sees the shoulders.
    """
    coarse = person_probability(crop_image)
    if wide_image is not None:
        coarse = 0.65 * coarse + 0.35 * _middle(person_probability(wide_image))
    coarse = np.maximum(coarse, _face_core(face, coarse.shape[0]))
    coarse *= _own_territory(face, coarse.shape[0])
    coarse = _connected_to_face(coarse, face)
    image = crop_image.astype(np.float32) / 255.0
    matte = refine_matte(image, coarse)
    return _connected_to_face(matte, face)


def refine_matte(image: Image, coarse: Matte) -> Matte:
    """Opacity at full resolution from a coarse matte: what lies far from its edge is kept.

    In the band a pixel I is a mix of the mean colours F and B of the sure foreground and
    background nearby, I = a F + (1 - a) B + noise. With the coarse matte as a prior of precision
    PRIOR the most probable a is (d2 a_colour + PRIOR a_coarse) / (d2 + PRIOR), where a_colour is
    the projection of I on the line from B to F and d2 its squared length in noise deviations: where
    hair and background look alike, the network decides; where they differ, the colours do.
    """
    unit = image.shape[0] / REFERENCE_SIZE
    # The network's own doubt may be a veil over half the picture; only near its edge is it an edge.
    foreground = _eroded(coarse > EDGE, 14 * unit) | _eroded(coarse > 0.9, 9 * unit)
    background = _eroded(coarse < EDGE, 14 * unit) | _eroded(coarse < 0.1, 9 * unit)
    band = ~(foreground | background)
    steep = np.clip((coarse - EDGE) * 2.0 + 0.5, 0.0, 1.0)
    prior = np.clip(guided_filter(image, steep, _odd(17 * unit), 1e-3), 0.0, 1.0)
    mean_f, variance_f = _local_colours(image, foreground, unit)
    mean_b, variance_b = _local_colours(image, background, unit)
    axis = mean_f - mean_b
    length2 = _dot(axis, axis)
    projected = _dot(image - mean_b, axis) / np.maximum(length2, 1e-6)
    noise = prior * variance_f + (1.0 - prior) * variance_b + CAMERA_NOISE**2
    evidence = np.minimum(length2 / noise, MAX_EVIDENCE)
    matte = (evidence * np.clip(projected, 0.0, 1.0) + PRIOR * prior) / (evidence + PRIOR)
    matte = np.where(band, matte, foreground.astype(np.float32)).astype(np.float32)
    smooth = guided_filter(image, matte, _odd(7 * unit), 1e-4)
    matte = np.where(band, smooth, matte)
    # Stretch: the filters leave a veil of a few percent on both sides of the band.
    return np.clip((matte - 0.06) / 0.88, 0.0, 1.0).astype(np.float32)


EDGE = 0.65  # where the network doubts over a wide area, that area is background more often
CAMERA_NOISE = 0.03  # deviation of a colour from its local mean that no texture explains
PRIOR = 12.0  # precision of the coarse matte in the band: off by 0.3 typically
MAX_EVIDENCE = 40.0


def foreground_colors(image: Image, matte: Matte) -> Image:
    """Colours f32 [S, S, 3] of the foreground alone, defined everywhere (blurred fusion, twice).

    matte * colours over a new background shows none of the old one.
    """
    unit = image.shape[0] / REFERENCE_SIZE
    # The first, wide step is done on a quarter of the size: its answer is smooth.
    small = (max(1, image.shape[1] // 4), max(1, image.shape[0] // 4))
    image_small, matte_small = (
        np.asarray(cv2.resize(part, small, interpolation=cv2.INTER_AREA), np.float32)
        for part in (image, matte)
    )
    wide = _fuse(
        image_small, image_small, image_small, matte_small[..., None], max(3, _odd(90 / 4 * unit))
    )
    colours, back = (np.asarray(cv2.resize(part, image.shape[1::-1]), np.float32) for part in wide)
    return _fuse(image, colours, back, matte[..., None], max(3, _odd(6 * unit)))[0]


def guided_filter(
    guide: Image, values: Matte, width: int, epsilon: float, shrink: int = 2
) -> Matte:
    """Smooth `values` so that they follow the edges of a colour `guide` (He et al. 2013, eq. 19).

    `width` is the side of the window in pixels, `epsilon` the variance below which a window counts
    as flat. The linear models are solved on pictures `shrink` times smaller and enlarged, as they
    are smooth (He and Sun 2015, "Fast guided filter").
    """
    full_size = guide.shape[1::-1]
    small_size = (full_size[0] // shrink, full_size[1] // shrink)
    window = max(3, _odd(width / shrink))

    def mean(array: NDArray) -> NDArray:
        return cv2.blur(array, (window, window), borderType=cv2.BORDER_REFLECT_101)

    small = cv2.resize(guide, small_size, interpolation=cv2.INTER_AREA)
    small_values = cv2.resize(values, small_size, interpolation=cv2.INTER_AREA)
    red, green, blue = cv2.split(small)
    mr, mg, mb = (mean(channel) for channel in (red, green, blue))
    mean_values = mean(small_values)
    rr = mean(red * red) - mr * mr + epsilon
    gg = mean(green * green) - mg * mg + epsilon
    bb = mean(blue * blue) - mb * mb + epsilon
    rg, rb, gb = (
        mean(red * green) - mr * mg,
        mean(red * blue) - mr * mb,
        mean(green * blue) - mg * mb,
    )
    vr = mean(red * small_values) - mr * mean_values
    vg = mean(green * small_values) - mg * mean_values
    vb = mean(blue * small_values) - mb * mean_values
    # inverse of the symmetric 3x3 by cofactors
    c_rr, c_rg, c_rb = gg * bb - gb * gb, rb * gb - rg * bb, rg * gb - rb * gg
    c_gg, c_gb, c_bb = rr * bb - rb * rb, rb * rg - rr * gb, rr * gg - rg * rg
    scale = 1.0 / np.maximum(rr * c_rr + rg * c_rg + rb * c_rb, 1e-12)
    ar = (c_rr * vr + c_rg * vg + c_rb * vb) * scale
    ag = (c_rg * vr + c_gg * vg + c_gb * vb) * scale
    ab = (c_rb * vr + c_gb * vg + c_bb * vb) * scale
    offset = mean_values - ar * mr - ag * mg - ab * mb
    models = cv2.resize(mean(np.dstack([ar, ag, ab, offset])), full_size)
    return _dot(models[..., :3], guide) + models[..., 3]


def _dot(a: NDArray, b: NDArray) -> NDArray:
    """Scalar product of two [H, W, 3] pictures, [H, W]; several times faster than einsum."""
    return a[..., 0] * b[..., 0] + a[..., 1] * b[..., 1] + a[..., 2] * b[..., 2]


def _fuse(
    image: Image, colours: Image, back: Image, matte: NDArray[np.float32], width: int
) -> tuple[Image, Image]:
    """One step of Forte's blurred fusion: foreground and background from blurred guesses."""

    def blur(array: NDArray) -> NDArray:
        blurred = cv2.blur(array, (width, width))
        return blurred[..., None] if blurred.ndim == 2 else blurred

    share = blur(matte)
    smooth_f = blur(colours * matte) / (share + 1e-5)
    smooth_b = blur(back * (1.0 - matte)) / (1.0 - share + 1e-5)
    residual = image - matte * smooth_f - (1.0 - matte) * smooth_b
    fused = np.clip(smooth_f + matte * residual, 0.0, 1.0)
    return np.asarray(fused, np.float32), np.asarray(smooth_b, np.float32)


def _local_colours(image: Image, where: NDArray[np.bool_], unit: float) -> tuple[Image, Matte]:
    """Mean colour and mean variance a channel of the chosen pixels nearby, from wide to narrow.

    Each narrower window starts from the wider one's answer, so places without any chosen pixel
    nearby still have a colour. Computed at half size: the means are smooth.
    """
    half = (image.shape[1] // 2, image.shape[0] // 2)
    small = cv2.resize(image, half, interpolation=cv2.INTER_AREA)
    weight = cv2.resize(where.astype(np.float32), half, interpolation=cv2.INTER_AREA)
    sums = np.dstack([small * weight[..., None], (small * small).sum(axis=2) * weight, weight])
    total = sums.sum(axis=(0, 1))
    estimate = np.broadcast_to(total[:4] / max(float(total[4]), 1e-3), (*weight.shape, 4))
    for width in (160 * unit, 48 * unit, 16 * unit):
        near = cv2.blur(sums, (max(3, _odd(width)),) * 2, borderType=cv2.BORDER_REFLECT_101)
        estimate = (near[..., :4] + 0.02 * estimate) / (near[..., 4:] + 0.02)
    resized = cv2.resize(np.ascontiguousarray(estimate, np.float32), image.shape[1::-1])
    full = np.asarray(resized, np.float32)
    mean = full[..., :3]
    variance = (full[..., 3] - _dot(mean, mean)) / 3.0
    return mean, np.maximum(variance, 0.0)


def _face_core(face: Face, size: int) -> Matte:
    """1 well inside the outline of the face: no network may open a hole there."""
    core = np.zeros((size, size), np.uint8)
    hull = cv2.convexHull(face.landmarks[:MESH_POINTS, :2].astype(np.float32))
    cv2.fillConvexPoly(core, np.rint(hull).astype(np.int32), (1,))
    return _eroded(core > 0, 0.06 * face.height_px).astype(np.float32)


def _own_territory(face: Face, size: int) -> Matte:
    """1 where this face is nearer than any other, distances in face heights: cuts neighbours."""
    territory = np.ones((size, size), np.float32)
    if not len(face.others):
        return territory
    y, x = np.mgrid[0:size, 0:size].astype(np.float32) + 0.5
    x0, y0, x1, y1 = face.box
    own = np.hypot(x - (x0 + x1) / 2, y - (y0 + y1) / 2) / (y1 - y0)
    for x0, y0, x1, y1 in face.others:
        other = np.hypot(x - (x0 + x1) / 2, y - (y0 + y1) / 2) / (y1 - y0)
        territory *= np.clip((other - own) * 20.0 + 0.5, 0.0, 1.0)
    return territory


def _connected_to_face(matte: Matte, face: Face) -> Matte:
    """Keep what hangs together with the face; drop other people and stray blobs.

    Bridges narrower than the opening do not count as hanging together; the soft rim and the wisps
    that the opening takes off are within its reach of what is kept, and stay.
    """
    unit = matte.shape[0] / REFERENCE_SIZE
    width = _odd(14 * unit)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (width, width))
    solid = cv2.morphologyEx((matte > 0.4).astype(np.uint8), cv2.MORPH_OPEN, kernel)
    count, labels = cv2.connectedComponents(solid)
    points = np.clip(face.landmarks[:MESH_POINTS, :2].astype(int), 0, matte.shape[0] - 1)
    votes = np.bincount(labels[points[:, 1], points[:, 0]], minlength=count)
    votes[0] = 0
    if not votes.any():
        return matte
    own = (labels == votes.argmax()).astype(np.uint8)
    reach = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (_odd(40 * unit),) * 2)
    others = cv2.dilate(((labels > 0) & (own == 0)).astype(np.uint8), kernel)
    return np.where((cv2.dilate(own, reach) > 0) & (others == 0), matte, 0.0).astype(np.float32)


def _middle(wide: Matte) -> Matte:
    """The middle half of a matte, at its full size: undoes a crop twice as wide."""
    size = wide.shape[0]
    quarter = size // 4
    middle = cv2.resize(
        wide[quarter : size - quarter, quarter : size - quarter],
        (size, size),
        interpolation=cv2.INTER_CUBIC,
    )
    return np.asarray(middle, np.float32)


def _eroded(mask: NDArray[np.bool_], radius_px: float) -> NDArray[np.bool_]:
    width = _odd(2 * radius_px)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (width, width))
    return cv2.erode(mask.astype(np.uint8), kernel) > 0


def _odd(width_px: float) -> int:
    return 2 * int(width_px / 2) + 1
