"""Examples of the face mesh on one known face."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from gpen_core.errors import ShapeError, UnsupportedWeightsError, WeightsNotFoundError
from gpen_core.models import facemesh
from gpen_core.models.facemesh import FaceMesh, load_face_mesh
from gpen_core.types import Box, Face

LANDMARKS = np.array([(204.8, 100.8), (247.4, 103.4), (223.6, 129.2), (202.5, 138.1), (244.2, 140.6)])
ASTRONAUT_FACE = Face(Box(177.9, 56.8, 273.1, 177.2), LANDMARKS, 0.999)


@pytest.fixture(scope="module")
def mesh() -> FaceMesh:
    return load_face_mesh()


@pytest.fixture(scope="module")
def astronaut() -> torch.Tensor:
    pixels = cv2.imread(str(Path(__file__).parents[1] / "data" / "astronaut.png"))
    return torch.from_numpy(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)).permute(2, 0, 1).float() / 255


def middle(points: np.ndarray, ring: tuple[int, ...]) -> np.ndarray:
    return points[list(ring)].mean(axis=0)


def test_the_mesh_lies_on_the_face(mesh: FaceMesh, astronaut: torch.Tensor) -> None:
    points = mesh.points(astronaut, ASTRONAUT_FACE)
    assert points is not None
    assert points.presence > 0.99
    assert points.xyz.shape == (468, 3)
    assert np.linalg.norm(middle(points.xy, facemesh.LEFT_EYE) - LANDMARKS[0]) < 4
    assert np.linalg.norm(middle(points.xy, facemesh.RIGHT_EYE) - LANDMARKS[1]) < 4
    assert np.linalg.norm(points.xy[facemesh.NOSE_TIP] - LANDMARKS[2]) < 6
    corners = points.xy[[facemesh.LIPS[0], facemesh.LIPS[10]]]
    assert np.linalg.norm(corners - LANDMARKS[3:], axis=1).max() < 6
    assert middle(points.xy, facemesh.LEFT_EYEBROW)[1] < middle(points.xy, facemesh.LEFT_EYE)[1] - 5
    assert points.xyz[facemesh.NOSE_TIP, 2] < points.xyz[list(facemesh.FACE_OVAL), 2].min()  # the nose is nearest


def test_outlines_are_rings_without_crossings(mesh: FaceMesh, astronaut: torch.Tensor) -> None:
    xy = mesh.look(astronaut, ASTRONAUT_FACE).xy
    for ring in (facemesh.FACE_OVAL, facemesh.LEFT_EYE, facemesh.RIGHT_EYE, facemesh.LIPS):
        outline = xy[list(ring)].astype(np.float32)
        hull = cv2.contourArea(cv2.convexHull(outline))
        assert len(set(ring)) == len(ring)
        assert cv2.contourArea(outline) > 0.8 * hull


def test_the_mesh_turns_with_the_face(mesh: FaceMesh, astronaut: torch.Tensor) -> None:
    upright = mesh.look(astronaut, ASTRONAUT_FACE).xy
    turn = cv2.getRotationMatrix2D((225.0, 117.0), 30, 1.0)
    turned_picture = cv2.warpAffine(astronaut.permute(1, 2, 0).numpy(), turn, (512, 512), flags=cv2.INTER_CUBIC)
    landmarks = np.column_stack((LANDMARKS, np.ones(5))) @ turn.T
    found = mesh.look(torch.from_numpy(turned_picture).permute(2, 0, 1), Face(ASTRONAUT_FACE.box, landmarks, 1.0)).xy
    expected = np.column_stack((upright, np.ones(468))) @ turn.T
    assert np.abs(found - expected).mean() < 1.5


def test_where_there_is_no_face_there_is_no_mesh(mesh: FaceMesh) -> None:
    assert mesh.points(torch.full((3, 512, 512), 0.5), ASTRONAUT_FACE) is None
    assert mesh.look(torch.full((3, 512, 512), 0.5), ASTRONAUT_FACE).presence < 0.1


def test_a_face_outside_the_picture_or_without_size_is_no_face(mesh: FaceMesh, astronaut: torch.Tensor) -> None:
    outside = Face(Box(900, 900, 950, 960), LANDMARKS + 720, 0.9)
    assert mesh.points(astronaut, outside) is None
    point = Face(Box(5, 5, 5, 5), np.full((5, 2), 5.0), 0.9)
    assert np.isfinite(mesh.look(astronaut, point).xyz).all()


def test_what_is_no_mesh_network_is_refused(tmp_path: Path, mesh: FaceMesh) -> None:
    with pytest.raises(WeightsNotFoundError, match=r"none\.tflite"):
        load_face_mesh("none.tflite")
    wrong = tmp_path / "wrong.tflite"
    wrong.write_bytes(b"not a network")
    with pytest.raises(UnsupportedWeightsError, match=r"wrong\.tflite"):
        load_face_mesh(wrong)
    with pytest.raises(ShapeError, match=r"expected \(3, H, W\), got \(1, 9, 9\)"):
        mesh.look(torch.zeros(1, 9, 9), ASTRONAUT_FACE)


def test_the_file_may_have_any_name(tmp_path: Path) -> None:
    copy = tmp_path / "人脸.tflite"
    copy.write_bytes(facemesh.EMBEDDED.read_bytes())
    assert load_face_mesh(copy).source == copy
