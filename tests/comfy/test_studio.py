"""The nodes around the restoration: choose, tone, print, compare, folders, memory."""

import json
from io import BytesIO

import pytest
from PIL import Image

from tests.comfy.graphs import DETECT, FOLDER, LOAD, PASTE, PORTRAIT, PRINT, SAVE, node, picture, restore, steps
from tests.comfy.server import PACK

SAMPLE = PACK / "gpen_core" / "samples" / "astronaut_poor.jpg"
TONE = {"saturation": 1.15, "lift": 0.0, "warmth": 0.0, "protect_highlights": 0.8, "match_original": 0.0}
COMPARE = {"layout": "side by side", "captions": "Before / After", "dark": False}


def printed(kind: str = "portrait", save: dict | None = None, **settings) -> dict:
    """Lay one kind of picture out (2), save it (3), and probe the sheet (4) and the report (5)."""
    return {
        "1": picture(kind),
        "2": node("GPEN_PrintUpscale", image=["1", 0], **{**PRINT, **settings}),
        "3": node("GPEN_SavePrint", sheets=["2", 1], **{**SAVE, **(save or {})}),
        "4": node("TestProbe", value=["2", 0]),
        "5": node("TestProbe", value=["2", 2]),
    }


class TestSelectFaces:
    def test_only_the_chosen_face_is_pasted(self, comfy):
        prompt = steps("batch of 0, 1 and 2 faces")
        prompt["20"] = node("GPEN_SelectFaces", faces=["2", 0], take="2", order="left to right", smallest_face_px=0)
        prompt["3"]["inputs"]["faces"] = ["20", 0]
        prompt["21"] = node("TestProbe", value=["20", 2])

        run = comfy.run(prompt)

        assert run.told("21")["value"] == 1
        assert "picture 2: 0 of 1 faces pasted\npicture 3: 1 of 2 faces pasted" in run.told("8")["value"]

    def test_a_choice_that_cannot_be_read_is_refused_in_words(self, comfy):
        prompt = {
            "1": picture("portrait"),
            "2": node("GPEN_DetectAlignFaces", image=["1", 0], **DETECT),
            "3": node("GPEN_SelectFaces", faces=["2", 0], take="first", order="left to right", smallest_face_px=0),
            "4": node("TestProbe", value=["3", 2]),
        }

        assert 'numbers from 1 such as "1", "1, 3" or "2-4", got "first"' in comfy.run(prompt).error


class TestSkinTone:
    def test_only_skin_changes(self, comfy):
        prompt = {
            "1": picture("portrait"),
            "2": node("GPEN_SkinTone", image=["1", 0], **TONE),
            "3": node("TestDifference", before=["1", 0], after=["2", 0], mask=["2", 1]),
        }

        change = comfy.run(prompt).told("3")

        assert change["outside"] == 0
        assert change["inside"] > 0.005

    def test_a_mask_says_where(self, comfy):
        prompt = {
            "1": picture("portrait"),
            "2": node("SolidMask", value=1.0, width=512, height=512),
            "3": node("GPEN_SkinTone", image=["1", 0], mask=["2", 0], **{**TONE, "saturation": 0.0}),
            "4": node("TestProbe", value=["3", 1]),
        }

        assert comfy.run(prompt).told("4")["min"] == 1

    def test_a_mask_of_another_size_is_refused_in_words(self, comfy):
        prompt = {
            "1": picture("portrait"),
            "2": node("SolidMask", value=1.0, width=64, height=64),
            "3": node("GPEN_SkinTone", image=["1", 0], mask=["2", 0], **TONE),
            "4": node("TestProbe", value=["3", 1]),
        }

        assert "expected a MASK of shape (1, 512, 512) like the image, got (1, 64, 64)" in comfy.run(prompt).error

    def test_match_original_without_an_original_is_refused_in_words(self, comfy):
        prompt = {
            "1": picture("portrait"),
            "2": node("GPEN_SkinTone", image=["1", 0], **{**TONE, "match_original": 1.0}),
            "3": node("TestProbe", value=["2", 0]),
        }

        assert "no original was given" in comfy.run(prompt).error


