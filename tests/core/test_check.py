"""Examples of the photo check: one good portrait, and what is said when it is spoilt in one way at a time."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional

from gpen_core import check, cli, from_basicsr
from gpen_core.check import PhotoCheck, check_photo, worst
from gpen_core.check_limits import LABELS, CheckThresholds, names_of_limits
from gpen_core.check_measures import PhotoMeasures
from gpen_core.check_report import annotate, reasons
from gpen_core.errors import MissingPackageError, SettingsError, ShapeError
from gpen_core.headpose import HeadPose
from gpen_core.models.facemesh import FaceMesh, MeshPoints, load_face_mesh
from gpen_core.models.retinaface import FaceDetector, load_detector
from gpen_core.types import Face

ASTRONAUT = Path(__file__).parents[1] / "data" / "astronaut.png"


class Kit:
    """The check with its networks loaded once, on the astronaut cropped to a portrait (face at its centre)."""

    def __init__(self) -> None:
        self.detector: FaceDetector = load_detector()
        self.mesh: FaceMesh = load_face_mesh()
        pixels = torch.from_numpy(cv2.cvtColor(cv2.imread(str(ASTRONAUT)), cv2.COLOR_BGR2RGB)).permute(2, 0, 1)
        self.portrait = (pixels.float() / 255)[:, :320, 65:385].contiguous()

    def check(self, pixels: torch.Tensor, **options: object) -> PhotoCheck:
        options = {"mesh": self.mesh, "with_niqe": False, **options}
        return check_photo(pixels, self.detector, **options)  # type: ignore[arg-type]

    def verdicts(self, pixels: torch.Tensor, **options: object) -> dict[str, str]:
        return {finding.name: finding.verdict for finding in self.check(pixels, **options).deciding}


@pytest.fixture(scope="module")
def kit() -> Kit:
    return Kit()


def value(check: PhotoCheck, name: str) -> float | None:
    return next(finding.value for finding in check.deciding if finding.name == name)


def test_a_good_portrait(kit: Kit) -> None:
    before = kit.portrait.clone()
    check = kit.check(kit.portrait)
    assert (check.verdict, check.ok, check.advice) == ("ok", True, ())
    assert len(check.faces) == 1
    assert value(check, "width") == 320
    assert value(check, "face_size") == pytest.approx(95, abs=3)
    assert value(check, "eyes_open") == pytest.approx(0.31, abs=0.03)
    assert abs(value(check, "yaw") or 99) < 6
    assert [finding.name for finding in check.deciding] == list(names_of_limits())
    assert torch.equal(kit.portrait, before)


def test_no_face(kit: Kit) -> None:
    check = kit.check(torch.full((3, 200, 200), 0.5))
    assert (check.verdict, check.ok, check.faces) == ("reject", False, ())
    assert check.advice[0].startswith("no face was found")
    assert "REJECT: 200 x 200 px, 0 face(s)" in check.text()
    assert annotate(torch.full((3, 200, 200), 0.5), check).shape == (3, 200, 200)


@pytest.mark.parametrize(
    ("size", "verdict"),
    [(120, "reject"), (140, "warn"), (150, "ok")],
)
def test_small_pictures(kit: Kit, size: int, verdict: str) -> None:
    assert kit.verdicts(kit.portrait[:, 50 : 50 + size, 90 : 90 + size])["width"] == verdict


def test_dark_and_bright(kit: Kit) -> None:
    assert kit.verdicts(kit.portrait * 0.12)["brightness"] == "reject"
    assert kit.verdicts((kit.portrait * 1.9).clamp(0, 1))["clipped"] == "reject"


def test_light_from_behind_is_told_from_dark_skin(kit: Kit) -> None:
    y, x = np.mgrid[:320, :320]
    face = torch.from_numpy(np.hypot((x - 160) / 62, (y - 117) / 80) < 1)
    dark_skin = torch.where(face, kit.portrait * 0.32, torch.ones(3, 320, 320) * 0.95)  # its middle is luma 0.22
    backlit = torch.where(face, kit.portrait * 0.13, torch.ones(3, 320, 320) * 0.95)
    assert kit.verdicts(dark_skin)["backlight"] == "ok"
    assert kit.verdicts(dark_skin)["brightness"] == "ok"
    assert kit.verdicts(backlit)["backlight"] == "reject"


def test_blurred(kit: Kit) -> None:
    def blurred(sigma: float) -> torch.Tensor:
        return torch.from_numpy(cv2.GaussianBlur(kit.portrait.permute(1, 2, 0).numpy(), (0, 0), sigma)).permute(2, 0, 1)

    assert kit.verdicts(blurred(1.2))["sharpness"] == "warn"
    assert kit.verdicts(blurred(4.0))["sharpness"] == "reject"


def test_noisy_and_compressed(kit: Kit) -> None:
    rng = np.random.default_rng(0)
    noisy = kit.portrait + torch.from_numpy(rng.normal(0, 0.1, kit.portrait.shape)).float()
    assert kit.verdicts(noisy.clamp(0, 1))["noise"] == "reject"
    picture = (kit.portrait.permute(1, 2, 0).numpy() * 255).astype(np.uint8)
    coarse = cv2.imdecode(cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 10])[1], 1)
    coarse = torch.from_numpy(coarse).permute(2, 0, 1).float() / 255
    assert kit.verdicts(coarse)["blockiness"] in ("warn", "reject")


def test_noise_is_seen_beneath_jpeg(kit: Kit) -> None:
    """JPEG takes half of the noise that single pixels show."""
    rng = np.random.default_rng(0)
    picture = kit.portrait.permute(1, 2, 0).numpy() * 255

    def sent(sigma: float) -> torch.Tensor:
        noisy = (picture + rng.normal(0, sigma, picture.shape)).clip(0, 255).astype(np.uint8)
        return torch.from_numpy(cv2.imdecode(cv2.imencode(".jpg", noisy, [cv2.IMWRITE_JPEG_QUALITY, 85])[1], 1))

    assert kit.verdicts(sent(9).permute(2, 0, 1).float() / 255)["noise"] == "warn"
    assert kit.verdicts(sent(2).permute(2, 0, 1).float() / 255)["noise"] == "ok"


def test_tilted(kit: Kit) -> None:
    turn = cv2.getRotationMatrix2D((160, 117), 35, 1.0)
    turned = cv2.warpAffine(kit.portrait.permute(1, 2, 0).numpy(), turn, (320, 320), borderMode=cv2.BORDER_REFLECT)
    check = kit.check(torch.from_numpy(turned).permute(2, 0, 1))
    assert value(check, "roll") == pytest.approx(-33, abs=5)  # OpenCV turns anticlockwise
    assert not check.ok
    assert any(advice.startswith("tilted") for advice in check.advice)


def test_off_centre_and_cut_off(kit: Kit) -> None:
    assert kit.verdicts(kit.portrait[:, :, :215])["off_center"] == "ok"
    assert kit.verdicts(functional.pad(kit.portrait, (0, 500)))["off_center"] == "warn"
    assert kit.verdicts(kit.portrait[:, :, 140:])["cut_off"] == "reject"


def test_the_largest_of_several_faces_decides(kit: Kit) -> None:
    smaller = functional.interpolate(kit.portrait[None], (200, 200))[0] * 0.25  # a bystander in the dark
    check = kit.check(torch.cat((kit.portrait, functional.pad(smaller, (0, 0, 60, 60))), dim=2))
    assert len(check.faces) == 2
    assert check.faces[0].face.box.width > check.faces[1].face.box.width
    assert (check.faces[0].verdict, check.verdict) == ("ok", "warn")  # warned about for the second face only
    assert check.advice[0].startswith("faces: crop to one person")
    assert "face 1 (decides): ok" in check.text()


class Doctored:
    """A face mesh whose upper eyelids lie `openness` of the way up from the lower ones."""

    def __init__(self, mesh: FaceMesh, openness: float) -> None:
        self.mesh, self.openness = mesh, openness

    def look(self, image: torch.Tensor, face: Face) -> MeshPoints:
        found = self.mesh.look(image, face)
        xyz = found.xyz.copy()
        for upper, lower in ((160, 144), (158, 153), (387, 373), (385, 380)):
            xyz[upper] = xyz[lower] + self.openness * (xyz[upper] - xyz[lower])
        return MeshPoints(xyz, found.presence)


class Turned:
    """Stands in for a head-pose network."""

    def __init__(self, yaw: float) -> None:
        self.yaw = yaw

    def pose(self, image: torch.Tensor, face: Face) -> HeadPose:
        return HeadPose(self.yaw, 0.0, 0.0)


@pytest.mark.parametrize(("openness", "verdict"), [(1.0, "ok"), (0.6, "warn"), (0.3, "reject")])
def test_closed_eyes(kit: Kit, openness: float, verdict: str) -> None:
    assert kit.verdicts(kit.portrait, mesh=Doctored(kit.mesh, openness))["eyes_open"] == verdict


@pytest.mark.parametrize(("yaw", "verdict"), [(19, "ok"), (-25, "warn"), (31, "reject"), (-60, "reject")])
def test_the_limit_of_turning_away(kit: Kit, yaw: float, verdict: str) -> None:
    verdicts = kit.verdicts(kit.portrait, head_pose=Turned(yaw))
    assert verdicts["yaw"] == verdict
    assert verdicts["eyes_open"] == ("unknown" if abs(yaw) > 35 else "ok")  # in profile eyelids are guesswork


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # basicsr uses an old name of scipy's
def test_niqe_and_its_absence(kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    if has_basicsr():
        assert value(kit.check(kit.portrait, with_niqe=True), "niqe") == pytest.approx(4, abs=2)

    def missing() -> None:
        raise MissingPackageError("pip install basicsr")

    monkeypatch.setattr(from_basicsr, "niqe_module", missing)
    check = kit.check(kit.portrait, with_niqe=True)
    assert value(check, "niqe") is None
    assert check.ok
    assert check.notes == ("NIQE is left out: pip install basicsr",)
    assert "note: NIQE is left out" in check.text()


@pytest.mark.parametrize("level", [0.0, 0.5, 1.0])
def test_a_plain_picture_has_no_niqe(kit: Kit, level: float) -> None:
    if not has_basicsr():
        pytest.skip("NIQE needs basicsr")
    check = kit.check(torch.full((3, 512, 512), level), with_niqe=True)
    assert value(check, "niqe") is None
    assert not check.ok


def has_basicsr() -> bool:
    try:
        from_basicsr.niqe_module()
    except MissingPackageError:
        return False
    return True


def test_reports(kit: Kit) -> None:
    check = kit.check(kit.portrait * 0.12)
    report = json.loads(check.as_json())
    assert (report["ok"], report["verdict"], report["width"]) == (False, "reject", 320)
    assert len(report["faces"][0]["findings"]) == 14
    brightness = next(f for f in report["faces"][0]["findings"] if f["name"] == "brightness")
    assert brightness["limit"] == "at least 14, never below 10.5%"
    assert brightness["advice"] in report["advice"]
    assert "REJECT face brightness" in check.text()
    drawn = annotate(kit.portrait, check)
    assert drawn.shape == kit.portrait.shape
    assert 0 <= drawn.min() <= drawn.max() <= 1
    changed = (drawn != kit.portrait).any(dim=0).float().mean()
    assert 0.01 < changed < 0.3
    with pytest.raises(ShapeError, match="the photo that was checked"):
        annotate(kit.portrait[:, :-1], check)


def test_thresholds_are_settings(kit: Kit) -> None:
    strict = CheckThresholds().with_limit("width", 600, 400)
    assert kit.verdicts(kit.portrait, thresholds=strict)["width"] == "reject"
    assert strict.width.reason == CheckThresholds().width.reason
    with pytest.raises(SettingsError, match='there is no limit "wdth"; known are width, height'):
        CheckThresholds().with_limit("wdth", 1, 2)
    for name in ("wdth", "limit"):
        with pytest.raises(SettingsError, match=f'there is no limit "{name}"; known are width, height'):
            CheckThresholds().limit(name)
    with pytest.raises(SettingsError, match="the limit to reject must be at most"):
        CheckThresholds().with_limit("width", 100, 200)


def test_every_limit_has_a_name_a_reason_and_advice() -> None:
    assert set(LABELS) == set(names_of_limits())
    for name in names_of_limits():
        limit = CheckThresholds().limit(name)
        assert len(limit.reason) > 20
        assert limit.advice
        assert name in reasons(CheckThresholds(), (name,))


def test_judging() -> None:
    limit = CheckThresholds().width
    assert [limit.judge(v) for v in (None, 127, 128, 149, 150)] == ["unknown", "reject", "warn", "warn", "ok"]
    assert CheckThresholds().faces.words() == "at most 1"
    assert worst(()) == "ok"


def test_a_batch_is_refused(kit: Kit) -> None:
    with pytest.raises(ShapeError, match=r"expected one photo \(3, H, W\), got \(1, 3, 8, 8\)"):
        kit.check(torch.zeros(1, 3, 8, 8))


def test_one_file_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    drawn = tmp_path / "drawn.png"
    code = cli.main(["check", "-i", str(ASTRONAUT), "-o", str(drawn), "--no-niqe", "--json", "-", "--device", "cpu"])
    report = json.loads(capsys.readouterr().out)
    assert code == 0
    assert report["verdict"] == "warn"  # her face is in the upper half
    assert cv2.imread(str(drawn)).shape == (512, 512, 3)
    strict = ["check", "-i", str(ASTRONAUT), "--no-niqe", "--device", "cpu", "--limit", "width=2000:1000"]
    assert cli.main(strict) == 1
    assert "REJECT picture width" in capsys.readouterr().out


def test_a_folder_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photos = tmp_path / "in"
    (photos / "more").mkdir(parents=True)
    (photos / "more" / "good.png").write_bytes(ASTRONAUT.read_bytes())
    (photos / "broken.jpg").write_bytes(b"no picture")
    report = tmp_path / "report.json"
    words = ["check", "-i", str(photos), "-o", str(tmp_path / "out"), "--json", str(report), "--no-niqe"]
    assert cli.main([*words, "--device", "cpu"]) == 1
    out = capsys.readouterr().out
    assert "2 photos, 1 rejected or unreadable" in out
    assert {entry["file"]: entry["verdict"] for entry in json.loads(report.read_text(encoding="utf-8"))} == {
        "broken.jpg": "unreadable",
        "more/good.png": "warn",
    }
    assert (tmp_path / "out" / "more" / "good.png.jpg").is_file()


def test_a_folder_is_never_its_own_output(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("anna.jpg", "anna.jpg.jpg"):
        (tmp_path / "in").mkdir(exist_ok=True)
        (tmp_path / "in" / name).write_bytes(ASTRONAUT.read_bytes())
    for output in ("in", "."):
        assert cli.main(["check", "-i", str(tmp_path / "in"), "-o", str(tmp_path / output), "--no-niqe"]) == 1
        assert "choose another one, beside or inside the input folder" in capsys.readouterr().err
    assert (tmp_path / "in" / "anna.jpg.jpg").read_bytes() == ASTRONAUT.read_bytes()


def test_one_photo_does_not_end_the_check_of_a_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(ASTRONAUT.read_bytes())
    measure, trouble = check.measure_photo, [ZeroDivisionError("division by zero")]

    def fail_once(*words: object, **more: object) -> PhotoMeasures:
        if trouble:
            raise trouble.pop()
        return measure(*words, **more)

    monkeypatch.setattr(check, "measure_photo", fail_once)
    report = tmp_path / "report.json"
    assert cli.main(["check", "-i", str(tmp_path), "--no-niqe", "--json", str(report), "--device", "cpu"]) == 1
    entries = json.loads(report.read_text(encoding="utf-8"))
    assert [entry["verdict"] for entry in entries] == ["failed", "warn"]
    assert entries[0]["advice"] == ["ZeroDivisionError: division by zero"]
    assert "failed     a.png  ZeroDivisionError" in capsys.readouterr().out


def test_what_is_to_know_about_the_reading_is_in_the_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Image.new("CMYK", (64, 64)).save(tmp_path / "a.jpg")
    words = ["check", "-i", str(tmp_path / "a.jpg"), "--no-niqe", "--device", "cpu"]
    cli.main([*words, "--json", str(tmp_path / "report.json")])
    assert "note: CMYK without a profile" in capsys.readouterr().out
    notes = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))["notes"]
    assert notes[0].startswith("CMYK without a profile")


def test_what_transparency_hides_is_not_checked(tmp_path: Path) -> None:
    hidden = Image.open(ASTRONAUT).convert("RGBA")
    hidden.putalpha(0)
    hidden.save(tmp_path / "cut_out.png")
    words = ["check", "-i", str(tmp_path / "cut_out.png"), "-o", str(tmp_path / "drawn.png"), "--no-niqe"]
    cli.main([*words, "--json", str(tmp_path / "report.json"), "--device", "cpu"])
    assert json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))["faces"] == []
    assert Image.open(tmp_path / "drawn.png").getpixel((500, 500)) == (255, 255, 255)


def test_wrong_words_on_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["check", "--limits"]) == 0
    assert "[eyes_open]" in capsys.readouterr().out
    assert cli.main(["check"]) == 1
    assert "no photo given" in capsys.readouterr().err
    assert cli.main(["check", "-i", "x", "--limit", "width"]) == 1
    assert "expected NAME=WARN or NAME=WARN:REJECT" in capsys.readouterr().err
