"""Measures the statistics of face landmarks that the default head is built from.

    python -m avatar3d.heads.build.measure DATA_FOLDER

`DATA_FOLDER` holds `photos/` and `clips/` with a `manifest.json` that names each file, its kind and
the person on it. Faces are found by MediaPipe's face mesh (478 points; z is in the units of x, weak
perspective), brought to one pose and size by generalised Procrustes analysis on points that hardly
move, mirrored to make the statistics symmetric, and reduced to

- `mean` [478, 3]: the mean neutral face, metres, pupils 63 mm apart (Dodgson 2004: adult mean),
- `identity_modes` [I, 478, 3]: principal directions between people, scaled to one deviation,
- `expression_modes` [M, 478, 3]: principal directions within a clip, scaled to one deviation,
- `mirror` [478]: the landmark on the other side.

Only these numbers enter the package; the pictures stay where they are.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file
from scipy.optimize import linear_sum_assignment

from avatar3d.optional import require

Points = NDArray[np.float64]

STATISTICS_PATH = Path(__file__).with_name("statistics.safetensors")
PUPIL_DISTANCE_M = 0.063
FRAMES_PER_CLIP = 48
MAX_YAW, MAX_PITCH = np.radians(12.0), np.radians(14.0)
IDENTITY_MODES, EXPRESSION_MODES = 28, 40
# Eye corners, nose bridge and sides, forehead, temples: the skull's points, not the muscles'.
RIGID = [33, 133, 362, 263, 168, 6, 197, 195, 122, 351, 10, 109, 338, 67, 297, 103, 332, 54, 284]
RIGID += [21, 251, 162, 389, 127, 356, 234, 454, 5, 4, 94, 129, 358]
UPPER_LIP, LOWER_LIP = [81, 82, 13, 312, 311], [178, 87, 14, 317, 402]
UPPER_LIDS, LOWER_LIDS = [159, 386], [145, 374]


def similarity(source: Points, target: Points) -> tuple[float, Points, Points]:
    """Scale, rotation [3, 3] and translation [3] that bring `source` [N, 3] onto `target`
    (Umeyama 1991)."""
    source_mean, target_mean = source.mean(0), target.mean(0)
    a, b = source - source_mean, target - target_mean
    u, s, vt = np.linalg.svd(b.T @ a)
    sign = np.diag([1.0, 1.0, np.sign(np.linalg.det(u @ vt))])
    rotation = u @ sign @ vt
    scale = float(np.trace(np.diag(s) @ sign) / (a**2).sum())
    return scale, rotation, target_mean - scale * rotation @ source_mean


def aligned(face: Points, target: Points) -> tuple[Points, float, float]:
    """The face in the pose and size of `target`, with the yaw and pitch (radians) it had."""
    scale, rotation, translation = similarity(face[RIGID], target[RIGID])
    yaw, pitch = np.arctan2(-rotation[2, 0], rotation[2, 2]), np.arcsin(rotation[2, 1])
    return scale * face @ rotation.T + translation, float(yaw), float(pitch)


def upright(face: Points) -> Points:
    """The face with its eyes level, forehead above chin and eye corners at unit distance."""
    right = face[263] - face[33]
    x = right / np.linalg.norm(right)
    y = face[10] - face[152]
    y = y - x * (x @ y)
    y /= np.linalg.norm(y)
    frame = np.stack([x, y, np.cross(x, y)])
    return (face - 0.5 * (face[33] + face[263])) @ frame.T / np.linalg.norm(right)


def faces_in(folder: Path) -> dict[str, list[tuple[str, Points]]]:
    """Landmarks [478, 3] (y up, z out of the face, pixels) by person, each with its file's kind."""
    mediapipe, av = require("mediapipe", extra="recon"), require("av", extra="recon")
    from PIL import Image

    mesh = mediapipe.solutions.face_mesh.FaceMesh(
        static_image_mode=True, max_num_faces=1, refine_landmarks=True
    )
    faces: dict[str, list[tuple[str, Points]]] = defaultdict(list)

    def add(image: NDArray[np.uint8], person: str, kind: str) -> None:
        found = mesh.process(image).multi_face_landmarks
        if found:
            height, width = image.shape[:2]
            points = np.array([(p.x * width, p.y * height, p.z * width) for p in found[0].landmark])
            faces[person].append((kind, points * (1.0, -1.0, -1.0)))

    entries = [e for e in json.loads((folder / "manifest.json").read_text()) if "file" in e]
    for entry in sorted(entries, key=lambda e: e["file"]):
        path = folder / entry["file"]
        person = str(entry.get("identity") or path.stem)
        if entry["file"].startswith("photos/"):
            if path.stem.startswith(("paint", "drawing", "digital", "statue")):
                continue
            add(np.array(Image.open(path).convert("RGB")), person, "photo")
        elif entry["file"].startswith("clips/"):
            stride = max(1, int(entry.get("frames", 1)) // FRAMES_PER_CLIP)
            with av.open(str(path)) as container:
                for index, frame in enumerate(container.decode(video=0)):
                    if index % stride == 0:
                        add(frame.to_ndarray(format="rgb24"), person, str(path.stem))
        print(f"{entry['file']}: {len(faces[person])} faces of this person", file=sys.stderr)
    return faces


def mirror_map(mean: Points) -> NDArray[np.int32]:
    """The landmark on the other side of x = 0, found by matching the face with its mirror image."""
    mirrored = mean * (-1.0, 1.0, 1.0)
    cost = np.linalg.norm(mean[:, None] - mirrored[None], axis=2) ** 2
    _, partner = linear_sum_assignment(cost)
    if not np.array_equal(partner[partner], np.arange(len(mean))):
        raise RuntimeError("the landmarks of the mean face do not pair up across the midline")
    return partner.astype(np.int32)


def principal_directions(samples: Points, count: int) -> Points:
    """[N, 478, 3] deviations -> [count, 478, 3], each one standard deviation long."""
    flat = samples.reshape(len(samples), -1)
    _, s, vt = np.linalg.svd(flat, full_matrices=False)
    modes = vt[:count] * (s[:count] / np.sqrt(len(flat)))[:, None]
    modes *= np.sign(modes[np.arange(len(modes)), np.abs(modes).argmax(1)])[:, None]
    return modes.reshape(-1, *samples.shape[1:])


def symmetric_samples(samples: Points, mirror: NDArray[np.int32]) -> Points:
    """The samples and their mirror images, so that modes are symmetric or antisymmetric."""
    return np.concatenate([samples, samples[:, mirror] * (-1.0, 1.0, 1.0)])


def expression_amount(faces: Points) -> Points:
    """How far each face is from rest: open mouth, closed eyes (arbitrary units, [N])."""
    mouth = np.abs(faces[:, UPPER_LIP, 1] - faces[:, LOWER_LIP, 1]).mean(1)
    eyes = np.abs(faces[:, UPPER_LIDS, 1] - faces[:, LOWER_LIDS, 1]).mean(1)
    return mouth + np.maximum(0.0, np.median(eyes) - eyes)


def statistics(faces: dict[str, list[tuple[str, Points]]]) -> dict[str, NDArray]:
    everyone = np.array([points for person in faces.values() for _, points in person])
    mean = np.median(np.array([upright(face) for face in everyone]), axis=0)
    for _ in range(6):  # generalised Procrustes: align to the mean of the frontal ones, repeat
        posed = [aligned(face, mean) for face in everyone]
        frontal = np.array([abs(y) < MAX_YAW and abs(p) < MAX_PITCH for _, y, p in posed])
        mean = np.median(np.array([face for face, _, _ in posed])[frontal], axis=0)
        mean = upright(mean)
        partner = mirror_map(mean)
        mean = 0.5 * (mean + mean[partner] * (-1.0, 1.0, 1.0))
        mean *= PUPIL_DISTANCE_M / np.linalg.norm(mean[468] - mean[473])
    neutrals, deviations = [], []
    for person in faces.values():
        clips: dict[str, list[Points]] = defaultdict(list)
        for kind, points in person:
            face, yaw, pitch = aligned(points, mean)
            if abs(yaw) < MAX_YAW and abs(pitch) < MAX_PITCH:
                clips[kind].append(face)
        for kind, members in clips.items():
            if kind != "photo" and len(members) >= 12:
                clip = np.array(members)
                rest = clip[np.argsort(expression_amount(clip))[: len(clip) // 4]].mean(0)
                deviations.append(clip - rest)
        frames = np.array([face for members in clips.values() for face in members])
        if len(frames):
            amount = expression_amount(frames)
            calm = frames[np.argsort(amount)[: max(1, len(frames) // 5)]].mean(0)
            if expression_amount(calm[None])[0] < 0.006:  # the lips nearly touch
                neutrals.append(calm)
    people, moves = np.array(neutrals), np.concatenate(deviations)
    people = symmetric_samples(people, partner)
    mean = people.mean(0)
    moves = symmetric_samples(moves, partner)
    mean = 0.5 * (mean + mean[partner] * (-1.0, 1.0, 1.0))
    mean *= PUPIL_DISTANCE_M / np.linalg.norm(mean[468] - mean[473])
    print(f"{len(everyone)} faces, {len(neutrals)} people, {len(moves) // 2} moving frames")
    return {
        "mean": mean.astype(np.float32),
        "identity_modes": principal_directions(people - mean, IDENTITY_MODES).astype(np.float16),
        "expression_modes": principal_directions(moves, EXPRESSION_MODES).astype(np.float16),
        "mirror": partner,
    }


def main() -> None:
    folder = Path(sys.argv[1])
    found = statistics(faces_in(folder))
    save_file({k: np.ascontiguousarray(v) for k, v in found.items()}, str(STATISTICS_PATH))


if __name__ == "__main__":
    main()
