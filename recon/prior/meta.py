"""What an episode teaches: the prior's answer judged at once, and judged after refinement.

Feed-forward: the answer is rendered in the query frames and compared there. Refined: some steps of
the fit's own refinement on the support frames come first. Gradients through those are first-order:
the query loss's gradient where refinement ended stands for the gradient where it began (FOMAML,
Finn et al. 2017, "Model-Agnostic Meta-Learning", section 5.2), and how freely each value may move is
learned as in Meta-SGD (Li et al. 2017): refinement gives value = start + confidence * step, hence
d loss / d confidence = <d loss / d value, step>.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace

import torch
from torch import Tensor

from avatar3d.avatar import Attributes, pose_gaussians
from avatar3d.binding import Binding
from avatar3d.template import Template
from recon.fit.config import RefineConfig
from recon.fit.refine import refine
from recon.fit.start import Confidence, Start
from recon.fit.target import BACKGROUNDS, person_target
from recon.prior.episodes import Episode
from recon.training.device import moved
from render.losses import PreparedTarget, photometric_loss
from render.rasterize import rasterize

_FACE_WEIGHT = 3.0  # on top of 1: faces are what people look at
_ALPHA_WEIGHT = 0.5
_SSIM_WEIGHT = 0.5
_SQUARED_WEIGHT = 4.0  # L1 alone answers doubt with the likeliest colour, which is far off at times
_MIN_CONFIDENCE = 1e-3

_BASIS = ("offsets", "colors")

Gradients = dict[str, Tensor]  # by the names of `values_of`


class Judge:
    """One episode's query frames: how far a start's renders are from the truth."""

    def __init__(self, episode: Episode, template: Template) -> None:
        """The episode may lie on a GPU (`Episode.on`), and is then judged there."""
        self._device = episode.camera.K.device
        self.binding = Binding(template, episode.identity)
        if self._device.type != "cpu":
            self.binding = moved(self.binding, self._device)
        self._episode = episode
        self._lit = template.lit.to(self._device)

    def loss(self, start: Start, query: int, background: int) -> Tensor:
        """L1, squares and SSIM on the person, the face counting more, and L1 on the matte."""
        episode = self._episode
        code = episode.query_codes.at(query)
        with torch.no_grad():
            frames = self.binding.frames(code)
        gaussians = pose_gaussians(
            frames, code, start.attributes, start.basis, start.light, self._lit
        )
        backdrop = torch.tensor(BACKGROUNDS[background], device=self._device)
        rendering = rasterize(gaussians, episode.camera, background=backdrop)
        valid = episode.valid.to(self._device).float()
        matte = episode.queries[query].matte.to(self._device).float() / 255
        alpha = ((rendering.alpha - matte).abs() * valid).sum() / valid.sum()
        target = self._target(query, background)
        colors = photometric_loss(rendering.colors, target, _SSIM_WEIGHT)
        return colors + _SQUARED_WEIGHT * _squared(rendering.colors, target) + _ALPHA_WEIGHT * alpha

    def gradients(
        self,
        start: Start,
        queries: Sequence[int],
        background: int,
    ) -> tuple[float, Gradients]:
        """Mean loss over `queries`, and its gradient by `values_of` the start."""
        leaf = _as_leaves(start)
        total = 0.0
        for query in queries:  # one at a time: a graph of one render is all there is to keep
            loss = self.loss(leaf, query, background) / len(queries)
            loss.backward()
            total += float(loss.detach())
        return total, {
            name: torch.zeros_like(value) if value.grad is None else value.grad
            for name, value in values_of(leaf).items()
        }

    def gradients_after_refinement(
        self,
        start: Start,
        template: Template,
        queries: Sequence[int],
        background: int,
        config: RefineConfig,
    ) -> tuple[float, Gradients]:
        """The same after refinement on the support frames, to first order; and by confidence."""
        episode = self._episode
        still = _detached(start)
        refined = refine(
            template,
            self.binding,
            still,
            [view.observation(episode.valid) for view in episode.support],
            episode.support_codes,
            episode.camera,
            config,
        )
        ended = still._replace(attributes=refined.attributes, basis=refined.basis)
        loss, gradients = self.gradients(ended, queries, background)
        for name in _BASIS:  # the start's rows come first, those of its own frames after them
            slope = gradients.pop(f"basis.{name}", None)
            if slope is not None and start.basis is not None:
                gradients[f"basis.{name}"] = slope[: len(start.basis.offsets)]
        gradients.update(_by_confidence(still, ended, gradients))
        return loss, gradients

    def _target(self, query: int, background: int) -> PreparedTarget:
        view = self._episode.queries[query]
        seen = view.observation(self._episode.valid).continued()
        return person_target(seen, BACKGROUNDS[background], 1.0 + _FACE_WEIGHT * view.face)


def _squared(picture: Tensor, target: PreparedTarget) -> Tensor:
    """Weighted mean of the squared differences."""
    pixels, _, _, weight = target.on(picture.device)
    return ((picture - pixels).square() * weight).sum()


def values_of(start: Start) -> dict[str, Tensor]:
    """What rendering a start depends on, by name."""
    values = {f.name: getattr(start.attributes, f.name) for f in fields(Attributes)}
    if start.light is not None:
        values["light"] = start.light
    if start.basis is not None:
        values |= {f"basis.{name}": getattr(start.basis, name) for name in _BASIS}
    return values


def backward(start: Start, gradients: Gradients) -> None:
    """Hand the gradients by a start's values on to what the values were computed from."""
    values = {**values_of(start), **_confidence_of(start)}
    pairs = [(values[name], slope) for name, slope in gradients.items()]
    used = [(value, slope) for value, slope in pairs if value.requires_grad]
    torch.autograd.backward([value for value, _ in used], [slope for _, slope in used])


def _confidence_of(start: Start) -> dict[str, Tensor]:
    return {f"confidence.{name}": value for name, value in start.confidence._asdict().items()}


def _by_confidence(start: Start, ended: Start, gradients: Gradients) -> Gradients:
    """How each step's length bore on the loss, where it ended."""
    way = {
        name: gradients[name] * (value - getattr(start.attributes, name))
        for name, value in ended.attributes.__dict__.items()
    }
    of = {
        "look": way["colors"].sum(1, keepdim=True),
        "opacity": way["opacity_logits"][:, None],
        "geometry": sum(
            (way[name].sum(1, keepdim=True) for name in ("offsets", "rotations", "log_scales")),
            way["colors"].new_zeros(1),
        ),
    }
    return {
        f"confidence.{name}": slope / getattr(start.confidence, name).clamp(min=_MIN_CONFIDENCE)
        for name, slope in of.items()
    }


def _as_leaves(start: Start) -> Start:
    return _mapped(start, lambda value: value.detach().clone().requires_grad_())


def _detached(start: Start) -> Start:
    still = _mapped(start, Tensor.detach)
    return still._replace(confidence=Confidence(*(value.detach() for value in start.confidence)))


def _mapped(start: Start, change) -> Start:
    return start._replace(
        attributes=Attributes(*(change(value) for value in start.attributes.__dict__.values())),
        light=None if start.light is None else change(start.light),
        basis=start.basis
        and replace(start.basis, **{name: change(getattr(start.basis, name)) for name in _BASIS}),
    )
