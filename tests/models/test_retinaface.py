"""Examples of loading the face detector and of what its network answers."""

import sys
import warnings
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from gpen_core.errors import MissingPackageError, ShapeError, UnsupportedWeightsError, WeightsNotFoundError
from gpen_core.from_facexlib import retinaface_network
from gpen_core.models.load import read_state_dict
from gpen_core.models.retinaface import RetinaFaceSpec, load_detector
from gpen_core.models.retinaface.detector import prior_boxes
from gpen_core.models.retinaface.load import EMBEDDED
from gpen_core.models.retinaface.network import fold_batch_norms


def randomised(network: torch.nn.Module) -> torch.nn.Module:
    """Give the batch norms statistics that folding could get wrong."""
    torch.manual_seed(3)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.uniform_(-0.2, 0.2)
            module.running_var.uniform_(0.5, 2)
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.uniform_(module.bias, -0.2, 0.2)
    return network.requires_grad_(False)


def test_the_embedded_detector() -> None:
    detector = load_detector()
    assert detector.spec.backbone == "mobile0.25"
    assert (detector.name, detector.device.type, detector.dtype) == ("retinaface_mobilenet025", "cpu", torch.float32)
    assert detector.source == EMBEDDED
    assert not detector.network.training


@pytest.mark.parametrize("backbone", ["mobile0.25", "resnet50"])
def test_a_file_says_itself_which_backbone_it_holds(backbone: str, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # building must not disturb a host that shows warnings
        network = randomised(retinaface_network(backbone))
    file = tmp_path / "some name.pth"
    torch.save({f"module.{key}": value for key, value in network.state_dict().items()}, file)
    detector = load_detector(file)
    assert detector.spec.backbone == backbone
    image = torch.rand(2, 3, 64, 96)
    pixels = image.flip(1) * 255 - torch.tensor([104.0, 117.0, 123.0]).view(1, 3, 1, 1)
    _, scores, _ = network(pixels)
    assert torch.allclose(detector(image).scores, scores[..., 1], atol=1e-4)


@pytest.mark.parametrize("backbone", ["mobile0.25", "resnet50"])
def test_folding_the_batch_norms_keeps_the_answers(backbone: str) -> None:
    network = randomised(retinaface_network(backbone))
    image = torch.randn(1, 3, 64, 64) * 50
    before = network(image)
    fold_batch_norms(network)
    assert not [module for module in network.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    for one, other in zip(before, network(image), strict=True):
        assert torch.allclose(one, other, atol=1e-3 * float(one.abs().max()))


@pytest.mark.parametrize(("dtype", "largest"), [(torch.float16, 0.01), (torch.bfloat16, 0.05)])
def test_half_precision_gives_nearly_the_same_scores(dtype: torch.dtype, largest: float) -> None:
    torch.manual_seed(0)
    image = torch.rand(1, 3, 96, 96)
    detector = load_detector()
    expected = detector(image)
    assert detector.to(dtype=dtype) is detector
    answer = detector(image)
    assert answer.scores.dtype == answer.boxes.dtype == torch.float32
    assert (answer.scores - expected.scores).abs().max() < largest


def test_building_leaves_the_random_numbers_of_the_host_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    retinaface_network("mobile0.25")
    assert torch.equal(torch.rand(1), expected)


def test_priors_in_pixels() -> None:
    priors = prior_boxes((33, 40), RetinaFaceSpec("mobile0.25"))
    assert priors.shape == (2 * (5 * 5 + 3 * 3 + 2 * 2), 4)
    assert priors[0].tolist() == [4, 4, 16, 16]
    assert priors[3].tolist() == [12, 4, 32, 32]
    assert priors[-1].tolist() == [48, 48, 512, 512]


def test_a_missing_file_is_named() -> None:
    with pytest.raises(WeightsNotFoundError, match=r"none\.pth"):
        load_detector("none.pth")


def test_other_weights_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "other.safetensors"
    save_file({"body.0.weight": torch.zeros(2)}, file)
    with pytest.raises(UnsupportedWeightsError, match=r'"other\.safetensors" is not a RetinaFace .* first "body\.0\.w'):
        load_detector(file)


def test_half_a_state_dict_is_refused(tmp_path: Path) -> None:
    state_dict = read_state_dict(EMBEDDED)
    del state_dict["fpn.output1.0.weight"]
    save_file(state_dict, tmp_path / "half.safetensors")
    with pytest.raises(UnsupportedWeightsError, match=r"fpn\.output1\.0\.weight"):
        load_detector(tmp_path / "half.safetensors")


def test_without_facexlib_the_error_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "facexlib.detection.retinaface", None)
    with pytest.raises(MissingPackageError, match="pip install"):
        load_detector()


def test_a_picture_of_another_shape_is_refused() -> None:
    with pytest.raises(ShapeError, match=r"expected floating \(B, 3, H, W\), got torch\.float32 \(1, 1, 8, 8\)"):
        load_detector()(torch.zeros(1, 1, 8, 8))
