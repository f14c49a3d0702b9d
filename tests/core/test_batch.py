"""A folder of photos: streamed, resumable, every photo accounted for."""

import base64
import csv
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, features

from gpen_core.batch import FolderSpec, restore_folder
from gpen_core.cli import main
from gpen_core.commands.restore import SAMPLE
from gpen_core.errors import PhotoError, SettingsError
from gpen_core.folder_journal import JOURNAL_NAME, Journal, PhotoRecord
from gpen_core.folder_report import picture_thumbnails
from gpen_core.models.load import load_restorer
from gpen_core.models.locking import locked
from gpen_core.models.retinaface import load_detector
from gpen_core.paste import PasteSettings
from gpen_core.photo import read_photo, write_photo
from gpen_core.pipeline import PortraitSettings
from gpen_core.progress import NoProgress
from gpen_core.select import FaceChoice
from gpen_core.types import Box

from .awkward_files import AWKWARD_FILES

pytest.importorskip("facexlib")
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Equal sums in every process, and no waiting for a busy machine's second core."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def models():
    return load_detector(), load_restorer()


@pytest.fixture(scope="module")
def face():
    """The head of the sample, 180 pixels."""
    return read_photo(SAMPLE).pixels[:, 20:200, 130:310]


@pytest.fixture
def run(models, tmp_path):
    """Restore `in` into `out`."""

    def run(source="in", output="out", settings=None, **more):
        options = {name: more.pop(name) for name in ("gate", "progress") if name in more}
        spec = FolderSpec(tmp_path / source, tmp_path / output, **more)
        return restore_folder(spec, *models, settings, **options)

    return run


def verdicts(report):
    return {record.photo: record.verdict for record in report.records}


def stamps(folder):
    return {
        path.relative_to(folder): path.stat().st_mtime_ns
        for path in folder.rglob("*")
        if path.is_file() and not path.name.startswith((".", "report."))
    }


def contents(folder):
    return {path: (folder / path).read_bytes() for path in stamps(folder)}


def test_a_folder_with_subfolders_gets_results_and_a_report(run, face, tmp_path):
    write_photo(tmp_path / "in/张三.png", face, dpi=300)
    write_photo(tmp_path / "in/二年级/李四.jpg", face)
    write_photo(tmp_path / "in/wall.png", torch.full((3, 64, 64), 0.5))
    (tmp_path / "in/broken.jpg").write_bytes(b"no photo")
    (tmp_path / "in/notes.txt").write_text("not a photo at all")
    report = run()
    assert verdicts(report) == {
        "broken.jpg": "failed",
        "wall.png": "skipped",
        "张三.png": "restored",
        "二年级/李四.jpg": "restored",
    }
    assert {path.as_posix() for path in stamps(tmp_path / "out")} == {"wall.png", "张三.png", "二年级/李四.jpg"}
    assert read_photo(tmp_path / "out/张三.png").dpi == pytest.approx((300, 300), abs=0.01)
    assert [record.photo for record in report.ask_client] == ["broken.jpg", "wall.png"]
    assert "2 restored, 1 skipped, 0 rejected, 1 failed" in report.summary()

    rows = list(csv.DictReader((tmp_path / "out/report.csv").read_text("utf-8-sig").splitlines()))
    assert [row["verdict"] for row in rows] == ["failed", "skipped", "restored", "restored"]
    assert rows[2]["photo"] == "张三.png" and rows[2]["width"] == "180"
    data = json.loads((tmp_path / "out/report.json").read_text("utf-8"))
    assert data["counts"] == {"restored": 2, "skipped": 1, "rejected": 0, "failed": 1}
    page = report.page.read_text("utf-8")
    assert "Please ask the client for a better photo" in page and "no face was found" in page
    assert page.count("data:image/jpeg;base64,") == 6, "two pictures for each photo that could be read"


