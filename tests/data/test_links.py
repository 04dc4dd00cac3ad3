"""Links and deeply nested folders in load_image_folder."""

import os

import pytest

from sktransfer import load_image_folder
from sktransfer.data.folders import image_table


@pytest.fixture
def folder(tmp_path):
    """Two classes of one image, in a folder with another one beside it."""
    for name in ("photos/ants/1.jpg", "photos/bees/2.jpg", "store/3.jpg", "store/in/4.jpg"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path / "photos"


def found(folder):
    return [
        os.path.relpath(path, folder).replace(os.sep, "/")
        for path in load_image_folder(folder).data
    ]


@pytest.mark.parametrize("target", ["..", ".", "../../photos", "../..", "../bees", "../../link"])
def test_a_link_upwards_or_to_another_class_is_not_followed(folder, target):
    (folder.parent / "link").symlink_to("photos")
    (folder / "ants/up").symlink_to(target)
    assert found(folder) == ["ants/1.jpg", "bees/2.jpg"]
    assert image_table(folder)["label"].tolist() == ["ants", "bees"]


@pytest.mark.parametrize("target", ["../bees/queens", "../../store/in/deep"])
def test_a_link_into_a_subfolder_of_another_class_is_not_followed(folder, target):
    for queens in (folder / "bees/queens", folder.parent / "store/in/deep"):
        queens.mkdir()
        (queens / "5.jpg").touch()
    (folder / "wasps").symlink_to("../store/in")
    (folder / "ants/more").symlink_to(target)
    bees = ["bees/2.jpg", "bees/queens/5.jpg"]
    assert found(folder) == ["ants/1.jpg", *bees, "wasps/4.jpg", "wasps/deep/5.jpg"]


def test_a_link_to_another_folder_is_followed(folder):
    (folder / "ants/more").symlink_to("../../store")
    assert found(folder) == ["ants/1.jpg", "ants/more/3.jpg", "ants/more/in/4.jpg", "bees/2.jpg"]


def test_a_class_may_be_a_link_to_a_folder_with_a_link_upwards(folder):
    (folder / "wasps").symlink_to("../store")
    (folder.parent / "store/in/up").symlink_to("../..")
    assert found(folder) == ["ants/1.jpg", "bees/2.jpg", "wasps/3.jpg", "wasps/in/4.jpg"]


def test_a_folder_is_listed_once_in_each_class(folder):
    for name in ("ants/a", "ants/b", "bees/a"):
        (folder / name).symlink_to(folder.parent / "store/in")
    assert found(folder) == ["ants/1.jpg", "ants/a/4.jpg", "bees/2.jpg", "bees/a/4.jpg"]


def test_a_folder_keeps_its_own_path_if_a_link_leads_to_it(folder):
    (folder / "ants/near").mkdir()
    (folder / "ants/near/5.jpg").touch()
    (folder / "ants/a").symlink_to("near")
    assert found(folder) == ["ants/1.jpg", "ants/near/5.jpg", "bees/2.jpg"]


def test_files_of_linked_folders_are_sorted_by_name(folder):
    for name in ("ants/a/x.jpg", "ants/c/x.jpg"):
        (folder / name).parent.mkdir()
        (folder / name).touch()
    (folder / "ants/b").symlink_to("../../store/in")
    assert found(folder)[:4] == ["ants/1.jpg", "ants/a/x.jpg", "ants/b/4.jpg", "ants/c/x.jpg"]


def test_a_maze_of_links_is_listed(folder):
    # Twelve folders have more than a billion paths without a cycle.
    halls = [folder / "ants" / str(number) for number in range(12)]
    for hall in halls:
        hall.mkdir()
        (hall / "x.jpg").touch()
    for hall in halls:
        for other in halls:
            if other != hall:
                (hall / f"to{other.name}").symlink_to(other)
    assert len(found(folder)) == 14


def test_a_class_that_is_a_link_to_the_root_holds_no_images(folder):
    (folder / "all").symlink_to(".")
    with pytest.raises(ValueError, match="these have no images:\n  'all': empty"):
        load_image_folder(folder)


def test_a_link_to_itself_counts_as_a_file(folder):
    (folder / "ants/loop").symlink_to("loop")
    assert found(folder) == ["ants/1.jpg", "bees/2.jpg"]
    assert load_image_folder(folder).skipped == [str(folder / "ants/loop")]


def test_folders_may_be_nested_a_thousand_times(folder):
    here = os.open(folder / "ants", os.O_RDONLY)
    for _ in range(1200):
        os.mkdir("d", dir_fd=here)
        inner = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = inner
    os.close(os.open("6.jpg", os.O_CREAT, dir_fd=here))
    os.close(here)
    try:
        assert found(folder) == ["ants/1.jpg", "ants/" + "d/" * 1200 + "6.jpg", "bees/2.jpg"]
    finally:
        remove_nested(folder / "ants")


def remove_nested(folder):
    """Remove nested folders, which pytest's own clean-up cannot."""
    parts = [folder]
    while (parts[-1] / "d").is_dir():
        parts.append(parts[-1] / "d")
    (parts[-1] / "6.jpg").unlink()
    for part in reversed(parts[1:]):
        part.rmdir()
