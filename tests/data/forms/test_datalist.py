from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from monai_segdiff.data import Choices, describe, read_dataset
from monai_segdiff.data.layout import is_dataset


def datalist(root: Path, name: str = "datalist.json", **content: Any) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    for n in range(6):
        for part in ("ct", "seg"):
            (root / f"{part}{n}.nii.gz").touch()
    (root / name).write_text(json.dumps(content))
    return root / name


def entries(*folds: int | None) -> list[dict[str, Any]]:
    listed = [{"image": f"ct{n}.nii.gz", "label": f"./seg{n}.nii.gz", "fold": fold} for n, fold in enumerate(folds)]
    return [{key: value for key, value in entry.items() if value is not None} for entry in listed]


def names(dataset: Any) -> dict[str, list[str]]:
    return {split: [case.image.name[:-7] for case in cases] for split, cases in dataset.splits.items()}


@pytest.mark.parametrize(("fold", "held_out"), [(None, ["ct0", "ct3"]), (0, ["ct0", "ct3"]), (2, ["ct2"])])
def test_a_fold_is_held_out(tmp_path: Path, fold: int | None, held_out: list[str]) -> None:
    datalist(tmp_path, training=entries(0, 1, 2, 0), testing=[{"image": "ct5.nii.gz"}])
    dataset = read_dataset(tmp_path, {"x": 1}, choices=Choices(fold=fold))
    rest = [name for name in ("ct0", "ct1", "ct2", "ct3") if name not in held_out]
    assert names(dataset) == {"training": rest, "validation": held_out, "test": ["ct5"]}
    assert f"fold {fold or 0} of 3 for validation" in dataset.form


def test_paths_are_relative_to_the_folder_of_the_file_which_may_be_given_itself(tmp_path: Path) -> None:
    file = datalist(tmp_path / "lists", "mine.json", training=entries(None), labels={"1": "x"})
    assert is_dataset(file)
    assert not is_dataset(tmp_path / "lists")
    dataset = read_dataset(file)
    assert (dataset.root, dataset.classes) == ((tmp_path / "lists").resolve(), {"x": 1})
    assert dataset.splits["training"][0].label == (tmp_path / "lists").resolve() / "seg0.nii.gz"
    assert describe(file).startswith("MONAI's list of cases mine.json, 1 training case, 1 class: x")


def test_an_image_may_be_a_list_of_channels(tmp_path: Path) -> None:
    entry = {"image": ["ct0.nii.gz", "ct1.nii.gz"], "label": "seg0.nii.gz"}
    dataset = read_dataset(datalist(tmp_path, training=[entry], modality={"0": "CT", "1": "PET"}))
    assert dataset.channels == ("CT", "PET")
    assert [file.name for file in dataset.splits["training"][0].channel_files] == ["ct0.nii.gz", "ct1.nii.gz"]
    dataset = read_dataset(datalist(tmp_path, training=[entry]))
    assert dataset.channels == ("channel 0", "channel 1")


WRONG: dict[str, tuple[dict[str, Any], int | None, str]] = {
    "no such fold": ({"training": entries(0, 1)}, 3, r"no fold 3 \(--fold\); there are 0, 1"),
    "no folds": ({"training": entries(None)}, 1, r"no 'fold', so fold 1 \(--fold\)"),
    "some without": ({"training": entries(0, None)}, None, "1 of its training cases have no 'fold'"),
    "validation as well": ({"training": entries(0), "validation": entries(None)}, 0, "lists validation cases"),
    "fold is text": ({"training": [{"image": "ct0.nii.gz", "fold": "a"}]}, None, "'fold' must be a whole number"),
    "no list": ({"training": {"a": 1}}, None, "'training' must be a list of cases"),
    "nothing": ({"title": "x"}, None, "has no list of cases"),
    "path is a number": ({"training": [{"image": 7}]}, None, "entry 1 of 'training': its image must be the path"),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_cannot_be_understood_is_named(tmp_path: Path, what: str) -> None:
    content, fold, message = WRONG[what]
    datalist(tmp_path, **content)
    with pytest.raises(ValueError, match=rf"cannot understand .*datalist\.json: .*{message}"):
        read_dataset(tmp_path, choices=Choices(fold=fold))


def test_several_lists_are_asked_about(tmp_path: Path) -> None:
    datalist(tmp_path, "datalist_a.json", training=entries(None))
    datalist(tmp_path, "datalist_b.json", training=entries(None))
    with pytest.raises(
        ValueError, match=r"2 lists of cases \(datalist_a\.json, datalist_b\.json\).*give the file itself"
    ):
        read_dataset(tmp_path)
    assert read_dataset(tmp_path / "datalist_b.json").splits


def test_a_damaged_list_is_named(tmp_path: Path) -> None:
    (tmp_path / "datalist.json").write_text("[" * 10_000)
    with pytest.raises(ValueError, match=r"datalist\.json cannot be read as a list of cases \(JSON\)"):
        read_dataset(tmp_path)


def test_a_fold_where_there_is_no_list_has_no_effect(tmp_path: Path) -> None:
    for part in ("images", "labels"):
        (tmp_path / part).mkdir()
        (tmp_path / part / "a.png").touch()
    with pytest.raises(ValueError, match=r"fold \(--fold\) has no effect on .*leave it out"):
        read_dataset(tmp_path, choices=Choices(fold=0))
