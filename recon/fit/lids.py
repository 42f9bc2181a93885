"""Closed eyes show lids: how the skin around an eye looks once it is shut, which few photos show.

With the eye open, the lid's crease, its lashes and whatever of the eye a tracker's error puts on
skin lie where the shut eye has nothing but skin. So shutting it changes the look, by a component of
the expression basis for each eye: toward the skin beside the eye, on a smooth surface, with the
lashes where the lids meet. That goes for an eye that blinks in some of the frames, too: what they
taught is drawn with Gaussians that the open eye shaped.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from avatar3d.avatar import Attributes, Avatar
from avatar3d.codes import ARKIT_INDEX, ExpressionCode
from avatar3d.heads.model import LandmarkRig
from avatar3d.smooth import smoothstep
from avatar3d.template import Template
from recon.fit.blink_basis import Change, calmed, with_changes
from recon.fit.lashes import LashLine, lash_line
from recon.fit.light import shading
from recon.fit.start import Start

_SHUT_IN_PHOTO = 0.6  # a frame with the eye so far shut shows the lid; do most, all is known of it
# Around the line where the lids meet: all of the lid is repainted, brow and cheek are not.
_ABOVE_M, _BROW_M = 0.008, 0.013
_BELOW_M, _CHEEK_M = 0.003, 0.009
_BESIDE_CORNER_M = (0.003, 0.009)
_BESIDE_M = (0.009, 0.030)  # where the skin is that the lid resembles
_SMOOTH_M = 0.012
_NOT_SKIN = 0.18  # farther from the usual colour there: lashes, brow, glasses
_SHADE_M = 0.0022  # half of the width of the dim band about the lashes
_SHADE = 0.6  # its strength
_LASHES_LOGIT = 0.8  # of their opacity
_OUTER = 0.2  # forward part of the normals of the lids' outer side
# What a frame with the eye shut taught counts half, and where it is darker than the skin beside the
# eye; smoothed, for it is drawn in strokes.
_SHOWN, _SHOWN_M = 0.5, 0.0015
_DIM = 0.3  # light on the inner side of a lid, at the least: what is drawn there is seen outside
_SHADOW = 0.6  # share of what the open eye's surroundings look like, lashes and make-up and all
_MOST_CHANGE = 0.3  # of the colour of skin about the eyes, by what frames teach of expressions
_AROUND_M = 0.019  # of the eyeball's centre, across
_MIN_KNOWN = 30
_BEHIND_M = 0.02  # the seam: farther back is another side of the face
_UPPER_M = 0.002  # over the open eye's lower edge the upper lid's anchors lie
_SEEN = 0.5  # of the confidence in a colour
_NARROWING = ("eyeLookDown", "eyeSquint")

# MediaPipe's landmarks along the lower lid, from corner to corner.
_LOWER_LIDS = {
    "Right": (33, 7, 163, 144, 145, 153, 154, 155, 133),
    "Left": (362, 382, 381, 380, 374, 373, 390, 249, 263),
}
_MID_LIDS = {"Right": (159, 145), "Left": (386, 374)}  # upper and lower, in the middle
_BLINKS = {side: ARKIT_INDEX[f"eyeBlink{side}"] for side in _LOWER_LIDS}


def with_opaque_eyes(template: Template, learned: Start, start: Start) -> Start:
    """What a prior answered, with lids and the skin about the eyes as opaque as they were.

    Renders of open eyes taught it to see through them, for an open eye hides most of its lids; a
    shut one would be seen through its lid.
    """
    skin = template.is_part("eyelids") | (template.is_part("face") & _around_eyes(template))
    logits = learned.attributes.opacity_logits
    opaque = torch.maximum(logits, start.attributes.opacity_logits)
    attributes = replace(learned.attributes, opacity_logits=torch.where(skin, opaque, logits))
    return learned._replace(attributes=attributes)


def _around_eyes(template: Template) -> Tensor:
    points = template.neutral_points()
    centres = [points[template.is_part(f"{side}_eyeball")].mean(0) for side in ("left", "right")]
    return torch.stack(
        [(points - centre)[:, :2].norm(dim=1) < _AROUND_M for centre in centres]
    ).any(0)


def with_lids(avatar: Avatar, codes: ExpressionCode, look: np.ndarray) -> Avatar:
    """The avatar with a component of its basis for each eye that most frames show open, and less
    of the others there.

    look: [N] confidence in the anchors' colours, 0..1. codes: [F, ...] of the support frames.
    """
    around = avatar.template.is_part("face", "eyelids") & _around_eyes(avatar.template)
    avatar = calmed(avatar, around, _MOST_CHANGE)
    changes = []
    for side in _LOWER_LIDS:
        blink = _BLINKS[side]
        if float((codes.coefficients[:, blink] > _SHUT_IN_PHOTO).float().mean()) >= 0.5:
            continue
        shut = _Shut(avatar, codes.coefficients, look, side)
        skin = shut.skin()
        if skin is None:
            continue
        lashes = shut.lashes() if skin.dark is not None else None
        if lashes is not None:
            drawn = lashes.anchors
            light = shut.light[drawn].clip(min=_DIM)
            skin.colors[drawn] = skin.dark / light - shut.albedo[drawn]
            skin.offsets[drawn] = lashes.offsets - shut.offsets[drawn]
            avatar = replace(avatar, attributes=_shaped(avatar.attributes, lashes))
        changes.append(Change(blink, shut.helpers, skin.colors, skin.offsets))
    return with_changes(avatar, codes.coefficients, changes) if changes else avatar


class _Skin(NamedTuple):
    """A shut eye's skin: what colours and offsets have to gain."""

    colors: np.ndarray  # [N, 3]
    offsets: np.ndarray  # [N, 3] metres
    dark: np.ndarray | None  # [3] the colour of lashes, from what is dark about the open eye


