"""A running prompt can be cancelled, and the next one runs."""

import time

from tests.comfy.graphs import restore


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
