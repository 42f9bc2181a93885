"""One person's motion on another person's avatar; see `avatar3d.animation.retarget`."""

from avatar3d.animation.retarget import Transfer, transfer

__all__ = ["Transfer", "transfer"]