class TestPrint:
    def test_a_scale_enlarges(self, comfy):
        assert comfy.run(printed()).told("4")["shape"] == [1, 768, 768, 3]

    def test_a_paper_gives_a_file_of_its_size_with_profile_and_workflow(self, comfy):
        run = comfy.run(printed(paper="id-35x45"), {"nodes": []})

        saved = Image.open(BytesIO(run.pictures("3")[0]))
        assert saved.size == (413, 531)  # 35 × 45 mm at 300 dpi
        assert saved.info["dpi"] == pytest.approx((300, 300), abs=0.02)  # a PNG holds whole pixels per metre
        assert saved.info["icc_profile"]
        assert json.loads(saved.info["workflow"]) == {"nodes": []}
        assert json.loads(saved.info["prompt"])["2"]["inputs"]["paper"] == "id-35x45"
        assert "35.0 x 45.0 mm at 300 dpi" in run.told("5")["value"]

    @pytest.mark.parametrize(
        ("kind", "ending", "start"),
        [("JPEG", ".jpg", b"\xff\xd8"), ("TIFF 16 bit", ".tif", b"II*\0"), ("PDF", ".pdf", b"%PDF")],
    )
    def test_other_formats(self, comfy, kind, ending, start):
        prompt = printed(save={"format": kind, "filename_prefix": f"formats/{ending[1:]}"}, paper="id-35x45")
        prompt["6"] = node("TestProbe", value=["3", 0])

        path = comfy.base / "output" / "formats" / f"{ending[1:]}_00001_{ending}"

        assert comfy.run(prompt).told("6")["value"] == str(path)
        assert path.read_bytes()[:4].startswith(start)

    def test_files_are_never_overwritten(self, comfy):
        for strength in (0.1, 0.2):
            assert comfy.run(printed(sharpening=strength, save={"filename_prefix": "again/x", "format": "PDF"})).ok

        assert {path.name for path in (comfy.base / "output" / "again").iterdir()} == {"x_00001_.pdf", "x_00002_.pdf"}

    def test_faces_found_before_enlarging_stay_on_the_paper(self, comfy):
        """The face lies far to the right: a paper laid around half its place would miss it."""
        sheets = []
        for faces in (False, True):
            prompt = {
                "1": picture("portrait beside a wall"),
                "2": node("ImageScaleBy", image=["1", 0], upscale_method="nearest-exact", scale_by=2.0),
                "3": node("GPEN_DetectAlignFaces", image=["1", 0], **DETECT),
                "4": node("GPEN_PrintUpscale", image=["2", 0], **{**PRINT, "paper": "id-35x45"}),
                "5": node("TestProbe", value=["6", 3]),
                "6": node("GPEN_DetectAlignFaces", image=["4", 0], **DETECT),
            }
            if faces:
                prompt["4"]["inputs"]["faces"] = ["3", 0]
            sheets.append(comfy.run(prompt).told("5")["value"])

        assert sheets == [1, 1]

    def test_faces_of_other_pictures_are_refused_in_words(self, comfy):
        prompt = printed(paper="id-35x45")
        prompt["6"] = picture("batch of 0, 1 and 2 faces")
        prompt["7"] = node("GPEN_DetectAlignFaces", image=["6", 0], **DETECT)
        prompt["2"]["inputs"]["faces"] = ["7", 0]

        assert "expected the 3 pictures of 512x512 pixels that the faces were found in" in comfy.run(prompt).error

    def test_an_own_size_is_not_turned(self, comfy):
        run = comfy.run(printed("tall", paper="own size in mm", width_mm=30.0, height_mm=20.0))

        assert "30.0 x 20.0 mm" in run.told("5")["value"]

    def test_a_prefix_of_windows_counts_on_too(self, comfy):
        for quality in (90, 95):
            run = comfy.run(printed(save={"filename_prefix": "from\\windows", "quality": quality}))
            assert run.ok, run.error

        assert len(list((comfy.base / "output" / "from").glob("windows_*.png"))) == 2

    def test_transparency_is_paper(self, comfy):
        prompt = printed("rgba")
        prompt["9"] = node("TestProbe", value=["2", 0])

        assert comfy.run(prompt).told("9")["max"] == 1

    @pytest.mark.parametrize("prefix", ["../outside", "/tmp/outside", "a/../../outside"])
    def test_no_file_leaves_the_output_folder(self, comfy, prefix):
        run = comfy.run(printed(save={"filename_prefix": prefix}))

        assert not run.ok
        assert not list(comfy.base.parent.rglob("outside*"))


