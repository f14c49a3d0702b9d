"""Alignment and pasting against what the published GPEN code gives for scikit-image's astronaut photo."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from gpen_core.align import align_face
from gpen_core.geometry import invert, similarity_from_points, template_points
from gpen_core.masks import published_mask
from gpen_core.paste import PasteSettings, paste_faces
from gpen_core.types import Box, Face, FaceCrop

GOLDEN = Path(__file__).parents[1] / "golden"
ASTRONAUT = Path(__file__).parents[1] / "data" / "astronaut.png"


def read_rgb(path: Path) -> torch.Tensor:
    levels = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
    return torch.from_numpy(levels.astype(np.float32) / 255).permute(2, 0, 1).contiguous()


@pytest.fixture(scope="module")
def expected() -> dict[str, np.ndarray]:
    with np.load(GOLDEN / "align.npz") as archive:
        return dict(archive)


@pytest.fixture(scope="module")
def faces(expected: dict[str, np.ndarray]) -> list[Face]:
    """The two faces above the published threshold of 0.9."""
    rows = zip(expected["points"], expected["boxes"], expected["scores"], strict=True)
    return [Face(Box(*box), points, float(score)) for points, box, score in rows if score >= 0.9]


@pytest.mark.parametrize("size", [256, 512, 1024])
@pytest.mark.parametrize("index", [0, 1])
def test_matrices_equal_the_published_ones(expected: dict[str, np.ndarray], size: int, index: int) -> None:
    template = template_points("gpen", size)
    np.testing.assert_allclose(template, expected[f"template_{size}"], atol=1e-3)
    image_to_crop = similarity_from_points(expected["points"][index], template)
    np.testing.assert_allclose(image_to_crop, expected[f"image_to_crop_{size}_face{index}"], atol=1e-3)
    np.testing.assert_allclose(invert(image_to_crop), expected[f"crop_to_image_{size}_face{index}"], atol=1e-3)


def test_crop_equals_the_published_one(faces: list[Face]) -> None:
    crop = align_face(read_rgb(ASTRONAUT), faces[0], 512, "gpen")
    assert describe(crop.pixels, read_rgb(GOLDEN / "crop_face0_expected.png"))["mean"] < 1.0


@pytest.mark.parametrize(("strength", "name"), [(1.0, "paste_expected.png"), (0.5, "paste_alpha05_expected.png")])
def test_paste_equals_the_published_one(faces: list[Face], strength: float, name: str) -> None:
    image = read_rgb(ASTRONAUT)
    parsed = torch.from_numpy(cv2.ellipse(np.zeros((512, 512)), (256, 280), (170, 220), 0, 0, 360, 1.0, -1))
    mask = published_mask(parsed)
    crops = []
    for face in faces:
        crop = align_face(image, face, 512, "gpen")
        inverted = 1 - crop.pixels.flip(0)  # BGR, as the reference was made
        crops.append(FaceCrop(inverted[[1, 2, 0]].flip(0), crop.image_to_crop, face))
    compatible = PasteSettings(strength=strength, keep_detail=0, antialias=False)
    pixels, shown = paste_faces(image, crops, [mask, mask], compatible)
    figures = describe(pixels, read_rgb(GOLDEN / name), shown > 0)
    assert figures["mean"] < 1.5, figures
    assert torch.equal(pixels[:, shown == 0], image[:, shown == 0])


def describe(got: torch.Tensor, want: torch.Tensor, where: torch.Tensor | None = None) -> dict[str, object]:
    """Return mean, max and a histogram of the absolute difference in grey levels."""
    difference = (got - want).abs() * 255
    if where is not None:
        difference = difference[:, where]
    counts, edges = np.histogram(difference.numpy(), bins=[0, 0.5, 1, 2, 4, 8, 16, 256])
    return {
        "mean": difference.mean().item(),
        "max": difference.max().item(),
        "histogram": dict(zip(edges, counts, strict=False)),
    }
