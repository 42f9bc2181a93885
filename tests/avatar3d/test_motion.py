from __future__ import annotations

import contextlib
import math
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from avatar3d.code_interpolation import interpolate_codes
from avatar3d.codes import ARKIT_NAMES, ExpressionCode
from avatar3d.errors import UserError
from avatar3d.geometry import quaternion_to_matrix
from avatar3d.live_link_face import COLUMNS, head_angles, head_rotation
from avatar3d.motion import Motion


def some_motion(
    count: int, frames_per_second: float = 30.0, seed: int = 0, extra: int = 0, audio: bool = False
) -> Motion:
    random = torch.Generator().manual_seed(seed)
    uniform = lambda *shape: torch.rand(*shape, generator=random)  # noqa: E731
    codes = ExpressionCode(
        uniform(count, len(ARKIT_NAMES) + extra),
        head_rotation(uniform(count, 3) - 0.5),
        uniform(count, 3) - 0.5,
        head_rotation(uniform(count, 3) - 0.5),
    )
    names = tuple(f"extra{i}" for i in range(extra))
    if not audio:
        return Motion(codes, frames_per_second, names)
    samples = uniform(round(16000 * count / frames_per_second), 1) * 2 - 1
    return Motion(codes, frames_per_second, names, samples, 16000)


def turn(a: Tensor, b: Tensor) -> float:
    """The largest entry of the difference between two batches of rotations."""
    return float((quaternion_to_matrix(a) - quaternion_to_matrix(b)).abs().max())


rates = st.one_of(
    st.sampled_from([1.0, 12.5, 24.0, 25.0, 30.0, 50.0, 60.0, 120.0, 24000 / 1001, 30000 / 1001]),
    st.integers(1, 240).map(float),
)


@settings(max_examples=40)
@given(
    count=st.integers(1, 70),
    rate=rates,
    seed=st.integers(0, 9),
    extra=st.integers(0, 3),
    audio=st.booleans(),
)
def test_npz_keeps_everything(
    tmp_path_factory: pytest.TempPathFactory,
    count: int,
    rate: float,
    seed: int,
    extra: int,
    audio: bool,
):
    path = tmp_path_factory.mktemp("motion") / "m.npz"
    motion = some_motion(count, rate, seed, extra, audio)
    motion.save(path)
    loaded = Motion.load(path)
    assert loaded.frames_per_second == rate
    assert loaded.names == motion.names
    assert loaded.audio_rate == motion.audio_rate
    for a, b in zip(loaded.codes, motion.codes):
        assert torch.equal(a, b)
    if motion.audio is not None and loaded.audio is not None:
        assert torch.equal(loaded.audio, motion.audio)


@settings(max_examples=60)
@given(count=st.integers(2, 90), rate=rates, seed=st.integers(0, 9))
def test_csv_keeps_coefficients_rotation_and_rate(
    tmp_path_factory: pytest.TempPathFactory, count: int, rate: float, seed: int
):
    path = tmp_path_factory.mktemp("motion") / "m.csv"
    motion = some_motion(count, rate, seed)
    motion.save(path)
    loaded = Motion.load(path)
    assert len(loaded) == count
    assert loaded.frames_per_second == pytest.approx(rate, rel=2e-3 / (count - 1), abs=1e-9)
    torch.testing.assert_close(loaded.codes.coefficients, motion.codes.coefficients)
    assert turn(loaded.codes.head_rotation, motion.codes.head_rotation) < 1e-5
    assert torch.equal(loaded.codes.neck_rotation, loaded.codes.head_rotation)


@given(st.floats(-math.pi, math.pi), st.floats(-1.57, 1.57), st.floats(-math.pi, math.pi))
def test_head_angles_give_the_rotation_back(yaw: float, pitch: float, roll: float):
    rotation = head_rotation(torch.tensor([yaw, pitch, roll]))
    assert turn(head_rotation(head_angles(rotation)), rotation) < 1e-3


def test_signs_of_the_head_angles():
    """Right-handed in the head frame: X toward the subject's left, Y up, Z out of the face."""
    nose, crown = torch.tensor([0.0, 0.0, 1.0]), torch.tensor([0.0, 1.0, 0.0])

    def rotated(vector: Tensor, *angles: float) -> Tensor:
        return quaternion_to_matrix(head_rotation(torch.tensor(angles))) @ vector

    assert rotated(nose, 0.1, 0.0, 0.0)[0] > 0  # yaw > 0: to the subject's left
    assert rotated(nose, 0.0, 0.1, 0.0)[1] < 0  # pitch > 0: down
    assert rotated(crown, 0.0, 0.0, 0.1)[0] < 0  # roll > 0: to the right shoulder


