from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import monai_segdiff
from monai_segdiff.__main__ import main
from monai_segdiff.data import make_ct_phantoms
from monai_segdiff.digests import DIGESTS, read_digests
from monai_segdiff.networks import save_weights
from monai_segdiff.verification import record, verify


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("verify") / "data"
    make_ct_phantoms(root, patients=3, size=16, slices_per_patient=1, progress=False)
    return root


@pytest.fixture
def dataset(phantoms: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(phantoms, tmp_path / "data"))


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A bundle with weights, their card, and a checkpoint of a training."""
    root = monai_segdiff.copy_bundle("ct_organ", tmp_path / "bundle")
    (root / "models").mkdir()
    state = {"weight": torch.arange(6.0), "steps": torch.tensor(3)}
    save_weights(state, root / "models" / "model.pt", {"classes": {"liver": 1}})
    torch.save({"network": state, "trainer": {"epoch": 1}}, root / "models" / "checkpoint_epoch=1.pt")
    return root


def first_image(root: Path) -> Path:
    return min((root / "imagesTr").iterdir())


def problems(path: Path) -> list[tuple[str, str]]:
    return [(finding.severity, Path(finding.file).name) for finding in verify(path).issues]


def flip(file: Path, at: int) -> None:
    content = bytearray(file.read_bytes())
    content[at] ^= 1
    file.write_bytes(bytes(content))


def test_what_was_written_is_whole(dataset: Path, bundle: Path) -> None:
    for path, kind, files in ((dataset, "data set", 7), (bundle / "models" / "model.pt", "weights", 1)):
        verdict = verify(path)
        assert (verdict.whole, verdict.kind, verdict.files, verdict.issues) == (True, kind, files, ())
    assert verify(bundle).whole
    assert verify(bundle / "models" / "checkpoint_epoch=1.pt").kind == "checkpoint"


@pytest.mark.parametrize("at", [10, 200, -1])
def test_one_bit_of_a_file_is_enough(dataset: Path, at: int) -> None:
    flip(first_image(dataset), at)
    assert problems(dataset) == [("error", first_image(dataset).name)]


def test_what_is_missing_and_what_is_too_much_is_named(dataset: Path) -> None:
    image = first_image(dataset)
    image.rename(dataset / "elsewhere.nii.gz")
    assert problems(dataset) == [("error", image.name), ("warning", "elsewhere.nii.gz")]
    (dataset / "elsewhere.nii.gz").rename(image)
    (dataset / "notes.txt").write_text("mine")
    assert problems(dataset) == [("warning", "notes.txt")]
    assert verify(dataset).whole


def test_a_list_with_a_name_that_no_file_can_have_is_damaged(dataset: Path) -> None:
    with open(dataset / DIGESTS, "a") as file:
        file.write(f"{'0' * 64}  {'x' * 5000}\n")
    (finding,) = verify(dataset).issues
    assert DIGESTS in finding.message


def test_a_folder_of_leftovers_alone_is_of_a_run_that_was_killed(tmp_path: Path) -> None:
    (tmp_path / ".tmp-1a2b3c4d-manifest.header.json").write_text("half")
    (issue,) = verify(tmp_path).issues
    assert "was left by a run that was killed" in issue.message
    (tmp_path / ".tmp-1a2b3c4d-manifest.header.json").unlink()
    with pytest.raises(FileNotFoundError, match="holds no data set"):
        verify(tmp_path)


def test_what_a_killed_run_left_is_named_once(dataset: Path) -> None:
    leftover = dataset / ".tmp-1a2b3c4d-series" / "image"
    leftover.mkdir(parents=True)
    (leftover / ".tmp-5e6f7a8b-1.dcm").write_text("half")
    assert problems(dataset) == [("error", ".tmp-1a2b3c4d-series")]


@pytest.mark.parametrize("name", ["manifest.header.json", "manifest.0.jsonl", "make_drr.json"])
@pytest.mark.parametrize("recorded", [True, False])
def test_a_data_set_whose_run_has_not_ended_is_not_whole(dataset: Path, name: str, recorded: bool) -> None:
    if not recorded:
        (dataset / DIGESTS).unlink()
    (dataset / name).write_text("{}")
    assert problems(dataset) == [("error", name)]


@pytest.mark.parametrize("name", ["dataset.json", DIGESTS])
def test_a_damaged_description_is_named(dataset: Path, name: str) -> None:
    (dataset / name).write_bytes((dataset / name).read_bytes()[:-80])
    assert {file for _, file in problems(dataset)} >= {name}
    assert verify(dataset).damaged


def test_a_list_that_is_a_link_to_nothing_is_no_set_without_a_list(dataset: Path) -> None:
    (dataset / DIGESTS).rename(dataset.parent / "list")
    (dataset / DIGESTS).symlink_to(dataset.parent / "gone")
    assert problems(dataset) == [("error", DIGESTS)]


def test_a_description_that_names_what_was_not_recorded_is_not_that_of_the_set(dataset: Path) -> None:
    recorded = read_digests(dataset)
    line = next(line for line in (dataset / DIGESTS).read_text().splitlines() if "imagesTr" in line)
    (dataset / DIGESTS).write_text((dataset / DIGESTS).read_text().replace(f"{line}\n", ""))
    assert len(recorded) == 7
    assert ("error", "dataset.json") in problems(dataset)


def test_times_of_a_run_are_not_recorded_but_must_be_readable(dataset: Path) -> None:
    (dataset / "manifest.seconds.json").write_text('{"0": 0.5}')
    assert problems(dataset) == []
    (dataset / "manifest.seconds.json").write_text('{"0": 0.')
    assert problems(dataset) == [("error", "manifest.seconds.json")]


def test_without_a_record_a_data_set_is_readable_at_best_until_it_is_recorded(dataset: Path) -> None:
    (dataset / DIGESTS).unlink()
    verdict = verify(dataset)
    assert (verdict.whole, verdict.damaged, verdict.files) == (False, False, 6)
    assert record(dataset).whole
    assert verify(dataset).whole
    with pytest.raises(FileExistsError, match="is there already: remove it to record"):
        record(dataset)
    (dataset / DIGESTS).unlink()
    first_image(dataset).write_bytes(b"no image")
    assert record(dataset).damaged
    assert not (dataset / DIGESTS).exists()


def test_a_file_that_is_hidden_is_not_recorded(dataset: Path) -> None:
    (dataset / DIGESTS).unlink()
    (dataset / ".DS_Store").write_text("of a file manager")
    record(dataset)
    assert ".DS_Store" not in read_digests(dataset)


def of_zip(change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    def damage(root: Path) -> None:
        file = root / "models" / "model.pt"
        file.write_bytes(change(file.read_bytes()))

    return damage


def flipped_value(content: bytes) -> bytes:
    at = content.index(torch.arange(6.0).numpy().tobytes())
    return content[: at + 6] + bytes([content[at + 6] ^ 0x40]) + content[at + 7 :]


@pytest.mark.parametrize(
    ("damage", "file"),
    [
        (of_zip(lambda content: content[:-50]), "model.pt"),
        (of_zip(flipped_value), "model.pt"),
        (of_zip(lambda content: b""), "model.pt"),
        (
            lambda root: torch.save({"weight": torch.tensor([0.0, float("nan")])}, root / "models" / "model.pt"),
            "model.pt",
        ),
        (lambda root: torch.save({5: torch.zeros(1), "a": torch.ones(1)}, root / "models" / "model.pt"), "model.pt"),
        (lambda root: torch.save({"weight": torch.arange(7.0)}, root / "models" / "model.pt"), "model.pt"),
        (lambda root: (root / "models" / "model.yaml").write_text("classes: ["), "model.yaml"),
        (lambda root: (root / "models" / "model.yaml").write_text("- 1"), "model.yaml"),
        (lambda root: flip(root / "models" / "checkpoint_epoch=1.pt", 400), "checkpoint_epoch=1.pt"),
        (lambda root: (root / "configs" / "inference.yaml").write_text("a: {"), "inference.yaml"),
        (lambda root: (root / "configs" / "inference.yaml").unlink(), "inference.yaml"),
        (lambda root: (root / "configs" / "metadata.json").write_text("[]"), "metadata.json"),
        (lambda root: (root / "models" / ".tmp-1a2b3c4d-model.pt").write_text("half"), ".tmp-1a2b3c4d-model.pt"),
    ],
)
def test_a_damaged_file_of_a_bundle_is_named(bundle: Path, damage: Callable[[Path], None], file: str) -> None:
    damage(bundle)
    assert ("error", file) in problems(bundle)
    if file == "model.pt":
        assert verify(bundle / "models" / "model.pt").damaged


def test_a_nan_deep_in_a_checkpoint_is_named(tmp_path: Path) -> None:
    torch.save({"optimizer": {"state": [{"exp_avg": torch.tensor([float("inf")])}]}}, tmp_path / "c.pt")
    (finding,) = verify(tmp_path / "c.pt").issues
    assert "optimizer.state.0.exp_avg" in finding.message


def test_weights_without_a_card_are_whole_with_a_warning(tmp_path: Path) -> None:
    torch.save({"weight": torch.ones(1)}, tmp_path / "net.pt")
    assert verify(tmp_path / "net.pt").whole
    assert problems(tmp_path / "net.pt") == [("warning", "net.pt")]


def test_the_verb_says_it_in_its_exit_code_and_its_last_line(
    dataset: Path, bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["verify", str(dataset), str(bundle)]) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("2 whole, 0 not whole, 0 unknown; ")
    flip(first_image(dataset), 100)
    assert main(["verify", str(tmp_path / "nothing"), str(dataset), str(bundle)]) == 1
    told = capsys.readouterr()
    assert f"error: {tmp_path / 'nothing'} does not exist" in told.err
    assert f"error: {first_image(dataset)}: is not what SHA256SUMS says" in told.out
    assert f"{dataset}: NOT WHOLE (data set, 7 files)" in told.out
    assert told.out.splitlines()[-1].startswith("1 whole, 1 not whole, 1 unknown; ")
    assert main(["verify", str(tmp_path / "nothing"), str(bundle)]) == 2
    (tmp_path / "empty").mkdir()
    assert main(["verify", str(tmp_path / "empty")]) == 2


def test_the_verb_records_what_has_no_record(dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (dataset / DIGESTS).unlink()
    assert main(["verify", str(dataset)]) == 2
    assert "--record" in capsys.readouterr().out
    assert main(["verify", "--record", str(dataset)]) == 0
    assert main(["verify", "--record", str(dataset)]) == 2
    assert main(["verify", str(dataset)]) == 0
