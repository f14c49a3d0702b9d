"""Examples of finding faces: how sure, how exact, at any size, and what is refused."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch.nn import functional

from gpen_core.detect import DetectSettings, detect_faces
from gpen_core.errors import CancelledError, SettingsError, ShapeError
from gpen_core.models.retinaface import FaceDetector, load_detector
from gpen_core.progress import NoProgress

ASTRONAUT = Path(__file__).parents[1] / "data" / "astronaut.png"
EYE_LEFT, MOUTH_RIGHT = (204.8, 100.8), (244.2, 140.6)  # where the astronaut's are


@pytest.fixture(scope="module")
def detector() -> FaceDetector:
    return load_detector()


@pytest.fixture(scope="module")
def astronaut() -> torch.Tensor:
    """(1, 3, 512, 512); NASA's portrait of Eileen Collins, public domain, as in scikit-image."""
    pixels = cv2.cvtColor(cv2.imread(str(ASTRONAUT)), cv2.COLOR_BGR2RGB)
    return torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255


def warped(image: torch.Tensor, degrees: float, scale: float, size: tuple[int, int]) -> tuple[torch.Tensor, np.ndarray]:
    """Turn `image` about the astronaut's face, which comes to the middle of a picture of `size` (width, height)."""
    matrix = cv2.getRotationMatrix2D((225.0, 117.0), degrees, scale)
    matrix[:, 2] += (size[0] / 2 - 225, size[1] / 2 - 117)
    pixels = image[0].permute(1, 2, 0).numpy()
    turned = cv2.warpAffine(pixels, matrix, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    return torch.from_numpy(turned).permute(2, 0, 1)[None].clamp(0, 1), matrix


def test_the_astronaut(detector: FaceDetector, astronaut: torch.Tensor) -> None:
    before = astronaut.clone()
    faces = detect_faces(astronaut, detector)[0]
    assert len(faces) == 1
    box = faces[0].box
    assert (box.x0, box.y0, box.x1, box.y1) == pytest.approx((177.9, 56.8, 273.1, 177.2), abs=0.5)
    assert faces[0].score == pytest.approx(0.999, abs=1e-3)
    # From facexlib 0.3.0, RetinaFace("mobile0.25").detect_faces(bgr, 0.5), with the same weights
    expected = [EYE_LEFT, (247.4, 103.4), (223.6, 129.2), (202.5, 138.1), MOUTH_RIGHT]
    assert np.abs(faces[0].landmarks - expected).max() < 0.5
    assert faces[0].landmarks.dtype == np.float64
    assert torch.equal(astronaut, before)


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (7, 500), (33, 31), (640, 480)])
def test_a_picture_without_faces_gives_an_empty_list(detector: FaceDetector, shape: tuple[int, int]) -> None:
    assert detect_faces(torch.full((1, 3, *shape), 0.5), detector) == [[]]


def test_a_batch_gives_what_single_pictures_give(detector: FaceDetector, astronaut: torch.Tensor) -> None:
    batch = torch.cat((astronaut, torch.zeros_like(astronaut), astronaut.flip(3)))
    first, second, third = detect_faces(batch, detector)
    assert (len(first), len(second), len(third)) == (1, 0, 1)
    alone = detect_faces(astronaut, detector)[0][0]
    assert np.abs(first[0].landmarks - alone.landmarks).max() < 1e-2
    assert third[0].box.center[0] == pytest.approx(511 - alone.box.center[0], abs=3)
    assert detect_faces(batch[:0], detector) == []


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_half_precision_pictures_are_widened(
    detector: FaceDetector, astronaut: torch.Tensor, dtype: torch.dtype
) -> None:
    face = detect_faces(astronaut.to(dtype), detector)[0][0]
    assert np.abs(face.landmarks[0] - EYE_LEFT).max() < 1