def test_what_is_done_is_skipped_by_content_not_by_date(run, face, tmp_path):
    write_photo(tmp_path / "in/a.png", face)
    write_photo(tmp_path / "in/b.png", face.flip(-1))
    run()
    before = stamps(tmp_path / "out")
    os.utime(tmp_path / "in/a.png")
    report = run()
    assert set(verdicts(report).values()) == {"skipped"} and stamps(tmp_path / "out") == before
    assert report.records[0].reason == "done before: restored"
    write_photo(tmp_path / "in/b.png", face * 0.9)
    assert verdicts(run()) == {"a.png": "skipped", "b.png": "restored"}
    (tmp_path / "out/a.png").unlink()
    assert verdicts(run()) == {"a.png": "restored", "b.png": "skipped"}


def test_a_changed_setting_or_model_does_it_again(run, models, face, tmp_path):
    write_photo(tmp_path / "in/a.png", face)
    run()
    first = (tmp_path / "out/a.png").read_bytes()
    half = PortraitSettings(paste=PasteSettings(strength=0.5))
    assert run(settings=half).restored == 1
    assert (tmp_path / "out/a.png").read_bytes() != first
    assert run(settings=half).restored == 0
    assert run(settings=PortraitSettings(paste=PasteSettings(strength=0.5), batch_size=1)).restored == 0
    assert run(settings=half, quality=80).restored == 1

    weights = tmp_path / "other.safetensors"
    shutil.copy(models[1].source, weights)
    same = load_restorer(weights)
    spec = FolderSpec(tmp_path / "in", tmp_path / "out", quality=80)
    assert restore_folder(spec, models[0], same, half).restored == 0, "equal weights under another name are the same"
    _change_one_weight(weights)
    assert restore_folder(spec, models[0], load_restorer(weights), half).restored == 1


def _change_one_weight(path):
    from safetensors import safe_open
    from safetensors.torch import save_file

    with safe_open(path, "pt") as file:
        tensors, metadata = {key: file.get_tensor(key) for key in file.keys()}, file.metadata()  # noqa: SIM118
    name = sorted(key for key, value in tensors.items() if value.is_floating_point())[0]
    tensors[name] = tensors[name] * 1.01
    save_file(tensors, path, metadata)


def test_two_photos_never_share_a_result(run, face, tmp_path):
    write_photo(tmp_path / "in/a.png", face)
    write_photo(tmp_path / "in/a.jpg", face.flip(-1))
    report = run(suffix=".png")
    assert [record.output for record in report.records] == ["a.png", "a_png.png"]
    assert (read_photo(tmp_path / "out/a.png").pixels - face.flip(-1)).abs().mean() < 0.05
    Image.open(tmp_path / "in/a.png").save(tmp_path / "in/a.bmp")
    again = run(suffix=".png")
    assert [record.output for record in again.records] == ["a_bmp.png", "a.png", "a_png.png"]
    assert verdicts(again) == {"a.bmp": "restored", "a.jpg": "skipped", "a.png": "skipped"}


def test_names_that_differ_in_case_alone_are_kept_apart(run, face, tmp_path):
    write_photo(tmp_path / "in/a.png", face)
    write_photo(tmp_path / "in/A.PNG", face)
    if len(list((tmp_path / "in").iterdir())) < 2:
        pytest.skip("this file system takes both for one name")
    outputs = [record.output.lower() for record in run().records]
    assert len(set(outputs)) == 2


def test_a_file_of_somebody_else_is_never_overwritten(run, face, tmp_path):
    write_photo(tmp_path / "in/a.png", face)
    (tmp_path / "out").mkdir()
    (tmp_path / "out/a.png").write_bytes(b"precious")
    assert run().records[0].output == "a_png.png"
    assert (tmp_path / "out/a.png").read_bytes() == b"precious"


def test_a_result_that_was_retouched_since_is_never_overwritten(run, face, tmp_path, caplog):
    write_photo(tmp_path / "in/a.png", face)
    run()
    (tmp_path / "out/a.png").write_bytes(b"retouched by hand")
    assert verdicts(run()) == {"a.png": "skipped"}
    assert run(quality=80).records[0].output == "a_png.png"
    assert "a.png" in caplog.text and "changed since" in caplog.text
    assert (tmp_path / "out/a.png").read_bytes() == b"retouched by hand"
    assert run(quality=70).records[0].output == "a_png.png", "the new result is not changed, and is made anew"


