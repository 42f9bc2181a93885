"""From what the user gives to what tracking and fitting need: frames, landmarks, mattes, crops.

`collect_inputs` sorts the paths; `read_photo` and `read_video` decode; `track_faces` follows the
face of a clip; `prepare` cuts heads out. MediaPipe and PyAV are imported when first used.
"""

from recon.capture.crop import HeadCrop, head_crop, stable_head_crop
from recon.capture.frames import Frame, read_photo
from recon.capture.inputs import Inputs, collect_inputs, hash_file, hash_inputs
from recon.capture.landmarks import Face, FaceTrack, detect, detect_one, track_faces
from recon.capture.matting import foreground_colors, matte_person
from recon.capture.people import check_same_person
from recon.capture.prepared import PreparedFrame, prepare, prepare_frame
from recon.capture.video import (
    VideoInfo,
    read_audio,
    read_video,
    read_video_info,
    sample_indices,
)

__all__ = [
    "Face",
    "FaceTrack",
    "Frame",
    "HeadCrop",
    "Inputs",
    "PreparedFrame",
    "VideoInfo",
    "check_same_person",
    "collect_inputs",
    "detect",
    "detect_one",
    "foreground_colors",
    "hash_file",
    "hash_inputs",
    "head_crop",
    "matte_person",
    "prepare",
    "prepare_frame",
    "read_audio",
    "read_photo",
    "read_video",
    "read_video_info",
    "sample_indices",
    "stable_head_crop",
    "track_faces",
]
