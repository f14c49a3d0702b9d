"""What happens to a picture without a face is the user's choice."""

from tests.comfy.graphs import both_ways, node, restore, steps

WHOLE = "treat the whole picture as a face"
STOP = "stop with an error"


def test_the_photo_passes_on_unchanged_and_the_report_says_so(comfy):
    run = comfy.run(restore("no face"))

    assert run.told("7")["largest"] == 0
    assert "No face found: the photo is unchanged." in run.told("6")["value"]


def test_the_whole_picture_is_restored(comfy):
    run = comfy.run(restore("no face", no_face=WHOLE))

    assert run.told("7")["mask_share"] > 0.9
    assert "the whole picture was taken for one face" in run.told("6")["value"]


def test_the_run_stops(comfy):
    run = comfy.run(restore("no face", no_face=STOP))

    assert not run.ok
    assert "NoFaceError: expected at least one face, found none in a picture of 512x512 pixels" in run.error


def test_step_by_step_the_photo_passes_on_and_nothing_runs_behind_the_crops(comfy):
    run = comfy.run(both_ways("no face"))

    assert run.told("6")["value"] == 0
    assert run.told("10")["largest"] == 0
    assert run.outputs("5", "text") == []


def test_step_by_step_the_whole_picture_is_restored_alike(comfy):
    prompt = steps("no face", no_face=WHOLE)
    prompt["9"] = restore("no face", no_face=WHOLE)["2"]
    prompt["10"] = node("TestDifference", before=["9", 0], after=["4", 0], mask=["9", 1])

    run = comfy.run(prompt)

    assert run.told("10")["largest"] < 1e-4
    assert "no face found, the whole picture was taken for one" in run.told("8")["value"]


def test_step_by_step_the_run_stops(comfy):
    run = comfy.run(steps("batch of 0, 1 and 2 faces", no_face=STOP))

    assert "NoFaceError: no face was found in picture 1 of 3" in run.error
