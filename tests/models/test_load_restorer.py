"""Any GPEN file loads by what it holds; anything else is refused in words."""

import copy
import pickle
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from gpen_core.errors import GpenError, ShapeError, UnsupportedWeightsError, WeightsNotFoundError
from gpen_core.models import ledger
from gpen_core.models.gpen import GpenGenerator, GpenSpec
from gpen_core.models.load import load_restorer

ODD_SPECS = [
    GpenSpec.published(16, style_dim=24, n_mlp=1, cm=1, narrow=1 / 64),
    GpenSpec.published(32, style_dim=33, n_mlp=3, cm=1, narrow=3 / 64),
    GpenSpec.published(64, style_dim=20, n_mlp=2, cm=1, narrow=1 / 32),
    GpenSpec.published(64, style_dim=128, n_mlp=4, cm=2, narrow=1 / 16),
    GpenSpec.published(128, style_dim=17, n_mlp=5, cm=4, narrow=1 / 64),
    GpenSpec.published(256, style_dim=12, n_mlp=8, cm=1, narrow=0.03),
    GpenSpec(size=64, style_dim=10, n_mlp=2, channels=(12, 10, 8, 6, 4)),
]


@pytest.fixture
def network() -> GpenGenerator:
    return small_network(ODD_SPECS[0])


def small_network(spec: GpenSpec) -> GpenGenerator:
    torch.manual_seed(1)
    return GpenGenerator(spec).eval()


@pytest.mark.parametrize("spec", ODD_SPECS, ids=str)
def test_every_hyper_parameter_is_read_from_the_file(spec, tmp_path):
    network = small_network(spec)
    save_file(network.state_dict(), tmp_path / "any name.safetensors")
    restorer = load_restorer(tmp_path / "any name.safetensors")
    assert restorer.spec == spec
    crops = torch.rand(2, 3, spec.size, spec.size)
    with torch.no_grad():
        expected = (network(crops * 2 - 1) / 2 + 0.5).clamp(0, 1)
    torch.testing.assert_close(restorer(crops), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("wrapper", [None, "g_ema", "params_ema", "state_dict"])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_pth_files_load_bare_or_wrapped(network, wrapper, prefix, tmp_path):
    weights = {prefix + key: value for key, value in network.state_dict().items()}
    torch.save(weights if wrapper is None else {wrapper: weights, "iteration": 7}, tmp_path / "face.pth")
    restorer = load_restorer(tmp_path / "face.pth")
    assert (restorer.name, restorer.template, restorer.size) == ("face", "gpen", 16)


def test_half_precision_storage_computes_in_float32(network, tmp_path):
    save_file({key: value.half() for key, value in network.state_dict().items()}, tmp_path / "half.safetensors")
    assert load_restorer(tmp_path / "half.safetensors").dtype == torch.float32


def test_the_record_of_a_file_names_it_and_its_template(network, tmp_path):
    record = {"name": "house style", "template": "ffhq", "task": "restore"}
    save_file(network.state_dict(), tmp_path / "x.safetensors", metadata=record)
    restorer = load_restorer(tmp_path / "x.safetensors")
    assert (restorer.name, restorer.template) == ("house style", "ffhq")


@pytest.mark.parametrize("told_by", ["record", "ledger"])
def test_a_network_for_another_task_is_refused(network, tmp_path, told_by):
    metadata = {"task": "colorize"} if told_by == "record" else None
    save_file(network.state_dict(), tmp_path / "x.safetensors", metadata=metadata)
    if told_by == "ledger":
        ledger.record(tmp_path, "GPEN-Colorization-1024", ledger.Entry("x.safetensors", "0" * 64, 1, "test"))
    with pytest.raises(UnsupportedWeightsError, match=r'"x.safetensors" is for the task "colorize", .* cannot do yet'):
        load_restorer(tmp_path / "x.safetensors")


def test_an_unknown_template_is_refused(network, tmp_path):
    save_file(network.state_dict(), tmp_path / "x.safetensors", metadata={"template": "dlib"})
    with pytest.raises(UnsupportedWeightsError, match='face template "dlib"; known are gpen, ffhq'):
        load_restorer(tmp_path / "x.safetensors")


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("body.0.rdb1.conv1.weight", "looks like an ESRGAN upscaler"),
        ("ClassHead.0.conv1x1.weight", "looks like a RetinaFace detector"),
        ("quantize.embedding.weight", "looks like a CodeFormer"),
        ("layer.weight", r'it holds 1 keys, first "layer.weight"'),
    ],
)
def test_other_networks_are_refused_and_called_by_their_name(key, words, tmp_path):
    save_file({key: torch.zeros(2)}, tmp_path / "other.safetensors")
    with pytest.raises(UnsupportedWeightsError, match=words) as caught:
        load_restorer(tmp_path / "other.safetensors")
    assert "GPEN files belong in models/gpen or models/facerestore_models" in str(caught.value)


def test_a_network_on_the_meta_device_holds_no_numbers():
    """Loading builds it there: drawing random weights first took three quarters of the time."""
    with torch.device("meta"):
        network = GpenGenerator(GpenSpec(size=16, style_dim=8, n_mlp=2, channels=(8, 6, 4)))
    tensors = [*network.parameters(), *network.buffers()]
    assert {tensor.device.type for tensor in tensors} == {"meta"}


def test_loading_does_not_import_torchs_compiler():
    """Drawing on the meta device would: 150 MB and a second."""
    told = "import sys, gpen_core; gpen_core.load_restorer(); print('torch._dynamo' in sys.modules)"
    command = [sys.executable, "-c", told]
    result = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "False"


