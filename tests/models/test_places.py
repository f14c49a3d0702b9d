"""Weights are found in every known place by what they hold, whatever they are called."""

import hashlib
import json
import math
import struct
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from gpen_core.errors import DownloadError, UnsupportedWeightsError, WeightsNotFoundError
from gpen_core.models import content, places
from gpen_core.models.catalog import CATALOG, card_by_hash, find_card
from gpen_core.models.content import FileIdentity, cards_for, hash_file, mismatch, read_content
from gpen_core.models.ledger import Entry, read_ledger, record
from gpen_core.models.load import load_restorer
from gpen_core.models.places import find_files, locate, resolve_source, search_folders, user_folder

GOLDEN_KEYS = Path(__file__).parents[1] / "golden" / "keys"


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """A machine of its own: no folder of the real one is looked into."""
    for name in ("GPEN_MODELS", "MODELSCOPE_CACHE", "XDG_DATA_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", lambda: tmp_path / "home")
    return tmp_path / "home"


def published(name, path, metadata=None):
    """Write a .safetensors file with the tensors of a published GPEN, all zero; sparse: it takes no room on disk."""
    header, end = ({"__metadata__": metadata} if metadata else {}), 0
    for line in (GOLDEN_KEYS / f"{name}.tsv").read_text().splitlines():
        key, shape = line.split("\t")
        sizes = [int(size) for size in shape.split("x") if size]
        start, end = end, end + 4 * math.prod(sizes)
        header[key] = {"dtype": "F32", "shape": sizes, "data_offsets": [start, end]}
    words = json.dumps(header).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(words)) + words)
        file.truncate(8 + len(words) + end)
    return path


def with_key(path, key):
    save_file({key: torch.zeros(1)}, path)
    return path


class TestCatalog:
    def test_every_card_is_complete(self):
        assert len(CATALOG) == 18
        for card in CATALOG:
            assert card.urls, card.name
            assert all(url.startswith("https://") for url in card.urls)
            assert card.licence.name
            assert card.paper
            assert card.sha256 is None or (len(card.sha256) == 64 and card.sha256 == card.sha256.lower())
            assert (card.template is None) == (card.role in ("detector", "upscaler"))
        assert len({card.name.lower() for card in CATALOG}) == 18

    def test_the_non_commercial_ones_are_marked(self):
        free = [card.name for card in CATALOG if not card.licence.non_commercial]
        assert free == [
            "detection_Resnet50_Final",
            "parsing_bisenet",
            "GFPGANv1.4",
            "RestoreFormer++",
            "RealESRGAN_x2plus",
        ]

    def test_the_best_known_file(self):
        card = find_card("gpen-bfr-512")
        assert (card.file_name, card.size_bytes, len(card.urls)) == ("GPEN-BFR-512.pth", 284_085_738, 3)
        assert find_card("GPEN-BFR-512.PTH") is card
        assert card_by_hash(card.sha256.upper()) is card

    def test_a_wrong_name_is_answered_with_near_ones(self):
        with pytest.raises(WeightsNotFoundError, match=r"did you mean GPEN-BFR-512, .*models list"):
            find_card("GPEN-BFR512")
        with pytest.raises(WeightsNotFoundError, match=r"known are GPEN-BFR-512, .*realesrnet_x4"):
            find_card("zzz")


class TestContent:
    @pytest.mark.parametrize(
        ("name", "size"), [("GPEN-BFR-256", 256), ("GPEN-BFR-1024", 1024), ("GPEN-BFR-2048", 2048)]
    )
    def test_a_published_gpen_is_told_by_its_tensors(self, tmp_path, name, size):
        found = read_content(published(name, tmp_path / "weights.bin"))
        assert (found.architecture, found.picture_size) == ("GPEN", size)

    @pytest.mark.parametrize(
        ("key", "architecture"),
        [
            ("ClassHead.0.conv1x1.weight", "RetinaFace"),
            ("encoder.0.conv2d.weight", "ParseNet"),
            ("cp.resnet.conv1.weight", "BiSeNet"),
            ("stylegan_decoder.style_mlp.1.weight", "GFPGAN"),
            ("position_emb", "CodeFormer"),
            ("vqvae.quantize.embedding.weight", "RestoreFormer"),
            ("body.0.rdb1.conv1.weight", "ESRGAN"),
            ("something.else", ""),
        ],
    )
    def test_other_networks_are_told_by_one_key(self, tmp_path, key, architecture):
        assert read_content(with_key(tmp_path / "GPEN-BFR-512.pth", key)).architecture == architecture

    def test_a_file_that_is_not_what_its_card_says(self, tmp_path):
        found = read_content(published("GPEN-BFR-256", tmp_path / "GPEN-BFR-512.pth"))
        assert (
            mismatch(find_card("GPEN-BFR-512"), found)
            == f"it holds GPEN 256 ({found.key_count} tensors), expected size 512"
        )
        assert mismatch(find_card("GFPGANv1.4"), found).endswith("expected GFPGAN")
        assert mismatch(find_card("GPEN-BFR-256"), found) == ""

    def test_a_changed_file_is_read_again(self, tmp_path):
        path = with_key(tmp_path / "w.pth", "position_emb")
        assert read_content(path).architecture == "CodeFormer"
        with_key(path, "cp.resnet.conv1.weight")
        assert read_content(path).architecture == "BiSeNet"

    def test_an_unchanged_file_is_not(self, tmp_path, monkeypatch):
        path = with_key(tmp_path / "w.pth", "position_emb")
        read_content(path)
        monkeypatch.setattr(content, "read_layout", lambda path: pytest.fail("read again"))
        assert read_content(path).architecture == "CodeFormer"

    def test_identity_changes_with_length_and_time(self, tmp_path):
        path = tmp_path / "w"
        path.write_bytes(b"1")
        first = FileIdentity.of(path)
        assert FileIdentity.of(path) == first
        path.write_bytes(b"22")
        assert FileIdentity.of(path) != first

    def test_the_hash_is_the_sha256(self, tmp_path):
        (tmp_path / "w").write_bytes(b"abc" * 10**6)
        pieces = []
        assert hash_file(tmp_path / "w", pieces.append) == hashlib.sha256(b"abc" * 10**6).hexdigest()
        assert sum(pieces) == 3_000_000

    def test_the_hash_settles_which_card_it_is(self, tmp_path):
        path = with_key(tmp_path / "w.pth", "something.else")
        assert cards_for(path) == []
        card = find_card("codeformer")
        assert cards_for(path, card.sha256) == [card]

    def test_a_record_of_its_own_settles_it_too(self, tmp_path):
        path = published("GPEN-BFR-1024", tmp_path / "w", {"card": "GPEN-Inpainting-1024", "task": "inpaint"})
        assert [card.name for card in cards_for(path)] == ["GPEN-Inpainting-1024"]