class _Shut:
    """One eye once it is shut, as the avatar has it so far."""

    def __init__(self, avatar: Avatar, coefficients: Tensor, look: np.ndarray, side: str) -> None:
        """coefficients: [F, E] of the support frames."""
        code = ExpressionCode.from_named(**{f"eyeBlink{side}": 1.0})
        self._avatar, self._look = avatar, look
        self._frames = avatar.binding.frames(code)
        # Lids have an inner side too, which no light falls on: both shall look alike.
        normals = self._frames.rotations[:, :, 2].numpy()
        self.light = shading(avatar.light, normals, avatar.template.lit.numpy())
        rig = LandmarkRig(avatar.template.head, avatar.identity)
        self._seam = _lower_lid(rig, code, side)
        self._opened = _lower_lid(rig, ExpressionCode.neutral(), side)
        self.helpers = _closing(rig, side)
        # Eyes are shut in any expression; what the basis adds in the usual one is in the way.
        usual = _and_shut(coefficients.median(0).values)
        self.albedo, self.offsets = _learned(avatar, usual)
        widest = coefficients[coefficients[:, _BLINKS[side]].argmax()]
        # [N, 3] albedo as the frame that shows the eye shut has it, if one does.
        self._shown: np.ndarray | None = None
        if float(widest[_BLINKS[side]]) > _SHUT_IN_PHOTO:
            self._shown = _learned(avatar, _and_shut(widest))[0]

    def lashes(self) -> LashLine | None:
        resting = self._avatar.binding.frames(ExpressionCode.neutral()).positions.numpy()
        upper = _height_over(self._opened, resting) > _UPPER_M
        return lash_line(self._avatar, self._frames, self._seam, self._look, upper)

    def skin(self) -> _Skin | None:
        """The lids as the skin beside the eye; None where none of that is known."""
        template, seam, look = self._avatar.template, self._seam, self._look
        points = self._frames.positions.numpy()
        colors = self._avatar.attributes.colors.numpy() * self.light
        above = _height_over(seam, points)
        aside = np.maximum(np.maximum(seam[0, 0] - points[:, 0], points[:, 0] - seam[-1, 0]), 0.0)
        skin = template.is_part("face", "eyelids").numpy()
        skin &= points[:, 2] > seam[:, 2].min() - _BEHIND_M
        upright = np.where(
            above > 0, _falling(above, _ABOVE_M, _BROW_M), _falling(-above, _BELOW_M, _CHEEK_M)
        )
        share = np.where(skin, np.minimum(upright, _falling(aside, *_BESIDE_CORNER_M)), 0.0)
        distance = np.hypot(aside, above)
        beside = skin & (look > _SEEN) & (share < 0.2) & (above < _ABOVE_M)
        beside &= (distance > _BESIDE_M[0]) & (distance < _BESIDE_M[1])
        if beside.sum() < _MIN_KNOWN:
            return None
        usual = np.median(colors[beside], axis=0)
        known = np.where(beside)[0]
        known = known[np.linalg.norm(colors[known] - usual, axis=1) < _NOT_SKIN]
        changed = np.where(share > 0)[0]
        if len(known) < _MIN_KNOWN:
            return None
        shut = _smoothed(points[changed], points[known], colors[known], _SMOOTH_M)
        ring = np.where((share > 0.5) & (look > _SEEN))[0]
        dark = None
        if len(ring):
            darkest = np.argsort(colors[ring].mean(1))[: max(1, len(ring) // 20)]
            dark = colors[ring][darkest].mean(0)
            shut += _SHADOW * (np.median(colors[ring], axis=0) - shut)
            band = np.exp(-((above[changed] / _SHADE_M) ** 2))
            band *= _falling(aside[changed], 0.0, 0.002)
            shut += _SHADE * band[:, None] * np.minimum(dark - shut, 0.0)
            dark = np.minimum(dark, shut[band > _SHADE].min(0, initial=1.0))  # lids may be darker
        if self._shown is not None:
            outer = skin & (distance < _BESIDE_M[0])
            outer &= self._frames.rotations[:, 2, 2].numpy() > _OUTER
            taught = _smoothed(
                points[changed], points[outer], (self._shown * self.light)[outer], _SHOWN_M
            )
            shut += _SHOWN * np.minimum(taught - shut, 0.0)
        gain = np.zeros_like(colors)
        smooth = -share[:, None] * self.offsets
        gain[changed] = shut / self.light[changed] - self.albedo[changed]
        return _Skin(share[:, None] * gain, smooth, dark)


def _smoothed(at: np.ndarray, points: np.ndarray, colors: np.ndarray, sigma_m: float) -> np.ndarray:
    """What colours [P, 3] at points [P, 3] come to at other points, [M, 3]."""
    weight = np.exp(-((at[:, None] - points) ** 2).sum(-1) / (2 * sigma_m**2)) + 1e-6
    return weight @ colors / weight.sum(1, keepdims=True)


def _lower_lid(rig: LandmarkRig, code: ExpressionCode, side: str) -> np.ndarray:
    """The lower lid's edge [K, 3] in order of x, metres."""
    edge = rig.pose(code).numpy()[list(_LOWER_LIDS[side])]
    return edge[np.argsort(edge[:, 0])]


def _closing(rig: LandmarkRig, side: str) -> dict[int, float]:
    """The coefficients that narrow an eye beside its blink, and by how much of what that does, 0 to 1,
    where it is half shut by one."""
    half = {f"eyeBlink{side}": 0.5}

    def gap(**coefficients: float) -> float:
        upper, lower = rig.pose(ExpressionCode.from_named(**coefficients))[list(_MID_LIDS[side]), 1]
        return float(upper - lower)

    half_shut = gap(**half)
    blink = max(gap() - half_shut, 1e-6) / 0.5
    shares = {}
    for name in (f"{name}{side}" for name in _NARROWING):
        narrowed = half_shut - gap(**half, **{name: 1.0})
        shares[ARKIT_INDEX[name]] = float(np.clip(narrowed / blink, 0.0, 1.0))
    return shares


def _height_over(edge: np.ndarray, points: np.ndarray) -> np.ndarray:
    """How far above a lid's edge points [N, 3] lie, [N]."""
    return points[:, 1] - np.interp(points[:, 0], edge[:, 0], edge[:, 1])


def _and_shut(coefficients: Tensor) -> Tensor:
    """The same expression [E] with the eyes shut, both of them, as they nearly always are."""
    changed = coefficients.clone()
    changed[list(_BLINKS.values())] = 1.0
    return changed


def _learned(avatar: Avatar, coefficients: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Albedo [N, 3] and offsets [N, 3] with what the basis adds to them."""
    albedo, offsets = avatar.attributes.colors, avatar.attributes.offsets
    if avatar.basis is not None:
        moved, tinted = avatar.basis.change(avatar.basis.weights(coefficients))
        albedo, offsets = albedo + tinted, offsets + moved
    return albedo.numpy(), offsets.numpy()


def _shaped(attributes: Attributes, lashes: LashLine) -> Attributes:
    """The attributes with anchors that have become lashes."""
    rotations, log_scales = attributes.rotations.clone(), attributes.log_scales.clone()
    logits = attributes.opacity_logits.clone()
    rotations[lashes.anchors] = torch.from_numpy(lashes.rotations)
    log_scales[lashes.anchors] = torch.from_numpy(lashes.log_scales)
    logits[lashes.anchors] = _LASHES_LOGIT
    return replace(attributes, rotations=rotations, log_scales=log_scales, opacity_logits=logits)


def _falling(value: np.ndarray, start: float, end: float) -> np.ndarray:
    """1 up to `start`, 0 from `end` on, smooth between."""
    return smoothstep(value, end, start)
