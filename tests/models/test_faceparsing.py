"""Examples of face parsing with random weights: what is loaded, how labels are numbered, what is refused."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from gpen_core.errors import ShapeError, UnsupportedWeightsError, WeightsNotFoundError
from gpen_core.from_facexlib import bisenet_network, parsenet_network
from gpen_core.models.faceparsing import LABELS, FaceParser, is_face_parser, load_face_parser


class Constant(torch.nn.Module):
    """Stands in for a network: the same class everywhere on the left half, another on the right."""

    def __init__(self, left: int, right: int) -> None:
        super().__init__()
        self.left, self.right = left, right
        self.anywhere = torch.nn.Parameter(torch.zeros(()))  # tells device and type
        self.seen = torch.empty(0)

    def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, None]:
        self.seen = pixels
        scores = torch.zeros(len(pixels), 19, *pixels.shape[2:])
        half = pixels.shape[3] // 2
        scores[:, self.left, :, :half] = 5
        scores[:, self.right, :, half:] = 5
        return scores, None


@pytest.mark.parametrize("kind", ["parsenet", "bisenet"])
def test_a_file_says_itself_which_network_it_holds(kind: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = parsenet_network() if kind == "parsenet" else bisenet_network()
    save_file(network.state_dict(), tmp_path / "x.safetensors")
    assert is_face_parser(network.state_dict())
    parser = load_face_parser(tmp_path / "x.safetensors")
    assert parser.kind == kind
    for one, other in zip(parser.network.state_dict().values(), network.state_dict().values(), strict=True):
        assert torch.equal(one, other)


def test_real_networks_run() -> None:
    torch.manual_seed(0)
    labels = FaceParser(bisenet_network(), "bisenet", Path("x")).labels(torch.rand(2, 3, 64, 64))
    assert labels.shape == (2, 64, 64)
    assert labels.dtype == torch.int64
    assert 0 <= labels.min() <= labels.max() <= 18


def test_labels_have_the_same_numbers_whichever_network_runs() -> None:
    for kind in ("parsenet", "bisenet"):
        names = LABELS[kind]
        assert sorted(names) == sorted(LABELS["parsenet"])
        network = Constant(names.index("hair"), names.index("hat"))
        labels = FaceParser(network, kind, Path("x")).labels(torch.rand(1, 3, 128, 128))
        assert labels[0, 5, 5] == 13  # hair and hat as ParseNet numbers them
        assert labels[0, 5, 120] == 14
        assert labels[0, 5, :60].unique().tolist() == [13]


def test_each_network_gets_its_own_range() -> None:
    network = Constant(0, 0)
    FaceParser(network, "parsenet", Path("x")).labels(torch.ones(1, 3, 512, 512))
    assert network.seen.unique().tolist() == [1.0]
    FaceParser(network, "bisenet", Path("x")).labels(torch.ones(1, 3, 512, 512))
    assert network.seen[0, :, 0, 0].tolist() == pytest.approx([2.2489, 2.4286, 2.64], abs=1e-4)  # (1 - mean) / std


def test_edges_and_refusals(tmp_path: Path) -> None:
    parser = FaceParser(Constant(1, 1), "parsenet", Path("x"))
    assert parser.labels(torch.zeros(0, 3, 32, 32)).shape == (0, 32, 32)
    assert parser.labels(torch.zeros(1, 3, 1, 1)).tolist() == [[[1]]]
    assert parser.labels(torch.zeros(1, 3, 32, 32, dtype=torch.float16)).unique().tolist() == [1]
    with pytest.raises(ShapeError, match=r"\(N, 3, S, S\), got torch\.float32 \(1, 1, 8, 8\)"):
        parser.labels(torch.zeros(1, 1, 8, 8))
    with pytest.raises(WeightsNotFoundError, match=r"none\.pth"):
        load_face_parser("none.pth")
    save_file({"body.0.weight": torch.zeros(2)}, tmp_path / "other.safetensors")
    with pytest.raises(UnsupportedWeightsError, match=r'"other\.safetensors" is no face parsing network'):
        load_face_parser(tmp_path / "other.safetensors")
    save_file({"cp.resnet.conv1.weight": torch.zeros(2)}, tmp_path / "half.safetensors")
    with pytest.raises(UnsupportedWeightsError, match="not a whole bisenet"):
        load_face_parser(tmp_path / "half.safetensors")
