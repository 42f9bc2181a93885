"""Surfaces against surfaces: distances, alignment, registration, correspondence, stabilisation."""

from avatar3d.heads.fitting.alignment import Similarity, align
from avatar3d.heads.fitting.distance import (
    SurfacePoints,
    closest_points,
    mesh_to_mesh_distance,
    scan_to_mesh_distance,
)
from avatar3d.heads.fitting.registration import (
    ScanFit,
    ViewsFit,
    register_to_scan,
    register_to_views,
)
from avatar3d.heads.fitting.stabilisation import stabilise

__all__ = [
    "ScanFit",
    "Similarity",
    "SurfacePoints",
    "ViewsFit",
    "align",
    "closest_points",
    "mesh_to_mesh_distance",
    "register_to_scan",
    "register_to_views",
    "scan_to_mesh_distance",
    "stabilise",
]
