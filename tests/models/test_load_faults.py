"""Files that are nearly a restorer: missing, extra and misshapen keys, and files of other networks."""

import pytest
import torch
from safetensors.torch import save_file

from gpen_core.errors import UnsupportedWeightsError
from gpen_core.models.gpen import GpenGenerator, GpenSpec
from gpen_core.models.load import load_restorer


@pytest.fixture(scope="module")
def weights():
    torch.manual_seed(0)
    network = GpenGenerator(GpenSpec(size=16, style_dim=8, n_mlp=2, channels=(8, 6, 4)))
    return {key: value.clone() for key, value in network.state_dict().items()}


def refusal(tmp_path, weights, name="face.safetensors"):
    save_file(weights, tmp_path / name)
    with pytest.raises(UnsupportedWeightsError) as caught:
        load_restorer(tmp_path / name)
    return str(caught.value)


def test_the_whole_file_loads(tmp_path, weights):
    save_file(weights, tmp_path / "face.safetensors")
    assert load_restorer(tmp_path / "face.safetensors").size == 16


def test_a_missing_key_is_named(tmp_path, weights):
    del (cut := dict(weights))["generator.style.1.bias"]
    words = refusal(tmp_path, cut)
    assert '"face.safetensors" is not a whole GPEN generator: key "generator.style.1.bias" is missing' in words
    assert "GPEN files belong in models/gpen" in words


def test_an_extra_key_is_named(tmp_path, weights):
    words = refusal(tmp_path, weights | {"zzz.weight": torch.ones(1)})
    assert 'key "zzz.weight" is one too many' in words


def test_a_misshapen_tensor_is_named(tmp_path, weights):
    words = refusal(tmp_path, weights | {"final_linear.0.bias": torch.ones(3)})
    assert 'expected (8,) for "final_linear.0.bias", got (3,)' in words


def test_a_hole_in_the_stages_is_told_with_the_file(tmp_path, weights):
    cut = {key: value for key, value in weights.items() if not key.startswith("ecd1.")}
    assert '"face.safetensors" is not a whole GPEN generator: encoder stages [0, 2]' in refusal(tmp_path, cut)


@pytest.mark.parametrize(
    ("key", "changed", "words"),
    [
        ("ecd1.0.1.weight", None, 'key "ecd1.0.1.weight" is missing'),
        ("ecd0.0.0.weight", torch.ones(()), 'expected 4 sizes from 1 on for "ecd0.0.0.weight", got ()'),
        ("ecd2.0.1.weight", torch.ones(0, 6, 3, 3), 'expected 4 sizes from 1 on for "ecd2.0.1.weight", got (0, 6, 3'),
        ("final_linear.0.weight", torch.ones(8), 'expected 2 sizes from 1 on for "final_linear.0.weight", got (8,)'),
    ],
)
def test_a_layer_without_a_width_is_named(tmp_path, weights, key, changed, words):
    misshapen = weights | ({key: changed} if changed is not None else {"ecd1.0.0.weight": weights[key]})
    if changed is None:
        del misshapen[key]
    assert f'"face.safetensors" is not a whole GPEN generator: {words}' in refusal(tmp_path, misshapen)


def test_a_file_that_claims_an_absurd_size_is_refused(tmp_path, weights):
    stages = {f"ecd{stage}.0.1.weight": torch.ones(4, 4, 3, 3) for stage in range(3, 40)}
    assert "face.safetensors" in refusal(tmp_path, weights | stages)
    assert "face.safetensors" in refusal(tmp_path, weights | {f"ecd{'9' * 5000}.0.1.weight": torch.ones(4, 4, 3, 3)})


def test_nan_weights_are_refused(tmp_path, weights):
    bad = weights | {"final_linear.0.bias": torch.full((8,), float("nan"))}
    assert '"final_linear.0.bias" holds NaN' in refusal(tmp_path, bad)


def test_another_network_is_named_for_what_it_is(tmp_path):
    words = refusal(tmp_path, {"ClassHead.0.conv1x1.weight": torch.ones(1)}, "det.safetensors")
    assert '"det.safetensors" is not a restorer this pack knows: it looks like a RetinaFace detector' in words


def test_a_huge_foreign_file_is_refused_by_its_layout_alone(tmp_path, monkeypatch):
    def no_reading(path):
        raise AssertionError("the numbers were read")

    monkeypatch.setattr("gpen_core.models.load.read_state_dict", no_reading)
    key = "model.diffusion_model.input_blocks.0.0.weight"
    assert "Stable Diffusion" in refusal(tmp_path, {key: torch.ones(1)}, "sd.safetensors")