@pytest.mark.parametrize("scale", [0.3, 0.6, 1.7, 4.0, 7.0])
def test_faces_of_any_size(detector: FaceDetector, astronaut: torch.Tensor, scale: float) -> None:
    """From 29 px to 670 px wide; at 7.0 the face overfills the picture's height."""
    size = (int(512 * scale), int(512 * scale)) if scale < 4 else (800, 800)
    picture, matrix = warped(astronaut, 0, scale, size)
    faces = detect_faces(picture, detector)[0]
    assert len(faces) == 1
    assert faces[0].box.width == pytest.approx(95 * scale, rel=0.15)
    eye = matrix @ (*EYE_LEFT, 1)
    assert np.linalg.norm(faces[0].landmarks[0] - eye) < 0.08 * 95 * scale


@pytest.mark.parametrize("side", [1000, 1500, 2400])
@pytest.mark.parametrize("part", [(40, 170, 160, 290), (10, 230, 120, 340)], ids=["tight", "loose"])
def test_a_close_up_is_one_face(
    detector: FaceDetector, astronaut: torch.Tensor, part: tuple[int, int, int, int], side: int
) -> None:
    """The face is 430 to 1750 px wide; pieces of it are no faces, and its points are where they are."""
    top, bottom, left, right = part
    scale = side / (bottom - top)
    close = functional.interpolate(astronaut[..., top:bottom, left:right], size=(side, side), mode="bicubic")
    faces = detect_faces(close.clamp(0, 1), detector)[0]
    assert len(faces) == 1
    eye = (np.array(EYE_LEFT) - (left, top) + 0.5) * scale - 0.5
    assert np.linalg.norm(faces[0].landmarks[0] - eye) < 0.06 * 95 * scale


@pytest.mark.parametrize("degrees", [-135, -90, -60, -30, -15, 15, 30, 45, 90, 120, 180])
def test_tilted_heads(detector: FaceDetector, astronaut: torch.Tensor, degrees: float) -> None:
    picture, matrix = warped(astronaut, degrees, 1.5, (600, 600))
    faces = detect_faces(picture, detector)[0]
    assert len(faces) == 1
    for found, expected in ((faces[0].landmarks[0], EYE_LEFT), (faces[0].landmarks[4], MOUTH_RIGHT)):
        assert np.linalg.norm(found - matrix @ (*expected, 1)) < 9  # 6 % of the face


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_a_face_that_shows_only_in_the_turned_picture(
    detector: FaceDetector, astronaut: torch.Tensor, quarters: int
) -> None:
    """47 px wide and blurred; the picture is not square, so that its sides cannot be taken for each other."""
    small = functional.interpolate(astronaut, scale_factor=0.5, mode="bicubic", antialias=True).clamp(0, 1)
    blurred = cv2.GaussianBlur(small[0].permute(1, 2, 0).numpy(), (0, 0), 1.5)
    picture = functional.pad(torch.from_numpy(blurred).permute(2, 0, 1)[None], (30, 40, 10, 20), value=0.4)
    faces = detect_faces(torch.rot90(picture, quarters, (2, 3)), detector)[0]
    assert len(faces) == 1
    x, y = EYE_LEFT[0] / 2 - 0.25 + 30, EYE_LEFT[1] / 2 - 0.25 + 10
    height, width = picture.shape[2:]
    for _ in range(quarters):
        (x, y), (width, height) = (y, width - 1 - x), (height, width)
    assert np.linalg.norm(faces[0].landmarks[0] - (x, y)) < 3


def test_half_a_face_at_the_border(detector: FaceDetector, astronaut: torch.Tensor) -> None:
    half = astronaut[..., 225:]
    face = detect_faces(half, detector)[0][0]
    assert face.box.x0 < 5
    assert face.box.x1 == pytest.approx(273 - 225, abs=8)