class TestPlaces:
    def test_without_anything_set_the_users_data_folder_is_used(self, home, monkeypatch):
        monkeypatch.setattr(places.sys, "platform", "linux")
        assert user_folder() == home / ".local/share/gpen-portrait/models"
        monkeypatch.setattr(places.sys, "platform", "darwin")
        assert user_folder() == home / "Library/Application Support/gpen-portrait/models"
        monkeypatch.setattr(places.sys, "platform", "win32")
        assert user_folder() == home / "AppData/Local/gpen-portrait/models"

    def test_gpen_models_comes_first_and_may_name_several_folders(self, tmp_path, monkeypatch):
        for name in ("a", "b", "host"):
            (tmp_path / name).mkdir()
        monkeypatch.setenv("GPEN_MODELS", places.os.pathsep.join(str(tmp_path / name) for name in ("a", "gone", "b")))
        assert user_folder() == tmp_path / "a"
        assert search_folders([tmp_path / "host"]) == [
            *(tmp_path.resolve() / name for name in ("a", "b", "host")),
            places.EMBEDDED_FOLDER.resolve(),
        ]

    @pytest.mark.parametrize("hub", [".cache/modelscope/hub/iic", ".cache/modelscope/hub/models/iic"])
    def test_modelscopes_cache_is_searched(self, home, hub):
        path = published(
            "GPEN-BFR-2048", home / hub / "cv_gpen_image-portrait-enhancement-hires" / "pytorch_model-2048.pt"
        )
        assert [found.path for found in find_files(search_folders()) if found.path.suffix == ".pt"] == [path.resolve()]
        assert locate(find_card("GPEN-BFR-2048"), search_folders()) == path.resolve()

    def test_a_clone_inside_comfyui_uses_its_model_folders(self, tmp_path, monkeypatch):
        monkeypatch.setattr(places, "__file__", str(tmp_path / "custom_nodes/pack/gpen_core/models/places.py"))
        assert user_folder() == tmp_path / "models/gpen"
        (tmp_path / "models/facerestore_models").mkdir(parents=True)
        assert (tmp_path / "models/facerestore_models").resolve() in search_folders()

    def test_a_file_is_located_by_its_content_under_any_name(self, tmp_path, monkeypatch):
        path = with_key(tmp_path / "whatever.bin", "ClassHead.0.conv1x1.weight")
        card = find_card("detection_Resnet50_Final")
        assert locate(card, [tmp_path]) is None  # its length is not the card's
        card = replace(card, size_bytes=path.stat().st_size)
        monkeypatch.setattr(content, "CATALOG", (card,))
        assert locate(card, [tmp_path]) == path

    def test_the_name_alone_does_not_make_it(self, tmp_path):
        with_key(tmp_path / "GPEN-BFR-512.pth", "something.else")
        assert locate(find_card("GPEN-BFR-512"), [tmp_path]) is None

    def test_what_the_ledger_says_was_fetched_is_it(self, tmp_path):
        path = published("GPEN-BFR-1024", tmp_path / "x.pth")
        card = find_card("GPEN-Colorization-1024")
        assert locate(card, [tmp_path]) is None
        record(tmp_path, card.name, Entry("x.pth", "0" * 64, path.stat().st_size, "https://…"))
        assert locate(card, [tmp_path]) == path
        assert [found.cards for found in find_files([tmp_path])] == [(card,)]

    def test_a_broken_file_does_not_hide_the_others(self, tmp_path):
        (tmp_path / "broken.pth").write_bytes(b"<html>")
        with_key(tmp_path / "whole.safetensors", "position_emb")
        broken, whole = find_files([tmp_path])
        assert '"broken.pth" is no weights file: it is a web page' in broken.problem
        assert whole.problem == ""

    @pytest.mark.parametrize(
        "odd",
        [
            {"generator.input.input": 1, "ecd0.0.0.weight": (), "final_linear.0.weight": (1, 1)},
            {"generator.input.input": 1, "ecd0.0.0.weight": (1, 3, 1, 1), "final_linear.0.weight": (0, 0)},
            {"conv_first.weight": (4, 3, 3, 3), "body.0.rdb1.conv1.weight": (2, 4, 3, 3), "conv_last.weight": ()},
        ],
        ids=["a number for a layer", "no style", "an upscaler's number for a layer"],
    )
    def test_an_odd_network_does_not_hide_the_others(self, tmp_path, odd):
        save_file({key: torch.ones(shape) for key, shape in odd.items()}, tmp_path / "odd.safetensors")
        with_key(tmp_path / "whole.safetensors", "position_emb")
        odd_file, whole = find_files([tmp_path])
        assert "not a whole" in odd_file.problem
        assert whole.problem == ""

    @pytest.mark.parametrize("method", ["is_dir", "iterdir", "is_file"])
    def test_a_folder_that_cannot_be_read_is_left_out_and_said_once(self, tmp_path, monkeypatch, caplog, method):
        closed, open_ = tmp_path / "closed", tmp_path / "open"
        published("GPEN-BFR-256", closed / "a.safetensors")
        published("GPEN-BFR-2048", open_ / "b.safetensors")
        monkeypatch.setenv("GPEN_MODELS", places.os.pathsep.join((str(closed), str(open_))))
        genuine = getattr(Path, method)

        def refuse(path):
            if "closed" in path.parts:
                raise PermissionError(13, "Permission denied")
            return genuine(path)

        monkeypatch.setattr(Path, method, refuse)
        for _ in range(2):
            assert locate(find_card("GPEN-BFR-2048"), search_folders()) == open_ / "b.safetensors"
        assert caplog.messages == [f"{closed} is not searched for weights: Permission denied"]

    def test_a_path_is_taken_as_it_is(self, tmp_path):
        path = with_key(tmp_path / "mine.pth", "position_emb")
        assert resolve_source(path) == path
        assert resolve_source(str(path)) == path

    def test_the_home_of_a_user_who_does_not_exist_is_an_ordinary_name(self):
        with pytest.raises(WeightsNotFoundError, match=r"there is no weights file .~nobody-here/w\.pth"):
            resolve_source("~nobody-here/w.pth")

    @pytest.mark.parametrize("source", ["folder/mine.pth", "mine.safetensors", "C:\\mine.pth"])
    def test_a_path_that_is_not_there(self, source):
        with pytest.raises(WeightsNotFoundError, match=r"there is no weights file .*Weights belong in"):
            resolve_source(source)

    def test_a_name_that_is_not_here_says_where_it_was_looked_for_and_how_to_fetch_it(self, tmp_path, monkeypatch):
        monkeypatch.setenv("GPEN_MODELS", str(tmp_path))
        with pytest.raises(WeightsNotFoundError) as caught:
            load_restorer("gpen-bfr-512")
        assert f"GPEN-BFR-512 is not on this machine (looked in {tmp_path.resolve()}, " in str(caught.value)
        assert '"python -m gpen_core models fetch GPEN-BFR-512"' in str(caught.value)
        with pytest.raises(WeightsNotFoundError, match="GPEN-BFR-512 is not on this machine"):
            resolve_source("gpen-bfr-512.PTH")

    def test_the_name_of_embedded_weights_is_enough(self):
        restorer = load_restorer("gpen_small_256")
        assert restorer.source == load_restorer().source and restorer.size == 256

    def test_a_name_that_is_here_is_loaded(self, tmp_path, monkeypatch):
        monkeypatch.setenv("GPEN_MODELS", str(tmp_path))
        embedded = places.EMBEDDED_FOLDER / "gpen_small_256.safetensors"
        (tmp_path / "renamed.pth").write_bytes(embedded.read_bytes())
        record(tmp_path, "GPEN-BFR-256", Entry("renamed.pth", "0" * 64, 1, "test"))
        assert load_restorer("GPEN-BFR-256").source == tmp_path / "renamed.pth"


def test_a_damaged_ledger_is_named(tmp_path):
    (tmp_path / "gpen_weights.json").write_text("{")
    with pytest.raises(DownloadError, match=r"gpen_weights\.json. is damaged"):
        read_ledger(tmp_path)


def test_content_of_a_bad_file_is_a_typed_error(tmp_path):
    (tmp_path / "w.pth").write_bytes(b"")
    with pytest.raises(UnsupportedWeightsError, match="it is empty"):
        read_content(tmp_path / "w.pth")
    with pytest.raises(WeightsNotFoundError, match=r"gone\.pth"):
        read_content(tmp_path / "gone.pth")
