"""Masks, by example; the mesh runs on the sample photo."""

from pathlib import Path

import pytest
import torch

import gpen_core
from gpen_core.align import align_face
from gpen_core.geometry import apply_affine
from gpen_core.masks import face_mask, inner_box, published_mask
from gpen_core.models.facemesh import load_face_mesh
from gpen_core.types import Face, FaceCrop

ASTRONAUT = Path(__file__).parents[1] / "data" / "astronaut.png"


@pytest.fixture(scope="module")
def photo() -> torch.Tensor:
    return gpen_core.read_photo(ASTRONAUT).pixels


@pytest.fixture(scope="module")
def face(photo: torch.Tensor) -> Face:
    return gpen_core.detect_faces(photo[None], gpen_core.load_detector())[0][0]


@pytest.fixture(scope="module")
def crop(photo: torch.Tensor, face: Face) -> FaceCrop:
    return align_face(photo, face, 256, "gpen")


@pytest.mark.parametrize("area", ["head", "face"])
@pytest.mark.parametrize("with_mesh", [True, False])
def test_mask_covers_the_features_and_fades_before_the_border(
    crop: FaceCrop, photo: torch.Tensor, area: str, with_mesh: bool
) -> None:
    mask = face_mask(crop, photo, mesh=load_face_mesh() if with_mesh else None, area=area)  # type: ignore[arg-type]
    assert mask.source == ("mesh" if with_mesh else "landmarks")
    assert mask.pixels.shape == (256, 256) and mask.pixels.dtype == torch.float32
    for x, y in apply_affine(crop.image_to_crop, crop.face.landmarks):
        assert mask.pixels[round(y), round(x)] > 0.99
    border = torch.cat([mask.pixels[0], mask.pixels[-1], mask.pixels[:, 0], mask.pixels[:, -1]])
    assert border.max() == 0
    assert mask.pixels.diff(dim=0).abs().max() < 0.12  # soft: no step of more than 12 %


def test_head_reaches_further_than_face(crop: FaceCrop, photo: torch.Tensor) -> None:
    mesh = load_face_mesh()
    head, face = (face_mask(crop, photo, mesh=mesh, area=area).pixels for area in ("head", "face"))  # type: ignore[arg-type]
    assert (head >= face - 1e-3).all()
    assert head.sum() > 1.4 * face.sum()


def test_without_a_recognisable_face_the_landmarks_serve(crop: FaceCrop) -> None:
    grey = torch.full((3, 512, 512), 0.5)
    assert face_mask(crop, grey, mesh=load_face_mesh()).source == "landmarks"


def test_published_mask_clears_the_border_and_blurs() -> None:
    mask = published_mask(torch.ones(512, 512))
    assert mask[0].max() < 1e-4 and mask[256, 256].item() == pytest.approx(1.0)
    assert mask[256, 26].item() == pytest.approx(0.53, abs=0.04)  # half way up where the border of 26 px ends


def test_inner_box_is_symmetric() -> None:
    box = inner_box(128)
    assert box[0].max() == 0 and box[64, 64] == 1
    assert (box == box[::-1]).all() and (box == box.T).all()
