"""ESRGAN upscalers: what is read from the weights, and what a bad file is told."""

from importlib.util import find_spec

import pytest
import torch
from safetensors.torch import save_file

from gpen_core.errors import ShapeError, UnsupportedWeightsError
from gpen_core.models.catalog import find_card
from gpen_core.models.content import mismatch, read_content
from gpen_core.models.load import load_restorer, load_upscaler
from gpen_core.models.manager import ModelManager
from gpen_core.models.rrdbnet import RrdbNetSpec, build_rrdbnet

pytestmark = pytest.mark.skipif(find_spec("basicsr") is None, reason="basicsr is not installed")


def random_network(spec):
    torch.manual_seed(0)
    return build_rrdbnet(spec).requires_grad_(False).eval()


def weights(spec=RrdbNetSpec(scale=2, width=6, blocks=2, growth=3)):  # noqa: B008 (frozen)
    return random_network(spec).state_dict()


def refusal(tmp_path, state_dict):
    save_file(state_dict, tmp_path / "up.safetensors")
    with pytest.raises(UnsupportedWeightsError) as caught:
        load_upscaler(tmp_path / "up.safetensors")
    return str(caught.value)


@pytest.mark.parametrize("spec", [RrdbNetSpec(1, 5, 1, 3), RrdbNetSpec(2, 6, 3, 2), RrdbNetSpec(4, 7, 2, 5)], ids=str)
@pytest.mark.parametrize("wrapper", ["", "params", "params_ema"])
def test_every_hyper_parameter_is_read_and_the_same_picture_comes_out(tmp_path, spec, wrapper):
    network = random_network(spec)
    state_dict = network.state_dict()
    torch.save({wrapper: state_dict} if wrapper else state_dict, tmp_path / "up.pth")
    upscaler = load_upscaler(tmp_path / "up.pth")
    pixels = torch.rand(2, 3, 8, 12)
    assert upscaler.spec == spec
    assert upscaler.scale == spec.scale
    assert torch.equal(upscaler(pixels), network(pixels).clamp(0, 1))


@pytest.mark.parametrize("scale", [1, 2, 4])
@pytest.mark.parametrize("size", [(1, 1), (7, 10), (9, 4)])
def test_a_picture_of_any_size_comes_back_exactly_as_many_times_larger(tmp_path, scale, size):
    save_file(weights(RrdbNetSpec(scale, 4, 1, 2)), tmp_path / "up.safetensors")
    pixels = torch.rand(1, 3, *size)
    before = pixels.clone()
    enlarged = load_upscaler(tmp_path / "up.safetensors")(pixels)
    assert enlarged.shape == (1, 3, size[0] * scale, size[1] * scale)
    assert enlarged.dtype == torch.float32 and enlarged.min() >= 0 and enlarged.max() <= 1
    assert torch.equal(pixels, before)


@pytest.mark.parametrize("shape", [(3, 8, 8), (1, 4, 8, 8), (1, 3, 0, 8)])
def test_other_shapes_are_refused(tmp_path, shape):
    save_file(weights(), tmp_path / "up.safetensors")
    with pytest.raises(ShapeError, match=r"up: expected floating pictures of shape \(N, 3, H, W\), got"):
        load_upscaler(tmp_path / "up.safetensors")(torch.zeros(shape))


def test_half_precision_that_overflows_is_computed_again_in_float32(tmp_path, caplog):
    loud = weights()
    loud["conv_last.bias"] = torch.full((3,), 60000.0)
    loud["conv_last.weight"] = torch.full_like(loud["conv_last.weight"], 60000.0)
    loud["conv_hr.bias"] = torch.ones(6)
    save_file(loud, tmp_path / "loud.safetensors")
    enlarged = load_upscaler(tmp_path / "loud.safetensors", dtype=torch.float16)(torch.rand(1, 3, 8, 8))
    assert "loud: torch.float16 overflowed; computed again in float32" in caplog.text
    assert torch.isfinite(enlarged).all()


def test_a_missing_key_is_named(tmp_path):
    cut = weights()
    del cut["body.1.rdb2.conv3.bias"]
    words = refusal(tmp_path, cut)
    assert '"up.safetensors" is not a whole ESRGAN upscaler: key "body.1.rdb2.conv3.bias" is missing' in words
    assert "ESRGAN files belong in models/upscale_models" in words


def test_a_hole_in_the_blocks_is_named(tmp_path):
    whole = weights(RrdbNetSpec(4, 4, 3, 2))
    cut = {key: value for key, value in whole.items() if not key.startswith("body.1.")}
    assert '"up.safetensors" is not a whole ESRGAN upscaler: blocks [0, 2]' in refusal(tmp_path, cut)


@pytest.mark.parametrize("key", ["conv_first.weight", "body.0.rdb1.conv1.weight", "conv_last.weight"])
@pytest.mark.parametrize("misshapen", [torch.ones(()), torch.ones(0, 3, 3, 3)], ids=["a number", "no channel"])
def test_a_layer_without_a_width_is_named(tmp_path, key, misshapen):
    words = refusal(tmp_path, weights() | {key: misshapen})
    assert '"up.safetensors" is not a whole ESRGAN upscaler: expected three convolutions' in words


def test_a_network_for_grey_pictures_is_refused(tmp_path):
    grey = weights()
    grey["conv_last.weight"] = grey["conv_last.weight"][:1].clone()
    assert "is an ESRGAN upscaler of another kind: expected a first layer of 3, 12 or 48" in refusal(tmp_path, grey)


def test_a_restorer_in_its_place_is_named_for_what_it_is():
    from gpen_core.models.load import EMBEDDED_RESTORER

    with pytest.raises(UnsupportedWeightsError, match="is not an upscaler this pack knows: it looks like a GPEN rest"):
        load_upscaler(EMBEDDED_RESTORER)


def test_an_upscaler_in_the_place_of_a_restorer_is_named_for_what_it_is(tmp_path):
    save_file(weights(), tmp_path / "up.safetensors")
    with pytest.raises(UnsupportedWeightsError, match="it looks like an ESRGAN upscaler"):
        load_restorer(tmp_path / "up.safetensors")


def test_a_card_is_met_only_by_a_file_of_its_factor(tmp_path):
    save_file(weights(RrdbNetSpec(4, 4, 1, 2)), tmp_path / "up.safetensors")
    found = read_content(tmp_path / "up.safetensors")
    assert found.scale == 4
    assert mismatch(find_card("realesrnet_x4"), found) == ""
    words = mismatch(find_card("RealESRGAN_x2plus"), found)
    assert words == f"it holds ESRGAN x4 ({found.key_count} tensors), expected one that enlarges 2 times"


def test_the_manager_shares_one_and_lets_it_go(tmp_path):
    save_file(weights(), tmp_path / "up.safetensors")
    manager = ModelManager()
    upscaler = manager.upscaler(tmp_path / "up.safetensors")
    assert manager.upscaler(tmp_path / "up.safetensors") is upscaler
    assert manager.release() == 1
