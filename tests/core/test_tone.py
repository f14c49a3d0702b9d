import pytest
import torch

from gpen_core import color
from gpen_core.errors import SettingsError, ShapeError
from gpen_core.tone import ToneSpec, apply_tone, match_complexion

SKINS = {"light": (236, 200, 184), "middle": (198, 146, 118), "dark": (92, 60, 46), "very dark": (52, 36, 30)}


def portrait(rgb=(198, 146, 118), size=96):
    """A patch of skin with light from the left and a little texture."""
    base = torch.tensor(rgb, dtype=torch.float32).reshape(3, 1, 1) / 255
    light = torch.linspace(1.06, 0.8, size).reshape(1, 1, size)
    texture = 1 + 0.04 * torch.randn(1, size, size, generator=torch.Generator().manual_seed(0))
    return (base * light * texture).clamp(0, 1)


def soft_disc(size=96, radius=36.0, feather=10.0):
    axis = torch.arange(size) - (size - 1) / 2
    distance = (axis[:, None] ** 2 + axis[None] ** 2).sqrt()
    return ((radius - distance) / feather).clamp(0, 1)


def hue_change(before, after):
    return ((color.hue(after) - color.hue(before) + 180) % 360 - 180).abs()[0]


def mean_spread_ratio(before, after, where):
    return (color.spread(after)[0][where].mean() / color.spread(before)[0][where].mean()).item()


@pytest.mark.parametrize("skin", SKINS)
def test_every_skin_gains_fifteen_percent_and_keeps_hue_and_luminance(skin):
    image, mask = portrait(SKINS[skin]), soft_disc()
    result = apply_tone(image, mask, ToneSpec(protect_highlights=0))
    assert mean_spread_ratio(image, result, mask == 1) == pytest.approx(1.15, abs=0.002)
    assert hue_change(image, result)[mask > 0].max() < 0.01
    assert (color.luminance(result) - color.luminance(image)).abs().max() < 1e-4


def test_outside_the_mask_every_bit_stays():
    image, mask = portrait(), soft_disc()
    spec = ToneSpec(saturation=2, lift=0.1, warmth=1, match_original=1)
    result = apply_tone(image, mask, spec, original=image.flip(-1))
    assert torch.equal(result[:, mask == 0], image[:, mask == 0])
    assert not torch.equal(result[:, mask > 0.5], image[:, mask > 0.5])


def test_soft_edge_takes_its_share():
    image = portrait()
    result = apply_tone(image, torch.full((96, 96), 0.5), ToneSpec(protect_highlights=0))
    assert mean_spread_ratio(image, result, torch.ones(96, 96, dtype=torch.bool)) == pytest.approx(1.075, abs=0.002)


def test_hue_holds_where_channels_would_clip():
    image = portrait((252, 150, 110)).clamp(0, 1)
    result = apply_tone(image, torch.ones(96, 96), ToneSpec(saturation=3, protect_highlights=0))
    assert result.max() <= 1 and result.min() >= 0
    assert hue_change(image, result).max() < 0.01


def test_black_and_white_stays_black_and_white():
    grey = portrait()[1].expand(3, -1, -1)
    spec = ToneSpec(saturation=3, lift=0.1, warmth=1)
    result = apply_tone(grey, soft_disc(), spec)
    assert color.spread(result).max() == 0
    assert result.mean() > grey.mean()


def test_jpeg_noise_in_a_black_and_white_photo_is_not_taken_for_colour():
    grey = portrait()[1].expand(3, -1, -1)
    tinted = grey + torch.tensor([2.0, 0, -2.0]).reshape(3, 1, 1) / 255
    result = apply_tone(tinted, torch.ones(96, 96), ToneSpec(saturation=3, warmth=1))
    assert (result - tinted).abs().max() < 1e-6


@pytest.mark.parametrize("skin", ["light", "dark"])
def test_highlights_gain_no_colour(skin):
    image = portrait(SKINS[skin])
    shine = image.clone()
    shine[:, 40:50, 40:50] += 0.85 * (1 - image[:, 40:50, 40:50])
    bright = torch.zeros(96, 96, dtype=torch.bool)
    bright[40:50, 40:50] = True
    result = apply_tone(shine, torch.ones(96, 96), ToneSpec(saturation=1.5, protect_highlights=1, lift=0.1))
    assert mean_spread_ratio(shine, result, bright) == pytest.approx(1, abs=0.02)
    assert (result - shine)[:, bright].abs().max() < 0.01
    unprotected = apply_tone(shine, torch.ones(96, 96), ToneSpec(saturation=1.5, protect_highlights=0))
    assert mean_spread_ratio(shine, unprotected, bright) > 1.2


