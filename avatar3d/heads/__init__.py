"""Parametric heads behind one class."""

from avatar3d.heads.model import PART_INDEX, PARTS, HeadModel, LandmarkRig
from avatar3d.heads.registry import head_facts, heads_folder, installed_heads, load_head

__all__ = [
    "PARTS",
    "PART_INDEX",
    "HeadModel",
    "LandmarkRig",
    "head_facts",
    "heads_folder",
    "installed_heads",
    "load_head",
]
