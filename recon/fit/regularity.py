"""Smoothness over neighbouring anchors: anchors of one part move and look alike."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from avatar3d.binding import SparseMap
from avatar3d.template import HAIR_INNER, HAIR_OUTER, SHEET, SKIN, Template
from recon.fit.neighbours import neighbours
from recon.training.device import moved

_NEIGHBOURS = 6


class Smoothness:
    """Half the summed squared differences to the neighbours, as a gradient: L x, L a Laplacian.

    Parts do not mix: lips and teeth, lids and eyeballs, hair and skin each have their own.
    """

    def __init__(self, template: Template, device: torch.device | str = "cpu") -> None:
        points = template.neutral_points().numpy()
        rows, columns = [], []
        for group in _groups(template):
            members = np.where(group)[0]
            if len(members) <= _NEIGHBOURS:
                continue
            nearest = neighbours(points[members], _NEIGHBOURS)
            rows.append(np.repeat(members, _NEIGHBOURS))
            columns.append(members[nearest].reshape(-1))
        row, column = np.concatenate(rows), np.concatenate(columns)
        # Symmetric weights, so that it is the gradient of an energy; rows sum to about one.
        row, column = np.concatenate([row, column]), np.concatenate([column, row])
        weights = np.full(len(row), 0.5 / _NEIGHBOURS, np.float32)
        degree = np.bincount(row, weights, minlength=template.count).astype(np.float32)
        self.degree = torch.from_numpy(degree)[:, None].to(device)
        adjacency = SparseMap(
            torch.from_numpy(row),
            torch.from_numpy(column),
            torch.from_numpy(weights),
            (template.count, template.count),
        )
        self._adjacency = moved(adjacency, device)

    @property
    def neighbours(self) -> Tensor:
        """The weights between anchors, [N, N], sparse by rows."""
        return self._adjacency.matrix

    def gradient(self, values: Tensor) -> Tensor:
        """Of the energy at values [..., N, C]; the same shape."""
        return self.degree * values - self._adjacency(values)


def _groups(template: Template) -> list[np.ndarray]:
    layer = template.layer.numpy()
    skin_parts = [
        ("face", "eyelids"),
        ("scalp", "ears", "neck", "bust"),
        ("left_eyeball",),
        ("right_eyeball",),
        ("upper_teeth",),
        ("lower_teeth",),
        ("gums", "mouth"),
        ("tongue",),
    ]
    groups = [template.is_part(*parts).numpy() & (layer == SKIN) for parts in skin_parts]
    return groups + [layer == HAIR_INNER, layer == HAIR_OUTER, layer == SHEET]
