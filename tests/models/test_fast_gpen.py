"""The fast form of the GPEN generator: the same picture as the plain network, for every way its work is cut up."""

import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from gpen_core import load_restorer
from gpen_core.models.descriptor import Restorer
from gpen_core.models.gpen import GpenGenerator, GpenSpec
from gpen_core.models.gpen.fast import FastForm, FastGenerator, pays, suits
from gpen_core.models.gpen.tiles import TilePlan, down_plan, same_plan, up_plan


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


def by_tiles(plan: TilePlan, pixels: np.ndarray, taps: np.ndarray, length: int) -> np.ndarray:
    """Convolve one line as a plan says, tile by tile."""
    line, margin = np.pad(pixels, 20), np.zeros(length + 40)
    for tile in range(len(pixels) // plan.read_step):
        start = 20 + plan.read_first + tile * plan.read_step
        read = line[start : start + plan.take.shape[1]]
        made = plan.give @ ((plan.filter @ taps) * (plan.take @ read))
        start = 20 + plan.write_first + tile * plan.write_step
        margin[start : start + len(made)] += made
    return margin[20 : 20 + length]


@pytest.mark.parametrize("tile", [1, 2, 4])
def test_plans_are_the_convolutions_they_stand_for(tile: int) -> None:
    pixels, taps, blur = np.arange(16.0) ** 2 % 7, np.array([2.0, -1.0, 0.5]), np.array([1.0, 3.0, 3.0, 1.0])
    doubled = np.zeros(33)
    for position, pixel in enumerate(pixels):
        doubled[2 * position : 2 * position + 3] += pixel * taps
    same = np.correlate(np.pad(pixels, 1), taps)
    up = np.correlate(np.pad(doubled, 1), blur / 4)
    down = np.correlate(np.correlate(np.pad(pixels, 2), blur / 8), taps)[::2]

    np.testing.assert_allclose(by_tiles(same_plan(tile), pixels, taps, 16), same, atol=1e-12)
    np.testing.assert_allclose(by_tiles(up_plan(tile), pixels, taps, 32), up, atol=1e-12)
    np.testing.assert_allclose(by_tiles(down_plan(tile), pixels, taps, 8), down, atol=1e-12)


def test_a_tile_of_four_needs_a_quarter_of_the_products() -> None:
    assert len(same_plan(4).take) ** 2 / 4**2 == 2.25  # against 9
    assert len(up_plan(4).take) ** 2 / 4**2 == 5.0625  # against 9 and a blur


@pytest.mark.parametrize(
    ("spec", "batch"),
    [
        (GpenSpec.published(32, style_dim=16, n_mlp=2, narrow=0.03125), 3),
        (GpenSpec(64, style_dim=24, n_mlp=1, channels=(20, 12, 36, 8, 5)), 2),
        (GpenSpec.published(128, style_dim=16, n_mlp=2, cm=2, narrow=0.0625), 2),
        (GpenSpec(64, style_dim=16, n_mlp=2, channels=(256, 256, 192, 128, 64)), 1),
    ],
    ids=str,
)
def test_the_fast_form_gives_the_plain_picture(spec: GpenSpec, batch: int, threads: int) -> None:
    network = random_network(spec)
    pictures = random_pictures(batch, spec.size)
    expected = network(pictures)
    assert expected.std() > 0.1

    fast = FastGenerator(network)

    torch.testing.assert_close(fast(pictures), expected, atol=3e-5, rtol=0)


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
        random_pictures(1, 128)
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


def test_only_float32_on_the_processor_with_the_usual_blur_has_a_fast_form() -> None:
    network = random_network(GpenSpec.published(32, style_dim=16, n_mlp=2, narrow=0.03125))
    assert suits(network)
    assert not suits(torch.nn.Linear(2, 2))
    network.generator.convs[0].conv.blur.kernel.mul_(1.01)
    assert not suits(network)
    assert not suits(random_network(network.spec).bfloat16())
    assert FastForm().of(network) is None
    assert FastForm().of(random_network(network.spec).train()) is None


def test_the_embedded_weights_give_the_plain_picture() -> None:
    network = load_restorer().network
    pictures = random_pictures(2, 256)

    torch.testing.assert_close(FastGenerator(network)(pictures), network(pictures), atol=1e-4, rtol=0)


@pytest.mark.parametrize(("first_width", "used"), [(256, True), (16, False)])
def test_a_restorer_uses_it_where_it_pays(first_width: int, used: bool) -> None:
    spec = GpenSpec(512, style_dim=8, n_mlp=1, channels=(first_width, 8, 8, 8, 8, 8, 8, 8))
    restorer = Restorer(random_network(spec), 512, "gpen", "wide", spec, Path("wide.safetensors"))
    crops = random_pictures(1, 512) / 2 + 0.5

    restored = restorer(crops)

    plain = (restorer.network(crops * 2 - 1) / 2 + 0.5).clamp(0, 1)
    torch.testing.assert_close(restored, plain, atol=1e-4, rtol=0)
    assert (restorer._fast._made is not None) == used


def test_the_fast_form_is_used_where_it_is_faster() -> None:
    assert pays(GpenSpec.published(512))
    assert pays(GpenSpec.published(1024))
    assert not pays(GpenSpec.published(256, cm=1, narrow=0.5))
    assert not pays(GpenSpec.published(512, cm=1, narrow=0.125))
