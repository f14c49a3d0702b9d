import pytest
import torch

from gpen_core import color


def pixel(*rgb):
    return torch.tensor(rgb, dtype=torch.float32).reshape(3, 1, 1)


def noise(seed=0, size=64):
    return torch.rand(3, size, size, generator=torch.Generator().manual_seed(seed))


def hue_change(before, after):
    return ((color.hue(after) - color.hue(before) + 180) % 360 - 180).abs()


def test_srgb_curve_has_the_standard_s_values():
    # IEC 61966-2-1: 8-bit 188 is half the light of white, 10 lies on the straight part.
    assert color.srgb_to_linear(torch.tensor(188 / 255)).item() == pytest.approx(0.5029, abs=1e-4)
    assert color.srgb_to_linear(torch.tensor(10 / 255)).item() == pytest.approx(0.003035, abs=1e-6)
    assert color.linear_to_srgb(torch.tensor(0.5)).item() == pytest.approx(0.735357, abs=1e-5)


def test_srgb_curve_round_trip():
    values = torch.linspace(0, 1, 1001)
    assert (color.linear_to_srgb(color.srgb_to_linear(values)) - values).abs().max() < 2e-6


@pytest.mark.parametrize(
    ("rgb", "expected"),
    [  # skimage has no OKLab; these are the values of CSS Color 4 (oklab() of red, lime, blue and white)
        ((1, 0, 0), (0.627955, 0.224863, 0.125846)),
        ((0, 1, 0), (0.866440, -0.233888, 0.179498)),
        ((0, 0, 1), (0.452014, -0.032457, -0.311528)),
        ((1, 1, 1), (1.0, 0.0, 0.0)),
    ],
)
def test_oklab_of_the_primaries(rgb, expected):
    assert color.srgb_to_oklab(pixel(*rgb)).flatten().tolist() == pytest.approx(expected, abs=2e-5)


def test_oklab_round_trip():
    pixels = noise()
    assert (color.oklab_to_srgb(color.srgb_to_oklab(pixels)) - pixels).abs().max() < 2e-5


def test_hue_of_primaries_and_skin():
    # colorsys.rgb_to_hsv(220/255, 170/255, 150/255)[0] * 360 == 17.142857
    pixels = torch.cat([pixel(1, 0, 0), pixel(0, 1, 0), pixel(0, 0, 1), pixel(220 / 255, 170 / 255, 150 / 255)], -1)
    assert color.hue(pixels).flatten().tolist() == pytest.approx([0, 120, 240, 17.142857], abs=1e-3)
    assert color.hue(pixel(0.3, 0.3, 0.3)).item() == 0


def test_luminance_weighs_linear_light_and_luma_weighs_encoded_values():
    assert color.luminance(pixel(0, 1, 0)).item() == pytest.approx(0.7152)
    assert color.luminance(pixel(0.5, 0.5, 0.5)).item() == pytest.approx(0.21404, abs=1e-5)
    assert color.luma(pixel(0.5, 0.5, 0.5)).item() == 0.5


def test_saturate_keeps_hue_and_luminance_also_where_the_gamut_ends():
    pixels = noise(1)
    result = color.saturate(pixels, torch.full((1, 64, 64), 1.8))
    assert result.min() >= 0 and result.max() <= 1
    assert (color.luminance(result) - color.luminance(pixels)).abs().mean() < 1e-3
    little = color.saturate(pixels, torch.full((1, 64, 64), 1.15))
    assert (color.luminance(little) - color.luminance(pixels)).abs().max() < 2e-3
    assert hue_change(pixels, result)[color.spread(pixels) > 0.03].max() < 0.01
    reached = color.spread(result) / color.spread(pixels)
    assert (reached < 1.8001).all() and (reached > 0.9999).all()
    assert (reached > 1.799).float().mean() > 0.1


def test_saturate_leaves_grey_exactly_grey():
    grey = torch.linspace(0, 1, 256).expand(3, 1, 256)
    assert torch.equal(color.saturate(grey, torch.full((1, 1, 256), 2.0)), grey)


def test_saturate_by_nothing_gives_grey_of_equal_luminance():
    pixels = noise(2)
    result = color.saturate(pixels, torch.zeros(1, 64, 64))
    assert color.spread(result).max() < 1e-6
    assert (color.luminance(result) - color.luminance(pixels)).abs().max() < 1e-4


def test_fit_gamut_takes_chroma_not_hue():
    pixels = pixel(1.2, 0.6, 0.5)
    result = color.fit_gamut(pixels)
    assert result.max() == pytest.approx(1)
    assert hue_change(pixels, result).item() < 0.01
    assert color.luma(result).item() == pytest.approx(color.luma(pixels).item(), abs=1e-6)
    inside = noise(3)
    assert (color.fit_gamut(inside) - inside).abs().max() < 1e-6


def test_shift_to_luminance_reaches_its_target_and_keeps_hue():
    pixels = noise(4) * 0.5 + 0.2
    target = color.luminance(pixels + 0.2)
    result = color.shift_to_luminance(pixels, target)
    assert (color.luminance(result) - target).abs().max() < 3e-4
    assert hue_change(pixels, result)[color.spread(pixels) > 0.03].max() < 0.01


def test_shift_to_luminance_stops_at_the_border_of_the_gamut():
    assert color.shift_to_luminance(pixel(1, 0.5, 0.5), torch.ones(1, 1, 1)).flatten().tolist() == [1, 0.5, 0.5]


def test_all_functions_take_batches_and_leave_their_input_alone():
    pixels = torch.stack([noise(5, 8), noise(6, 8)])
    before = pixels.clone()
    ones = torch.ones(2, 1, 8, 8)
    results = (
        color.srgb_to_linear(pixels),
        color.oklab_to_srgb(color.srgb_to_oklab(pixels)),
        color.saturate(pixels, ones),
        color.fit_gamut(pixels),
        color.shift_to_luminance(pixels, ones * 0.5),
    )
    assert all(result.shape == (2, 3, 8, 8) for result in results)
    assert color.hue(pixels).shape == color.luminance(pixels).shape == (2, 1, 8, 8)
    assert torch.equal(pixels, before)
