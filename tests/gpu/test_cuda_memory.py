"""On a machine with a CUDA device: what is allocated before and after, and what is not."""

import gc
from importlib.util import find_spec
from typing import ClassVar

import pytest
import torch

from gpen_core.align import align_face
from gpen_core.memory import run_halving
from gpen_core.models.manager import ModelManager
from gpen_core.restore import restore_faces
from gpen_core.upscale import upscale_photo

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


@pytest.fixture(autouse=True)
def clean():
    # cuBLAS takes a workspace from torch's allocator at its first product and keeps it: not ours, so taken beforehand.
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        ones = torch.ones(64, 64, device="cuda", dtype=dtype)
        torch.nn.functional.linear(ones, ones, ones[0])
    del ones
    gc.collect()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()


def crops(restorer, count):
    return torch.rand(count, 3, restorer.size, restorer.size, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_nothing_stays_allocated_after_a_run(dtype):
    allocated, reserved = torch.cuda.memory_allocated(), torch.cuda.memory_reserved()
    manager = ModelManager()
    restorer = manager.restorer(device="cuda", dtype=dtype)
    with manager.in_use(restorer):
        assert torch.cuda.memory_allocated() > allocated
        restored = restorer(crops(restorer, 2))
    assert restored.device.type == "cpu"
    assert torch.cuda.memory_allocated() == allocated
    assert torch.cuda.memory_reserved() <= reserved


def test_keep_holds_the_weights_and_release_frees_them():
    allocated = torch.cuda.memory_allocated()
    manager = ModelManager("keep")
    restorer = manager.restorer(device="cuda")
    weights = sum(value.nbytes for value in restorer.network.state_dict().values())
    for _ in range(3):
        with manager.in_use(restorer):
            restorer(crops(restorer, 1))
    assert weights <= torch.cuda.memory_allocated() - allocated < 1.5 * weights + 2**20
    manager.release()
    assert torch.cuda.memory_allocated() == allocated


def test_many_runs_do_not_grow():
    manager = ModelManager()
    restorer = manager.restorer(device="cuda")
    after = []
    for _ in range(20):
        with manager.in_use(restorer):
            restorer(crops(restorer, 2))
        after.append((torch.cuda.memory_allocated(), torch.cuda.memory_reserved()))
    assert len(set(after)) == 1


def test_the_gpu_gives_the_cpus_picture():
    manager = ModelManager()
    here, there = manager.restorer(), manager.restorer(device="cuda")
    # The coarser products of TensorFloat-32, torch's default in convolutions, are not what is compared.
    with manager.in_use(here, there), torch.backends.cudnn.flags(allow_tf32=False):
        assert (here(crops(here, 2)) - there(crops(there, 2))).abs().max() < 2e-3


def test_the_real_out_of_memory_error_is_answered():
    free, _ = torch.cuda.mem_get_info()
    each = int(free * 0.4)

    def run(batch):
        held = [torch.empty(each, dtype=torch.uint8, device="cuda") for _ in batch]
        return [len(held)] * len(batch)

    halved = []
    assert run_halving(list(range(4)), run, 4, halved.append) == [2, 2, 2, 2]
    assert halved == [2]
    assert torch.cuda.memory_allocated() < each


def test_a_whole_restoration_leaves_nothing(sample_face):
    allocated = torch.cuda.memory_allocated()
    manager = ModelManager()
    restorer, detector = manager.restorer(device="cuda"), manager.detector(device="cuda")
    pixels, face = sample_face
    with manager.in_use(restorer, detector):
        detector(pixels[None])
        restored = restore_faces([align_face(pixels, face, restorer.size, restorer.template)], restorer)
    assert restored[0].pixels.device.type == "cpu"
    assert torch.cuda.memory_allocated() == allocated


@pytest.fixture
def upscaler_file(tmp_path):
    if find_spec("basicsr") is None:
        pytest.skip("basicsr is not installed")
    from safetensors.torch import save_file

    from gpen_core.models.rrdbnet import RrdbNetSpec, build_rrdbnet

    torch.manual_seed(0)
    save_file(build_rrdbnet(RrdbNetSpec(2, 16, 2, 8)).state_dict(), tmp_path / "up.safetensors")
    return tmp_path / "up.safetensors"


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_an_upscaled_photo_leaves_nothing(upscaler_file, dtype):
    allocated = torch.cuda.memory_allocated()
    manager = ModelManager()
    upscaler = manager.upscaler(upscaler_file, device="cuda", dtype=dtype)
    pixels = torch.rand(3, 300, 200, generator=torch.Generator().manual_seed(0))
    with manager.in_use(upscaler):
        enlarged = upscale_photo(pixels, upscaler)
    assert enlarged.shape == (3, 600, 400) and enlarged.device.type == "cpu"
    assert (enlarged - upscale_photo(pixels, manager.upscaler(upscaler_file))).abs().max() < 0.05
    assert torch.cuda.memory_allocated() == allocated


def test_tiles_halve_at_the_real_out_of_memory_error():
    free, _ = torch.cuda.mem_get_info()

    class Hungry:
        scale = 1
        sizes: ClassVar = []

        def __call__(self, pixels):
            height, width = pixels.shape[2:]
            self.sizes.append(max(height, width))
            held = torch.empty(int(free * 0.9 * (height * width) / 128**2), dtype=torch.uint8, device="cuda")
            return pixels + 0 * len(held)

    pixels = torch.rand(3, 300, 200, generator=torch.Generator().manual_seed(0))
    assert (upscale_photo(pixels, Hungry()) - pixels).abs().max() < 1e-6
    assert max(Hungry.sizes) > 128 >= Hungry.sizes[-1]
    assert torch.cuda.memory_allocated() < free * 0.1


@pytest.fixture
def sample_face():
    if find_spec("facexlib") is None:
        pytest.skip("facexlib is not installed")
    from pathlib import Path

    import gpen_core

    photo = gpen_core.read_photo(Path(gpen_core.__file__).parent / "samples" / "astronaut_poor.jpg")
    return photo.pixels, gpen_core.detect_faces(photo.pixels[None], gpen_core.load_detector())[0][0]
