"""Weights files of every kind, whole, damaged and hostile: each bad one is refused by name, with what to do."""

import json
import pickle
import struct
import zipfile

import pytest
import torch
from safetensors.torch import save_file

from gpen_core.errors import UnsupportedWeightsError, WeightsNotFoundError
from gpen_core.models.state_dict import file_format, read_layout, read_metadata, read_state_dict

WEIGHTS = {
    "a.weight": torch.arange(6.0).reshape(2, 3),
    "b.bias": torch.ones(4, dtype=torch.float16),
    "n": torch.tensor(7),
}


def save(path, content, legacy=False):
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    return path


def assert_weights(read):
    assert {key: value.tolist() for key, value in read.items()} == {key: v.tolist() for key, v in WEIGHTS.items()}


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize(
    "wrap",
    [
        lambda weights: weights,
        lambda weights: {"g_ema": weights, "g_optim": {"lr": 0.1}},
        lambda weights: {"params_ema": weights, "params": {}},
        lambda weights: {"epoch": 3, "state_dict": {f"module.{key}": value for key, value in weights.items()}},
        lambda weights: {"model": {"state_dict": weights}},
        lambda weights: {key: torch.nn.Parameter(value, value.is_floating_point()) for key, value in weights.items()},
    ],
    ids=["bare", "g_ema", "params_ema", "state_dict+module", "two deep", "parameters"],
)
def test_every_usual_wrapping_gives_the_same_tensors(tmp_path, wrap, legacy):
    path = save(tmp_path / "w.pth", wrap(WEIGHTS), legacy)
    assert_weights(read_state_dict(path))
    layout = read_layout(path)
    assert {key: tuple(value.shape) for key, value in layout.items()} == {"a.weight": (2, 3), "b.bias": (4,), "n": ()}
    assert {value.device.type for value in layout.values()} == {"meta"}


def test_the_format_is_read_from_the_content_not_from_the_name(tmp_path):
    save_file(WEIGHTS, tmp_path / "safe.pth", metadata={"name": "mine"})
    save(tmp_path / "zip.safetensors", WEIGHTS)
    save(tmp_path / "old", WEIGHTS, legacy=True)
    assert [file_format(tmp_path / name) for name in ("safe.pth", "zip.safetensors", "old")] == [
        "safetensors",
        "zip",
        "pickle",
    ]
    for name in ("safe.pth", "zip.safetensors", "old"):
        assert_weights(read_state_dict(tmp_path / name))
    assert read_metadata(tmp_path / "safe.pth") == {"name": "mine"}
    assert read_metadata(tmp_path / "old") == {}


def test_the_tensors_outlive_the_file(tmp_path):
    path = tmp_path / "w.safetensors"
    save_file(WEIGHTS, path)
    read = read_state_dict(path)
    with path.open("r+b") as file:
        file.truncate(0)
    assert_weights(read)


