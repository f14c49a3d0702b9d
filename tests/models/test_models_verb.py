"""`models` on the command line, and the functions behind it: list, fetch, verify, import, convert."""

import hashlib
import json
from dataclasses import replace

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from gpen_core.cli import main
from gpen_core.errors import SettingsError, UnsupportedWeightsError
from gpen_core.models import catalog, content, convert, places
from gpen_core.models.catalog import find_card
from gpen_core.models.gpen import GpenGenerator, GpenSpec
from gpen_core.models.load import load_restorer
from gpen_core.models.state_dict import read_metadata, read_state_dict


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    folder = tmp_path / "models"
    folder.mkdir()
    monkeypatch.setenv("GPEN_MODELS", str(folder))
    monkeypatch.setenv("MODELSCOPE_CACHE", str(tmp_path / "none"))
    return folder


@pytest.fixture
def weights(tmp_path):
    torch.manual_seed(0)
    network = GpenGenerator(GpenSpec(size=16, style_dim=8, n_mlp=2, channels=(8, 6, 4)))
    path = tmp_path / "mine.pth"
    torch.save({"g_ema": network.state_dict()}, path)
    return path


@pytest.fixture
def catalogued(weights, monkeypatch):
    """Make the file that of a card, with its hash."""
    card = replace(
        find_card("GPEN-BFR-512"),
        sha256=hashlib.sha256(weights.read_bytes()).hexdigest(),
        size_bytes=weights.stat().st_size,
        picture_size=16,
    )
    for module in (catalog, content, places):
        monkeypatch.setattr(module, "CATALOG", (card,))
    return card


def test_list_shows_every_card_its_licence_and_where_it_is(capsys, weights, folder, catalogued):
    weights.rename(folder / "anything.bin")
    assert main(["models", "list"]) == 0
    out = capsys.readouterr().out
    assert "GPEN-BFR-512 " in out
    assert "[NON-COMMERCIAL]" in out
    assert f"here: {(folder / 'anything.bin').resolve()}" in out
    assert "retinaface_mobilenet025.safetensors: RetinaFace" in out
    assert f"Fetched files go to {folder}" in out


def test_list_of_a_fresh_machine(capsys):
    assert main(["models", "list"]) == 0
    out = capsys.readouterr().out
    unusable = [line.split()[0] for line in out.splitlines() if line.endswith("[NOT USABLE YET]")]
    assert unusable == [
        "GPEN-Colorization-1024", "GPEN-Inpainting-1024", "GPEN-Seg2face-512",
        "GFPGANv1.4", "codeformer", "RestoreFormer++",
    ]  # fmt: skip
    assert out.count("NON-COMMERCIAL") == 13
    assert "here:" not in out


def test_fetch_says_the_licence_and_gives_the_file_that_is_here(capsys, weights, folder, catalogued):
    weights.rename(folder / "GPEN-BFR-512.pth")
    assert main(["models", "fetch", "gpen-bfr-512"]) == 0
    out = capsys.readouterr().out
    assert "licence: none published; non-commercial" in out
    assert f"GPEN-BFR-512: {folder / 'GPEN-BFR-512.pth'}" in out


def test_fetch_says_first_that_nothing_here_can_use_the_file(capsys, folder):
    (folder / "GFPGANv1.4.pth").write_bytes(b"other")
    assert main(["models", "fetch", "GFPGANv1.4"]) == 1
    assert "GFPGANv1.4: this pack cannot use it yet; it is fetched for other programs" in capsys.readouterr().out


