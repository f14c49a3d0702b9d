"""The fast form of the GPEN generator: the same picture as the plain network, for every way its work is cut up."""

import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from gpen_core import load_restorer
from gpen_core.models.descriptor import Restorer
from gpen_core.models.gpen import GpenGenerator, GpenSpec, fast, fast_layers, winograd
from gpen_core.models.gpen.fast import FastForm, FastGenerator, suits
from gpen_core.models.gpen.winograd import WinogradConv, tile_matrices
from gpen_core.models.gpen.workspace import Workspace


def random_network(spec: GpenSpec) -> GpenGenerator:
    """Build a network none of whose weights is zero or one."""
    torch.manual_seed(0)
    network = GpenGenerator(spec).requires_grad_(False).eval()
    for name, value in network.named_parameters():
        if name.endswith(("bias", "noise.weight")):
            value.add_(0.3 * torch.randn(value.shape))
    return network


def random_pictures(count: int, size: int) -> torch.Tensor:
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(1)) * 2 - 1


@pytest.fixture(params=[1, 2, 3], ids=lambda count: f"{count} threads")
def threads(request: pytest.FixtureRequest) -> int:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.fixture(params=[False, True], ids=["MKL", "oneDNN"])
def onednn(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Take the products of one library, whichever is faster here."""
    if request.param and not hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        pytest.skip("this torch was built without oneDNN")
    monkeypatch.setattr(fast_layers, "onednn_is_faster", lambda: request.param)
    return request.param


def test_a_tile_is_the_convolution_it_stands_for() -> None:
    take, filter_, give = tile_matrices()
    pixels, taps = np.array([1.0, 4.0, 2.0, -7.0, 0.5, 3.0]), np.array([2.0, -1.0, 0.5])

    made = give @ ((filter_ @ taps) * (take @ pixels))

    np.testing.assert_allclose(made, np.correlate(pixels, taps), atol=1e-12)


@pytest.mark.parametrize("largest_kept", [0, 1 << 20], ids=["filters made anew", "filters kept"])
def test_wide_features_are_convolved_with_fewer_products_to_the_same_result(
    largest_kept: int, onednn: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(winograd, "_LARGEST_KEPT", largest_kept)
    generator = torch.Generator().manual_seed(0)
    weight, bias = torch.randn(24, 40, 3, 3, generator=generator), torch.randn(24, generator=generator)
    source, factors = torch.randn(10, 12, 40, generator=generator), torch.rand(40, generator=generator)
    target = torch.zeros(8, 12, 48)

    conv = WinogradConv(weight.permute(2, 3, 1, 0).contiguous(), onednn=onednn)
    conv(Workspace(), source, factors, bias, target[:, :, :24])

    planar = (source * factors).permute(2, 0, 1)[None]
    expected = torch.nn.functional.leaky_relu(torch.conv2d(planar, weight, bias, padding=(0, 1)), 0.2)[0]
    torch.testing.assert_close(target[:, :, :24], expected.permute(1, 2, 0), atol=2e-4, rtol=0)
    assert not target[:, :, 24:].any()
    assert conv.nbytes == (36 * 24 * 40 * 4 if largest_kept else 0)


@pytest.mark.parametrize(
    ("spec", "batch"),
    [
        (GpenSpec.published(32, style_dim=16, n_mlp=2, narrow=0.03125), 3),
        (GpenSpec(64, style_dim=24, n_mlp=1, channels=(20, 12, 36, 8, 5)), 2),
        (GpenSpec.published(128, style_dim=16, n_mlp=2, cm=2, narrow=0.0625), 2),
        (GpenSpec(64, style_dim=16, n_mlp=2, channels=(256, 256, 192, 128, 64)), 1),
        (GpenSpec(64, style_dim=16, n_mlp=2, channels=(32, 32, 64, 160, 128)), 1),
    ],
    ids=str,
)
def test_the_fast_form_gives_the_plain_picture(spec: GpenSpec, batch: int, threads: int, onednn: bool) -> None:
    network = random_network(spec)
    pictures = random_pictures(batch, spec.size)
    expected = network(pictures)
    assert expected.std() > 0.1

    fast = FastGenerator(network)

    torch.testing.assert_close(fast(pictures), expected, atol=3e-5, rtol=0)


@pytest.mark.parametrize("size", [1, 5_000, 40_000], ids=lambda size: f"bands of {size} bytes")
def test_bands_of_any_height_give_the_same_picture(size: int, onednn: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    network = random_network(GpenSpec(64, style_dim=24, n_mlp=1, channels=(20, 12, 36, 8, 5)))
    pictures = random_pictures(1, 64)
    monkeypatch.setattr(fast_layers, "_BAND_BYTES", size)
    monkeypatch.setattr(fast_layers, "_STRIP_BYTES", 3 * size)

    torch.testing.assert_close(FastGenerator(network)(pictures), network(pictures), atol=3e-5, rtol=0)


def test_bands_in_bfloat16_give_nearly_the_picture() -> None:
    network = random_network(GpenSpec.published(64, style_dim=16, n_mlp=2, narrow=0.0625))
    pictures = random_pictures(2, 64)
    expected = network(pictures)

    restored = FastGenerator(network.bfloat16())(pictures)

    assert restored.dtype == torch.float32
    assert float((restored - expected).abs().mean() / expected.abs().mean()) < 0.02


def test_a_call_leaves_its_input_alone_and_no_trace_in_the_next() -> None:
    network = random_network(GpenSpec.published(128, style_dim=16, n_mlp=2, narrow=0.0625))
    pictures = random_pictures(3, 128)
    kept = pictures.clone()
    fast = FastGenerator(network)

    first = fast(pictures[:1])
    first_kept = first.clone()
    fast(pictures)

    assert torch.equal(pictures, kept)
    assert torch.equal(first, first_kept)
    assert torch.equal(fast(pictures[:1]), first)
    held = fast.buffers_nbytes
    fast.release()
    assert held > 0
    assert fast.buffers_nbytes == 0
    assert torch.equal(fast(pictures[:1]), first)


def test_the_number_of_threads_of_torch_stays_as_it_was() -> None:
    before = torch.get_num_threads()
    FastGenerator(random_network(GpenSpec.published(128, style_dim=16, n_mlp=2, narrow=0.0625)))(
        random_pictures(3, 128)
    )
    seen: list[int] = []
    other = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
    other.start()
    other.join()

    assert torch.get_num_threads() == before
    assert seen == [before]


def test_it_works_in_inference_mode_and_out_of_it() -> None:
    network = random_network(GpenSpec.published(128, style_dim=16, n_mlp=2, narrow=0.0625))
    pictures = random_pictures(1, 128)
    expected = network(pictures)
    with torch.inference_mode():
        fast = FastGenerator(network)
        torch.testing.assert_close(fast(pictures), expected, atol=3e-5, rtol=0)
    result = fast(pictures)

    torch.testing.assert_close(result, expected, atol=3e-5, rtol=0)
    assert not result.is_inference()


def test_weights_loaded_and_changed_in_inference_mode_are_noticed() -> None:
    pictures = random_pictures(1, 256)
    with torch.inference_mode():
        restorer = load_restorer().to(dtype=torch.bfloat16).to(dtype=torch.float32)
        first = restorer._fast.of(restorer.network)
        assert first is not None
        restorer.network.generator.conv1.conv.weight.mul_(-2)
        second = restorer._fast.of(restorer.network)

        assert second is not first
        torch.testing.assert_close(second(pictures), restorer.network(pictures), atol=1e-4, rtol=0)


def test_weights_that_do_not_tell_of_changes_have_no_fast_form() -> None:
    with torch.inference_mode():
        network = random_network(GpenSpec.published(32, style_dim=16, n_mlp=2, narrow=0.03125))

    assert not suits(network)


def test_changed_weights_make_a_new_form() -> None:
    network = random_network(GpenSpec.published(32, style_dim=16, n_mlp=2, narrow=0.03125))
    pictures = random_pictures(1, 32)
    form = FastForm()
    first = form.of(network)
    assert first is not None
    assert form.of(network) is first

    network.generator.conv1.conv.weight.mul_(-2)
    second = form.of(network)

    assert second is not first
    torch.testing.assert_close(second(pictures), network(pictures), atol=3e-5, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_weights_changed_behind_torchs_back_are_noticed(dtype: torch.dtype) -> None:
    network = random_network(GpenSpec(64, style_dim=24, n_mlp=1, channels=(20, 12, 36, 8, 5))).to(dtype)
    form = FastForm()
    first = form.of(network)
    for value in network.parameters():
        value.data.mul_(-2)
        second = form.of(network)
        assert second is not first
        first = second
    assert form.of(network) is first


@pytest.mark.parametrize("multiplies", [True, False])
def test_bfloat16_that_the_processor_does_not_multiply_is_said_once(
    multiplies: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(fast, "multiplies_bfloat16", lambda: multiplies)
    network, form = random_network(GpenSpec.published(32, style_dim=16, n_mlp=2, narrow=0.03125)), FastForm()
    form.of(network)
    assert not caplog.messages
    for _ in range(2):
        form.of(network.bfloat16())
    assert ["does not multiply bfloat16" in words for words in caplog.messages] == ([] if multiplies else [True])


def test_only_a_whole_type_on_the_processor_with_the_usual_blur_has_a_fast_form() -> None:
    network = random_network(GpenSpec.published(32, style_dim=16, n_mlp=2, narrow=0.03125))
    assert suits(network)
    assert suits(random_network(network.spec).bfloat16())
    assert not suits(torch.nn.Linear(2, 2))
    assert not suits(random_network(network.spec).half())
    assert not suits(random_network(network.spec).to("meta"))
    network.generator.convs[0].conv.blur.kernel.mul_(1.01)
    assert not suits(network)
    assert FastForm().of(network) is None
    assert FastForm().of(random_network(network.spec).train()) is None


def test_the_embedded_weights_give_the_plain_picture() -> None:
    network = load_restorer().network
    pictures = random_pictures(2, 256)

    torch.testing.assert_close(FastGenerator(network)(pictures), network(pictures), atol=1e-4, rtol=0)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.bfloat16, 0.05)])
def test_a_restorer_uses_it_on_the_processor(dtype: torch.dtype, tolerance: float) -> None:
    spec = GpenSpec.published(128, style_dim=16, n_mlp=2, narrow=0.0625)
    restorer = Restorer(random_network(spec), 128, "gpen", "small", spec, Path("small.safetensors"))
    crops = random_pictures(1, 128) / 2 + 0.5
    plain = (restorer.network(crops * 2 - 1) / 2 + 0.5).clamp(0, 1)

    restored = restorer.to(dtype=dtype)(crops)

    torch.testing.assert_close(restored, plain, atol=tolerance, rtol=0)
    assert restorer._fast._made is not None


def test_it_leaves_the_networks_weights_as_they_were(onednn: bool) -> None:
    network = random_network(GpenSpec(64, style_dim=16, n_mlp=2, channels=(32, 32, 64, 160, 128)))
    before = {key: value.clone() for key, value in network.state_dict().items()}
    pictures = random_pictures(1, 64)
    expected = network(pictures)

    fast = FastGenerator(network)

    assert fast.weights_nbytes == 36 * 4 * (320 * 160 + 256 * 128)
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    torch.testing.assert_close(network(pictures), expected, atol=1e-5, rtol=0)
