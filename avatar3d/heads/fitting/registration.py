"""A head model brought onto a scan, or onto landmarks in several calibrated pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from avatar3d.camera import Camera
from avatar3d.codes import ARKIT_NAMES, ExpressionCode
from avatar3d.geometry import (
    matrix_to_quaternion,
    quaternion_multiply,
    quaternion_to_matrix,
    rotation_vector_to_quaternion,
    vertex_normals,
)
from avatar3d.heads.contour import IBUG_JAW, SlidingLandmarks
from avatar3d.heads.fitting.alignment import Similarity, align
from avatar3d.heads.fitting.distance import closest_points, nearby_points
from avatar3d.heads.model import PART_INDEX, HeadModel, LandmarkRig
from avatar3d.optional import require

SKIN_PARTS = ("face", "scalp", "ears", "neck", "bust", "eyelids")
_WIDTHS_M = (0.04, 0.002)  # from here to there the reach of a scan point's pull shrinks
_NEAR_M = 0.01  # as wide a pull may still be far off in pose
_STICKINESS = 0.02  # how much a scan point holds the surface along itself, of how much across
_POINTS = 4000  # of the scan that take part: more change nothing but the time
_FREE_FORM_STIFFNESS = (30.0, 10.0, 3.0, 1.0)


class ScanFit(NamedTuple):
    """A head on a scan."""

    identity: Tensor  # [I]
    motion: Similarity  # head frame to the scan's
    vertices: np.ndarray  # [V, 3] in the scan's frame, free-form part included
    distance: np.ndarray  # [N] of the scan points that took part from the result


class ViewsFit(NamedTuple):
    """A head seen by several cameras."""

    identity: Tensor  # [I]
    code: ExpressionCode  # pose in the cameras' world, and the expression
    error_px: float  # root mean square over all landmarks used


def register_to_scan(
    head: HeadModel,
    points: np.ndarray,
    *,
    normals: np.ndarray | None = None,
    landmarks: Mapping[int, np.ndarray] | None = None,
    start: Similarity | None = None,
    code: ExpressionCode | None = None,
    with_scale: bool = False,
    with_identity: bool = True,
    free_form: bool = True,
    iterations: int = 24,
    parts: Sequence[str] = SKIN_PARTS,
) -> ScanFit:
    """Fit pose, identity and then free-form skin to the points [N, 3] of a scan, which may show
    only a part of a head and need no triangles.

    The beginning is `start`, or follows from `landmarks` ({index of the 478: point on the skin}, at
    least 3), or is where the head stands; landmarks hold on to the end.
    `normals` [N, 3] keep inner and outer surfaces apart. `code` is the expression in which the scan
    was made.
    """
    points = np.asarray(points, np.float64)
    if (
        points.ndim != 2
        or points.shape[1] != 3
        or len(points) < 10
        or not np.isfinite(points).all()
    ):
        raise ValueError(f"a scan is at least 10 finite points [N, 3], got {points.shape}")
    step = max(1, len(points) // _POINTS)
    points = points[::step]
    normals = None if normals is None else np.asarray(normals, np.float64)[::step]
    still = ExpressionCode.neutral() if code is None else code
    wanted = torch.tensor([PART_INDEX[name] for name in parts])
    triangles = head.triangles[torch.isin(head.triangle_part, wanted)].numpy()

    identity = torch.zeros(head.identity_count)
    vertices = head.vertices(identity, still).double().numpy()
    scan = _Scan(head, points, normals, landmarks or {}, triangles)
    motion = start or scan.start(vertices)
    for width in np.geomspace(*_WIDTHS_M, iterations):
        pulls = scan.pulls(motion(vertices), width)
        if width > _NEAR_M:
            motion = align(pulls.of(vertices), pulls.goal, pulls.trust, with_scale=with_scale)
        modes = head.identity_count if with_identity else 0
        motion, identity = _step(head, identity, motion, vertices, pulls, modes, with_scale)
        vertices = head.vertices(identity, still).double().numpy()
    moved = motion(vertices)
    for stiffness in _FREE_FORM_STIFFNESS if free_form else ():
        pulls = scan.pulls(moved, 2 * _WIDTHS_M[1])
        moved = moved + _smooth_displacement(moved, triangles, pulls, stiffness)
    distance = closest_points(points, moved, triangles).distance
    return ScanFit(identity, motion, moved, distance)


def register_to_views(
    head: HeadModel,
    landmarks_px: Tensor,
    cameras: Sequence[Camera],
    *,
    kind: Literal["mediapipe", "ibug"] = "mediapipe",
    indices: Sequence[int] | None = None,
    weights: Tensor | None = None,
    with_expression: bool = True,
    iterations: int = 200,
) -> ViewsFit:
    """Fit identity, pose and expression to landmarks [views, L, 2] px in calibrated pictures.

    They are MediaPipe's 478 or iBUG's 68 (`kind`), whose jaw line is another one in every picture;
    `indices` [L] say which of them (all, in order, if not given); `weights` [views, L] are 0 where
    one is hidden. Modes keep their unit variance and coefficients 0 to 1 as priors.
    """
    every = 478 if kind == "mediapipe" else 68
    index = torch.arange(every) if indices is None else torch.as_tensor(list(indices))
    if landmarks_px.shape != (len(cameras), len(index), 2):
        raise ValueError(
            f"expected landmarks of shape [{len(cameras)}, {len(index)}, 2], got "
            f"{list(landmarks_px.shape)}"
        )
    share = torch.ones(landmarks_px.shape[:2]) if weights is None else weights.float()
    seen = _triangulate(landmarks_px.double(), cameras, share.double())
    rig = SlidingLandmarks(head, None, kind)
    rest = rig.pose(ExpressionCode.neutral(), None)[index].double().numpy()
    sure = (share > 0).sum(0).numpy() >= 2
    if kind == "ibug":
        sure &= ~np.isin(index.numpy(), IBUG_JAW)  # no point in space
    if sure.sum() < 4:
        raise ValueError("at least 4 landmarks must be seen by at least 2 cameras each")
    eyes = torch.stack([camera.position() for camera in cameras]).float()
    begin = align(rest[sure], seen[sure], with_scale=False)
    turned = matrix_to_quaternion(torch.from_numpy(begin.rotation)).float()

    identity = torch.zeros(head.identity_count, requires_grad=True)
    turn = torch.zeros(3, requires_grad=True)
    shift = torch.zeros(3, requires_grad=True)  # decimetres: of the size of the other unknowns
    raw = torch.zeros(len(ARKIT_NAMES), requires_grad=True)
    origin = torch.from_numpy(begin.translation).float()
    unknowns = [identity, turn, shift] + ([raw] if with_expression else [])

    def code_now() -> ExpressionCode:
        rotation = quaternion_multiply(rotation_vector_to_quaternion(turn), turned)
        still = torch.tensor([1.0, 0.0, 0.0, 0.0])
        return ExpressionCode(raw, rotation, origin + 0.1 * shift, still)

    def residuals_px() -> Tensor:
        if kind == "mediapipe":
            seen_alike = LandmarkRig(head, identity).pose(code_now())
            points = [seen_alike[index]] * len(cameras)
        else:
            points = SlidingLandmarks(head, identity, kind).pose(code_now(), eyes)[:, index]
        return torch.stack(list(map(_project, points, cameras))) - landmarks_px.float()

    optimiser = torch.optim.LBFGS(
        unknowns, max_iter=iterations, history_size=30, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        optimiser.zero_grad()
        misfit = (share[..., None] * residuals_px().square()).sum() / share.sum()
        beyond = (-raw).clamp(min=0).square().sum() + (raw - 1).clamp(min=0).square().sum()
        loss = misfit + 0.002 * identity.square().sum() + 0.01 * raw.square().sum() + 10 * beyond
        loss.backward()
        return loss

    optimiser.step(closure)
    with torch.no_grad():
        squared = (share[..., None] * residuals_px().square()).sum() / share.sum()
        fitted = code_now()
    code = ExpressionCode(*(value.detach() for value in fitted))
    code = code._replace(coefficients=code.coefficients.clamp(0, 1))
    return ViewsFit(identity.detach(), code, float(squared.sqrt()))


class _Pulls(NamedTuple):
    """Points of the head's surface and where each should go."""

    corners: np.ndarray  # [N, 3] vertices
    barycentrics: np.ndarray  # [N, 3]
    goal: np.ndarray  # [N, 3]
    trust: np.ndarray  # [N]
    normals: np.ndarray  # [N, 3] of the surface; 0 where a pull holds in every direction

    def of(self, vertices: np.ndarray) -> np.ndarray:
        return np.einsum("nk,nkc->nc", self.barycentrics, vertices[self.corners])


