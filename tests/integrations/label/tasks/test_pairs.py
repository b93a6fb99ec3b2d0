"""What a request is answered with, without a server."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from monai_segdiff.data import Case, load_image, read_dataset
from monai_segdiff.generation import generate_dataset, load_generator
from monai_segdiff.integrations.label.errors import RequestError
from monai_segdiff.integrations.label.firewall.parameters import ImageParameters
from monai_segdiff.integrations.label.tasks.pairs import PairGenerator
from monai_segdiff.networks import read_card, save_weights


@pytest.fixture(scope="module")
def pairs(trained_bundle: Any, tmp_path_factory: pytest.TempPathFactory) -> PairGenerator:
    return PairGenerator(trained_bundle.root, tmp_path_factory.mktemp("work"))


@pytest.fixture(scope="module")
def cases(trained_bundle: Any) -> list[Case]:
    return read_dataset(trained_bundle.phantoms).splits["training"]


def test_the_image_is_that_of_generate(
    pairs: PairGenerator, cases: list[Case], trained_bundle: Any, tmp_path: Path
) -> None:
    parameters = ImageParameters(seed=4, num_steps=3, guidance=2.0, drop_classes=("liver",), similarity=0.5)
    pair = pairs.make(cases[0], parameters, tmp_path / "pair")
    from monai_segdiff.generation import Similarity

    generator = load_generator(trained_bundle.root, overrides={"seed": 4, "num_steps": 3, "guidance_weight": 2.0})
    generate_dataset(
        generator, cases[:1], tmp_path / "set", drop_classes=["liver"], similarity=Similarity(0.5), progress=False
    )
    for mine, folder in ((pair.image, "imagesTr"), (pair.label, "labelsTr")):
        theirs = next((tmp_path / "set" / folder).iterdir())
        np.testing.assert_array_equal(load_image(mine).numpy(), load_image(theirs).numpy())
    assert pair.facts["generator"]["weights_sha256"] == generator.weights_sha256
    assert pair.facts == pairs.facts(parameters)


@pytest.mark.slow
def test_requests_at_once_do_not_mix(pairs: PairGenerator, cases: list[Case], tmp_path: Path) -> None:
    wanted = [
        (case, ImageParameters(seed=seed, num_steps=steps))
        for case in cases[:2]
        for seed in (1, 2)
        for steps in (2, 3, 4)
    ]

    def image(number: int, round_: int) -> np.ndarray:
        case, parameters = wanted[number]
        return load_image(pairs.make(case, parameters, tmp_path / f"{round_}-{number}").image).numpy()

    alone = [image(number, 0) for number in range(len(wanted))]
    with ThreadPoolExecutor(4) as threads:
        together = list(threads.map(lambda number: image(number, 1), reversed(range(len(wanted)))))[::-1]
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_array_equal(one, other)
    assert len({one.tobytes() for one in alone}) == len(wanted)


def test_a_slice_that_is_stored_as_a_volume_gives_such_an_image(
    pairs: PairGenerator, cases: list[Case], tmp_path: Path
) -> None:
    import nibabel as nib

    stored = nib.load(cases[0].label)
    array, affine = np.asarray(stored.dataobj).reshape(16, 16, 1), np.diag([2.0, 3.0, 4.0, 1.0])
    file = tmp_path / f"{cases[0].id}.nii.gz"
    nib.save(nib.Nifti1Image(array, affine), file)
    parameters = ImageParameters(seed=2, drop_classes=("liver",))
    pair = pairs.make(Case(cases[0].id, None, file, "a"), parameters, tmp_path / "volume")
    flat = pairs.make(cases[0], parameters, tmp_path / "flat")
    for volume, plane in ((pair.image, flat.image), (pair.label, flat.label)):
        found = nib.load(volume)
        assert found.shape == (16, 16, 1)
        np.testing.assert_array_equal(found.affine, affine)
        np.testing.assert_array_equal(found.get_fdata()[..., 0], nib.load(plane).get_fdata())


@pytest.mark.parametrize(
    ("shape", "affine", "message"),
    [
        ((16, 16, 40), np.eye(4), "the image has size 16x16x40"),
        ((16, 16), np.diag([-1.0, 1, 1, 1]), "a label map on the image's grid"),
    ],
    ids=["size", "axes"],
)
def test_similarity_needs_an_image_that_fits(
    pairs: PairGenerator, cases: list[Case], tmp_path: Path, shape: tuple[int, ...], affine: np.ndarray, message: str
) -> None:
    import nibabel as nib

    nib.save(nib.Nifti1Image(np.zeros(shape, np.float32), affine), tmp_path / "image.nii.gz")
    case = Case(cases[0].id, tmp_path / "image.nii.gz", cases[0].label, "a")
    with pytest.raises(RequestError, match=message):
        pairs.make(case, ImageParameters(similarity=0.5), tmp_path / "pair")
    pairs.make(case, ImageParameters(), tmp_path / "other")


def test_messages_name_the_study_and_no_file(pairs: PairGenerator, cases: list[Case], tmp_path: Path) -> None:
    import nibabel as nib

    file = tmp_path / "secret.nii.gz"
    nib.save(nib.Nifti1Image(np.full((16, 16), 99, np.uint8), np.eye(4)), file)
    with pytest.raises(RequestError, match="99") as found:
        pairs.make(Case("secret", None, file, "a"), ImageParameters(), tmp_path / "pair", "p001")
    assert "p001" in str(found.value)
    assert "secret" not in str(found.value)


def test_weights_that_were_tuned_come_first(trained_bundle: Any, cases: list[Case], tmp_path: Path) -> None:
    import torch

    pairs = PairGenerator(trained_bundle.root, tmp_path / "work")
    before = load_image(pairs.make(cases[0], ImageParameters(), tmp_path / "a").image).numpy()
    weights = torch.load(trained_bundle.weights, weights_only=True)
    changed = {name: value * 1.1 for name, value in weights.items()}
    save_weights(changed, pairs.tuned, read_card(trained_bundle.weights))
    after = load_image(pairs.make(cases[0], ImageParameters(), tmp_path / "b").image).numpy()
    assert np.abs(after - before).max() > 0


def test_weights_that_are_no_tensors_are_refused(trained_bundle: Any, tmp_path: Path) -> None:
    import pickle

    bundle = tmp_path / "evil"
    shutil.copytree(trained_bundle.root, bundle, ignore=shutil.ignore_patterns("phantoms*", "eval"))
    (bundle / "models" / "model.pt").write_bytes(pickle.dumps(_Evil(str(tmp_path / "proof"))))
    with pytest.raises(ValueError, match="could run code"):
        PairGenerator(bundle, tmp_path / "work")
    assert not (tmp_path / "proof").exists()


def test_covariates_are_told_and_recorded(aging: Path, aging_bundle: Any, tmp_path: Path) -> None:
    case = read_dataset(aging).splits["test"][0]
    pairs = PairGenerator(aging_bundle.root, tmp_path / "work")
    parameters = ImageParameters.read({"seed": 4, "covariates": "age=60, sex=F"})
    pair = pairs.make(case, parameters, tmp_path / "pair")
    generator = load_generator(aging_bundle.root, overrides={"seed": 4})
    told = {"age": 60, "sex": "F"}
    generate_dataset(generator, [case], tmp_path / "set", covariates=told, progress=False)
    theirs = next((tmp_path / "set" / "imagesTr").iterdir())
    np.testing.assert_array_equal(load_image(pair.image).numpy(), load_image(theirs).numpy())
    assert pair.facts["parameters"]["covariates"] == told
    assert "remarks" not in pair.facts
    assert pair.facts == pairs.facts(parameters) == pairs.facts(ImageParameters(seed=4, covariates=told))
    plain = pairs.make(case, ImageParameters(seed=4), tmp_path / "plain")
    assert "covariates" not in plain.facts["parameters"]
    assert not np.array_equal(load_image(plain.image).numpy(), load_image(pair.image).numpy())


def test_covariates_are_checked_as_generate_does(
    pairs: PairGenerator, cases: list[Case], aging_bundle: Any, tmp_path: Path
) -> None:
    aged = PairGenerator(aging_bundle.root, tmp_path / "work")
    with pytest.warns(UserWarning, match="age is 120"):
        (remark,) = aged.facts(ImageParameters(covariates={"age": 120}))["remarks"]
    assert remark.startswith("age is 120, and the training images have 2")
    with pytest.raises(RequestError, match="'weight' is no covariate; known are age, sex"):
        aged.facts(ImageParameters(covariates={"weight": 1}))
    with pytest.raises(RequestError, match="was trained without covariates"):
        pairs.make(cases[0], ImageParameters(covariates={"age": 60}), tmp_path / "pair")


class _Evil:
    """Writes a file when it is unpickled."""

    def __init__(self, file: str) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return Path.touch, (Path(self.file),)
