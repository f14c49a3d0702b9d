"""Pasting, by example."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from gpen_core.align import align_face, cut, enlarged_crop
from gpen_core.errors import SettingsError, ShapeError
from gpen_core.geometry import apply_affine, enlarge, invert, template_points
from gpen_core.masks import inner_box
from gpen_core.paste import PasteSettings, paste_faces
from gpen_core.types import Box, Face, FaceCrop

PLAIN = PasteSettings(soften_below_px=0)


def face_at(x: float, y: float, scale: float, turn: float = 0.0) -> Face:
    """A face whose crop of 64 px is `scale` photo pixels per crop pixel wide, centred on x, y, turned by `turn` rad."""
    cos, sin = scale * np.cos(turn), scale * np.sin(turn)
    linear = np.array([(cos, -sin), (sin, cos)])
    crop_to_image = np.column_stack([linear, np.array([x, y]) - linear @ (31.5, 31.5)])
    landmarks = apply_affine(crop_to_image, template_points("gpen", 64))
    half = 20 * scale
    return Face(Box(x - half, y - half, x + half, y + half), landmarks, 0.99)


def smooth_photo(height: int, width: int, seed: int = 3) -> torch.Tensor:
    """A photo without detail finer than a few pixels."""
    coarse = torch.rand(1, 3, height // 16 + 2, width // 16 + 2, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic", align_corners=True)[0].clamp(0, 1)


def portrait() -> torch.Tensor:
    """A clean face of 95 px with its surroundings: (3, 240, 240); the film's grain is taken out."""
    file = Path(__file__).parents[1] / "data" / "astronaut.png"
    without_grain = cv2.fastNlMeansDenoisingColored(cv2.imread(str(file)), None, 6, 6, 5, 15)
    return torch.from_numpy(without_grain[:240, 104:344, ::-1] / 255).float().permute(2, 0, 1)


def full_mask(crop: FaceCrop) -> torch.Tensor:
    return torch.from_numpy(inner_box(crop.size))


@pytest.mark.parametrize("turn", [0.0, 0.5, -2.0])
@pytest.mark.parametrize("scale", [0.5, 1.0, 3.0])
def test_pasting_an_unchanged_crop_changes_almost_nothing(scale: float, turn: float) -> None:
    photo = portrait() if scale > 1 else smooth_photo(240, 240)  # a large blurred face is filtered, a small one is not
    crop = align_face(photo, face_at(120, 120, scale, turn), 64, "gpen")
    pixels, mask = paste_faces(photo, [crop], [full_mask(crop)], PLAIN)
    assert mask.max() > 0.99
    assert (pixels - photo).abs().max() < 0.02


def test_fine_detail_of_a_large_face_survives() -> None:
    photo = portrait()
    crop = align_face(photo, face_at(120, 120, 3.0), 64, "gpen")
    kept, _ = paste_faces(photo, [crop], [full_mask(crop)], PLAIN)
    lost, _ = paste_faces(photo, [crop], [full_mask(crop)], PasteSettings(keep_detail=0, soften_below_px=0))
    inside = (slice(None), slice(90, 150), slice(90, 150))
    assert (kept - photo)[inside].abs().max() < 1e-4
    assert (lost - photo)[inside].abs().max() > 0.1


def test_what_the_restorer_changed_arrives_beside_kept_detail() -> None:
    photo = portrait() * 0.5
    crop = align_face(photo, face_at(120, 120, 3.0), 64, "gpen")
    brighter = FaceCrop(crop.pixels + 0.25, crop.image_to_crop, crop.face)
    pixels, _ = paste_faces(photo, [brighter], [full_mask(crop)], PLAIN)
    np.testing.assert_allclose((pixels - photo)[:, 100:140, 100:140], 0.25, atol=5e-3)


def test_nothing_outside_the_mask_moves_and_the_input_stays() -> None:
    photo = torch.rand(3, 200, 160)
    before = photo.clone()
    crop = align_face(photo, face_at(80, 100, 1.3, 0.3), 64, "gpen")
    black = FaceCrop(torch.zeros(3, 64, 64), crop.image_to_crop, crop.face)
    pixels, mask = paste_faces(photo, [black], [full_mask(crop)], PasteSettings(keep_detail=0))
    assert torch.equal(photo, before)
    assert torch.equal(pixels[:, mask == 0], photo[:, mask == 0])
    assert (mask == 0).any() and (mask > 0.9).any()
    assert pixels[:, 100, 80].max() < 1e-6