class _Scan:
    """What pulls at a head: the points that lie nearest, and landmarks."""

    def __init__(
        self,
        head: HeadModel,
        points: np.ndarray,
        normals: np.ndarray | None,
        landmarks: Mapping[int, np.ndarray],
        triangles: np.ndarray,
    ) -> None:
        self.points, self.normals, self.triangles = points, normals, triangles
        index = torch.tensor(sorted(landmarks), dtype=torch.int64)
        self.landmarks = _Pulls(
            head.triangles[head.landmark_triangles[index]].numpy(),
            head.landmark_barycentrics[index].double().numpy(),
            np.array([landmarks[i] for i in index.tolist()], np.float64).reshape(-1, 3),
            # All landmarks together weigh as much as half of the scan.
            np.full(len(index), 0.5 * len(points) / max(len(index), 50)),
            np.zeros((len(index), 3)),
        )

    def start(self, vertices: np.ndarray) -> Similarity:
        if not len(self.landmarks.goal):
            return Similarity(1.0, np.eye(3), np.zeros(3))
        return align(self.landmarks.of(vertices), self.landmarks.goal, with_scale=False)

    def pulls(self, vertices: np.ndarray, width: float) -> _Pulls:
        """The surface point under each scan point, trusted as it lies near and faces alike."""
        found = nearby_points(self.points, vertices, self.triangles)
        trust = (width**2 / (width**2 + found.distance**2)) ** 2
        corners = self.triangles[found.triangle]
        a, b, c = (vertices[corners[:, k]] for k in range(3))
        facing = np.cross(b - a, c - a)
        facing /= np.linalg.norm(facing, axis=1, keepdims=True).clip(1e-12)
        if self.normals is not None:
            trust = trust * np.clip((facing * self.normals).sum(1), 0.0, 1.0)
        near = _Pulls(corners, found.barycentrics, self.points, trust + 1e-9, facing)
        return _Pulls(*(np.concatenate(pair) for pair in zip(near, self.landmarks)))


