"""The border between ComfyUI's tensors and the core's, by example; needs no ComfyUI."""

import importlib
import sys
from types import ModuleType

import numpy as np
import pytest
import torch

from tests.comfy.server import PACK


@pytest.fixture(scope="module")
def convert():
    """`nodes/convert.py`, loaded as part of a package, as ComfyUI does, but without the nodes around it."""
    for name, path in (("pack_under_test", PACK), ("pack_under_test.nodes", PACK / "nodes")):
        sys.modules[name] = ModuleType(name)
        sys.modules[name].__path__ = [str(path)]
    yield importlib.import_module("pack_under_test.nodes.convert")
    for name in [name for name in sys.modules if name.startswith("pack_under_test")]:
        del sys.modules[name]


def test_rgb_is_only_turned(convert):
    image = torch.rand(2, 5, 7, 3)

    frames = convert.from_image(image)

    assert frames.alpha is None
    assert frames.pixels.shape == (2, 3, 5, 7)
    assert torch.equal(frames.pixels[1, 2], image[1, :, :, 2])
    assert torch.equal(convert.to_image(frames.pixels), image)


@pytest.mark.parametrize("channels", [1, 2])
def test_grey_is_repeated(convert, channels):
    image = torch.rand(1, 4, 4, channels)

    frames = convert.from_image(image)

    assert torch.equal(frames.pixels, image[..., 0].expand(1, 3, 4, 4))


def test_alpha_is_kept_aside_and_put_back(convert):
    image = torch.rand(2, 4, 6, 4)

    frames = convert.from_image(image)

    assert torch.equal(frames.alpha, image[..., 3])
    assert torch.equal(convert.to_image(frames.pixels, frames.alpha), image)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_any_float_becomes_float32(convert, dtype):
    assert convert.from_image(torch.rand(1, 2, 2, 3).to(dtype)).pixels.dtype == torch.float32


def test_values_outside_are_clamped_and_the_input_stays(convert):
    image = torch.tensor([-0.5, 0.25, 1.5]).reshape(1, 1, 1, 3)

    assert convert.from_image(image).pixels.flatten().tolist() == [0.0, 0.25, 1.0]
    assert image.flatten().tolist() == [-0.5, 0.25, 1.5]


@pytest.mark.parametrize(
    "image",
    [torch.rand(4, 4, 3), torch.rand(1, 4, 4, 5), torch.rand(0, 4, 4, 3), torch.ones(1, 4, 4, 3, dtype=torch.uint8)],
    ids=["no batch", "5 channels", "empty", "bytes"],
)
def test_other_shapes_and_types_are_refused(convert, image):
    with pytest.raises(ValueError, match=r"expected a floating IMAGE of shape .* got \("):
        convert.from_image(image)


def test_values_that_are_no_numbers_are_refused(convert):
    image = torch.zeros(1, 2, 2, 3)
    image[0, 0, 0, 0], image[0, 1, 1, 1] = torch.nan, torch.inf

    with pytest.raises(ValueError, match="got 2 that are NaN or infinite; a VAE in half precision does this"):
        convert.from_image(image)


def test_one_mask_serves_a_batch(convert):
    mask = torch.rand(4, 6)

    masks = convert.from_mask(mask, 3, (4, 6))

    assert masks.shape == (3, 4, 6)
    assert torch.equal(masks[2], mask)


@pytest.mark.parametrize("shape", [(2, 4, 6), (1, 6, 4), (1, 1, 4, 6)])
def test_masks_that_do_not_fit_are_refused(convert, shape):
    with pytest.raises(ValueError, match=r"expected a MASK of shape \(3, 4, 6\) like the image, got \("):
        convert.from_mask(torch.rand(shape), 3, (4, 6))


def test_masks_of_values_that_are_no_numbers_are_refused(convert):
    with pytest.raises(ValueError, match="expected a MASK of finite values"):
        convert.from_mask(torch.full((1, 4, 6), torch.nan), 1, (4, 6))


def test_boxes_are_what_comfyui_takes(convert):
    types = importlib.import_module("pack_under_test.gpen_core.types")
    face = types.Face(types.Box(10.4, 20.0, 30.6, 50.0), np.zeros((5, 2)), 0.75)

    assert convert.to_boxes([[face], []]) == [
        [{"x": 10, "y": 20, "width": 20, "height": 30, "label": "face", "score": 0.75}],
        [],
    ]


def test_a_preview_is_a_picture(convert):
    pixels = torch.zeros(3, 2, 4)
    pixels[0, 0, 3] = 1

    picture = convert.to_preview(pixels)

    assert picture.size == (4, 2)
    assert picture.getpixel((3, 0)) == (255, 0, 0)