@pytest.mark.parametrize("strength", [0.0, 0.25, 1.0])
def test_strength_is_the_share_of_the_restored_face(strength: float) -> None:
    photo = torch.full((3, 100, 100), 0.8)
    crop = align_face(photo, face_at(50, 50, 1.0), 64, "gpen")
    black = FaceCrop(torch.zeros(3, 64, 64), crop.image_to_crop, crop.face)
    pixels, mask = paste_faces(photo, [black], [full_mask(crop)], PasteSettings(strength=strength))
    assert pixels[0, 50, 50].item() == pytest.approx(0.8 * (1 - strength), abs=1e-4)
    assert mask.max().item() == pytest.approx(strength, abs=1e-4)
    if strength == 0:
        assert torch.equal(pixels, photo)


def test_overlapping_faces_are_settled_by_the_larger_mask() -> None:
    photo = torch.full((3, 100, 200), 0.5)
    left, right = (align_face(photo, face_at(x, 50, 1.0), 64, "gpen") for x in (85, 115))
    crops = [
        FaceCrop(torch.zeros(3, 64, 64), left.image_to_crop, left.face),
        FaceCrop(torch.ones(3, 64, 64), right.image_to_crop, right.face),
    ]
    pixels, _ = paste_faces(photo, crops, [full_mask(left)] * 2, PLAIN)
    assert pixels[0, 50, 85] < 0.01 and pixels[0, 50, 115] > 0.99
    swapped, _ = paste_faces(photo, crops[::-1], [full_mask(left)] * 2, PLAIN)
    assert swapped[0, 50, 85] < 0.01 and swapped[0, 50, 115] > 0.99


@pytest.mark.parametrize(("x", "y"), [(0, 0), (159, 60), (80, 119), (-10, 130)])
def test_faces_over_the_border_are_pasted_as_far_as_they_show(x: float, y: float) -> None:
    photo = smooth_photo(120, 160)
    crop = align_face(photo, face_at(x, y, 1.0, 0.2), 64, "gpen")
    assert torch.isfinite(crop.pixels).all()
    pixels, mask = paste_faces(photo, [crop], [full_mask(crop)], PLAIN)
    assert pixels.shape == photo.shape and mask.max() > 0.5
    assert (pixels - photo).abs().max() < 0.05


def test_a_face_wholly_outside_changes_nothing() -> None:
    photo = torch.rand(3, 50, 50)
    crop = align_face(photo, face_at(500, 500, 1.0), 64, "gpen")
    pixels, mask = paste_faces(photo, [crop], [full_mask(crop)], PLAIN)
    assert torch.equal(pixels, photo) and not mask.any()


def test_thirty_faces_in_one_picture() -> None:
    photo = smooth_photo(500, 600)
    crops = [
        align_face(photo, face_at(50 + 100 * c, 50 + 100 * r, 1.2), 64, "gpen") for r in range(5) for c in range(6)
    ]
    inverted = [FaceCrop(1 - crop.pixels, crop.image_to_crop, crop.face) for crop in crops]
    pixels, _ = paste_faces(photo, inverted, [full_mask(crop) for crop in crops], PLAIN)
    for crop in crops:
        x, y = (round(v) for v in crop.face.box.center)
        np.testing.assert_allclose(pixels[:, y, x], 1 - photo[:, y, x], atol=0.02)


def test_small_faces_are_softened() -> None:
    photo = torch.full((3, 100, 100), 0.5)
    aligned = align_face(photo, face_at(50, 50, 1.0), 64, "gpen")
    noise = torch.rand(3, 64, 64, generator=torch.Generator().manual_seed(2))
    crop = FaceCrop(noise, aligned.image_to_crop, aligned.face)
    soft, _ = paste_faces(photo, [crop], [full_mask(crop)], PasteSettings(soften_below_px=100))
    crisp, _ = paste_faces(photo, [crop], [full_mask(crop)], PLAIN)
    assert soft[:, 40:60, 40:60].std() < crisp[:, 40:60, 40:60].std()


