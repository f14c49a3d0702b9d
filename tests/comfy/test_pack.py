"""The pack as ComfyUI sees it."""

import pytest

from tests.comfy.server import PACK

NODES = [
    "GPEN_BeforeAfter",
    "GPEN_CheckPhoto",
    "GPEN_DetectAlignFaces",
    "GPEN_FreeMemory",
    "GPEN_LoadFaceDetector",
    "GPEN_LoadRestorer",
    "GPEN_PasteFaces",
    "GPEN_PrintUpscale",
    "GPEN_RestoreFaces",
    "GPEN_RestoreFolder",
    "GPEN_RestorePortrait",
    "GPEN_SamplePortrait",
    "GPEN_SavePrint",
    "GPEN_SelectFaces",
    "GPEN_SkinTone",
    "GPEN_UpscaleBackground",
]


def shown_inputs(node: dict) -> dict:
    return {**node["input"].get("required", {}), **node["input"].get("optional", {})}


def page_of(name: str, locale: str) -> str:
    """Where the page looks: a page of the language first, then the one without a language, which is English."""
    return f"{name}.md" if locale == "en" else f"{name}/{locale}.md"


@pytest.fixture(scope="module")
def info(comfy) -> dict:
    return {name: node for name, node in comfy.get("/object_info").items() if name.startswith("GPEN_")}


def test_the_pack_is_imported_without_a_complaint(comfy):
    start = comfy.log.read_text().partition("Starting server")[0]
    lines = [line for line in start.splitlines() if "gpen-portrait" in line]

    assert any("seconds" in line for line in lines), "the log does not mention the pack"
    assert not [line for line in lines if "IMPORT FAILED" in line or "Cannot import" in line or "Error" in line]


def test_all_nodes_are_there(info):
    assert sorted(info) == NODES


def test_every_node_and_every_input_explains_itself(info):
    for name, node in info.items():
        assert node["description"], name
        assert node["category"] == "GPEN Portrait"
        assert all(node["output_tooltips"]), name
        for input_name, (_, options) in shown_inputs(node).items():
            assert options.get("tooltip"), f"{name}.{input_name} has no tooltip"


def test_the_embedded_networks_come_first(info):
    model = info["GPEN_RestorePortrait"]["input"]["required"]["model"][1]

    assert model["options"][0] == model["default"] == "GPEN small 256 (embedded)"


def test_weights_put_into_the_model_folders_appear_in_the_menus(comfy):
    (comfy.base / "models" / "gpen").mkdir(exist_ok=True)
    (comfy.base / "models" / "facerestore_models" / "mine").mkdir(parents=True, exist_ok=True)
    (comfy.base / "models" / "facedetection").mkdir(exist_ok=True)
    (comfy.base / "models" / "gpen" / "a.safetensors").touch()
    (comfy.base / "models" / "facerestore_models" / "mine" / "b.pth").touch()
    (comfy.base / "models" / "facerestore_models" / "readme.txt").touch()
    (comfy.base / "models" / "facedetection" / "c.pth").touch()

    node = comfy.get("/object_info/GPEN_RestorePortrait")["GPEN_RestorePortrait"]["input"]["required"]

    assert {"a.safetensors", "mine/b.pth"} <= {name.replace("\\", "/") for name in node["model"][1]["options"]}
    assert "readme.txt" not in node["model"][1]["options"]
    assert "c.pth" in node["detector"][1]["options"]
    assert "c.pth" in node["parser"][1]["options"]


@pytest.mark.parametrize("locale", ["en", "zh"])
def test_every_node_has_a_help_page(comfy, info, locale):
    for name in info:
        page = comfy.get_bytes(f"/extensions/gpen-portrait/docs/{page_of(name, locale)}").decode()

        assert page.startswith("# "), name


@pytest.mark.parametrize("locale", ["en", "zh"])
def test_every_text_of_every_node_is_translated(comfy, info, locale):
    words = comfy.get("/i18n")[locale]["nodeDefs"]

    for name, node in info.items():
        # Versions of ComfyUI without an image slider have no input for it.
        assert set(words[name].get("inputs", {})) - {"compare_view"} == set(shown_inputs(node)) - {"compare_view"}, name
        assert len(words[name]["outputs"]) == len(node["output"]), name
        assert words[name]["display_name"], name
        assert words[name]["description"], name


def test_templates_have_a_thumbnail(comfy):
    names = {path.stem for path in (PACK / "workflows").glob("*.json")}

    assert {"01_restore_portrait", "02_step_by_step", "03_studio", "04_folder", "06_after_generation"} <= names
    assert set(comfy.get("/workflow_templates")["gpen-portrait"]) == names
    for name in names:
        thumbnail = comfy.get_bytes(f"/api/workflow_templates/gpen-portrait/{name}.jpg")
        assert thumbnail[:2] == b"\xff\xd8", name
        assert len(thumbnail) < 120_000, name