def test_resampling_keeps_duration_values_and_sound():
    motion = some_motion(31, 30.0, audio=True)
    double = motion.resample(60.0)
    assert len(double) == 62
    assert double.duration_s == pytest.approx(motion.duration_s)
    assert torch.allclose(double.codes.coefficients[::2], motion.codes.coefficients)
    between = (motion.codes.head_translation[3] + motion.codes.head_translation[4]) / 2
    assert torch.allclose(double.codes.head_translation[7], between)
    assert double.audio is motion.audio
    assert len(motion.resample(25.0)) == 26
    back = double.resample(30.0)
    assert turn(back.codes.head_rotation, motion.codes.head_rotation) < 1e-5


def test_rotations_between_frames_are_unit_and_halfway():
    rotation = head_rotation(torch.tensor([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0]]))
    rotation[1] *= -1  # the same rotation: the short way must be taken all the same
    codes = ExpressionCode.neutral(2)._replace(head_rotation=rotation)
    middle = interpolate_codes(codes, torch.tensor([0.5])).head_rotation
    assert turn(middle, head_rotation(torch.tensor([[0.5, 0.0, 0.0]]))) < 1e-6
    assert float(middle.norm()) == pytest.approx(1.0)


def test_slicing_cuts_the_sound_alike():
    motion = some_motion(30, 25.0, audio=True)
    part = motion[10:20]
    assert len(part) == 10
    assert torch.equal(part.codes.coefficients, motion.codes.coefficients[10:20])
    assert motion.audio is not None
    assert part.audio is not None
    assert torch.equal(part.audio, motion.audio[6400:12800])
    assert len(motion[:0]) == 0
    with pytest.raises(ValueError, match="steps of one"):
        motion[::2]


def test_wrong_shapes_are_named():
    with pytest.raises(ValueError, match=r"coefficients has shape \[3, 52\], expected \[3, 53\]"):
        Motion(ExpressionCode.neutral(3), 30.0, ("smirk",))
    with pytest.raises(ValueError, match="frames_per_second is 0"):
        Motion(ExpressionCode.neutral(3), 0.0)
    with pytest.raises(ValueError, match="go together"):
        Motion(ExpressionCode.neutral(3), 30.0, audio=torch.zeros(9, 1))


def csv_text(rows: list[str], header: str = "Timecode,BlendShapeCount," + ",".join(COLUMNS)) -> str:
    return "\n".join([header, *rows]) + "\n"


def csv_row(timecode: str, value: float | str = 0.25, count: int = 61) -> str:
    return ",".join([timecode, str(count), *[str(value)] * count])


def load_csv(tmp_path: Path, text: str, rate: float | None = None) -> Motion:
    path = tmp_path / "take.csv"
    path.write_text(text, encoding="utf-8")
    return Motion.load(path, rate)


def test_a_take_of_the_app(tmp_path: Path):
    timecodes = [f"14:03:{52 + i // 60:02d}:{i % 60:02d}.{207}" for i in range(50, 130)]
    motion = load_csv(tmp_path, csv_text([csv_row(t) for t in timecodes]))
    assert motion.frames_per_second == 60.0
    assert len(motion) == 80
    assert motion.codes.coefficients.unique().tolist() == [0.25]


def test_rows_without_a_face_are_filled(tmp_path: Path):
    rows = [csv_row(f"00:00:{i // 30:02d}:{i % 30:02d}.000", i / 90) for i in range(90)]
    rows[40:44] = [f"00:00:01:{i:02d}.000,0" + "," * 61 for i in range(10, 14)]
    motion = load_csv(tmp_path, csv_text(rows))
    assert (len(motion), motion.frames_per_second) == (90, 30.0)
    expected = torch.arange(90) / 90
    assert torch.allclose(motion.codes.coefficients[:, 5], expected, atol=1e-5)


def test_other_writings_are_read(tmp_path: Path):
    names = [name for name in ARKIT_NAMES if name != "tongueOut"]
    header = ";".join([*reversed(names), "HEADYAW"])
    row = ";".join(["0.5"] * 51 + ["30"])
    motion = load_csv(tmp_path, "\ufeff" + csv_text([row, row], header), 24.0)
    assert motion.frames_per_second == 24.0
    assert motion.codes.coefficients[0, -1] == 0
    assert motion.codes.coefficients[0, 0] == 0.5
    thirty_degrees = head_rotation(torch.tensor([math.radians(30), 0.0, 0.0]))
    assert turn(motion.codes.head_rotation[0], thirty_degrees) < 1e-6