def test_a_failure_in_between_does_not_cost_a_retouched_result(run, face, tmp_path):
    write_photo(tmp_path / "in/a.png", face)
    run()
    (tmp_path / "out/a.png").write_bytes(b"retouched by hand")
    (tmp_path / "in/a.png").write_bytes(b"cut short while copying")
    assert verdicts(run()) == {"a.png": "failed"}
    write_photo(tmp_path / "in/a.png", face.flip(-1))
    assert run().restored == 1
    assert (tmp_path / "out/a.png").read_bytes() == b"retouched by hand"


def test_two_input_folders_with_the_same_names_are_each_done_once(run, face, tmp_path):
    write_photo(tmp_path / "monday/IMG_1.png", face)
    write_photo(tmp_path / "tuesday/IMG_1.png", face.flip(-1))
    assert [run(day).restored for day in ("monday", "tuesday", "monday", "tuesday")] == [1, 1, 0, 0]
    assert sorted(path.name for path in (tmp_path / "out").glob("*.png")) == ["IMG_1.png", "IMG_1_png.png"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a disk that is always full")
def test_a_full_disk_ends_the_run_in_words(face, tmp_path):
    with Journal(tmp_path) as journal, Path("/dev/full").open("r+b", buffering=0) as full:
        journal._file, kept = full, journal._file
        with pytest.raises(PhotoError, match=r"cannot be written to: No space left on device\. What"):
            journal.append(PhotoRecord("a.png", "restored"))
        journal._file = kept


def test_a_source_out_of_reach_for_a_moment_gets_no_second_result(run, face, tmp_path, monkeypatch):
    write_photo(tmp_path / "in/a.png", face)
    run()

    def unreachable(path, *_):
        raise OSError(112, "Host is down")

    with monkeypatch.context() as broken:
        broken.setattr("gpen_core.batch.hash_file", unreachable)
        broken.setattr("gpen_core.batch._content_of", str)
        assert verdicts(run()) == {"a.png": "failed"}
    assert run().restored == 1
    assert [path.name for path in (tmp_path / "out").glob("*.png")] == ["a.png"]


def test_a_photo_whose_faces_were_not_chosen_is_not_asked_for(run, face, tmp_path):
    write_photo(tmp_path / "in/a.png", face)
    [record] = run(settings=PortraitSettings(choice=FaceChoice("2"))).records
    assert (record.verdict, record.ask_client) == ("skipped", False)
    assert "not chosen" in record.reason


def test_what_was_said_of_a_photo_is_said_again_when_it_is_done(run, face, tmp_path):
    photo = torch.full((3, 180, 260), 0.6)
    photo[:, :, :180] = face
    photo[:, 60:120, 190:250] = torch.nn.functional.interpolate(face[None], size=(60, 60), mode="area")[0]
    write_photo(tmp_path / "in/a.png", photo)
    settings = PortraitSettings(smallest_face_px=50)
    first, again = (run(settings=settings).records[0].reason for _ in range(2))
    assert "1 of 2 faces left as they are" in first
    assert again == f"done before: restored; {first}"


@pytest.mark.parametrize("name", ["report.csv", "report.json", "report.html"])
def test_a_report_of_somebody_else_is_never_overwritten(run, face, tmp_path, name):
    write_photo(tmp_path / "in/a.png", face)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / name).write_bytes(b"sales of May")
    for _ in range(2):
        with pytest.raises(SettingsError, match=name):
            run()
    assert (tmp_path / "out" / name).read_bytes() == b"sales of May"
    (tmp_path / "out" / name).unlink()
    assert run().restored == 1


