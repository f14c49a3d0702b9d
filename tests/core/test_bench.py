"""The benchmark counts right and runs; what it measures is another matter."""

import json
import os
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from gpen_core.bench.networks import Order, available_forms, products, ratios
from gpen_core.cli import main
from gpen_core.commands.bench import _child
from gpen_core.models.gpen import GpenSpec


def test_the_published_networks_need_the_operations_that_are_known() -> None:
    assert 2 * products(GpenSpec.published(512)) == pytest.approx(276e9, rel=0.02)
    assert 2 * products(GpenSpec.published(256, cm=1, narrow=0.5)) == pytest.approx(17.4e9, rel=0.02)


def test_ratios_are_taken_round_by_round() -> None:
    assert ratios({"fast": [1.0, 3.0], "plain": [2.0, 4.0]}, "fast", "plain") == [0.5, 0.75]


def test_bfloat16_is_measured_only_where_the_processor_multiplies_it(monkeypatch) -> None:
    for is_fast in (True, False):
        monkeypatch.setattr("gpen_core.models.gpen.products.multiplies_bfloat16", lambda answer=is_fast: answer)
        assert ("fast, bf16" in available_forms(None)) == is_fast


def test_the_published_code_is_measured_only_if_the_user_names_it(tmp_path, capsys) -> None:
    assert "official" not in available_forms(None)
    assert "official" in available_forms(tmp_path)
    assert main(["bench", "--official", str(tmp_path)]) == 1
    assert "expected a checkout of GPEN" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--rounds", "0"], "at least one round and one thread"),
        (["--threads", "0"], "at least one round and one thread"),
        (["--megapixels", "1", "0"], "photos of more than 0 megapixels"),
        (["--megapixels", "inf"], "photos of more than 0 megapixels"),
        (["--json", "no_such_folder/x.json"], 'there is no folder "no_such_folder" to write the figures into'),
    ],
)
def test_what_cannot_be_measured_is_refused_before_anything_is(options, words, capsys, monkeypatch) -> None:
    monkeypatch.setattr("gpen_core.commands.bench._child", lambda *order: pytest.fail("measured"))
    assert main(["bench", *options]) == 1
    assert words in capsys.readouterr().err


def test_the_published_code_may_be_named_from_where_the_user_is(tmp_path, monkeypatch) -> None:
    """The process that measures runs in the checkout's folder, where a relative path would lead elsewhere."""
    (tmp_path / "GPEN").mkdir()
    monkeypatch.chdir(tmp_path)
    called = {}

    def run(words, **options):
        called.update(options)
        return CompletedProcess(words, 0, "{}\n", "")

    monkeypatch.setattr("gpen_core.commands.bench.subprocess.run", run)
    _child("speed", Order(tmp_path / "w.safetensors", ("official",), 1), Path("GPEN"))
    assert called["cwd"] == tmp_path / "GPEN"
    assert [Path(place).is_absolute() for place in called["env"]["PYTHONPATH"].split(os.pathsep)] == [True] * 3


def test_a_photo_is_timed_step_by_step_in_a_process_of_its_own(tmp_path, capsys) -> None:
    record = tmp_path / "figures.json"
    arguments = ["--parts", "megapixels", "--megapixels", "1", "--rounds", "1", "--threads", "1", "--json", str(record)]
    assert main(["bench", *arguments]) == 0

    figures = json.loads(record.read_text())
    photo = figures["megapixels"]["1 MP, 1 face"]
    assert photo["found"] == 1
    assert list(photo["seconds"]) == ["read", "detect", "align", "network", "mask", "paste", "write"]
    assert all(seconds[0] > 0 for seconds in photo["seconds"].values())
    assert figures["machine"]["threads"] == 1
    assert {"date", "commit", "processor", "versions"} <= set(figures["machine"])
    assert "1 MP, 1 face" in capsys.readouterr().out
