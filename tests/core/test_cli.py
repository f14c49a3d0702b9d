"""The command line as a user meets it."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from gpen_core.cli import UNREAD, VERBS, main
from gpen_core.commands.restore import SAMPLE

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main([verb, "--help"])
    assert stop.value.code == 0
    assert f"python -m gpen_core {verb}" in capsys.readouterr().out


def test_unknown_verb_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["beautify"])
    assert stop.value.code == 2
    assert "beautify" in capsys.readouterr().err


def test_errors_are_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["restore", "-i", "no_such_photo.jpg"]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "no_such_photo.jpg" in error


def test_debug_shows_the_trace() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "gpen_core", "restore", "--debug", "-i", "no_such_photo.jpg"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1 and "Traceback" in done.stderr


@pytest.mark.skipif(os.name == "nt", reason="a pipe whose reader has ended is told in another way there")
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_ends_quietly_when_nobody_reads_on(unbuffered: str) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "gpen_core", "models", "list"],
        cwd=ROOT,
        env=os.environ | {"PYTHONUNBUFFERED": unbuffered},
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (UNREAD, "")


def test_names_a_console_cannot_show_do_not_stop_a_run(tmp_path: Path) -> None:
    """Western Windows gives programs cp1252 for a file or a pipe."""
    (tmp_path / "照片.jpg").write_bytes(b"no photo")
    command = [sys.executable, "-m", "gpen_core", "check", "-i", str(tmp_path), "--json", str(tmp_path / "out.json")]
    environment = {**_with_package_path(), "PYTHONIOENCODING": "cp1252"}

    done = subprocess.run(command, capture_output=True, check=False, env=environment)

    assert done.returncode == 1
    assert b"1 photos, 1 rejected or unreadable" in done.stdout
    assert b"Traceback" not in done.stderr
    assert "照片.jpg" in (tmp_path / "out.json").read_text(encoding="utf-8")


def test_the_check_does_not_write_over_its_photo(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(SAMPLE.read_bytes())

    assert main(["check", "-i", str(photo), "--json", str(photo)]) == 1
    assert "never overwritten" in capsys.readouterr().err
    assert photo.read_bytes() == SAMPLE.read_bytes()


def test_sample_is_restored_without_arguments(tmp_path: Path) -> None:
    from gpen_core.photo import read_photo

    done = subprocess.run(
        [sys.executable, "-m", "gpen_core"],
        cwd=tmp_path,
        env=_with_package_path(),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "1 of 1 faces restored" in done.stdout
    assert "models fetch GPEN-BFR-512" in done.stdout
    assert read_photo(tmp_path / "gpen_restored.png").pixels.shape == (3, 512, 512)
    assert (tmp_path / "gpen_before_after.png").is_file()


def test_help_needs_no_heavy_import() -> None:
    script = (
        "import sys; sys.argv = ['x', '--help']\nfrom gpen_core.cli import main\ntry: main()\nexcept SystemExit: pass\n"
    )
    script += "sys.exit(sum(name in sys.modules for name in ('torch', 'cv2', 'numpy', 'PIL')))"
    assert subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True).returncode == 0


def test_input_is_never_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photo = tmp_path / "me.jpg"
    photo.write_bytes((ROOT / "gpen_core" / "samples" / "astronaut_poor.jpg").read_bytes())
    before = photo.read_bytes()
    assert main(["restore", "-i", str(photo), "-o", str(photo)]) == 1
    assert photo.read_bytes() == before
    assert "me.jpg" in capsys.readouterr().err


def test_precision_is_what_the_restorer_computes_in(tmp_path: Path) -> None:
    import torch
    from safetensors.torch import save_file

    from gpen_core.models.gpen import GpenGenerator, GpenSpec
    from gpen_core.photo import read_photo

    torch.manual_seed(0)
    weights, photo = tmp_path / "tiny.safetensors", ROOT / "gpen_core" / "samples" / "astronaut_poor.jpg"
    save_file(GpenGenerator(GpenSpec(64, 16, 1, (8, 8, 8, 8, 8))).state_dict(), weights)
    made = {}
    for precision in ("fp32", "bf16", "fp16"):
        output = tmp_path / f"{precision}.png"
        words = ["-i", str(photo), "-o", str(output), "--model", str(weights), "--device", "cpu"]
        assert main(["restore", *words, "--precision", precision]) == 0
        made[precision] = read_photo(output).pixels
    for half in ("bf16", "fp16"):
        difference = (made[half] - made["fp32"]).abs()
        assert 0 < difference.max() < 0.1 and difference.mean() < 0.005


def test_only_chosen_faces_are_restored(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photo, output = ROOT / "gpen_core" / "samples" / "astronaut_poor.jpg", tmp_path / "same.png"
    words = ["restore", "-i", str(photo), "-o", str(output), "--device", "cpu"]
    assert main([*words, "--faces", "2-9", "--order", "left"]) == 0
    assert "0 of 1 faces restored" in (told := capsys.readouterr().out) and "not chosen" in told
    assert main([*words, "--faces", "first"]) == 1
    assert 'got "first"' in capsys.readouterr().err


def test_least_score_and_kept_detail_are_heard(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from gpen_core.photo import read_photo

    photo = ROOT / "gpen_core" / "samples" / "astronaut_poor.jpg"
    made = []
    for name, option in (("kept", ["--keep-detail", "1"]), ("lost", ["--keep-detail", "0"])):
        output = tmp_path / f"{name}.png"
        assert main(["restore", "-i", str(photo), "-o", str(output), "--device", "cpu", *option]) == 0
        made.append(read_photo(output).pixels)
    assert (made[0] - made[1]).abs().max() > 0.01
    capsys.readouterr()
    assert main(["restore", "-i", str(photo), "-o", str(output), "--device", "cpu", "--min-score", "0.999999"]) == 0
    assert "No face found" in capsys.readouterr().out


def test_photos_are_enlarged_without_a_network(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from gpen_core.photo import read_photo

    sample, output = ROOT / "gpen_core" / "samples" / "astronaut_poor.jpg", tmp_path / "large"
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.jpg").write_bytes(sample.read_bytes())
    words = ["restore", "-i", str(tmp_path / "in"), "-o", str(output), "--upscaler", "plain_x2", "--device", "cpu"]
    assert main(words) == 0
    assert "1 restored" in capsys.readouterr().out
    before, after = read_photo(sample).pixels, read_photo(output / "a.jpg").pixels
    assert after.shape == (3, 2 * before.shape[1], 2 * before.shape[2])


def _with_package_path() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT)}


class TestUpscaler:
    """`restore --upscaler`, with a small random network for one."""

    @pytest.fixture
    def upscaler(self, tmp_path: Path) -> Path:
        if find_spec("basicsr") is None:
            pytest.skip("basicsr is not installed")
        import torch
        from safetensors.torch import save_file

        from gpen_core.models.rrdbnet import RrdbNetSpec, build_rrdbnet

        torch.manual_seed(0)
        save_file(build_rrdbnet(RrdbNetSpec(2, 4, 1, 2)).state_dict(), tmp_path / "up.safetensors")
        return tmp_path / "up.safetensors"

    def test_the_result_is_larger(self, tmp_path: Path, upscaler: Path, capsys: pytest.CaptureFixture[str]) -> None:
        from gpen_core.commands.restore import SAMPLE
        from gpen_core.photo import read_photo

        words = ["restore", "-i", str(SAMPLE), "-o", str(tmp_path / "out.png"), "--upscaler", str(upscaler)]
        assert main([*words, "--compare", str(tmp_path / "sheet.png")]) == 0
        assert read_photo(tmp_path / "out.png").size == (1024, 1024)
        told = capsys.readouterr().out
        assert "1 of 1 faces restored" in told
        assert (tmp_path / "sheet.png").is_file()

    def test_a_file_that_is_none_is_one_line(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        from gpen_core.models.load import EMBEDDED_RESTORER

        assert main(["restore", "-o", str(tmp_path / "out.png"), "--upscaler", str(EMBEDDED_RESTORER)]) == 1
        error = capsys.readouterr().err
        assert error.count("\n") == 1 and "is not an upscaler this pack knows: it looks like a GPEN restorer" in error

    def test_a_name_that_is_not_here_says_how_to_fetch_it(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("GPEN_MODELS", str(tmp_path))
        assert main(["restore", "-o", str(tmp_path / "out.png"), "--upscaler", "RealESRGAN_x2plus"]) == 1
        assert "models fetch RealESRGAN_x2plus" in capsys.readouterr().err
