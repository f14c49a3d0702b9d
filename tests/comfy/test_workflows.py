"""Every workflow that the pack offers runs as it is; the one that generates needs a checkpoint of the user's."""

import json
from io import BytesIO

import pytest
from PIL import Image

from tests.comfy.graphs import picture
from tests.comfy.server import PACK
from tests.comfy.ui_format import to_prompt

WORKFLOWS = sorted((PACK / "workflows").glob("*.json"))
GENERATES = "06_after_generation"
AFTER_GENERATION = ("GPEN_RestorePortrait", "GPEN_BeforeAfter", "SaveImage")
COMPLETE = [path for path in WORKFLOWS if path.stem != GENERATES]


def read(name: str) -> dict:
    return json.loads((PACK / "workflows" / f"{name}.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", COMPLETE, ids=lambda path: path.stem)
def test_workflow_runs(comfy, path):
    workflow = json.loads(path.read_text(encoding="utf-8"))

    run = comfy.run(to_prompt(workflow, comfy.get("/object_info")), workflow)

    assert run.ok, run.error
    assert run.history["outputs"], "nothing came out"


def test_only_the_checkpoint_is_missing_to_generate(comfy):
    prompt = to_prompt(read(GENERATES), comfy.get("/object_info"))

    refused = comfy.post("/prompt", {"prompt": prompt})

    assert "prompt_id" not in refused
    [(node, said)] = refused["node_errors"].items()
    assert prompt[node]["class_type"] == "CheckpointLoaderSimple"
    assert [error["extra_info"]["input_name"] for error in said["errors"]] == ["ckpt_name"]


def test_what_was_generated_is_restored_and_saved(comfy):
    prompt = to_prompt(read(GENERATES), comfy.get("/object_info"))
    drawn = next(node for node, made in prompt.items() if made["class_type"] == "VAEDecode")
    saved = next(node for node, made in prompt.items() if made["class_type"] == "SaveImage")
    after = {node: made for node, made in prompt.items() if made["class_type"] in AFTER_GENERATION}

    run = comfy.run({**after, drawn: picture("portrait")})

    assert run.ok, run.error
    assert Image.open(BytesIO(run.pictures(saved)[0])).size == (512, 512)


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_workflow_says_where_its_nodes_come_from(path):
    for node in json.loads(path.read_text(encoding="utf-8"))["nodes"]:
        if node["type"].startswith("GPEN_"):
            assert node["properties"]["cnr_id"] == "gpen-portrait"


def test_restored_portrait_is_saved_with_its_workflow(comfy):
    workflow = read("01_restore_portrait")
    run = comfy.run(to_prompt(workflow, comfy.get("/object_info")), workflow)
    save = next(str(node["id"]) for node in workflow["nodes"] if node["type"] == "SaveImage")

    picture = Image.open(BytesIO(run.pictures(save)[0]))

    assert picture.size == (512, 512)
    assert json.loads(picture.info["workflow"]) == workflow


def test_one_node_and_step_by_step_give_the_same_picture(comfy):
    info = comfy.get("/object_info")
    saved = []
    for name in ("01_restore_portrait", "02_step_by_step"):
        workflow = read(name)
        save = next(str(node["id"]) for node in workflow["nodes"] if node["type"] == "SaveImage")
        picture = comfy.run(to_prompt(workflow, info), workflow).pictures(save)[0]
        saved.append(Image.open(BytesIO(picture)).tobytes())

    assert saved[0] == saved[1]