@pytest.mark.parametrize("size", [(1, 1), (1, 90), (90, 1)])
def test_photos_of_one_pixel(size: tuple[int, int]) -> None:
    photo = torch.rand(3, *size)
    crop = align_face(photo, face_at(0, 0, 1.0), 64, "gpen")
    pixels, _ = paste_faces(photo, [crop], [full_mask(crop)], PLAIN)
    assert pixels.shape == photo.shape and torch.isfinite(pixels).all()


def test_a_photo_that_is_given_away_becomes_the_result() -> None:
    photo = smooth_photo(100, 200)
    aligned = [align_face(photo, face_at(x, 50, 1.0), 64, "gpen") for x in (85, 100, 115)]
    crops = [FaceCrop(1 - crop.pixels, crop.image_to_crop, crop.face) for crop in aligned]  # their boxes overlap
    masks = [full_mask(crop) for crop in crops]
    expected, expected_mask = paste_faces(photo, crops, masks)

    given = photo.clone()
    pixels, mask = paste_faces(given, crops, masks, in_place=True)

    assert pixels is given
    assert torch.equal(pixels, expected) and torch.equal(mask, expected_mask)


def test_no_faces_gives_a_copy() -> None:
    photo = torch.rand(3, 8, 8)
    pixels, mask = paste_faces(photo, [], [])
    assert torch.equal(pixels, photo) and pixels.data_ptr() != photo.data_ptr() and mask.shape == (8, 8)


def test_wrong_input_is_named() -> None:
    photo = torch.rand(3, 50, 50)
    crop = align_face(photo, face_at(25, 25, 0.5), 64, "gpen")
    with pytest.raises(ShapeError, match=r"\(3, height, width\), got \(4, 50, 50\)"):
        paste_faces(torch.rand(4, 50, 50), [crop], [full_mask(crop)])
    with pytest.raises(ShapeError, match="one mask per crop"):
        paste_faces(photo, [crop], [])
    with pytest.raises(ShapeError, match=r"\(64, 64\), got \(32, 32\)"):
        paste_faces(photo, [crop], [torch.ones(32, 32)])
    with pytest.raises(SettingsError, match=r"strength in 0…1, got 1\.5"):
        PasteSettings(strength=1.5)
    with pytest.raises(ShapeError, match="floating-point"):
        align_face((photo * 255).to(torch.uint8), crop.face, 64, "gpen")


def test_cut_reads_only_its_own_corner() -> None:
    photo = torch.full((3, 100, 100), torch.nan)
    photo[:, :40, :40] = 0.5
    face = face_at(16, 16, 0.5)
    crop = cut(photo, align_face(photo, face, 64, "gpen").image_to_crop, 64)
    assert torch.isfinite(crop).all()


def test_crop_and_photo_space_agree() -> None:
    face = face_at(31, 47, 0.7, 0.4)
    crop = align_face(torch.rand(3, 90, 90), face, 64, "gpen")
    np.testing.assert_allclose(apply_affine(crop.image_to_crop, face.landmarks), template_points("gpen", 64), atol=1e-9)
    np.testing.assert_allclose(
        apply_affine(invert(crop.image_to_crop), template_points("gpen", 64)), face.landmarks, atol=1e-9
    )


def test_a_clean_face_smaller_than_the_crop_keeps_its_lines() -> None:
    photo = portrait()
    crop = align_face(photo, face_at(120, 112, 0.8), 256, "gpen")
    blurred = torch.nn.functional.avg_pool2d(crop.pixels[None], 7, 1, 3)[0]
    soft = FaceCrop(blurred, crop.image_to_crop, crop.face)
    kept, shown = paste_faces(photo, [soft], [full_mask(crop)], PLAIN)
    lost, _ = paste_faces(photo, [soft], [full_mask(crop)], PasteSettings(keep_detail=0, soften_below_px=0))
    inside = shown > 0.9
    assert (kept - photo)[:, inside].abs().mean() < 0.4 * (lost - photo)[:, inside].abs().mean()