def test_another_input_folder_does_not_overwrite_the_results_of_the_first(run, face, tmp_path):
    write_photo(tmp_path / "in/a.png", face)
    write_photo(tmp_path / "in2/a.png", face.flip(-1))
    run()
    first = (tmp_path / "out/a.png").read_bytes()
    assert run("in2").records[0].output == "a_png.png"
    assert (tmp_path / "out/a.png").read_bytes() == first


def test_a_moved_input_folder_is_still_done(run, face, tmp_path):
    write_photo(tmp_path / "in/a.png", face)
    run()
    (tmp_path / "in").rename(tmp_path / "moved")
    assert verdicts(run("moved")) == {"a.png": "skipped"}


def test_results_inside_the_input_folder_are_not_read_again(run, face, tmp_path):
    write_photo(tmp_path / "in/a.png", face)
    assert run(output="in/restored").total == 1
    assert run(output="in/restored").total == 1
    assert run(output="in/again").total == 1, "the results of the first run are no photos to restore"
    assert run("in/restored", output="second_pass").total == 1, "unless they are asked for"


def test_pattern_and_flat_folder(run, models, face, tmp_path):
    write_photo(tmp_path / "in/a.jpg", face)
    write_photo(tmp_path / "in/deep/b.jpg", face)
    report = run(pattern="{name}_{ext}_{model}", suffix=".png", recursive=False)
    assert [record.output for record in report.records] == [f"a_jpg_{models[1].source.stem}.png"]


@pytest.mark.parametrize("pattern", ["photo", "{name}/x", "..\\{name}", "{name}{number}", "{name", "{name}?"])
def test_patterns_that_name_no_file_are_refused(pattern, tmp_path):
    with pytest.raises(SettingsError, match="naming pattern"):
        FolderSpec(tmp_path, tmp_path / "out", pattern=pattern)


def test_the_output_folder_must_not_be_or_hold_the_input_folder(run, face, tmp_path):
    write_photo(tmp_path / "in/a.png", face)
    for output in ("in", "."):
        with pytest.raises(SettingsError, match="choose another one"):
            run(output=output)


def test_no_face_is_passed_on_or_rejected_as_the_settings_say(run, tmp_path):
    wall = torch.full((3, 50, 70), 0.5)
    write_photo(tmp_path / "in/wall.png", wall)
    [record] = run().records
    assert (record.verdict, record.ask_client) == ("skipped", True)
    assert record.reason == "no face was found; passed on unchanged"
    assert (read_photo(tmp_path / "out/wall.png").pixels - wall).abs().max() < 1 / 255
    stop = PortraitSettings(on_no_face="stop")
    for _ in range(2):
        [record] = run(output="out2", settings=stop).records
        assert (record.verdict, record.reason, record.ask_client) == ("rejected", "no face was found", True)
    assert stamps(tmp_path / "out2") == {}


def test_what_is_to_know_about_the_reading_is_said_of_photos_without_a_face_too(run, tmp_path):
    (tmp_path / "in").mkdir()
    Image.new("CMYK", (70, 50)).save(tmp_path / "in/press.jpg")
    [record] = run().records
    assert record.reason.startswith("no face was found; passed on unchanged; CMYK without a profile")


class TooSmall:
    def __init__(self, limit):
        self.limit = limit
        self.seen = 0

    @property
    def key(self):
        return f"smallest side {self.limit}"

    def __call__(self, photo):
        self.seen += 1
        return f"{min(photo.size)} px, at least {self.limit} are needed" if min(photo.size) < self.limit else ""


def test_a_gate_rejects_before_restoring(run, face, tmp_path):
    write_photo(tmp_path / "in/a.png", face)
    strict = TooSmall(200)
    assert run(gate=strict).records[0].reason == "180 px, at least 200 are needed"
    assert run(gate=strict).count("rejected") == 1 and strict.seen == 1, "a verdict that stands is not asked for again"
    assert verdicts(run(gate=TooSmall(100))) == {"a.png": "restored"}


