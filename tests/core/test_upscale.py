"""Photos enlarged tile by tile: no seams, tiles that halve, a clear end."""

import logging
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from gpen_core.errors import CancelledError, ModelMemoryError, SettingsError, ShapeError
from gpen_core.geometry import enlarge
from gpen_core.progress import NoProgress
from gpen_core.upscale import PLAIN_UPSCALERS, UpscaleSettings, upscale_photo

CUDA_WORDS = "CUDA out of memory. Tried to allocate 2.00 GiB."


def photo(height, width):
    return torch.rand(3, height, width, generator=torch.Generator().manual_seed(0))


class Nearest:
    """Repeats pixels, like an upscaler without a network; remembers its tiles and fails above `room` pixels a side."""

    def __init__(self, scale=2, room=10_000, error=None):
        self.scale, self.room, self.error, self.tiles = scale, room, error, []

    def __call__(self, pixels):
        self.tiles.append(tuple(pixels.shape[2:]))
        if max(self.tiles[-1]) > self.room:
            raise self.error
        return pixels.repeat_interleave(self.scale, 2).repeat_interleave(self.scale, 3)


@pytest.mark.skipif(find_spec("basicsr") is None, reason="basicsr is not installed")
@pytest.mark.parametrize("scale", [1, 2, 4])
@pytest.mark.parametrize("tile", [96, 128, 200])
def test_tiles_leave_no_seams(scale, tile):
    """A random network that looks 20 pixels far gives the same picture whole and in tiles."""
    from gpen_core.models.descriptor import Upscaler
    from gpen_core.models.rrdbnet import RrdbNetSpec, build_rrdbnet

    torch.manual_seed(0)
    spec = RrdbNetSpec(scale, width=8, blocks=1, growth=4)
    network = build_rrdbnet(spec).requires_grad_(False)
    for weights in network.parameters():
        weights *= 2.5  # as made, the answer is all but constant
    network.conv_last.bias += 0.5
    upscaler = Upscaler(network, scale, "random", spec, Path("random"))
    pixels = photo(211, 149)
    whole = upscaler(pixels[None])[0]
    tiled = upscale_photo(pixels, upscaler, UpscaleSettings(tile))
    assert whole.std() > 0.01
    assert (tiled - whole).abs().max() < 3e-5  # a tenth of a grey level is 4e-4
    halves = torch.cat([upscaler(half[None])[0] for half in (pixels[:, :, :72], pixels[:, :, 72:])], dim=2)
    assert (halves - whole).abs().max() > 1e-3  # cut without surroundings, a seam is there


@pytest.mark.parametrize("size", [(1, 1), (5, 300), (97, 96), (261, 403)])
@pytest.mark.parametrize("tile", [96, 104, 256])
def test_the_weights_of_all_tiles_sum_to_one_everywhere(size, tile):
    upscaler = Nearest()
    pixels = photo(*size)
    before = pixels.clone()
    assert (upscale_photo(pixels, upscaler, UpscaleSettings(tile)) - upscaler(pixels[None])[0]).abs().max() < 1e-6
    assert torch.equal(pixels, before)
    assert max(max(tile) for tile in upscaler.tiles[:-1]) <= tile


class Edges(Nearest):
    """Spoils everything within 32 pixels of a tile's inner edges, as a network does that lacks its surroundings."""

    def __init__(self, size):
        super().__init__(scale=1)
        self.size = size

    def __call__(self, pixels):
        spoilt = pixels.clone()
        if pixels.shape[2] < self.size:
            spoilt[:, :, :32] = spoilt[:, :, -32:] = 0
        if pixels.shape[3] < self.size:
            spoilt[:, :, :, :32] = spoilt[:, :, :, -32:] = 0
        return spoilt


def test_every_pixel_that_is_used_has_32_pixels_around_it():
    pixels = photo(400, 400)
    used = upscale_photo(pixels, Edges(400), UpscaleSettings(160))[:, 32:-32, 32:-32]
    assert (used - pixels[:, 32:-32, 32:-32]).abs().max() < 1e-6


