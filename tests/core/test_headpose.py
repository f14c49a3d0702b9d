"""Examples of head pose: a known head seen from known angles."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from gpen_core.errors import ShapeError, UnsupportedWeightsError
from gpen_core.from_facexlib import hopenet_network
from gpen_core.headpose import HeadPose, _mean_head, head_pose, pose_of_rotation
from gpen_core.models.facemesh import MeshPoints
from gpen_core.models.headpose import HeadPoseNetwork, load_head_pose
from gpen_core.types import Box, Face

FACE = Face(Box(30, 30, 70, 80), np.full((5, 2), 50.0), 0.9)


def turned(axis: tuple[float, float, float], degrees: float) -> np.ndarray:
    return cv2.Rodrigues(np.array(axis, np.float64) * np.radians(degrees))[0]


def seen(rotation: np.ndarray) -> MeshPoints:
    """The mean head, turned, in a camera five head heights away."""
    indices, head = _mean_head()
    xyz = np.zeros((468, 3))
    points = head @ rotation.T * 60
    xyz[:, :2] = (200, 150)
    distance = 5 * 160 + points[:, 2:]
    xyz[indices] = np.column_stack((points[:, :2] / distance * 800 + (200, 150), points[:, 2]))
    return MeshPoints(xyz, 1.0)


def test_signs() -> None:
    # A nose that points at the viewer (-z) goes right for yaw > 0 and up (-y) for pitch > 0.
    right, up = turned((0, 1, 0), -20), turned((1, 0, 0), -20)
    assert (right @ (0, 0, -1))[0] > 0
    assert (up @ (0, 0, -1))[1] < 0
    assert pose_of_rotation(right).yaw == pytest.approx(20)
    assert pose_of_rotation(up).pitch == pytest.approx(20)
    assert pose_of_rotation(turned((0, 0, 1), 20)).roll == pytest.approx(20)  # clockwise, y pointing down


@pytest.mark.parametrize(("yaw", "pitch", "roll"), [(0, 0, 0), (25, -10, 5), (-45, 15, -20), (5, 30, 40)])
def test_a_known_head_is_read_back(yaw: float, pitch: float, roll: float) -> None:
    rotation = turned((0, 0, 1), roll) @ turned((0, 1, 0), -yaw) @ turned((1, 0, 0), -pitch)
    pose = head_pose(seen(rotation))
    assert (pose.yaw, pose.pitch, pose.roll) == pytest.approx((yaw, pitch, roll), abs=3)


def test_the_largest_angle() -> None:
    assert HeadPose(-31, 4, 8).largest == 31


class Fixed(torch.nn.Module):
    """Stands in for HopeNet: always the same angles."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = torch.empty(0)
        self.anywhere = torch.nn.Parameter(torch.zeros(()))  # tells the device

    def forward(self, crop: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        self.seen = crop
        return torch.tensor([12.0]), torch.tensor([-3.0]), torch.tensor([5.0])


def test_hopenets_yaw_is_turned_round() -> None:
    network = Fixed()
    image = torch.full((3, 100, 100), 0.485)
    pose = HeadPoseNetwork(network, Path("x")).pose(image, FACE)
    assert (pose.yaw, pose.pitch, pose.roll) == (-12, -3, 5)
    assert network.seen.shape == (1, 3, 224, 224)
    assert network.seen[0, 0].abs().max() < 1e-5  # red is normalised by its mean 0.485


def test_hopenet_from_a_file(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = hopenet_network()
    torch.save({"params": {**network.state_dict(), "idx_tensor": torch.arange(66)}}, tmp_path / "pose.pth")
    pose = load_head_pose(tmp_path / "pose.pth").pose(torch.rand(3, 100, 100), FACE)
    assert max(abs(pose.yaw), abs(pose.pitch), abs(pose.roll)) < 99


def test_refusals(tmp_path: Path) -> None:
    save_file({"x": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(UnsupportedWeightsError, match=r'"other\.safetensors" is not a HopeNet'):
        load_head_pose(tmp_path / "other.safetensors")
    network = HeadPoseNetwork(Fixed(), Path("x"))
    with pytest.raises(ShapeError, match=r"expected \(3, H, W\)"):
        network.pose(torch.zeros(1, 50, 50), FACE)
    with pytest.raises(ShapeError, match="lies outside the picture"):
        network.pose(torch.zeros(3, 10, 10), Face(Box(200, 200, 240, 250), FACE.landmarks, 0.9))