def _step(
    head: HeadModel,
    identity: Tensor,
    motion: Similarity,
    vertices: np.ndarray,
    pulls: _Pulls,
    modes: int,
    with_scale: bool,
) -> tuple[Similarity, Tensor]:
    """One Gauss-Newton step of pose and identity together, point to plane: a scan point says how far
    off the surface is, and hardly where along it (Chen & Medioni 1992).

    Modes have unit variance, a scan point is good to about a millimetre.
    """
    surface = motion(pulls.of(vertices))  # [N, 3]
    arm = surface - surface.mean(0)
    by_pose = np.zeros((len(arm), 3, 7))  # turn, shift, growth
    by_pose[:, 0, 1], by_pose[:, 0, 2], by_pose[:, 1, 2] = arm[:, 2], -arm[:, 1], arm[:, 0]
    by_pose[:, :, :3] -= by_pose[:, :, :3].transpose(0, 2, 1)
    by_pose[:, :, 3:6] = np.eye(3)
    by_pose[:, :, 6] = arm
    basis = torch.einsum(
        "nk,inkc->nci",
        torch.from_numpy(pulls.barycentrics).float(),
        head.identity_basis[:modes, torch.from_numpy(pulls.corners)],
    )
    by_mode = motion.scale * np.einsum("dc,nci->ndi", motion.rotation, basis.double().numpy())
    jacobian = np.concatenate([by_pose[:, :, : 7 if with_scale else 6], by_mode], axis=2)

    # Across a plane, a little along it; landmarks, which have no normal, in every direction.
    across = pulls.normals[:, :, None] * pulls.normals[:, None]
    held = np.where(np.abs(pulls.normals).any(1), np.sqrt(_STICKINESS), 1.0)[:, None, None]
    spread = (1 - held) * across + held * np.eye(3)
    share = np.sqrt(pulls.trust / pulls.trust.sum() * len(pulls.trust))[:, None, None]
    rows = (share * spread @ jacobian).reshape(-1, jacobian.shape[2]) * 1e3  # millimetres
    right = (share * spread @ (pulls.goal - surface)[..., None]).reshape(-1) * 1e3

    # Neighbouring points err alike, so that a thousand of them count like a hundred.
    pose = jacobian.shape[2] - modes
    prior = np.concatenate([np.full(pose, 1e-3), np.ones(modes)])
    gradient = 0.1 * rows.T @ right
    gradient[pose:] -= identity[:modes].double().numpy()
    solved = np.linalg.solve(0.1 * rows.T @ rows + np.diag(prior), gradient)
    turn = quaternion_to_matrix(rotation_vector_to_quaternion(torch.from_numpy(solved[:3]))).numpy()
    growth = 1 + solved[6] if with_scale else 1.0
    centre = surface.mean(0)
    moved = growth * turn @ (motion.translation - centre) + centre + solved[3:6]
    motion = Similarity(growth * motion.scale, turn @ motion.rotation, moved)
    changed = identity.clone()
    changed[:modes] += torch.from_numpy(solved[pose:]).float()
    return motion, changed


