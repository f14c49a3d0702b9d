"""Pictures of every kind go through the nodes."""

import pytest

from tests.comfy.graphs import both_ways, node, picture, restore, steps


@pytest.mark.parametrize("kind", ["portrait", "fp16", "bf16", "overshoot"])
def test_any_floating_image_comes_back_as_rgb_in_range(comfy, kind):
    run = comfy.run(restore(kind))

    image = run.told("3")
    assert image["shape"] == [1, 512, 512, 3]
    assert image["dtype"] == "torch.float32"
    assert 0 <= image["min"] < image["max"] <= 1
    assert run.told("4")["shape"] == [1, 512, 512]
    assert run.told("5")["value"] == 1


def test_only_what_the_mask_shows_has_changed(comfy):
    change = comfy.run(restore("portrait")).told("7")

    assert change["outside"] == 0
    assert change["inside"] > 0.01
    assert 0.02 < change["mask_share"] < 0.2


def test_strength_0_changes_nothing(comfy):
    change = comfy.run(restore("portrait", strength=0.0)).told("7")

    assert change == {"largest": 0.0, "outside": 0.0, "inside": None, "mask_share": 0.0}


def test_face_only_is_a_smaller_area_than_the_head(comfy):
    head = comfy.run(restore("portrait")).told("7")["mask_share"]
    face = comfy.run(restore("portrait", area="face only")).told("7")["mask_share"]

    assert face < 0.8 * head


def test_a_grey_picture_becomes_rgb(comfy):
    assert comfy.run(restore("grey")).told("3")["shape"] == [1, 512, 512, 3]


def test_alpha_comes_through(comfy):
    prompt = restore("rgba")
    prompt["8"] = node("SplitImageWithAlpha", image=["2", 0])
    prompt["9"] = node("TestProbe", value=["8", 1])
    prompt["10"] = node("SplitImageWithAlpha", image=["1", 0])
    prompt["11"] = node("TestProbe", value=["10", 1])

    run = comfy.run(prompt)

    assert run.told("3")["shape"] == [1, 512, 512, 4]
    assert run.told("9")["per_picture"] == run.told("11")["per_picture"]


def test_a_picture_that_is_not_finite_is_refused_in_words(comfy):
    run = comfy.run(restore("nan"))

    assert not run.ok
    assert "got 1 that are NaN or infinite" in run.error


def test_a_batch_holds_different_numbers_of_faces(comfy):
    run = comfy.run(restore("batch of 0, 1 and 2 faces"))

    assert run.told("3")["shape"] == [3, 512, 512, 3]
    assert run.told("5")["value"] == 3
    report = run.told("6")["value"]
    assert "picture 1: 0 of 0 faces restored\n  No face found: the photo is unchanged." in report
    assert "picture 2: 1 of 1 faces restored" in report
    assert "picture 3: 2 of 2 faces restored" in report


def test_the_same_batch_step_by_step_gives_the_same_pictures(comfy):
    run = comfy.run(both_ways("batch of 0, 1 and 2 faces"))

    assert run.told("5")["shape"] == [3, 256, 256, 3]
    assert run.told("6")["value"] == 3
    assert run.told("10")["largest"] < 1e-4  # the faces run in other batches, so the last bits may differ
    assert run.told("10")["mask_share"] > 0.01


def test_max_faces_takes_the_largest_of_each_picture(comfy):
    run = comfy.run(steps("batch of 0, 1 and 2 faces", max_faces=1))

    assert run.told("6")["value"] == 2


def test_faces_of_another_batch_are_refused(comfy):
    prompt = steps("portrait")
    prompt["9"] = picture("batch of 0, 1 and 2 faces")
    prompt["4"]["inputs"]["image"] = ["9", 0]

    run = comfy.run(prompt)

    assert "expected the batch of 1 pictures that the faces were cut from, got 3" in run.error


def test_the_report_names_the_network_and_how_to_get_a_better_one(comfy):
    report = comfy.run(restore("portrait")).told("6")["value"]

    assert "restorer: GPEN Portrait small 256" in report
    assert "models fetch GPEN-BFR-512" in report


def redrawn(kind: str, size: int) -> dict:
    """Paste the restored faces after another node has inverted and resized them; probe image (7) and change (9)."""
    prompt = steps(kind)
    prompt["10"] = node("ImageInvert", image=["3", 1])
    prompt["11"] = node(
        "ImageScale", image=["10", 0], upscale_method="bilinear", width=size, height=size, crop="disabled"
    )
    prompt["4"]["inputs"]["crops"] = ["11", 0]
    prompt["9"] = node("TestDifference", before=["1", 0], after=["4", 0], mask=["4", 1])
    return prompt


@pytest.mark.parametrize("size", [256, 400])
def test_faces_drawn_by_other_nodes_go_back_into_their_place(comfy, size):
    change = comfy.run(redrawn("portrait", size)).told("9")

    assert change["outside"] == 0
    assert change["inside"] > 0.2
    assert 0.02 < change["mask_share"] < 0.2


def test_without_a_face_the_photo_passes_though_crops_are_connected(comfy):
    run = comfy.run(redrawn("no face", 256))

    assert run.told("7")["shape"] == [1, 512, 512, 3]
    assert run.told("9")["largest"] == 0


def test_a_word_that_is_in_no_menu_is_refused_in_words(comfy):
    prompt = restore("portrait")
    prompt["9"] = node("TestText", text="the whole body")
    prompt["2"]["inputs"]["area"] = ["9", 0]

    run = comfy.run(prompt)

    assert "expected one of 'head with hair', 'face only', got 'the whole body'" in run.error


def test_crops_that_are_not_the_faces_are_refused(comfy):
    prompt = steps("portrait")
    prompt["9"] = picture("batch of 0, 1 and 2 faces")
    prompt["4"]["inputs"]["crops"] = ["9", 0]

    run = comfy.run(prompt)

    assert not run.ok
    assert "one square picture for each of the 1 faces" in run.error