def test_fetch_of_an_unknown_name_fails_in_one_line(capsys):
    assert main(["models", "fetch", "GPEN-BFR-511"]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "did you mean GPEN-BFR-512" in error


def test_verify_tells_genuine_from_changed(capsys, weights, folder, catalogued):
    path = folder / "GPEN-BFR-512.pth"
    path.write_bytes(weights.read_bytes())
    assert main(["models", "verify", str(path)]) == 0
    assert "GPEN-BFR-512: genuine, as published" in capsys.readouterr().out
    changed = bytearray(path.read_bytes())
    changed[20_000] ^= 1  # within a tensor
    path.write_bytes(changed)
    assert main(["models", "verify", "GPEN-BFR-512"]) == 1
    assert f"expected {catalogued.sha256}" in capsys.readouterr().out


def test_verify_of_everything_finds_the_broken_file(capsys, folder):
    (folder / "broken.pth").write_bytes(b"PK\x03\x04 cut short")
    assert main(["models", "verify"]) == 1
    out = capsys.readouterr().out
    assert 'UNUSABLE: "broken.pth" is damaged or cut short' in out
    assert "gpen_small_256.safetensors: whole, 136 tensors" in out


def test_import_gives_the_file_its_name_and_records_it(capsys, weights, folder, catalogued):
    assert main(["models", "import", str(weights)]) == 0
    assert (folder / "GPEN-BFR-512.pth").read_bytes() == weights.read_bytes()
    assert json.loads((folder / "gpen_weights.json").read_text())["GPEN-BFR-512"]["sha256"] == catalogued.sha256
    assert "GPEN-BFR-512" in capsys.readouterr().out
    assert main(["models", "import", str(weights)]) == 0  # again: nothing to do


def test_import_keeps_the_name_of_a_network_of_your_own(weights, folder):
    assert main(["models", "import", str(weights)]) == 0
    assert load_restorer(folder / "mine.pth").size == 16


def test_import_never_overwrites_another_file(weights, folder):
    (folder / "mine.pth").write_bytes(b"other")
    with pytest.raises(SettingsError, match=r"mine\.pth. exists already and is another file"):
        convert.import_file(weights)
    assert (folder / "mine.pth").read_bytes() == b"other"


def test_import_refuses_what_is_not_the_card_that_was_named(weights):
    with pytest.raises(UnsupportedWeightsError, match=r'"mine.pth" is not GPEN-BFR-512: it has [\d,]+ bytes, expected'):
        convert.import_file(weights, "GPEN-BFR-512")


def test_import_and_convert_refuse_an_unknown_network(tmp_path):
    path = tmp_path / "other.safetensors"
    save_file({"x": torch.ones(1)}, path)
    with pytest.raises(UnsupportedWeightsError, match="is not imported: it holds an unknown network"):
        convert.import_file(path)
    with pytest.raises(UnsupportedWeightsError, match="is not converted: it holds an unknown network"):
        convert.convert(path, tmp_path / "out.safetensors")


def test_import_asks_which_one_it_is_where_content_cannot_tell(weights, folder, catalogued, monkeypatch):
    twin = replace(catalogued, file_name="GPEN-Twin.pth", sha256=None)
    first = replace(catalogued, sha256=None)
    for module in (catalog, content, places):
        monkeypatch.setattr(module, "CATALOG", (first, twin))
    with pytest.raises(SettingsError, match="can be any of GPEN-BFR-512, GPEN-Twin; say which with --as NAME"):
        convert.import_file(weights)
    assert main(["models", "import", str(weights), "--as", "gpen-twin"]) == 0
    assert (folder / "GPEN-Twin.pth").is_file()
    assert places.locate(twin, [folder]) == folder / "GPEN-Twin.pth"


def test_convert_keeps_every_number_and_says_what_it_is(capsys, weights, catalogued, tmp_path):
    assert main(["models", "convert", str(weights)]) == 0
    copy = tmp_path / "mine.safetensors"
    assert str(copy) in capsys.readouterr().out
    assert read_metadata(copy) == {
        "format": "pt",
        "card": "GPEN-BFR-512",
        "name": "GPEN-BFR-512",
        "task": "restore",
        "template": "gpen",
        "source_sha256": catalogued.sha256,
    }
    crop = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    assert torch.equal(load_restorer(copy)(crop), load_restorer(weights)(crop))
    assert load_restorer(copy).name == "GPEN-BFR-512"


def test_a_converted_copy_is_known_and_imported_as_what_it_was_made_of(capsys, weights, folder, catalogued, tmp_path):
    copy = convert.convert(weights, tmp_path / "copy.safetensors")
    assert main(["models", "verify", str(copy)]) == 0
    assert "GPEN-BFR-512: converted from the published file by its own record; whole" in capsys.readouterr().out
    assert main(["models", "import", str(copy)]) == 0
    assert places.locate(catalogued, [folder]) == folder / "GPEN-BFR-512.safetensors"
    assert main(["models", "import", str(weights)]) == 0, "the genuine file may still come"
    assert places.locate(catalogued, [folder]) == folder / "GPEN-BFR-512.pth"


@pytest.mark.parametrize("forged", [{"source_sha256": "0" * 64}, {"source_sha256": ""}])
def test_a_copy_of_another_file_is_not_taken_for_the_card(capsys, weights, catalogued, tmp_path, forged):
    copy = convert.convert(weights, tmp_path / "copy.safetensors")
    save_file(read_state_dict(copy), copy, metadata={**read_metadata(copy), **forged})
    assert main(["models", "verify", str(copy)]) == 1
    assert "NOT GPEN-BFR-512" in capsys.readouterr().out
    with pytest.raises(UnsupportedWeightsError, match="is not GPEN-BFR-512"):
        convert.import_file(copy)


def test_convert_claims_nothing_about_a_network_of_your_own(weights, tmp_path):
    with safe_open(convert.convert(weights), framework="pt") as file:
        assert set(file.metadata()) == {"format", "source_sha256"}


def test_a_converted_copy_is_as_readable_as_its_source_in_a_new_folder_too(weights, tmp_path):
    copy = convert.convert(weights, tmp_path / "new" / "copy.safetensors")
    assert copy.stat().st_mode == weights.stat().st_mode


def test_convert_never_overwrites(weights, tmp_path):
    (tmp_path / "mine.safetensors").write_bytes(b"other")
    assert main(["models", "convert", str(weights)]) == 1
    assert (tmp_path / "mine.safetensors").read_bytes() == b"other"
    assert not list(tmp_path.glob("*.part"))
