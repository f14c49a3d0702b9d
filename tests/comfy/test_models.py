"""Weights: what is loaded, what is let go, what is refused."""

import shutil
import time

import pytest

from tests.comfy.graphs import DETECT, LOAD, PORTRAIT, node, picture, restore, steps
from tests.comfy.server import PACK, Run

EMBEDDED = PACK / "gpen_core" / "weights" / "gpen_small_256.safetensors"
DETECTOR = PACK / "gpen_core" / "weights" / "retinaface_mobilenet025.safetensors"

BOTH = {"GpenGenerator": 1, "RetinaFace": 1}
NONE = {"GpenGenerator": 0, "RetinaFace": 0}
STAYS = {
    "1": picture("portrait"),
    "loader": node("GPEN_LoadRestorer", **{**LOAD, "after_run": "stay on the GPU"}),
    "faces": node("GPEN_DetectAlignFaces", image=["1", 0], restorer=["loader", 0], **DETECT),
    "2": node("GPEN_RestoreFaces", faces=["faces", 0], restorer=["loader", 0], faces_at_once=4),
}


@pytest.fixture
def gpen_folder(comfy):
    folder = comfy.base / "models" / "gpen"
    folder.mkdir(exist_ok=True)
    return folder


def models(comfy, prompt: dict | None = None) -> dict:
    """Tell which networks there are, alone or at the end of a prompt whose last node is 2."""
    probe = node("TestModels", after=["2", 0]) if prompt else node("TestModels")
    return comfy.run({**(prompt or {}), "models": probe}).told("models")


def free(comfy, prompt: dict | None = None, **what: bool) -> dict:
    """Ask the server to free memory, and tell what is left; it frees between prompts, so look until it has."""
    before = {**models(comfy, prompt), "new": []}
    comfy.post("/free", what)
    end = time.monotonic() + 15
    while (told := models(comfy, prompt)) == before and time.monotonic() < end:
        time.sleep(0.3)
    return told


def test_after_a_run_nothing_of_ours_is_on_the_device(comfy):
    assert comfy.run(restore("portrait")).ok

    assert models(comfy)["loaded"] == []


def test_a_restorer_may_stay_and_unloading_takes_it_off_but_keeps_it_in_main_memory(comfy):
    assert models(comfy, STAYS)["loaded"] == ["GpenGenerator"]

    assert free(comfy, STAYS, unload_models=True) == {"loaded": [], "alive": BOTH, "new": []}


def test_repeated_runs_do_not_pile_up_networks(comfy):
    comfy.run(restore("portrait"))
    before = models(comfy)["alive"]

    for strength in (0.3, 0.4, 0.5):
        assert comfy.run(restore("portrait", strength=strength)).ok

    assert models(comfy)["alive"] == before


def test_free_memory_leaves_no_network_in_main_memory(comfy):
    assert models(comfy, restore("portrait"))["alive"] == BOTH

    assert free(comfy, unload_models=True, free_memory=True) == {"loaded": [], "alive": NONE, "new": []}


def test_free_memory_takes_what_a_loader_gave_too(comfy):
    assert models(comfy, STAYS)["alive"] == BOTH

    assert free(comfy, unload_models=True, free_memory=True) == {"loaded": [], "alive": NONE, "new": []}


def test_after_free_memory_the_next_prompt_loads_once(comfy):
    models(comfy, restore("portrait"))
    free(comfy, unload_models=True, free_memory=True)

    assert models(comfy, restore("portrait"))["new"] == ["GpenGenerator", "RetinaFace"]
    assert models(comfy, restore("portrait"))["new"] == []


def test_a_prompt_with_other_settings_loads_nothing(comfy):
    models(comfy, restore("portrait", strength=0.45))

    assert models(comfy, restore("portrait", strength=0.55))["new"] == []
    assert models(comfy, restore("no face"))["new"] == []


