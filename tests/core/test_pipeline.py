"""From photo to pasted result, with the embedded models."""

from pathlib import Path

import pytest
import torch

import gpen_core
from gpen_core.errors import CancelledError, NoFaceError, SettingsError, ShapeError
from gpen_core.models.descriptor import Restorer
from gpen_core.models.retinaface import FaceDetector
from gpen_core.paste import PasteSettings
from gpen_core.pipeline import PortraitSettings, restore_portrait
from gpen_core.progress import NoProgress
from gpen_core.select import FaceChoice
from gpen_core.types import Box, FaceReport

SAMPLE = Path(gpen_core.__file__).parent / "samples" / "astronaut_poor.jpg"


@pytest.fixture(scope="module")
def detector() -> FaceDetector:
    return gpen_core.load_detector()


@pytest.fixture(scope="module")
def restorer() -> Restorer:
    return gpen_core.load_restorer()


@pytest.fixture(scope="module")
def sample() -> torch.Tensor:
    return gpen_core.read_photo(SAMPLE).pixels


def test_the_face_changes_and_the_rest_does_not(
    sample: torch.Tensor, detector: FaceDetector, restorer: Restorer
) -> None:
    before = sample.clone()
    result = restore_portrait(sample, detector, restorer)
    assert torch.equal(sample, before)
    assert result.restored == 1 and result.note == ""
    assert torch.equal(result.pixels[:, result.mask == 0], sample[:, result.mask == 0])
    face = result.faces[0]
    assert face.mask_source == "mesh" and face.score > 0.95 and 80 < face.size_px < 110
    x, y = (round(v) for v in face.box.center)
    assert result.mask[y, x] > 0.99
    assert (result.pixels - sample)[:, result.mask > 0.5].abs().mean() > 1 / 255


def test_a_photo_that_is_given_away_becomes_the_result(
    sample: torch.Tensor, detector: FaceDetector, restorer: Restorer
) -> None:
    given = sample.clone()

    result = restore_portrait(given, detector, restorer, in_place=True)

    assert result.pixels is given
    assert torch.equal(given, restore_portrait(sample, detector, restorer).pixels)


def test_restoring_brings_the_sample_closer_to_the_original(detector: FaceDetector, restorer: Restorer) -> None:
    original = gpen_core.read_photo(Path(__file__).parents[1] / "data" / "astronaut.png").pixels
    sample = gpen_core.read_photo(SAMPLE).pixels
    result = restore_portrait(sample, detector, restorer)
    inside = result.mask > 0.5
    error_before = (sample - original)[:, inside].square().mean()
    error_after = (result.pixels - original)[:, inside].square().mean()
    assert error_after < error_before


def test_same_input_gives_the_same_bits(sample: torch.Tensor, detector: FaceDetector, restorer: Restorer) -> None:
    first, second = (restore_portrait(sample, detector, restorer).pixels for _ in range(2))
    assert torch.equal(first, second)


def test_strength_zero_gives_the_photo_back(sample: torch.Tensor, detector: FaceDetector, restorer: Restorer) -> None:
    result = restore_portrait(sample, detector, restorer, PortraitSettings(paste=PasteSettings(strength=0)))
    assert torch.equal(result.pixels, sample) and not result.mask.any()


@pytest.fixture
def group(sample: torch.Tensor) -> torch.Tensor:
    """Two faces of one size, and a small one on the right."""
    head = sample[:, :220, 90:360]
    small = torch.nn.functional.interpolate(head[None], scale_factor=0.4, mode="area")[0]
    photo = torch.full((3, 220, 700), 0.6)
    photo[:, :, :270], photo[:, :, 290:560] = head, head.flip(2)
    photo[:, 60 : 60 + small.shape[1], 580 : 580 + small.shape[2]] = small
    return photo


def test_several_faces_are_each_reported(group: torch.Tensor, detector: FaceDetector, restorer: Restorer) -> None:
    result = restore_portrait(group, detector, restorer, PortraitSettings(smallest_face_px=60))
    assert [face.outcome for face in result.faces] == ["restored", "restored", "skipped"]
    assert "the limit is 60 px" in result.faces[2].reason and result.faces[2].mask_source is None
    assert not result.mask[:, 570:].any()


def test_only_the_chosen_faces_change(group: torch.Tensor, detector: FaceDetector, restorer: Restorer) -> None:
    settings = PortraitSettings(choice=FaceChoice("2", "left"), smallest_face_px=60)
    result = restore_portrait(group, detector, restorer, settings)
    middle = next(face for face in result.faces if 290 < face.box.center[0] < 560)
    assert middle.outcome == "restored" and result.restored == 1
    assert sorted(face.reason[:9] for face in result.faces) == ["", "not chose", "too small"]
    assert not result.mask[:, :280].any() and not result.mask[:, 570:].any()


def test_without_a_face_the_photo_passes_with_words(detector: FaceDetector, restorer: Restorer) -> None:
    photo = torch.full((3, 90, 120), 0.5)
    result = restore_portrait(photo, detector, restorer)
    assert torch.equal(result.pixels, photo) and result.faces == () and "No face" in result.note


