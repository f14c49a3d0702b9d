"""A running prompt can be cancelled, and the next one runs."""

import time

from tests.comfy.graphs import FOLDER, node, restore
from tests.comfy.server import PACK


def test_cancel_stops_between_two_pictures(comfy):
    prompt_id = comfy.queue(restore("batch of 60", faces_at_once=1, strength=0.9))
    while not comfy.get("/queue")["queue_running"]:
        time.sleep(0.02)
    time.sleep(0.8)
    pressed = time.monotonic()
    comfy.post("/interrupt", {})
    history = comfy.wait(prompt_id)

    assert [kind for kind, _ in history["status"]["messages"]][-1] == "execution_interrupted"
    assert time.monotonic() - pressed < 10  # all sixty take much longer
    assert comfy.run(restore("portrait")).ok


def test_pictures_without_a_face_move_the_bar_and_can_be_cancelled(comfy):
    prompt_id = comfy.queue(restore("batch of 60 without a face", min_score=0.81))
    while not comfy.get("/queue")["queue_running"]:
        time.sleep(0.02)
    time.sleep(0.8)
    comfy.post("/interrupt", {})
    history = comfy.wait(prompt_id)

    assert [kind for kind, _ in history["status"]["messages"]][-1] == "execution_interrupted"


def test_a_folder_that_was_cancelled_goes_on_where_it_was(comfy):
    folder = comfy.base / "input" / "many"
    folder.mkdir()
    for number in range(12):
        (folder / f"{number:02}.jpg").write_bytes((PACK / "gpen_core" / "samples" / "astronaut_poor.jpg").read_bytes())
    prompt = {
        "1": node("GPEN_RestoreFolder", **{**FOLDER, "folder": "many", "output_folder": "many"}),
        "2": node("TestProbe", value=["1", 2]),
    }

    prompt_id = comfy.queue(prompt)
    results = comfy.base / "output" / "many"
    end = time.monotonic() + 60
    while not list(results.glob("*.jpg")) and time.monotonic() < end:
        time.sleep(0.02)
    comfy.post("/interrupt", {})
    history = comfy.wait(prompt_id)
    done = len(list(results.glob("*.jpg")))
    again = comfy.run(prompt)

    assert [kind for kind, _ in history["status"]["messages"]][-1] == "execution_interrupted"
    assert 1 <= done < 12
    assert again.told("2")["value"] == 12 - done
    assert len(list(results.glob("*.jpg"))) == 12
