"""The benchmark counts right and runs; what it measures is another matter."""

import json

import pytest

from gpen_core.bench.networks import available_forms, products, ratios
from gpen_core.cli import main
from gpen_core.models.gpen import GpenSpec


def test_the_published_networks_need_the_operations_that_are_known() -> None:
    assert 2 * products(GpenSpec.published(512)) == pytest.approx(276e9, rel=0.02)
    assert 2 * products(GpenSpec.published(256, cm=1, narrow=0.5)) == pytest.approx(17.4e9, rel=0.02)


def test_ratios_are_taken_round_by_round() -> None:
    assert ratios({"fast": [1.0, 3.0], "plain": [2.0, 4.0]}, "fast", "plain") == [0.5, 0.75]


def test_bfloat16_is_measured_only_where_the_processor_multiplies_it(monkeypatch) -> None:
    for is_fast in (True, False):
        monkeypatch.setattr("gpen_core.bench.networks.multiplies_bfloat16", lambda answer=is_fast: answer)
        assert ("fast, bf16" in available_forms(None)) == is_fast


def test_the_published_code_is_measured_only_if_the_user_names_it(tmp_path, capsys) -> None:
    assert "official" not in available_forms(None)
    assert "official" in available_forms(tmp_path)
    assert main(["bench", "--official", str(tmp_path)]) == 1
    assert "expected a checkout of GPEN" in capsys.readouterr().err


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
