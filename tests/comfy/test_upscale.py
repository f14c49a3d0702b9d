"""The background upscaler: from a file of models/upscale_models, or from ComfyUI's own loader."""

import shutil
from importlib.util import find_spec

import pytest

from gpen_core.models.ledger import Entry, record
from tests.comfy.graphs import DETECT, PASTE, node, picture, restore

SMALL = "small_x2.safetensors"


@pytest.fixture(scope="module")
def upscaler(comfy) -> str:
    """The menu entry of a small random network that doubles."""
    if find_spec("basicsr") is None:
        pytest.skip("basicsr is not installed")
    import torch
    from safetensors.torch import save_file

    from gpen_core.models.rrdbnet import RrdbNetSpec, build_rrdbnet

    torch.manual_seed(0)
    folder = comfy.base / "models" / "upscale_models"
    folder.mkdir(exist_ok=True)
    save_file(build_rrdbnet(RrdbNetSpec(2, 4, 1, 2)).state_dict(), folder / SMALL)
    return SMALL


def enlarged(kind: str, upscaler: str, **settings) -> dict:
    """Restore one kind of picture with an upscaler; without the probe that compares pictures of one size."""
    prompt = restore(kind, upscaler=upscaler, **settings)
    del prompt["7"]
    return prompt


def steps(background: dict, faces_from: str, **paste) -> dict:
    """Upscale (2), detect in the photo or the enlarged photo, restore, paste; probe the image (6) and report (7)."""
    found_in = ["1", 0] if faces_from == "photo" else ["2", 1]
    return {
        "1": picture("portrait"),
        "2": background,
        "3": node("GPEN_DetectAlignFaces", image=found_in, **DETECT),
        "4": node("GPEN_RestoreFaces", faces=["3", 0], faces_at_once=4),
        "5": node("GPEN_PasteFaces", image=["1", 0], faces=["4", 0], background=["2", 0], **{**PASTE, **paste}),
        "6": node("TestProbe", value=["5", 0]),
        "7": node("TestProbe", value=["5", 2]),
    }


def test_one_node_enlarges_and_restores(comfy, upscaler):
    run = comfy.run(enlarged("portrait", upscaler))

    assert run.told("3")["shape"] == [1, 1024, 1024, 3]
    assert run.told("4")["shape"] == [1, 1024, 1024]
    assert run.told("5")["value"] == 1


def test_pictures_are_enlarged_without_a_network(comfy):
    run = comfy.run(enlarged("portrait", "plain x2 (no network)"))

    assert run.told("3")["shape"] == [1, 1024, 1024, 3]
    assert run.told("5")["value"] == 1


def test_transparency_is_enlarged_along(comfy, upscaler):
    assert comfy.run(enlarged("rgba", upscaler)).told("3")["shape"] == [1, 1024, 1024, 4]


def test_step_by_step_gives_the_same_picture(comfy, upscaler):
    prompt = steps(node("GPEN_UpscaleBackground", image=["1", 0], upscaler=upscaler), "enlarged")
    prompt |= {"8": enlarged("portrait", upscaler)["2"], "9": node("TestProbe", value=["8", 0])}
    prompt["10"] = node("TestDifference", before=["8", 0], after=["5", 0], mask=["5", 1])
    prompt["11"] = node("TestProbe", value=["2", 2])

    run = comfy.run(prompt)

    assert run.told("6")["shape"] == [1, 1024, 1024, 3]
    assert run.told("10")["largest"] == 0
    assert run.told("11")["value"] == 2


def test_faces_found_in_the_photo_itself_land_in_the_same_place(comfy, upscaler):
    prompt = steps(node("GPEN_UpscaleBackground", image=["1", 0], upscaler=upscaler), "photo")
    prompt |= {"8": enlarged("portrait", upscaler)["2"]}
    prompt["10"] = node("TestDifference", before=["8", 0], after=["5", 0], mask=["5", 1])

    run = comfy.run(prompt)

    assert "1 of 1 faces pasted" in run.told("7")["value"]
    assert run.told("10")["outside"] < 0.5  # the random network's background is the same
    assert run.told("10")["inside"] < 0.02


