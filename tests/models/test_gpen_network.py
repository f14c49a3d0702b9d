"""The GPEN generator against the published one: same keys, same numbers, whatever the hyper-parameters."""

from pathlib import Path

import numpy as np
import pytest
import torch

from gpen_core.errors import UnsupportedWeightsError
from gpen_core.models.gpen import GpenGenerator, GpenSpec

GOLDEN = Path(__file__).parent.parent / "golden"


def golden_weights(network: GpenGenerator, seed: int) -> dict[str, torch.Tensor]:
    """The weights the reference outputs were computed with: normal noise, scaled by what a key is for."""
    random = np.random.RandomState(seed)
    weights = network.state_dict()
    for key in sorted(weights):
        if key.endswith(".kernel"):
            continue
        noise = np.asarray(random.standard_normal(tuple(weights[key].shape)), np.float32)
        if key.endswith("noise.weight"):
            noise = 0.5 + 0.1 * noise
        elif key.endswith("modulation.bias"):
            noise = 1 + 0.1 * noise
        elif key.endswith(".bias"):
            noise = 0.1 * noise
        elif ".style." in key:
            noise = 100 * noise
        weights[key] = torch.from_numpy(np.asarray(noise, np.float32))
    return weights


@pytest.mark.parametrize("size", [64, 128, 256])
def test_output_equals_the_published_generator(size):
    golden = np.load(GOLDEN / f"gpen{size}.npz")
    spec = GpenSpec.published(
        size, int(golden["style_dim"]), int(golden["n_mlp"]), int(golden["channel_multiplier"]), float(golden["narrow"])
    )
    network = GpenGenerator(spec).eval()
    network.load_state_dict(golden_weights(network, int(golden["seed"])))
    shape = (int(golden["batch"]), 3, size, size)
    picture = np.random.RandomState(int(golden["input_seed"])).uniform(-1, 1, shape).astype(np.float32)
    with torch.no_grad():
        output = network(torch.from_numpy(picture)).numpy()
    error = np.abs(output - golden["output"])
    assert error.max() < 1e-4, f"mean {error.mean():.2e}, max {error.max():.2e}"


@pytest.mark.parametrize(
    ("name", "size", "cm", "narrow"),
    [
        ("GPEN-BFR-256", 256, 1, 0.5),
        ("GPEN-BFR-512", 512, 2, 1),
        ("GPEN-BFR-1024", 1024, 2, 1),
        ("GPEN-BFR-2048", 2048, 2, 1),
    ],
)
def test_keys_and_shapes_equal_the_published_checkpoints(name, size, cm, narrow):
    lines = (GOLDEN / "keys" / f"{name}.tsv").read_text().splitlines()
    published = dict(line.split("\t") for line in lines)
    with torch.device("meta"):
        network = GpenGenerator(GpenSpec.published(size, cm=cm, narrow=narrow))
    ours = {key: "x".join(map(str, value.shape)) for key, value in network.state_dict().items()}
    assert ours == published
    spec = GpenSpec.from_state_dict(network.state_dict())
    assert (spec.size, spec.style_dim, spec.n_mlp, spec.channel_multiplier, spec.narrow) == (size, 512, 8, cm, narrow)


def test_published_widths():
    assert GpenSpec.published(256, cm=1, narrow=0.5).channels == (256, 256, 256, 256, 128, 64, 32)
    assert GpenSpec.published(512).channels == (512, 512, 512, 512, 512, 256, 128, 64)


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        (GpenSpec.published(512), "GPEN 512 (cm 2, narrow 1, style 512)"),
        (GpenSpec.published(32, style_dim=64, narrow=1 / 8), "GPEN 32 (cm 1, narrow 0.125, style 64)"),
        (GpenSpec(64, 32, 2, (96, 96, 64, 64, 24)), "GPEN 64 (channels 96 96 64 64 24, style 32)"),
    ],
)
def test_words_tell_the_whole_shape(spec, text):
    assert str(spec) == text


def test_a_batch_equals_its_pictures_one_by_one():
    torch.manual_seed(0)
    network = GpenGenerator(GpenSpec.published(64, style_dim=48, n_mlp=2, narrow=1 / 16)).eval()
    pictures = torch.rand(3, 3, 64, 64) * 2 - 1
    with torch.no_grad():
        together = network(pictures)
        alone = torch.cat([network(pictures[index : index + 1]) for index in range(3)])
    assert together.std() > 0.01
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_stays_close_to_float32(dtype):
    torch.manual_seed(0)
    network = GpenGenerator(GpenSpec.published(64, style_dim=32, n_mlp=2, narrow=1 / 16)).eval()
    pictures = torch.rand(1, 3, 64, 64) * 2 - 1
    with torch.no_grad():
        exact = network(pictures)
        rounded = network.to(dtype)(pictures.to(dtype))
    assert rounded.dtype == dtype
    assert (rounded.float() - exact).abs().max() < 0.05 * exact.abs().max()


def test_styles_stay_in_float32_where_half_precision_would_overflow():
    """A style of 2000 in 64 channels has a squared sum of 2.6e8; half precision ends at 65504."""
    torch.manual_seed(0)
    network = GpenGenerator(GpenSpec.published(16, style_dim=16, n_mlp=1, narrow=1 / 8)).eval()
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.endswith("conv.modulation.bias") and "to_rgb" not in name:
                parameter.fill_(2000.0)
        output = network.half()(torch.rand(1, 3, 16, 16).half())
    assert torch.isfinite(output).all()


@pytest.mark.parametrize("gone", ["generator.input.input", "final_linear.0.weight", "ecd2.0.1.weight"])
def test_a_part_that_is_missing_is_an_error(gone):
    weights = GpenGenerator(GpenSpec.published(32, 16, 1, narrow=1 / 64)).state_dict()
    del weights[gone]
    with pytest.raises(UnsupportedWeightsError, match="not a whole GPEN generator"):
        GpenSpec.from_state_dict(weights)