class CancelAfter(NoProgress):
    """Cancels at the n-th question, as a host does: by an exception of its own."""

    class StoppedError(RuntimeError):
        pass

    def __init__(self, questions):
        self.questions = questions

    def check_cancelled(self):
        self.questions -= 1
        if self.questions < 0:
            raise self.StoppedError("stopped by the user")


def test_cancelling_works_within_a_photo_and_the_next_run_goes_on(run, face, tmp_path):
    for number in range(4):
        write_photo(tmp_path / f"in/{number}.png", face.roll(number, -1))
    run(output="unbroken")
    reached = set()
    for questions in (0, 1, 2, 3, 4, 6, 9):
        with pytest.raises(CancelAfter.StoppedError):
            run(progress=CancelAfter(questions))
        report = json.loads((tmp_path / "out/report.json").read_text("utf-8"))
        reached.add(len(report["photos"]))
        assert report["counts"]["failed"] == 0, "cancelling is not a failure of the photo"
    assert len(reached) > 2 and "not reached" in (tmp_path / "out/report.html").read_text("utf-8")
    assert run().total == 4
    assert contents(tmp_path / "out") == contents(tmp_path / "unbroken")


def test_a_killed_run_leaves_no_half_file_and_ends_as_an_unbroken_one(run, face, tmp_path):
    for number in range(8):
        write_photo(tmp_path / f"in/{number}.png", face.roll(number, -1))
    run(output="unbroken")
    words = ["restore", "-i", str(tmp_path / "in"), "-o", str(tmp_path / "out")]
    one_thread = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    command = [sys.executable, "-c", f"import sys; from gpen_core.cli import main; sys.exit(main({words!r}))"]
    for kill_after in (2, 5):
        process = subprocess.Popen(
            command, cwd=ROOT, env=one_thread, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < deadline:
            if len(list((tmp_path / "out").glob("*.png"))) >= kill_after:
                break
            time.sleep(0.002)
        process.send_signal(getattr(signal, "SIGKILL", signal.SIGTERM))
        process.wait()
        for path in (tmp_path / "out").glob("*.png"):
            assert read_photo(path).size == (180, 180)
    assert len(list((tmp_path / "out").glob("*.png"))) < 8, "no run was killed in its middle"
    report = run()
    assert set(verdicts(report).values()) == {"restored", "skipped"}
    assert contents(tmp_path / "out") == contents(tmp_path / "unbroken")
    assert list((tmp_path / "out").glob(".*.part")) == []


def test_what_a_killed_run_left_half_written_is_cleared_away(run, face, tmp_path):
    write_photo(tmp_path / "in/a.png", face)
    (tmp_path / "out/sub").mkdir(parents=True)
    (tmp_path / "out/sub/.a.0123abcd.part").write_bytes(b"half")
    (tmp_path / "out/.mine.part").write_bytes(b"not ours")
    run()
    assert not (tmp_path / "out/sub/.a.0123abcd.part").exists()
    assert (tmp_path / "out/.mine.part").exists()


def test_a_journal_cut_short_costs_one_photo_at_most(run, face, tmp_path):
    write_photo(tmp_path / "in/a.png", face)
    write_photo(tmp_path / "in/b.png", face)
    run()
    journal = tmp_path / "out" / JOURNAL_NAME
    journal.write_bytes(journal.read_bytes()[:-40])
    assert verdicts(run()) == {"a.png": "skipped", "b.png": "restored"}
    assert verdicts(run()) == {"a.png": "skipped", "b.png": "skipped"}
    assert len(stamps(tmp_path / "out")) == 2


def test_two_runs_into_one_folder_are_refused(run, face, tmp_path):
    write_photo(tmp_path / "in/a.png", face)
    with locked(tmp_path / "out/restore_folder"), pytest.raises(SettingsError, match="another run is writing"):
        run()


def test_names_from_outside_do_no_harm_in_the_report(run, tmp_path):
    (tmp_path / "in").mkdir()
    name = "=1+1 &lt.jpg" if os.name == "nt" else "=1+1<img src=x onerror=alert(1)>.jpg"
    (tmp_path / "in" / name).write_bytes(b"no photo")
    page = run().page.read_text("utf-8")
    assert "<img src=x" not in page and "=1+1&" in page
    assert "\n'=1+1" in (tmp_path / "out/report.csv").read_text("utf-8-sig")


def test_a_report_that_is_open_elsewhere_costs_only_itself(run, face, tmp_path, monkeypatch):
    """On Windows a spreadsheet keeps its table from being replaced."""
    write_photo(tmp_path / "in" / "a.png", face)
    replace = Path.replace

    def refuse(self, target):
        if Path(target).name == "report.csv":
            raise PermissionError(13, "the file is in use")
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", refuse)
    report = run()

    assert report.restored == 1
    assert "report.csv" in report.problems[0] and "the file is in use" in report.summary()
    assert (tmp_path / "out" / "report.html").is_file() and (tmp_path / "out" / "report.json").is_file()


def test_thumbnails_of_an_enlarged_photo_show_the_same_place():
    before = torch.zeros(3, 200, 300)
    before[0, 40:80, 200:240] = 1  # a red face in the dark
    after = before.repeat_interleave(2, 1).repeat_interleave(2, 2)
    small = picture_thumbnails(before, after, Box(400, 80, 479, 159))
    means = [
        np.asarray(Image.open(io.BytesIO(base64.b64decode(jpeg))).convert("RGB"), float).mean(axis=(0, 1))
        for jpeg in (small.before, small.after)
    ]
    assert means[1][0] > 20
    np.testing.assert_allclose(means[0], means[1], atol=4)


def test_an_empty_folder_gives_an_empty_report(run, tmp_path):
    (tmp_path / "in").mkdir()
    report = run()
    assert report.total == 0 and report.page.is_file()


def test_awkward_files_get_the_right_verdict_each(run, face, tmp_path):
    """A portrait in every format, mode, profile, orientation and kind of damage."""
    picture = Image.fromarray((face.permute(1, 2, 0).numpy() * 255).round().astype("uint8"))
    (tmp_path / "in").mkdir()
    expected = {}
    for file in AWKWARD_FILES:
        if file.needs and not (features.check(file.needs) if file.needs == "avif" else find_spec(file.needs)):
            continue
        path = tmp_path / "in" / file.name
        file.make(path, picture)
        if path.is_file():
            expected[file.name] = "failed" if file.verdict == "refused" else "restored"
    assert len(expected) >= 40
    report = run()
    found = verdicts(report)
    # At one bit per pixel nobody need find a face.
    assert {name for name in found if found[name] != expected[name]} <= {"one_bit.png", "fax.tif"}
    assert all(found[name] in ("restored", "skipped") for name in ("one_bit.png", "fax.tif"))
    for record in report.records:
        assert record.reason or record.verdict == "restored"
        if record.verdict == "restored":
            assert read_photo(tmp_path / "out" / record.output).size == (180, 180)
    assert report.failed == sum(verdict == "failed" for verdict in expected.values())


def test_the_command_line_takes_a_folder(face, tmp_path, capsys):
    write_photo(tmp_path / "in/a.png", face)
    write_photo(tmp_path / "in/small.png", torch.full((3, 40, 40), 0.5))
    write_photo(tmp_path / "in/sub/b.png", face)
    words = ["restore", "-i", str(tmp_path / "in"), "-o", str(tmp_path / "out"), "--format", "jpg", "--pattern"]
    assert main([*words, "{name}_restored", "--flat", "--check"]) == 0
    assert "1 restored, 0 skipped, 1 rejected, 0 failed" in capsys.readouterr().out
    assert [path.as_posix() for path in stamps(tmp_path / "out")] == ["a_restored.jpg"]
    (tmp_path / "in/broken.png").write_bytes(b"no photo")
    assert main([*words, "{name}"]) == 1
    assert "failed: broken.png" in capsys.readouterr().out
    assert main([*words, "{name}", "--compare", "sheet.png"]) == 1
    assert "verb compare" in capsys.readouterr().err