def test_past_midnight_and_plain_times(tmp_path: Path):
    rows = [csv_row(t) for t in ["23:59:59.96", "00:00:00.00", "00:00:00.04"]]
    assert load_csv(tmp_path, csv_text(rows)).frames_per_second == 25.0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "found 0 of them"),
        ("a,b\n1,2\n", "is not a Live Link Face CSV"),
        (csv_text([]), "has no row with values"),
        (csv_text([csv_row("00:00:00:00", "x")]), "line 2: could not convert"),
        (csv_text([csv_row("00:00:00:00", "nan")]), "NaN or infinite"),
        (csv_text([csv_row("00:00:00:00", 90)]), "percentages must be divided by 100"),
        (csv_text([csv_row("noon")]), "'noon' is not a timecode"),
        (
            csv_text([csv_row("00:00:01:00"), csv_row("00:00:00:00")]),
            "does not go forward at row 2",
        ),
        (
            csv_text(
                [csv_row(f"{h:02d}:00:00:0{f}") for h, f in [(0, 0), (0, 1), (0, 2), (12, 0)]]
            ),
            "span 12.0 hours",
        ),
        ("\0" * 10, "CSV"),
    ],
)
def test_bad_csv_is_refused(tmp_path: Path, text: str, message: str):
    with pytest.raises(UserError, match=message):
        load_csv(tmp_path, text)


def saved_arrays(tmp_path: Path) -> dict[str, np.ndarray]:
    some_motion(3, audio=True).save(tmp_path / "m.npz")
    with np.load(tmp_path / "m.npz") as file:
        return dict(file)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": None}, "no version or names"),
        ({"version": np.int64(7)}, "has motion format 7, this avatar3d reads 1; upgrade"),
        ({"names": np.array(["a"] * 52)}, "not the 52 of ARKit"),
        ({"names": np.array([*ARKIT_NAMES, "b"])}, r"'coefficients' has shape \[3, 52\]"),
        ({"coefficients": np.zeros((3, 52))}, "is float64, expected float32"),
        ({"head_rotation": None}, "lacks the array 'head_rotation'"),
        ({"head_rotation": np.zeros((3, 4), np.float32)}, "not unit quaternions"),
        ({"coefficients": np.full((3, 52), np.nan, np.float32)}, "NaN|nan"),
        ({"frames_per_second": np.float64(0)}, "'frames_per_second' has values from 0 to 0"),
        ({"audio": None}, "a rate without sound"),
        ({"code": np.array(["x"], dtype=object)}, "unexpected kind of array"),
        ({"surprise": np.zeros(1)}, "'surprise' that this format does not know"),
    ],
)
def test_bad_npz_is_refused(tmp_path: Path, change: dict[str, np.ndarray | None], message: str):
    arrays = {**saved_arrays(tmp_path), **change}
    with open(tmp_path / "bad.npz", "wb") as file:
        np.savez(file, **{k: v for k, v in arrays.items() if v is not None})  # type: ignore[arg-type]
    with pytest.raises(UserError, match=message):
        Motion.load(tmp_path / "bad.npz")


def test_an_archive_that_unpacks_without_end_is_refused(tmp_path: Path):
    with zipfile.ZipFile(tmp_path / "bomb.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        for index in range(3):
            archive.writestr(f"{index}.npy", b"\0" * 1000)
    content = bytearray((tmp_path / "bomb.npz").read_bytes())
    # Claim 4 GB for the first member in the central directory, where the reader looks.
    entry = content.index(b"PK\x01\x02")
    content[entry + 24 : entry + 28] = (0xFFFFFFF0).to_bytes(4, "little")
    (tmp_path / "bomb.npz").write_bytes(content)
    with pytest.raises(UserError, match="unpacks to 4,294,"):
        Motion.load(tmp_path / "bomb.npz")


@settings(max_examples=300)
@given(data=st.data())
def test_damaged_npz_never_crashes_the_loader(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
):
    folder = tmp_path_factory.getbasetemp() / "damaged"
    folder.mkdir(exist_ok=True)
    sound = folder / "sound.npz"
    if not sound.exists():
        some_motion(2).save(sound)
    content = bytearray(sound.read_bytes())
    for position in data.draw(st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=6)):
        content[position] = data.draw(st.integers(0, 255))
    damaged = folder / "damaged.npz"
    damaged.write_bytes(content)
    with contextlib.suppress(UserError):
        Motion.load(damaged)


def test_only_known_suffixes(tmp_path: Path):
    with pytest.raises(UserError, match=r"named \*.npz or \*.csv, got '.fbx'"):
        Motion.load(tmp_path / "m.fbx")
    with pytest.raises(UserError, match="there is no file"):
        Motion.load(tmp_path / "m.npz")
