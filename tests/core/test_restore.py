"""Running a restorer over crops, by example; the networks are small and random, but real."""

from pathlib import Path

import pytest
import torch

from gpen_core.errors import CancelledError, ModelMemoryError, SettingsError, ShapeError
from gpen_core.geometry import template_points
from gpen_core.models.descriptor import Restorer
from gpen_core.models.gpen import GpenGenerator, GpenSpec
from gpen_core.progress import NoProgress
from gpen_core.restore import restore_faces
from gpen_core.types import Box, Face, FaceCrop


@pytest.fixture(scope="module")
def restorer() -> Restorer:
    torch.manual_seed(0)
    spec = GpenSpec.published(32, style_dim=16, n_mlp=2, cm=1, narrow=1 / 64)
    return Restorer(GpenGenerator(spec).eval(), 32, "gpen", "tiny", spec, Path("tiny.safetensors"))


def some_crops(count: int, size: int = 32) -> list[FaceCrop]:
    points = template_points("gpen", size)
    face = Face(Box(0, 0, size, size), points, 0.9)
    keep = torch.eye(3)[:2].double().numpy()
    return [FaceCrop(torch.rand(3, size, size), keep, face, image_index=index) for index in range(count)]


class Record(NoProgress):
    """Counts what a run reports."""

    def __init__(self) -> None:
        self.faces = 0

    def advance(self, units: int = 1, preview: torch.Tensor | None = None) -> None:
        assert preview is not None and preview.shape == (3, 32, 32)
        self.faces += units


@pytest.mark.parametrize("batch_size", [1, 2, 5, 50])
def test_batches_give_what_single_faces_give(restorer: Restorer, batch_size: int) -> None:
    crops, record = some_crops(5), Record()
    restored = restore_faces(crops, restorer, batch_size=batch_size, progress=record)
    assert [crop.image_index for crop in restored] == [0, 1, 2, 3, 4]
    assert record.faces == 5
    for before, after in zip(crops, restored, strict=True):
        torch.testing.assert_close(after.pixels, restorer(before.pixels[None])[0], atol=1e-5, rtol=0)
        assert after.face is before.face and not torch.equal(after.pixels, before.pixels)


def test_no_faces_give_none(restorer: Restorer) -> None:
    assert restore_faces([], restorer) == []


def test_wrong_size_is_named(restorer: Restorer) -> None:
    with pytest.raises(ShapeError, match=r"\(3, 32, 32\) for tiny, got \(3, 64, 64\)"):
        restore_faces(some_crops(1, size=64), restorer)
    with pytest.raises(SettingsError, match="at least 1"):
        restore_faces(some_crops(1), restorer, batch_size=0)


class Scarce(torch.nn.Module):
    """A network that runs out of memory above a number of faces, in the words of the real allocator."""

    def __init__(self, network: torch.nn.Module, most: int) -> None:
        super().__init__()
        self.network, self.most, self.calls = network, most, []

    def forward(self, faces: torch.Tensor) -> torch.Tensor:
        self.calls.append(len(faces))
        if len(faces) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return self.network(faces)


def scarce(restorer: Restorer, most: int) -> tuple[Restorer, Scarce]:
    network = Scarce(restorer.network, most)
    return Restorer(network, 32, "gpen", "scarce", restorer.spec, restorer.source), network


def test_out_of_memory_halves_the_batch_for_good(restorer: Restorer) -> None:
    small, network = scarce(restorer, most=2)
    restored = restore_faces(some_crops(9), small, batch_size=8)
    assert len(restored) == 9
    assert network.calls[:3] == [8, 4, 2] and max(network.calls[3:]) <= 2


def test_a_single_face_that_does_not_fit_is_an_error(restorer: Restorer) -> None:
    with pytest.raises(ModelMemoryError, match="one face"):
        restore_faces(some_crops(2), scarce(restorer, most=0)[0], batch_size=2)


def test_cancel_stops_between_batches(restorer: Restorer) -> None:
    class Impatient(Record):
        def check_cancelled(self) -> None:
            if self.faces >= 2:
                raise CancelledError("cancelled")

    impatient = Impatient()
    with pytest.raises(CancelledError):
        restore_faces(some_crops(5), restorer, batch_size=2, progress=impatient)
    assert impatient.faces == 2
