"""Cameras, identity and codes from landmarks."""

from recon.track.bust import BustReference, bust_reference, neck_rotation
from recon.track.calibrate import calibrate
from recon.track.frames import OWN, FrameSettings, track_frames
from recon.track.support import SupportSettings, track_support
from recon.track.tracking import Tracking

__all__ = [
    "OWN",
    "BustReference",
    "FrameSettings",
    "SupportSettings",
    "Tracking",
    "bust_reference",
    "calibrate",
    "neck_rotation",
    "track_frames",
    "track_support",
]