class TestBeforeAfter:
    def compare(self, kind: str = "portrait", **settings) -> dict:
        return {
            "1": picture(kind),
            "2": node("GPEN_RestorePortrait", image=["1", 0], **PORTRAIT),
            "3": node("GPEN_BeforeAfter", before=["1", 0], after=["2", 0], **{**COMPARE, **settings}),
            "4": node("TestProbe", value=["3", 0]),
        }

    def test_side_by_side(self, comfy):
        run = comfy.run(self.compare())

        _, height, width, _ = run.told("4")["shape"]
        assert width > 1024
        assert height > 512

    def test_the_page_gets_both_pictures_for_its_slider(self, comfy):
        if "ImageCompare" not in comfy.get("/object_info"):
            pytest.skip("this version of ComfyUI has no image slider")
        run = comfy.run(self.compare())

        assert len(run.outputs("3", "images")) == len(run.outputs("3", "a_images")) == 1
        assert len(run.outputs("3", "b_images")) == 1

    def test_contact_sheet_holds_the_batch(self, comfy):
        run = comfy.run(self.compare("batch of 0, 1 and 2 faces", layout="contact sheet of the batch"))

        assert run.told("4")["shape"][0] == 1

    def test_zoom_shows_the_faces(self, comfy):
        prompt = self.compare(layout="zoom on the faces", captions="修复前 / 修复后")
        prompt["5"] = node("GPEN_DetectAlignFaces", image=["1", 0], **DETECT)
        prompt["3"]["inputs"]["faces"] = ["5", 0]

        assert comfy.run(prompt).told("4")["shape"][1] < 400

    def test_zoom_on_a_batch_shows_whole_what_has_no_face(self, comfy):
        prompt = self.compare("batch of 0, 1 and 2 faces", layout="zoom on the faces")
        prompt["5"] = node("GPEN_DetectAlignFaces", image=["1", 0], **DETECT)
        prompt["3"]["inputs"]["faces"] = ["5", 0]

        assert comfy.run(prompt).ok

    def test_zoom_follows_the_choice_of_faces(self, comfy):
        heights = []
        for take in ("all", "1"):
            prompt = self.compare("two faces", layout="zoom on the faces")
            prompt["5"] = node("GPEN_DetectAlignFaces", image=["1", 0], **DETECT)
            prompt["6"] = node("GPEN_SelectFaces", faces=["5", 0], take=take, order="left to right", smallest_face_px=0)
            prompt["3"]["inputs"]["faces"] = ["6", 0]
            heights.append(comfy.run(prompt).told("4")["shape"][1])

        assert heights[1] < 0.7 * heights[0]

    def test_zoom_without_faces_is_refused_in_words(self, comfy):
        assert "needs at least one face" in comfy.run(self.compare(layout="zoom on the faces")).error


class TestCheckPhoto:
    def check(self, kind: str, **settings) -> dict:
        defaults = {"reject_below_px": 128, "warn_below_px": 150, "largest_angle": 30.0, "niqe": False}
        return {
            "1": picture(kind),
            "2": node("GPEN_CheckPhoto", image=["1", 0], **{**defaults, **settings}),
            **{str(number + 3): node("TestProbe", value=["2", number]) for number in range(4)},
        }

    def test_a_good_portrait_passes(self, comfy):
        run = comfy.run(self.check("portrait"))

        assert run.told("3")["shape"] == [1, 512, 512, 3]
        assert run.told("4")["value"] is True
        report = json.loads(run.told("6")["value"])
        assert len(report) == 1
        assert len(report[0]["faces"]) == 1

    def test_one_bad_photo_of_a_batch_is_enough_to_reject(self, comfy):
        run = comfy.run(self.check("batch of 0, 1 and 2 faces"))

        assert run.told("4")["value"] is False
        assert "no face was found: send a photo that shows the person from the front" in run.told("5")["value"]

    def test_the_limits_are_the_users(self, comfy):
        run = comfy.run(self.check("portrait", reject_below_px=600, warn_below_px=150))

        assert run.told("4")["value"] is False
        assert "never below" not in run.told("5")["value"].splitlines()[1]

    def test_niqe_is_measured_or_its_absence_is_said(self, comfy):
        report = json.loads(comfy.run(self.check("portrait", niqe=True)).told("6")["value"])[0]

        niqe = next(finding for finding in report["findings"] if finding["name"] == "niqe")
        assert niqe["value"] is not None or any("NIQE is left out" in note for note in report["notes"])


