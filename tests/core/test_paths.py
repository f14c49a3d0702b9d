"""No name from outside leads out of the folder that was chosen for writing."""

import pytest

from gpen_core.errors import SettingsError
from gpen_core.folder_spec import FolderSpec
from gpen_core.paths import safe_output_path

REFUSED = {
    "": "is empty",
    "   ": "is empty",
    "../evil.png": "not a name",
    "a/../../evil.png": "not a name",
    "..\\evil.png": "not a name",
    "a/..\\..\\evil.png": "not a name",
    "..": "not a name",
    ".": "not a name",
    "a//b.png": "not a name",
    "folder/": "not a name",
    "/etc/passwd": "absolute",
    "\\\\server\\share\\evil.png": "absolute",
    "\\evil.png": "absolute",
    "C:\\evil.png": "drive",
    "c:evil.png": "drive",
    "a/C:/evil.png": "drive",
    "face\0.png": "control character",
    "face\n.png": "control character",
    "CON": "device name",
    "nul.png": "device name",
    "Aux.tar.gz": "device name",
    "sub/com1.jpg": "device name",
    "LPT³.png": "device name",
    "prn .png": "device name",
    "face.": "dot or a space",
    "face.png ": "dot or a space",
    "x" * 256: "longer than 255 bytes",
    "é" * 128: "longer than 255 bytes",
}


@pytest.mark.parametrize(("name", "words"), REFUSED.items(), ids=[repr(name)[:24] for name in REFUSED])
def test_a_name_that_could_leave_the_folder_is_refused(tmp_path, name, words):
    with pytest.raises(SettingsError, match=words):
        safe_output_path(tmp_path, name)


@pytest.mark.parametrize(
    "name",
    ["a.png", "sub/a.png", "客户 01.jpg", "console.png", "com10.png", "nullify.jpg", ".hidden", "a..b.png", "..a"],
)
def test_an_ordinary_name_stays_as_it_is(tmp_path, name):
    assert safe_output_path(tmp_path, name) == tmp_path.resolve() / name
    assert list(tmp_path.iterdir()) == []


def test_both_slashes_split_folders_on_every_system(tmp_path):
    assert safe_output_path(tmp_path, "a\\b.png") == tmp_path.resolve() / "a" / "b.png"


def test_the_folder_need_not_exist(tmp_path):
    assert safe_output_path(tmp_path / "new", "a.png") == tmp_path.resolve() / "new" / "a.png"


def test_a_link_that_leads_out_is_refused(tmp_path):
    inside, outside = tmp_path / "in", tmp_path / "out"
    inside.mkdir()
    outside.mkdir()
    (inside / "door").symlink_to(outside, target_is_directory=True)
    (inside / "photo.png").symlink_to(outside / "photo.png")
    for name in ("door/a.png", "photo.png"):
        with pytest.raises(SettingsError, match="leads out of"):
            safe_output_path(inside, name)


def test_a_folder_behind_a_link_is_fine(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real", target_is_directory=True)
    assert safe_output_path(tmp_path / "link", "a.png") == tmp_path.resolve() / "real" / "a.png"


def test_a_neighbour_folder_with_the_same_beginning_is_outside(tmp_path):
    (tmp_path / "out-2").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "x").symlink_to(tmp_path / "out-2", target_is_directory=True)
    with pytest.raises(SettingsError, match="leads out of"):
        safe_output_path(tmp_path / "out", "x/a.png")


@pytest.mark.parametrize(
    "pattern",
    ["../{name}", "{name}/../../x", "{name.__class__}", "{name!r}", "{name:>999999999}", "{name}\0", "C:{name}"],
)
def test_a_naming_pattern_cannot_lead_out_or_fill_memory(tmp_path, pattern):
    with pytest.raises(SettingsError, match="naming pattern"):
        FolderSpec(tmp_path, tmp_path / "out", pattern)