@pytest.mark.parametrize("error", [torch.cuda.OutOfMemoryError(CUDA_WORDS), MemoryError()], ids=["cuda", "python"])
def test_tiles_halve_and_what_was_done_is_kept(error, caplog):
    upscaler = Nearest(room=130, error=error)
    pixels = photo(300, 280)
    with caplog.at_level(logging.WARNING, logger="gpen_core.upscale"):
        enlarged = upscale_photo(pixels, upscaler)
    failed = [tile for tile in upscaler.tiles if max(tile) > 130]
    assert len(failed) == 1
    assert "Out of memory with tiles of 192 px; trying again with 96" in caplog.text
    upscaler.room = 10_000
    assert (enlarged - upscaler(pixels[None])[0]).abs().max() < 1e-6


class Later(Nearest):
    """Runs out of memory at its third tile, once."""

    def __call__(self, pixels):
        if len(self.tiles) == 2:
            self.tiles.append("failed")
            raise torch.cuda.OutOfMemoryError(CUDA_WORDS)
        return super().__call__(pixels)


def test_memory_that_runs_out_halfway_leaves_no_seam_between_large_and_small_tiles():
    upscaler, pixels = Later(), photo(500, 430)
    enlarged = upscale_photo(pixels, upscaler)
    assert upscaler.tiles.index("failed") == 2
    assert (enlarged - Nearest()(pixels[None])[0]).abs().max() < 1e-6


def test_the_smallest_tile_that_does_not_fit_is_a_clear_error():
    upscaler = Nearest(room=0, error=RuntimeError("DefaultCPUAllocator: can't allocate memory"))
    with pytest.raises(ModelMemoryError, match=r"not even tiles of 56 pixels fit .*choose a smaller upscaler"):
        upscale_photo(photo(300, 300), upscaler)
    assert [max(tile) for tile in upscaler.tiles] == [192, 56]


def test_a_result_that_does_not_fit_is_a_clear_error():
    pixels = torch.zeros(3, 1, 1).expand(3, 2**20, 2**20)
    with pytest.raises(ModelMemoryError, match="a picture of 16777216x16777216 pixels does not fit"):
        upscale_photo(pixels, Nearest(scale=16))


def test_other_errors_pass_untouched():
    with pytest.raises(RuntimeError, match="size mismatch"):
        upscale_photo(photo(20, 20), Nearest(room=0, error=RuntimeError("size mismatch")))


def test_progress_counts_the_photos_pixels_and_may_cancel():
    class Watch(NoProgress):
        def __init__(self, limit):
            self.total, self.done, self.limit = 0, 0, limit

        def start(self, total, label):
            self.total = total

        def advance(self, units=1, preview=None):
            self.done += units

        def check_cancelled(self):
            if self.done > self.limit:
                raise CancelledError("cancelled")

    watch = Watch(10**9)
    upscale_photo(photo(300, 200), Nearest(), progress=watch)
    assert watch.total == watch.done == 60_000
    with pytest.raises(CancelledError):
        upscale_photo(photo(300, 200), Nearest(), progress=Watch(0))


def test_wrong_shapes_and_tiles_are_refused():
    with pytest.raises(ShapeError, match=r"expected an image of shape \(3, height, width\)"):
        upscale_photo(torch.zeros(1, 3, 8, 8), Nearest())
    with pytest.raises(SettingsError, match="tile_px of at least 96, got 95"):
        UpscaleSettings(95)


def test_plain_enlarging_meets_at_the_outer_edges():
    assert enlarge(torch.tensor([[[[0.0, 1.0]]]]), 2)[0, 0].tolist() == [[0.0, 0.25, 0.75, 1.0]] * 2


@pytest.mark.parametrize("name", ["plain_x2", "plain_x4"])
def test_plain_upscalers_interpolate_without_seams(name: str) -> None:
    upscaler = PLAIN_UPSCALERS[name]
    photo = torch.rand(3, 150, 190, generator=torch.Generator().manual_seed(4))
    whole = torch.nn.functional.interpolate(photo[None], scale_factor=upscaler.scale, mode="bicubic").clamp(0, 1)
    tiled = upscale_photo(photo, upscaler, UpscaleSettings(tile_px=96))
    torch.testing.assert_close(tiled, whole[0], atol=2e-6, rtol=0)
