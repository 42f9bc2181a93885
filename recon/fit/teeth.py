"""Teeth that look like teeth: of one colour, whatever lies on their edge in the photos.

A photo shows a strip of them between lips, half in the mouth's shade. Unprojected and refined, the
lips' colour and the dark between the lips end up on teeth, and a wider smile bares them as blots.
But teeth of one mouth are nearly alike, so their colour is told by those that are surely seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace

import numpy as np
import torch

from avatar3d.avatar import Attributes
from avatar3d.smooth import smoothstep
from avatar3d.template import Template
from recon.fit.behind import clear_view, held, weighted_quantile, with_own_look
from recon.fit.colors import usual_teeth
from recon.fit.observation import Sighting, a_few
from recon.fit.start import Confidence, Start

_MIN_SEEN = 6.0  # anchors, counted by how surely they are seen
# Of the samples, by brightness: what is darker than most teeth is a gap or a lip's shade.
_BRIGHT = 0.65
_NO_SHADE = (0.5, 0.7)  # of the usual brightness: from here to there what is seen is believed
_IN_A_MOUTH = 0.87  # as bright as teeth are in the lips' shade
_KEEP = 0.5  # of what is surely seen
_OWN_LOOK = (-0.08, 0.15)  # much darker is no tooth
_STAYS_WITHIN_M = 0.005


def with_plain_teeth(template: Template, start: Start, sightings: Sequence[Sighting]) -> Start:
    """The start, a prior's answer or the first one, with teeth that are opaque and nearly alike.

    Upper and lower ones each have their own colour, as the lower ones stand in the shade. Where no
    frame shows them, or only in the dark of a mouth that hardly opens, they are as usual.
    """
    rows = [np.where(template.is_part(part).numpy())[0] for part in ("upper_teeth", "lower_teeth")]
    start = held(start, np.concatenate(rows), len(sightings))
    views = [[clear_view(sighting, anchors) for sighting in a_few(sightings)] for anchors in rows]
    colors = start.attributes.colors.clone()
    skin = colors[template.is_part("face")].median(0).values.numpy()
    for anchors, row in zip(rows, views):
        plain = _plain(row, _IN_A_MOUTH * usual_teeth(skin))
        colors[anchors] = with_own_look(plain, row, _KEEP, _OWN_LOOK)
    return start._replace(attributes=replace(start.attributes, colors=colors))


def with_own_mouth(template: Template, learned: Start, start: Start) -> Start:
    """What a prior answered, with the tongue as it was and the rest of the mouth's inside in place.

    Clips hardly show them, so nobody told the prior that it looks through a tongue, nor that gums
    have left by the cheeks.
    """
    tongue = template.is_part("tongue")
    answer, own = learned.attributes, start.attributes
    kept = {
        field.name: torch.where(
            tongue.reshape(-1, *[1] * (getattr(own, field.name).dim() - 1)),
            getattr(own, field.name),
            getattr(answer, field.name),
        )
        for field in fields(Attributes)
    }
    moved = kept["offsets"] - own.offsets
    least = (_STAYS_WITHIN_M / moved.norm(dim=1, keepdim=True).clamp(min=1e-9)).clamp(max=1.0)
    lining = template.is_part("gums", "mouth")[:, None]
    kept["offsets"] = torch.where(lining, own.offsets + least * moved, kept["offsets"])
    confidence = Confidence(
        *(torch.where(tongue[:, None], *pair) for pair in zip(start.confidence, learned.confidence))
    )
    footprint_m = np.where(tongue.numpy(), start.footprint_m, learned.footprint_m)
    return learned._replace(
        attributes=Attributes(**kept), confidence=confidence, footprint_m=footprint_m
    )


def _plain(views: Sequence[tuple[np.ndarray, np.ndarray]], usual: np.ndarray) -> np.ndarray:
    """The colour [3] of a row of teeth."""
    colors, clear = (np.concatenate(part) for part in zip(*views))
    if clear.sum() < _MIN_SEEN:
        return usual
    seen = weighted_quantile(colors, clear, _BRIGHT)
    return usual + smoothstep(seen.mean() / usual.mean(), *_NO_SHADE) * (seen - usual)