def test_without_a_face_the_run_can_stop(detector: FaceDetector, restorer: Restorer) -> None:
    with pytest.raises(NoFaceError, match="120x90"):
        restore_portrait(torch.full((3, 90, 120), 0.5), detector, restorer, PortraitSettings(on_no_face="stop"))


@pytest.mark.parametrize("size", [(90, 120), (300, 200), (1, 1)])
def test_without_a_face_the_whole_picture_can_be_one(
    size: tuple[int, int], detector: FaceDetector, restorer: Restorer
) -> None:
    photo = torch.full((3, *size), 0.5)
    result = restore_portrait(photo, detector, restorer, PortraitSettings(on_no_face="whole"))
    assert result.pixels.shape == photo.shape and result.mask.min() > 0.9
    assert result.faces[0].mask_source == "picture" and result.note


@pytest.mark.parametrize("shape", [(1, 64, 64), (4, 64, 64), (64, 64), (3, 0, 64)])
def test_other_shapes_are_refused(shape: tuple[int, ...], detector: FaceDetector, restorer: Restorer) -> None:
    with pytest.raises(ShapeError, match="height, width"):
        restore_portrait(torch.rand(*shape), detector, restorer)


def test_settings_are_checked() -> None:
    with pytest.raises(SettingsError, match='"ignore"'):
        PortraitSettings(on_no_face="ignore")  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match="batch_size"):
        PortraitSettings(batch_size=0)


def test_a_rough_mask_is_told() -> None:

    face = FaceReport(0, Box(0, 0, 9, 9), 0.9, 9.0, "restored", mask_source="landmarks")
    assert "plain oval" in face.remark
    assert FaceReport(0, Box(0, 0, 9, 9), 0.9, 9.0, "skipped", "too small").remark == "too small"
    assert FaceReport(0, Box(0, 0, 9, 9), 0.9, 9.0, "restored", mask_source="mesh").remark == ""


class Doubler:
    """Stands in for an upscaler: repeats each pixel, tinted, so that it can be told from the photo."""

    scale = 2

    def __call__(self, pixels: torch.Tensor) -> torch.Tensor:
        return (pixels.repeat_interleave(2, 2).repeat_interleave(2, 3) * 0.5).clamp(0, 1)


def test_with_an_upscaler_faces_come_from_the_enlarged_photo_and_the_rest_from_the_upscaler(
    sample: torch.Tensor, detector: FaceDetector, restorer: Restorer
) -> None:
    before = sample.clone()
    result = restore_portrait(sample, detector, restorer, upscaler=Doubler())
    background = Doubler()(sample[None])[0]
    assert torch.equal(sample, before)
    assert result.pixels.shape == (3, 1024, 1024) and result.restored == 1
    outside = result.mask == 0
    assert (result.pixels - background)[:, outside].abs().max() < 1e-6  # what joining the tiles rounds
    inside = result.mask > 0.99
    plain = torch.nn.functional.interpolate(sample[None], scale_factor=2, mode="bilinear")[0]
    assert (result.pixels - plain)[:, inside].abs().mean() < 0.05  # not the upscaler's, which is half as bright
    assert 80 < result.faces[0].size_px < 110  # in pixels of the photo


def test_the_smallest_face_is_meant_in_pixels_of_the_photo_that_came_in(
    sample: torch.Tensor, detector: FaceDetector, restorer: Restorer
) -> None:
    result = restore_portrait(sample, detector, restorer, PortraitSettings(smallest_face_px=120), upscaler=Doubler())
    assert result.restored == 0
    assert result.faces[0].outcome == "skipped"
    assert result.faces[0].reason == f"too small: {result.faces[0].size_px:.0f} px, the limit is 120 px"


class Cancelling(NoProgress):
    """The user has pressed cancel."""

    def check_cancelled(self) -> None:
        raise CancelledError


def test_cancel_is_heard_before_a_photo_is_searched(detector: FaceDetector, restorer: Restorer) -> None:
    with pytest.raises(CancelledError):
        restore_portrait(torch.full((3, 80, 60), 0.5), detector, restorer, progress=Cancelling())


@pytest.mark.parametrize("size", [(1, 300), (2, 512), (300, 1), (1, 1)])
def test_a_thin_strip_may_stand_for_a_face(size: tuple[int, int], detector: FaceDetector, restorer: Restorer) -> None:
    result = restore_portrait(torch.rand(3, *size), detector, restorer, PortraitSettings(on_no_face="whole"))
    assert result.pixels.shape == (3, *size) and result.restored == 1


def test_a_photo_without_a_face_is_still_enlarged_and_says_so(detector: FaceDetector, restorer: Restorer) -> None:
    blank = torch.full((3, 80, 60), 0.5)
    kept = restore_portrait(blank, detector, restorer, upscaler=Doubler())
    assert kept.pixels.shape == (3, 160, 120)
    assert kept.note == "No face found: the photo is only enlarged."
    whole = restore_portrait(blank, detector, restorer, PortraitSettings(on_no_face="whole"), upscaler=Doubler())
    assert whole.pixels.shape == (3, 160, 120) and whole.restored == 1