def test_a_menu_that_is_fed_by_a_wire_does_not_run_again(comfy):
    prompt = restore("portrait", strength=0.35)
    prompt["20"] = node("TestText", text="face mesh (embedded)")
    prompt["2"]["inputs"]["parser"] = ["20", 0]
    first, again = comfy.run(prompt), comfy.run(prompt)

    assert first.ok
    assert "2" in again.cached
    assert "there is no parser None" not in comfy.log.read_text(encoding="utf-8")


def test_another_workflow_in_between_loads_nothing_while_a_result_is_kept(comfy_with_lru_cache):
    comfy = comfy_with_lru_cache
    models(comfy, restore("portrait"))
    assert models(comfy)["alive"] == BOTH

    assert models(comfy, restore("portrait", strength=0.65))["new"] == []
    assert free(comfy, unload_models=True, free_memory=True)["alive"] == NONE


def test_nodes_share_one_copy(comfy):
    models(comfy, restore("portrait"))
    free(comfy, unload_models=True, free_memory=True)

    assert (
        models(comfy, {**steps("portrait"), "9": node("GPEN_RestorePortrait", image=["1", 0], **PORTRAIT)})["alive"]
        == BOTH
    )


def test_bf16_gives_nearly_the_same_face(comfy):
    means = []
    for precision in ("fp32 (best)", "bf16 (half the memory)"):
        prompt = {
            "1": picture("portrait"),
            "2": node("GPEN_LoadRestorer", **{**LOAD, "precision": precision}),
            "3": node(
                "GPEN_DetectAlignFaces", image=["1", 0], restorer=["2", 0], no_face="stop with an error", max_faces=0,
                min_score=0.8, smallest_face_px=16,
            ),
            "4": node("GPEN_RestoreFaces", faces=["3", 0], restorer=["2", 0], faces_at_once=4),
            "5": node("TestProbe", value=["4", 1]),
        }  # fmt: skip
        means.append(comfy.run(prompt).told("5")["mean"])

    assert means[0] == pytest.approx(means[1], abs=0.01)
    assert means[0] != means[1]


def test_a_file_that_is_no_restorer_is_refused_in_words(comfy, gpen_folder):
    shutil.copy(DETECTOR, gpen_folder / "wrong.safetensors")

    run = comfy.run(restore("portrait", model="wrong.safetensors"))

    assert not run.ok
    assert '"wrong.safetensors" is not' in run.error
    assert "models/gpen" in run.error


def test_a_file_exchanged_under_its_name_is_loaded_anew(comfy, gpen_folder):
    name = "swapped.safetensors"
    shutil.copy(EMBEDDED, gpen_folder / name)
    assert comfy.run(restore("portrait", model=name)).ok

    shutil.copy(DETECTOR, gpen_folder / name)
    run = comfy.run(restore("portrait", model=name))

    assert f'"{name}" is not' in run.error


def test_a_model_that_is_not_in_the_menu_is_never_opened(comfy):
    answer = comfy.post("/prompt", {"prompt": restore("portrait", model="../../etc/passwd")})

    if answer.get("node_errors"):
        assert answer["node_errors"]["2"]["errors"][0]["type"] == "value_not_in_list"
    else:  # older versions of ComfyUI do not check menus of nodes of this kind
        error = Run(comfy, comfy.wait(answer["prompt_id"])).error
        assert "there is no restorer '../../etc/passwd' in models/gpen, models/facerestore_models" in error


def test_a_published_network_is_fetched_only_when_asked_to(comfy):
    prompt = {
        "1": node(
            "GPEN_LoadRestorer",
            model="GPEN-BFR-2048 (published, non-commercial by its authors' former notice)",
            fetch=False,
            precision="fp32 (best)",
            after_run="free the GPU",
        ),
        "2": node("TestProbe", value=["1", 0]),
    }

    run = comfy.run(prompt)

    assert 'GPEN-BFR-2048 is not on this machine. Switch "fetch" on to download it into' in run.error


def test_the_log_reports_no_leak(comfy):
    comfy.run(restore("portrait"))
    comfy.run({"1": node("TestModels")})

    assert "leak" not in comfy.log.read_text().lower()