def test_thirty_faces_in_a_large_picture(detector: FaceDetector, astronaut: torch.Tensor) -> None:
    """A 2400 × 2000 group, faces of 67 px, 35 px as the coarse look sees them."""
    tile = functional.interpolate(astronaut[..., 30:230, 130:330], size=(400, 400), mode="bicubic").clamp(0, 1)
    small = functional.interpolate(tile, size=(140, 140), mode="area")
    group = torch.full((1, 3, 2000, 2400), 0.4)
    for index in range(30):
        row, column = divmod(index, 6)
        group[..., row * 400 + 100 : row * 400 + 240, column * 400 + 100 : column * 400 + 240] = small
    faces = detect_faces(group, detector)[0]
    assert len(faces) == 30
    assert {(int(f.box.center[0] // 400), int(f.box.center[1] // 400)) for f in faces} == {
        (x, y) for x in range(6) for y in range(5)
    }
    assert len(detect_faces(group, detector, DetectSettings(max_faces=4))[0]) == 4
    assert detect_faces(group, detector, DetectSettings(min_face_px=100))[0] == []


def test_a_small_face_beside_a_large_one_is_looked_at_closely(detector: FaceDetector, astronaut: torch.Tensor) -> None:
    """2000 × 1500; the small face is 60 px wide, 38 px in the coarse look, and found again where it is."""
    picture = torch.full((1, 3, 1500, 2000), 0.4)
    large = functional.interpolate(astronaut[..., 20:240, 110:330], size=(1200, 1200), mode="bicubic").clamp(0, 1)
    small = functional.interpolate(astronaut[..., 20:240, 110:330], size=(140, 140), mode="area")
    picture[..., 100:1300, 100:1300], picture[..., 1200:1340, 1700:1840] = large, small
    faces = detect_faces(picture, detector)[0]
    assert [round(face.box.width, -2) for face in faces] == [500, 100]
    ratio = 140 / 220
    expected = np.array([EYE_LEFT, MOUTH_RIGHT]) * ratio - np.array((110, 20)) * ratio + (1700, 1200)
    assert np.abs(faces[1].landmarks[[0, 4]] - expected).max() < 4


def test_the_largest_face_comes_first(detector: FaceDetector, astronaut: torch.Tensor) -> None:
    small = functional.interpolate(astronaut, size=(256, 256), mode="area")
    both = torch.cat((functional.pad(small, (0, 0, 128, 128)), astronaut), dim=3)
    faces = detect_faces(both, detector)[0]
    assert [face.box.width > 80 for face in faces] == [True, False]


def test_an_eye_of_a_large_face_is_no_face_of_its_own(detector: FaceDetector, astronaut: torch.Tensor) -> None:
    picture, _ = warped(astronaut, 0, 6.0, (700, 800))
    everything = detect_faces(picture, detector, DetectSettings(score_threshold=0.3))[0]
    widest = everything[0].box.width
    inside = [f for f in everything[1:] if f.box.width < 0.35 * widest and abs(f.box.center[0] - 350) < 200]
    assert inside == []


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (torch.zeros(1, 1, 64, 64), "repeat the one channel of a grey picture"),
        (torch.zeros(3, 64, 64), r"expected pictures \(B, 3, H, W\), got \(3, 64, 64\)"),
        (torch.zeros(1, 3, 64, 64, dtype=torch.uint8), "floating"),
        (torch.zeros(1, 3, 0, 64), "at least one pixel"),
    ],
)
def test_what_is_no_picture_is_refused(detector: FaceDetector, images: torch.Tensor, words: str) -> None:
    with pytest.raises(ShapeError, match=words):
        detect_faces(images, detector)


def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(SettingsError, match=r"score_threshold must lie between 0 and 1, got 1\.5"):
        DetectSettings(score_threshold=1.5)
    with pytest.raises(SettingsError, match="max_faces must be at least 1"):
        DetectSettings(max_faces=0)


def test_cancelling_stops_before_the_next_picture(detector: FaceDetector) -> None:
    class StopAfterOne(NoProgress):
        done = 0

        def advance(self, units: int = 1, preview: torch.Tensor | None = None) -> None:
            self.done += units

        def check_cancelled(self) -> None:
            if self.done:
                raise CancelledError("stopped")

    progress = StopAfterOne()
    with pytest.raises(CancelledError):
        detect_faces(torch.zeros(3, 3, 64, 64), detector, progress=progress)
    assert progress.done == 1
