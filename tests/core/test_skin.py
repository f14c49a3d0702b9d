import numpy as np
import pytest
import torch
from torch.nn.functional import interpolate

from gpen_core.commands.restore import SAMPLE
from gpen_core.detect import detect_faces
from gpen_core.models.facemesh import LEFT_EYE, LIPS, load_face_mesh
from gpen_core.models.retinaface import load_detector
from gpen_core.photo import read_photo
from gpen_core.skin import skin_mask
from gpen_core.tone import apply_tone
from gpen_core.types import Box, Face

pytest.importorskip("facexlib")


@pytest.fixture(scope="module")
def mesh():
    return load_face_mesh()


@pytest.fixture(scope="module")
def portrait():
    pixels = read_photo(SAMPLE).pixels
    return pixels, detect_faces(pixels[None], load_detector())[0]


def test_skin_without_eyes_brows_and_lips(portrait, mesh):
    pixels, faces = portrait
    mask = skin_mask(pixels, faces, mesh=mesh)
    assert mask.shape == pixels.shape[1:] and mask.min() == 0 and mask.max() <= 1
    points = mesh.points(pixels, faces[0]).xy
    cheek, forehead = points[50], points[151]
    for x, y in (cheek, forehead):
        assert mask[round(y), round(x)] > 0.9
    for ring in (LEFT_EYE, LIPS):
        x, y = points[list(ring)].mean(axis=0)
        assert mask[round(y), round(x)] == 0


def test_the_mask_stays_inside_the_face(portrait, mesh):
    pixels, faces = portrait
    box = faces[0].box
    inside = torch.zeros_like(pixels[0], dtype=torch.bool)
    inside[int(box.y0 - 0.1 * box.height) : int(box.y1 + 9), int(box.x0 - 9) : int(box.x1 + 9)] = True
    mask = skin_mask(pixels, faces, mesh=mesh)
    assert mask[~inside].max() == 0
    area = mask.sum().item() / (box.width * box.height)
    assert 0.4 < area < 0.75


def test_edges_are_soft_in_proportion_to_the_face(portrait, mesh):
    """Three times the picture, three times the width of the edge: the masks agree when brought to one size."""
    pixels, [face] = portrait[0], portrait[1][:1]
    large = interpolate(pixels[None], scale_factor=3, mode="bicubic", align_corners=False)[0].clamp(0, 1)
    box = Box(*(3 * value + 1 for value in (face.box.x0, face.box.y0, face.box.x1, face.box.y1)))
    large_mask = skin_mask(large, [Face(box, face.landmarks * 3 + 1, face.score)], mesh=mesh)
    reduced = interpolate(large_mask[None, None], scale_factor=1 / 3, mode="area")[0, 0]
    difference = (reduced - skin_mask(pixels, [face], mesh=mesh)).abs()
    assert difference.mean() < 0.002
    assert difference.max() < 0.4


def test_what_is_no_face_gets_no_mask_and_a_warning(mesh, caplog):
    nothing = Face(Box(20, 20, 80, 80), np.array([[35, 40], [65, 40], [50, 55], [38, 68], [62, 68]], float), 0.9)
    mask = skin_mask(torch.rand(3, 100, 100, generator=torch.Generator().manual_seed(0)), [nothing], mesh=mesh)
    assert mask.shape == (100, 100) and mask.max() == 0
    assert "no skin mask for the face at (50, 50)" in caplog.text


def test_no_faces_no_mask(mesh):
    assert skin_mask(torch.zeros(3, 5, 7), [], mesh=mesh).shape == (5, 7)


def test_a_face_over_the_border(portrait, mesh):
    pixels, faces = portrait
    face = faces[0]
    cut = round(face.box.center[0])
    half = pixels[:, :, cut:]
    box = Box(face.box.x0 - cut, face.box.y0, face.box.x1 - cut, face.box.y1)
    mask = skin_mask(half, [Face(box, face.landmarks - (cut, 0), face.score)], mesh=mesh)
    assert mask.shape == half.shape[1:]


class LowerHalfIsNeck:
    """Stands for a parsing network: the upper half of a crop is hair (13), the lower one neck (17)."""

    def labels(self, crops):
        labels = torch.full((len(crops), *crops.shape[2:]), 13)
        labels[:, crops.shape[2] // 2 :] = 17
        return labels


def test_face_parsing_takes_the_place_of_the_mesh(portrait):
    pixels, faces = portrait
    mask = skin_mask(pixels, faces, parser=LowerHalfIsNeck())
    (_, brow_y), (nose_x, nose_y), (_, mouth_y) = faces[0].landmarks[[0, 2, 3]]
    assert mask[round(mouth_y), round(nose_x)] == pytest.approx(1)
    assert mask[: round(brow_y)].max() == 0
    assert mask[:, 0].max() == 0, "the crop's own border shows"
    edge = mask[:, round(nose_x)]
    assert ((edge > 0.05) & (edge < 0.95)).sum() > 2
    assert (edge > 0.5).nonzero()[0].item() == pytest.approx(nose_y, abs=0.2 * faces[0].box.height)


def test_toning_by_this_mask_changes_the_face_alone(portrait, mesh):
    pixels, faces = portrait
    mask = skin_mask(pixels, faces, mesh=mesh)
    toned = apply_tone(pixels, mask)
    assert torch.equal(toned[:, mask == 0], pixels[:, mask == 0])
    changed = (toned != pixels).any(0).float().mean()
    assert 0.01 < changed <= (mask > 0).float().mean()