def _smooth_displacement(
    vertices: np.ndarray, triangles: np.ndarray, pulls: _Pulls, stiffness: float
) -> np.ndarray:
    """The smoothest displacement [V, 3] that takes the surface to its goals:
    min sum_n trust_n |(A d - r)_n|^2 + stiffness |L d|^2, L the graph's Laplacian."""
    sparse = require("scipy.sparse", extra="recon")
    solve = require("scipy.sparse.linalg", extra="recon")
    count = len(vertices)
    rows = np.repeat(np.arange(len(pulls.trust)), 3)
    share = np.sqrt(pulls.trust)
    carrier = sparse.csr_matrix(
        ((pulls.barycentrics * share[:, None]).reshape(-1), (rows, pulls.corners.reshape(-1))),
        shape=(len(share), count),
    )
    laplacian = graph_laplacian(count, triangles)
    still = sparse.identity(count) * 1e-6  # what no pull and no edge reaches stays
    system = (carrier.T @ carrier + stiffness * (laplacian.T @ laplacian) + still).tocsc()
    residual = (pulls.goal - pulls.of(vertices)) * share[:, None]
    return solve.splu(system).solve(carrier.T @ residual)


def graph_laplacian(vertex_count: int, triangles: np.ndarray):
    """Each vertex minus the mean of its neighbours, sparse [V, V]; zero rows for lone vertices."""
    sparse = require("scipy.sparse", extra="recon")
    a = triangles.reshape(-1)
    b = triangles[:, [1, 2, 0]].reshape(-1)
    ones = np.ones(2 * len(a))
    edges = sparse.coo_matrix(
        (ones, (np.concatenate([a, b]), np.concatenate([b, a]))), shape=(vertex_count,) * 2
    ).tocsr()
    edges.data[:] = 1.0
    degree = np.asarray(edges.sum(1)).reshape(-1)
    mean = sparse.diags(1.0 / degree.clip(1)) @ edges
    return sparse.diags((degree > 0).astype(np.float64)) - mean


def _triangulate(pixels: Tensor, cameras: Sequence[Camera], weights: Tensor) -> np.ndarray:
    """Points [L, 3] from pixels [views, L, 2] by linear least squares."""
    systems = []
    for pixel, camera, weight in zip(pixels, cameras, weights):
        matrix = camera.K.double() @ camera.viewmat.double()[:3]  # [3, 4]
        rows = pixel[..., None] * matrix[2] - matrix[:2]  # [L, 2, 4]
        systems.append(rows / matrix.norm() * weight[:, None, None])
    stacked = torch.cat(systems, dim=1)  # [L, 2 views, 4]
    solution = torch.linalg.svd(stacked).Vh[..., -1, :]
    bottom = solution[..., 3:]
    safe = torch.where(bottom.abs() < 1e-12, torch.full_like(bottom, 1e-12), bottom)
    return (solution[..., :3] / safe).numpy()


def _project(points: Tensor, camera: Camera) -> Tensor:
    """World points [..., 3] to pixels [..., 2]."""
    seen = points @ camera.viewmat[:3, :3].T + camera.viewmat[:3, 3]
    image = seen @ camera.K.T
    return image[..., :2] / image[..., 2:].clamp(min=1e-3)


def outward_normals(vertices: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Unit normals [V, 3]."""
    return vertex_normals(
        torch.from_numpy(np.asarray(vertices, np.float64)), torch.from_numpy(triangles)
    ).numpy()