def test_a_network_of_comfyuis_own_loader_serves_too(comfy):
    prompt = steps(node("GPEN_UpscaleBackground", image=["1", 0], upscale_model=["0", 0]), "enlarged")
    prompt["0"] = node("TestUpscaleModel", room=4096)

    run = comfy.run(prompt)

    assert run.ok, run.error
    assert run.told("6")["shape"] == [1, 1024, 1024, 3]


def test_tiles_halve_when_memory_runs_out(comfy):
    means = []
    for room in (4096, 100):
        prompt = {
            "0": node("TestUpscaleModel", room=room),
            "1": picture("portrait"),
            "2": node("GPEN_UpscaleBackground", image=["1", 0], upscale_model=["0", 0]),
            "3": node("TestProbe", value=["2", 0]),
        }
        means.append(comfy.run(prompt).told("3")["mean"])

    assert means[0] == pytest.approx(means[1], abs=1e-6)
    assert "Out of memory with tiles of 212 px; trying again with 106" in comfy.log.read_text()


def test_memory_for_not_even_one_tile_is_a_clear_error(comfy):
    prompt = {
        "0": node("TestUpscaleModel", room=1),
        "1": picture("portrait"),
        "2": node("GPEN_UpscaleBackground", image=["1", 0], upscale_model=["0", 0]),
        "3": node("TestProbe", value=["2", 0]),
    }

    error = comfy.run(prompt).error

    assert "ModelMemoryError" in error
    assert "not even tiles of" in error


def test_without_an_upscaler_the_node_says_what_to_do(comfy):
    prompt = {
        "1": picture("portrait"),
        "2": node("GPEN_UpscaleBackground", image=["1", 0], upscaler="none (keep the size)"),
        "3": node("TestProbe", value=["2", 0]),
    }

    assert "put an ESRGAN file, e.g. RealESRGAN_x2plus.pth, into models/upscale_models" in comfy.run(prompt).error


def test_a_background_of_another_size_is_refused_in_words(comfy):
    prompt = steps(
        node("ImageScale", image=["1", 0], upscale_method="area", width=700, height=700, crop="disabled"), "photo"
    )

    error = comfy.run(prompt).error

    assert "were cut from pictures of 512x512 pixels and cannot be pasted onto 700x700" in error


def test_faces_of_another_picture_are_refused_in_words(comfy):
    prompt = steps(
        node("ImageScale", image=["1", 0], upscale_method="area", width=700, height=700, crop="disabled"), "photo"
    )
    prompt["5"]["inputs"]["image"] = ["2", 0]
    del prompt["5"]["inputs"]["background"]

    assert "cannot be pasted onto 700x700" in comfy.run(prompt).error


def test_nothing_stays_on_the_device(comfy, upscaler):
    assert comfy.run(enlarged("portrait", upscaler, strength=0.9)).ok

    assert comfy.run({"1": node("TestModels")}).told("1")["loaded"] == []


def test_a_fetched_file_is_found_in_the_folder_of_fetches(comfy, upscaler):
    """`models fetch` and `models import` put every kind of weights into models/gpen, and record there what they are."""
    folder = comfy.base / "models" / "gpen"
    folder.mkdir(exist_ok=True)
    shutil.copy(comfy.base / "models" / "upscale_models" / SMALL, folder / "fetched.safetensors")
    record(folder, "realesrnet_x2", Entry("fetched.safetensors", "0" * 64, 1, "https://example.org"))

    inputs = comfy.get("/object_info/GPEN_RestorePortrait")["GPEN_RestorePortrait"]["input"]

    assert inputs["optional"]["upscaler"][1]["options"][3:] == [SMALL, "gpen/fetched.safetensors"]
    assert "gpen/fetched.safetensors" not in inputs["required"]["detector"][1]["options"]