class TestRestoreFolder:
    def run(self, comfy, **settings):
        prompt = {
            "1": node("GPEN_RestoreFolder", **{**FOLDER, **settings}),
            "2": node("TestProbe", value=["1", 0]),
            "3": node("TestProbe", value=["1", 2]),
            "4": node("TestProbe", value=["1", 3]),
        }
        return comfy.run(prompt)

    def test_a_folder_of_the_input_folder_is_restored_and_then_skipped(self, comfy):
        folder = comfy.base / "input" / "客户"
        folder.mkdir(exist_ok=True)
        (folder / "证件照.jpg").write_bytes(SAMPLE.read_bytes())
        (folder / "broken.jpg").write_bytes(SAMPLE.read_bytes()[:500])

        first = self.run(comfy, folder=f' "{folder}"\n', output_folder="done")
        again = self.run(comfy, folder="客户", output_folder="done")

        assert (first.told("3")["value"], first.told("4")["value"]) == (1, 1)
        assert (comfy.base / "output" / "done" / "证件照.jpg").is_file()
        assert "broken.jpg" in (comfy.base / "output" / "done" / "report.html").read_text(encoding="utf-8")
        assert again.told("3")["value"] == 0

    def test_faces_that_are_not_chosen_are_left_alone(self, comfy):
        run = self.run(comfy, output_folder="chosen", take="2", order="left to right")

        assert run.told("3")["value"] == 0
        assert "not chosen" in (comfy.base / "output" / "chosen" / "report.csv").read_text(encoding="utf-8")

    def test_a_photo_without_a_face_may_be_rejected(self, comfy):
        folder = comfy.base / "input" / "walls"
        folder.mkdir(exist_ok=True)
        Image.new("RGB", (300, 200), (120, 130, 140)).save(folder / "wall.png")

        run = self.run(comfy, folder="walls", output_folder="walls", no_face="reject the photo")

        assert run.ok
        assert "1 rejected" in run.told("2")["value"]
        assert not (comfy.base / "output" / "walls" / "wall.png").exists()

    @pytest.mark.parametrize("name", ["../outside", "/tmp/outside", "C:\\outside", "nul", "a\0b", ""])
    def test_results_never_leave_the_output_folder(self, comfy, name):
        run = self.run(comfy, output_folder=name)

        assert "cannot be used as a file name" in run.error

    def test_a_folder_that_does_not_exist_is_refused_in_words(self, comfy):
        assert "is not a folder" in self.run(comfy, folder="nowhere").error


class TestFreeMemory:
    def test_anything_passes_and_our_networks_go(self, comfy):
        prompt = restore("portrait")
        prompt["8"] = node("GPEN_FreeMemory", value=["2", 0], free="every network")
        prompt["9"] = node("TestProbe", value=["8", 0])
        prompt["10"] = node("TestModels", after=["8", 1])

        run = comfy.run(prompt)

        assert run.told("9")["per_picture"] == run.told("3")["per_picture"]
        assert run.told("10") == {"loaded": [], "alive": {"GpenGenerator": 0, "RetinaFace": 0}, "new": []}

    def test_a_network_that_a_loader_still_holds_is_not_loaded_twice(self, comfy):
        prompt = restore("portrait", faces_at_once=["9", 1])  # by which it runs after the memory was freed
        prompt["8"] = node("GPEN_LoadRestorer", **LOAD)
        prompt["9"] = node("GPEN_FreeMemory", value=["8", 0], free="this pack's networks")
        prompt["10"] = node("TestModels", after=["2", 0])

        assert comfy.run(prompt).told("10")["alive"]["GpenGenerator"] == 1


def test_paste_takes_a_strength(comfy):
    prompt = steps("portrait")
    prompt["4"]["inputs"] |= {**PASTE, "strength": 0.0}
    prompt["9"] = node("TestDifference", before=["1", 0], after=["4", 0], mask=["4", 1])

    assert comfy.run(prompt).told("9")["largest"] == 0