class Evil:
    """Would write a file when unpickled by a careless reader."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return (open, (self.path, "w"))


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("reader", [read_state_dict, read_layout])
def test_a_pickle_that_would_run_code_is_refused_and_does_not_run(tmp_path, reader, legacy):
    witness = tmp_path / "ran"
    path = save(tmp_path / "evil.pth", {"g_ema": WEIGHTS, "extra": Evil(witness)}, legacy)
    with pytest.raises(
        UnsupportedWeightsError, match=r'"evil.pth" holds more than tensors: it asks for "(_io|io).open"'
    ):
        reader(path)
    assert not witness.exists()


def test_a_pickle_not_written_by_torch_is_refused(tmp_path):
    path = tmp_path / "plain.ckpt"
    path.write_bytes(pickle.dumps({"x": Evil(tmp_path / "ran")}, protocol=4))
    with pytest.raises(
        UnsupportedWeightsError, match=r'"plain.ckpt" is no weights file: it is a pickle that torch.save'
    ):
        read_state_dict(path)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("reader", [read_state_dict, read_layout])
def test_a_zip_bomb_is_refused_before_it_is_unpacked(tmp_path, reader):
    save(tmp_path / "w.pth", {"a": torch.zeros(2_000_000)})
    path = tmp_path / "bomb.pth"
    with zipfile.ZipFile(tmp_path / "w.pth") as whole, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for entry in whole.namelist():
            packed.writestr(entry, whole.read(entry))
    assert path.stat().st_size < 20_000
    with pytest.raises(
        UnsupportedWeightsError, match=r'"bomb.pth" would unpack from [\d,]+ to 8,[\d,]+ bytes.*delete it'
    ):
        reader(path)


def test_a_giant_list_of_tensors_is_refused(tmp_path):
    path = tmp_path / "long.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", bytes(33 * 2**20))
    with pytest.raises(UnsupportedWeightsError, match="list of tensors of 34,603,008 bytes"):
        read_state_dict(path)


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("reader", [read_state_dict, read_layout])
def test_a_tensor_larger_than_what_is_stored_is_refused(tmp_path, reader, legacy):
    path = save(tmp_path / "wide.pth", {"a": torch.zeros(1).expand(2**20, 2**20)}, legacy)
    with pytest.raises(
        UnsupportedWeightsError, match=r'"wide.pth": "a" claims shape \(1048576, 1048576\) over 4 stored'
    ):
        reader(path)


@pytest.mark.parametrize("reader", [read_state_dict, read_layout])
def test_a_tensor_of_more_dimensions_than_any_weight_is_refused(tmp_path, reader):
    path = save(tmp_path / "deep.pth", {"a": torch.ones([1] * 60)})
    with pytest.raises(UnsupportedWeightsError, match=r'"deep.pth": "a" has 60 dimensions'):
        reader(path)


def test_a_dict_that_holds_itself_ends(tmp_path):
    ring = {}
    ring["state_dict"] = ring
    with pytest.raises(UnsupportedWeightsError, match=r'"ring.pth" holds no state dict, but: state_dict'):
        read_state_dict(save(tmp_path / "ring.pth", ring))


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_weights_that_are_not_finite_are_refused(tmp_path, bad, dtype):
    weight = torch.ones(5, dtype=dtype)
    weight[3] = bad
    path = save(tmp_path / "nan.pth", {"fine": torch.ones(2), "layer.weight": weight})
    with pytest.raises(UnsupportedWeightsError, match=r'"nan.pth" is damaged: "layer.weight" holds NaN or infinite'):
        read_state_dict(path)


def test_large_weights_are_not_taken_for_infinite_ones(tmp_path):
    path = save(tmp_path / "large.pth", {"a": torch.full((4,), 3e38), "b": torch.full((9,), 60000.0).half()})
    assert read_state_dict(path)["a"].tolist() == pytest.approx([3e38] * 4)


def test_a_safetensors_header_that_lies_is_refused(tmp_path):
    entry = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
    lies = {
        "too far": {"a": {**entry, "data_offsets": [0, 800]}},
        "another length": {"a": {**entry, "shape": [3]}},
        "a gap": {"a": {**entry, "data_offsets": [4, 12]}},
        "an overlap": {"a": entry, "b": entry},
        "bytes nobody owns": {},
        "a negative size": {"a": {**entry, "shape": [-2]}},
        "a huge size": {"a": {**entry, "shape": [2**62, 2**62]}},
        "an unknown type": {"a": {**entry, "dtype": "F4"}},
        "no table": {"a": [1, 2]},
        "no offsets": {"a": {"dtype": "F32", "shape": [2]}},
        "offsets of one": {"a": {**entry, "data_offsets": [8]}},
        "a record of text": {"a": entry, "__metadata__": "text"},
        "a size no number holds": {"a": entry, "b": {**entry, "shape": [0, 2**70], "data_offsets": [0, 0]}},
        "sizes no memory holds": {"a": entry, "b": {**entry, "shape": [0, 2**62, 2**62], "data_offsets": [0, 0]}},
        "200 dimensions": {"a": {**entry, "shape": [1] * 199 + [2]}},
    }
    path = tmp_path / "lies.safetensors"
    headers = {name: json.dumps(header).encode() for name, header in lies.items()}
    headers["deep"] = b'{"a":' + 100_000 * b"["
    for name, words in headers.items():
        path.write_bytes(struct.pack("<Q", len(words)) + words + bytes(8))
        for reader in (read_state_dict, read_layout, read_metadata):
            with pytest.raises(UnsupportedWeightsError, match=r'"lies.safetensors" is damaged'):
                pytest.fail(f"{name}: {reader(path)}")


def test_tensors_of_megabytes_come_back_as_they_were_and_can_be_changed(tmp_path):
    weights = {"large": torch.arange(1_500_000.0).reshape(1000, 1500), "small": torch.ones(3)}
    save_file(weights, tmp_path / "a.safetensors")

    read = read_state_dict(tmp_path / "a.safetensors")

    torch.testing.assert_close(read, weights, rtol=0, atol=0)
    read["large"].zero_()
    torch.testing.assert_close(read_state_dict(tmp_path / "a.safetensors"), weights, rtol=0, atol=0)


def test_types_and_shapes_come_back_as_they_were(tmp_path):
    weights = {
        str(dtype): torch.ones(shape, dtype=dtype)
        for dtype, shape in [
            (torch.float64, (2, 3)), (torch.float32, ()), (torch.float16, (0, 4)), (torch.bfloat16, (5,)),
            (torch.int64, (1,)), (torch.uint8, (3,)), (torch.bool, (7,)),
        ]
    }  # fmt: skip
    save_file(weights, tmp_path / "w.safetensors")
    for read in (read_state_dict(tmp_path / "w.safetensors"), read_layout(tmp_path / "w.safetensors")):
        assert {key: (value.dtype, value.shape) for key, value in read.items()} == {
            key: (value.dtype, value.shape) for key, value in weights.items()
        }


BROKEN = {
    "nothing": (b"", "it is empty. Fetch it again"),
    "page": (b"\n<!DOCTYPE html><html><body>404", "it is a web page"),
    "error": (b'<?xml version="1.0"?><Error><Code>NoSuchKey', "it is a web page"),
    "pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:f1", "Git LFS pointer"),
    "zeros": (bytes(1000), r"expected a \.safetensors file"),
    "jpeg": (b"\xff\xd8\xff\xe0" + bytes(100), r"expected a \.safetensors file"),
    "header": (struct.pack("<Q", 40) + b'{"a":{"dtype":"F32","shape":[9],"data_of', "is damaged or cut short"),
}


@pytest.mark.parametrize(("content", "words"), BROKEN.values(), ids=BROKEN)
def test_what_is_no_weights_file_is_named_for_what_it_is(tmp_path, content, words):
    path = tmp_path / "w.pth"
    path.write_bytes(content)
    with pytest.raises(UnsupportedWeightsError, match=f'"w.pth" is .*{words}|"w.pth" {words}'):
        read_state_dict(path)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(WeightsNotFoundError, match=r'there is no weights file ".*gone.pth"'):
        read_state_dict(tmp_path / "gone.pth")


@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors"])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.7, 0.99])
def test_a_truncated_file_is_refused(tmp_path, kind, share):
    path = tmp_path / "cut.pth"
    weights = {"a": torch.randn(100, 10), "b": torch.randn(7)}
    if kind == "safetensors":
        save_file(weights, path)
    else:
        save(path, weights, kind == "legacy")
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(UnsupportedWeightsError, match=r'"cut.pth".*(cut short|damaged|no weights file)'):
        read_state_dict(path)


@pytest.mark.parametrize("legacy", [False, True])
def test_one_flipped_byte_never_gives_an_untyped_error(tmp_path, legacy):
    content = save(tmp_path / "w.pth", WEIGHTS, legacy).read_bytes()
    path = tmp_path / "flipped.pth"
    refused = 0
    for position in range(0, len(content), 5):
        path.write_bytes(content[:position] + bytes([content[position] ^ 0x81]) + content[position + 1 :])
        try:
            read_state_dict(path)
        except UnsupportedWeightsError as error:
            assert "flipped.pth" in str(error)
            refused += 1
    assert refused > len(content) // 50


def test_lists_and_single_tensors_are_no_state_dict(tmp_path):
    for content, kind in [([torch.ones(2)], "list"), (torch.ones(2), "Tensor"), ({"lr": 0.1, "steps": 3}, "lr, steps")]:
        with pytest.raises(UnsupportedWeightsError, match=f'"w.pth" holds no state dict, but: {kind}'):
            read_state_dict(save(tmp_path / "w.pth", content))