def test_noise_goes_from_a_face_larger_than_the_crop() -> None:
    """Of a restorer that gives the true face, all that is finer than its pixels comes from the noisy photo."""
    photo = portrait()
    noisy = photo + torch.randn(photo.shape, generator=torch.Generator().manual_seed(2)) * 6 / 255
    crop = align_face(photo, face_at(120, 120, 3.0), 64, "gpen")
    pasted, shown = paste_faces(noisy, [crop], [full_mask(crop)], PLAIN)
    blurred, _ = paste_faces(photo, [crop], [full_mask(crop)], PasteSettings(keep_detail=0, soften_below_px=0))
    inside = shown > 0.9
    error, noise, blur = (float((picture - photo)[:, inside].square().mean()) for picture in (pasted, noisy, blurred))
    assert error < 0.6 * noise and error < 0.6 * blur


class TestBackground:
    """Faces pasted onto another picture of the same view, e.g. one that an upscaler made."""

    def test_all_but_the_faces_is_the_background_bit_for_bit(self) -> None:
        photo, background = smooth_photo(120, 150), smooth_photo(120, 150, seed=4)
        before = background.clone()
        crop = align_face(photo, face_at(75, 60, 0.5), 64, "gpen")
        pixels, mask = paste_faces(photo, [crop], [full_mask(crop)], PLAIN, background=background)
        assert torch.equal(background, before)
        assert torch.equal(pixels[:, mask == 0], background[:, mask == 0])
        assert (pixels - photo)[:, mask > 0.999].abs().max() < 0.01

    def test_the_detail_that_is_kept_is_the_photos_and_not_the_backgrounds(self) -> None:
        photo = portrait()
        crop = align_face(photo, face_at(120, 120, 3.0), 64, "gpen")
        pixels, _ = paste_faces(photo, [crop], [full_mask(crop)], PLAIN, background=torch.zeros_like(photo))
        inside = (slice(None), slice(90, 150), slice(90, 150))
        assert (pixels - photo)[inside].abs().max() < 1e-4

    def test_another_size_is_refused(self) -> None:
        with pytest.raises(ShapeError, match=r"the shape \(3, 8, 8\) of its photo, or a whole .* got \(3, 16, 20\)"):
            paste_faces(torch.zeros(3, 8, 8), [], [], background=torch.zeros(3, 16, 20))

    @pytest.mark.parametrize("factor", [2, 3, 4])
    def test_a_larger_one_gets_the_face_where_the_enlarged_photo_has_it(self, factor: int) -> None:
        photo = smooth_photo(120, 150)
        crop = align_face(photo, face_at(75, 60, 0.5, turn=0.3), 64, "gpen")
        larger = enlarged_crop(crop, factor)
        background = torch.zeros(3, 120 * factor, 150 * factor)
        pixels, mask = paste_faces(photo, [larger], [full_mask(crop)], PLAIN, background=background)
        plain = enlarge(photo[None], factor)[0]
        assert torch.equal(pixels[:, mask == 0], background[:, mask == 0])
        assert mask.max() > 0.99
        assert (pixels - plain)[:, mask > 0.999].abs().max() < 0.02
        x, y = larger.face.box.center
        assert (x, y) == pytest.approx((75 * factor + (factor - 1) / 2, 60 * factor + (factor - 1) / 2))

    def test_a_clean_photos_detail_comes_back_at_the_size_of_the_photo(self) -> None:
        """A restorer that smooths: the enlarged face still is as detailed as the photo was."""
        photo = portrait()
        crop = align_face(photo, face_at(120, 120, 1.5), 64, "gpen")
        smooth = replace(crop, pixels=torch.nn.functional.avg_pool2d(crop.pixels, 9, 1, 4))
        inside = (slice(None), slice(210, 270), slice(210, 270))
        plain, background = enlarge(photo[None], 2)[0], torch.zeros(3, 480, 480)
        errors = []
        for keep in (0.0, 1.0):
            settings = PasteSettings(keep_detail=keep, soften_below_px=0)
            mask = [full_mask(crop)]
            pixels, _ = paste_faces(photo, [enlarged_crop(smooth, 2)], mask, settings, background=background)
            errors.append(float((pixels - plain)[inside].abs().mean()))
        assert errors[1] < 0.5 * errors[0]