def test_a_missing_key_is_named(network, tmp_path):
    weights = network.state_dict()
    del weights["generator.conv1.conv.weight"]
    save_file(weights, tmp_path / "x.safetensors")
    with pytest.raises(UnsupportedWeightsError, match=r'key "generator.conv1.conv.weight" is missing'):
        load_restorer(tmp_path / "x.safetensors")


def test_a_surplus_key_is_named(network, tmp_path):
    save_file({**network.state_dict(), "generator.extra": torch.zeros(1)}, tmp_path / "x.safetensors")
    with pytest.raises(UnsupportedWeightsError, match=r'key "generator.extra" is one too many'):
        load_restorer(tmp_path / "x.safetensors")


def test_a_wrong_shape_is_named(network, tmp_path):
    save_file({**network.state_dict(), "generator.to_rgb1.bias": torch.zeros(1, 4, 1, 1)}, tmp_path / "x.safetensors")
    with pytest.raises(UnsupportedWeightsError, match=r"expected \(1, 3, 1, 1\) for \"generator.to_rgb1.bias\""):
        load_restorer(tmp_path / "x.safetensors")


def test_a_missing_file_is_an_error(tmp_path):
    with pytest.raises(WeightsNotFoundError, match=r"none\.pth"):
        load_restorer(tmp_path / "none.pth")


@pytest.mark.parametrize("shape", [(1, 3, 16, 15), (3, 16, 16), (1, 1, 16, 16)])
def test_crops_of_another_shape_are_refused(network, shape, tmp_path):
    save_file(network.state_dict(), tmp_path / "x.safetensors")
    with pytest.raises(ShapeError, match=r"expected floating crops of shape \(N, 3, 16, 16\), got"):
        load_restorer(tmp_path / "x.safetensors")(torch.zeros(shape))


def test_no_crops_give_no_crops(network, tmp_path):
    save_file(network.state_dict(), tmp_path / "x.safetensors")
    assert load_restorer(tmp_path / "x.safetensors")(torch.zeros(0, 3, 16, 16)).shape == (0, 3, 16, 16)


@contextmanager
def other_default(name: str) -> Iterator[None]:
    change, value, usual = {
        "float64": (torch.set_default_dtype, torch.float64, torch.float32),
        "float16": (torch.set_default_dtype, torch.float16, torch.float32),
        "another device": (torch.set_default_device, "meta", None),
    }[name]
    change(value)
    try:
        yield
    finally:
        change(usual)


@pytest.mark.parametrize(
    "surroundings",
    [
        lambda: torch.autocast("cpu", torch.bfloat16),
        lambda: other_default("float64"),
        lambda: other_default("float16"),
        lambda: other_default("another device"),
    ],
    ids=["autocast", "float64", "float16", "another device"],
)
def test_what_the_caller_has_set_for_his_own_networks_changes_nothing(tmp_path, surroundings):
    spec = GpenSpec(size=64, style_dim=16, n_mlp=2, channels=(16, 16, 128, 16, 16))
    save_file(small_network(spec).state_dict(), tmp_path / "x.safetensors")
    crops = torch.rand(2, 3, 64, 64)
    expected = load_restorer(tmp_path / "x.safetensors")(crops)
    with surroundings():
        restorer = load_restorer(tmp_path / "x.safetensors")
        restored = restorer(crops)
    assert restorer._fast._made is not None
    torch.testing.assert_close(restored, expected, atol=1e-6, rtol=0)


def test_a_copy_of_a_restorer_that_was_called_restores_too(network, tmp_path):
    save_file(network.state_dict(), tmp_path / "x.safetensors")
    restorer, crops = load_restorer(tmp_path / "x.safetensors"), torch.rand(1, 3, 16, 16)
    expected = restorer(crops)
    for twin in (copy.deepcopy(restorer), pickle.loads(pickle.dumps(restorer))):
        torch.testing.assert_close(twin(crops), expected, atol=1e-5, rtol=0)
        assert twin._fast is not restorer._fast


def test_an_overflow_in_half_precision_is_computed_again_in_float32(network, tmp_path, caplog):
    weights = network.state_dict()
    weights["generator.to_rgb1.conv.weight"] = weights["generator.to_rgb1.conv.weight"].sign() * 40000
    weights["generator.to_rgb1.bias"] = torch.full((1, 3, 1, 1), 60000.0)
    save_file(weights, tmp_path / "loud.safetensors")
    crops = torch.rand(1, 3, 16, 16)
    restored = load_restorer(tmp_path / "loud.safetensors", dtype=torch.float16)(crops)
    assert "computed again in float32" in caplog.text
    assert restored.dtype == torch.float32 and torch.isfinite(restored).all()


def test_weights_that_give_no_numbers_are_an_error(network, tmp_path):
    save_file({**network.state_dict(), "ecd0.0.1.bias": torch.full((8,), 3e38)}, tmp_path / "x.safetensors")
    with pytest.raises(GpenError, match=r"x.safetensors. gave values that are not finite"):
        load_restorer(tmp_path / "x.safetensors")(torch.rand(1, 3, 16, 16))


def test_the_embedded_restorer_needs_no_argument_and_keeps_its_input():
    restorer = load_restorer()
    crops = torch.full((1, 3, 256, 256), 0.4)
    before = crops.clone()
    restored = restorer(crops)
    assert (restorer.size, restorer.template) == (256, "gpen")
    assert restored.shape == crops.shape and restored.dtype == torch.float32
    assert (restored - 0.4).abs().mean() < 0.1
    assert torch.equal(crops, before)