@pytest.mark.parametrize("skin", SKINS)
def test_lift_brightens_without_changing_hue(skin):
    image = portrait(SKINS[skin])
    result = apply_tone(image, torch.ones(96, 96), ToneSpec(saturation=1, lift=0.1, protect_highlights=0))
    lightness = color.linear_to_srgb(color.luminance(image))
    expected = lightness + 0.4 * lightness * (1 - lightness)
    error = color.linear_to_srgb(color.luminance(result)) - expected
    assert error.max() < 1e-3
    assert error[:, result.amax(0) < 1].abs().max() < 1e-3
    assert hue_change(image, result).max() < 0.01
    darker = apply_tone(image, torch.ones(96, 96), ToneSpec(saturation=1, lift=-0.1))
    assert darker.mean() < image.mean()


def test_warmth_moves_towards_orange_and_back_towards_blue():
    image = portrait()
    warmer, cooler = (
        apply_tone(image, torch.ones(96, 96), ToneSpec(saturation=1, warmth=warmth)) for warmth in (0.5, -0.5)
    )
    red_less_blue = [(picture[0] - picture[2]).mean().item() for picture in (cooler, image, warmer)]
    assert red_less_blue[0] + 0.02 < red_less_blue[1] < red_less_blue[2] - 0.02
    lightness = [color.srgb_to_oklab(picture)[0].mean().item() for picture in (cooler, image, warmer)]
    assert lightness == pytest.approx([lightness[1]] * 3, abs=0.003)


def test_two_faces_are_judged_each_by_itself():
    """The light face beside it must not make the dark face's highlights pass for ordinary skin."""
    dark, light = portrait(SKINS["dark"]), portrait(SKINS["light"])
    dark[:, 45:50, 45:50] = 0.8
    both = torch.cat([dark, light], -1)
    mask = torch.cat([soft_disc(), soft_disc()], -1)
    result = apply_tone(both, mask)
    assert torch.equal(result[..., :96], apply_tone(dark, soft_disc()))
    assert torch.equal(result[..., 96:], apply_tone(light, soft_disc()))


def test_a_mask_of_dust_is_one_region():
    image = portrait()
    mask = torch.zeros(96, 96)
    mask[::3, ::3] = 1
    result = apply_tone(image, mask, ToneSpec(protect_highlights=0))
    assert mean_spread_ratio(image, result, mask == 1) == pytest.approx(1.15, abs=0.002)
    assert torch.equal(result[:, mask == 0], image[:, mask == 0])


def test_match_complexion_brings_the_colour_back_and_keeps_the_detail():
    original, mask = portrait(SKINS["dark"], 192), torch.ones(192, 192)
    checks = ((torch.arange(192)[:, None] + torch.arange(192)) % 2 * 2 - 1) * 0.03
    restored = portrait(SKINS["middle"], 192) + checks
    result = match_complexion(restored, original, mask)
    means = [picture.mean((1, 2)) for picture in (original, result)]
    assert (means[0] - means[1]).abs().max() < 0.02
    contrast = (result[:, ::2, ::2] - result[:, ::2, 1::2]).mean().abs()
    assert contrast > 0.03


def test_match_complexion_of_an_equal_picture_changes_nothing():
    image = portrait()
    assert (match_complexion(image, image, soft_disc()) - image).abs().max() < 1e-4


def test_match_complexion_to_a_black_and_white_photo_takes_the_colour_out():
    grey = portrait()[1].expand(3, -1, -1)
    result = match_complexion(portrait(), grey, torch.ones(96, 96))
    assert color.spread(result).max() < 2e-3


def test_match_original_is_a_part_of_apply_tone():
    restored, original, mask = portrait(SKINS["middle"]), portrait(SKINS["dark"]), soft_disc()
    spec = ToneSpec(saturation=1, match_original=0.5)
    expected = match_complexion(restored, original, mask, 0.5)
    assert (apply_tone(restored, mask, spec, original) - expected).abs().max() < 1e-5


def test_empty_mask_and_one_pixel():
    image = portrait()
    assert torch.equal(apply_tone(image, torch.zeros(96, 96)), image)
    dot = torch.zeros(96, 96)
    dot[5, 7] = 1
    assert (apply_tone(image, dot) != image).any(0).nonzero().tolist() in ([[5, 7]], [])
    assert apply_tone(image[:, :1, :1], torch.ones(1, 1)).shape == (3, 1, 1)


def test_inputs_are_left_alone():
    image, mask, original = portrait(), soft_disc(), portrait(SKINS["dark"])
    copies = image.clone(), mask.clone(), original.clone()
    apply_tone(image, mask, ToneSpec(lift=0.1, warmth=0.3, match_original=1), original)
    assert all(torch.equal(a, b) for a, b in zip((image, mask, original), copies, strict=True))


def test_errors_say_what_was_expected():
    image, mask = portrait(), soft_disc()
    with pytest.raises(ShapeError, match=r"expected a mask \(96, 96\) like the image, got \(95, 96\)"):
        apply_tone(image, mask[1:])
    with pytest.raises(ShapeError, match=r"expected an image \(3, H, W\)"):
        apply_tone(image[:1], mask)
    with pytest.raises(SettingsError, match="no original was given"):
        apply_tone(image, mask, ToneSpec(match_original=1))
    with pytest.raises(SettingsError, match=r"saturation must be in \[0, 3\], got 4"):
        ToneSpec(saturation=4)
