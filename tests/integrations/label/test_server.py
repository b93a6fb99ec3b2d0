"""The real server, asked as a client asks it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import requests

from .server import nifti, pixels


def test_info_names_the_model_and_what_it_takes(server: Any) -> None:
    info = server.get("/info/")
    model = info["models"]["ct_organ"]
    assert model["type"] == "others"
    assert model["image_size"] == [16, 16]
    assert model["config"] == {"seed": 0, "num_steps": 4, "guidance": 1.0, "drop_classes": "", "similarity": 0.0}
    assert set(info["trainers"]) == {"ct_organ", "segmenter"}
    assert info["labels"] == ["body", "lungs", "liver", "spleen", "kidneys", "spine"]


def test_the_image_of_a_study_has_its_geometry_and_depends_on_the_seed(server: Any, study: str) -> None:
    answers = [server.infer("ct_organ", image=study, params={"seed": seed}) for seed in (3, 3, 4)]
    assert [answer.status_code for answer in answers] == [200] * 3
    first, again, other = (pixels(answer.content) for answer in answers)
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 1
    label = nib.load(server.studies / "labels" / "final" / f"{study}.nii.gz")
    assert first.shape == label.shape
    assert np.isfinite(first).all()
    assert -200 <= first.min() < first.max() <= 300


def test_the_image_is_the_one_that_generate_makes(server: Any, study: str, trained_bundle: Any, tmp_path: Path) -> None:
    from monai_segdiff.data import load_image
    from monai_segdiff.generation import collect_masks, generate_dataset, load_generator

    masks = [case for case in collect_masks(server.studies / "labels" / "final") if case.id == study]
    generator = load_generator(trained_bundle.root, overrides={"seed": 5, "num_steps": 3})
    made = generate_dataset(generator, masks, tmp_path / "made", progress=False).splits["training"][0]
    found = pixels(server.infer("ct_organ", image=study, params={"seed": 5, "num_steps": 3}).content)
    np.testing.assert_array_equal(found.squeeze(), load_image(made.image).numpy().squeeze())


def test_the_record_says_what_was_made(server: Any, study: str) -> None:
    facts = server.infer(
        "ct_organ",
        image=study,
        output="json",
        params={"seed": 9, "num_steps": 2, "drop_classes": ["liver"], "similarity": 0.5},
    ).json()
    assert facts["synthetic"] is True
    assert facts["source"] == study
    assert facts["settings"]["seed"] == facts["seed"] == 9
    assert facts["settings"]["num_steps"] == 2
    assert facts["parameters"] == {"seed": 9, "num_steps": 2, "drop_classes": ["liver"], "similarity": 0.5}
    assert len(facts["generator"]["weights_sha256"]) == 64


@pytest.mark.parametrize(
    "params", [{"num_steps": 2}, {"guidance": 3.0}, {"drop_classes": "liver"}, {"similarity": 0.7}]
)
def test_every_parameter_changes_the_image(server: Any, study: str, params: dict[str, Any]) -> None:
    plain = server.infer("ct_organ", image=study)
    other = server.infer("ct_organ", image=study, params=params)
    assert other.status_code == 200, other.text
    assert np.abs(pixels(plain.content) - pixels(other.content)).max() > 0


def test_a_label_map_that_is_sent_gives_the_image_of_its_study(server: Any, study: str) -> None:
    label = server.studies / "labels" / "final" / f"{study}.nii.gz"
    known = pixels(server.infer("ct_organ", image=study).content)
    for name, query in (("file", {}), ("label", {"image": study})):
        with open(label, "rb") as file:
            answer = server.infer("ct_organ", files={name: ("mask.nii.gz", file)}, **query)
        assert answer.status_code == 200, answer.text
        np.testing.assert_array_equal(pixels(answer.content), known)


BAD_QUERIES: list[tuple[dict[str, Any], int, str]] = [
    ({"image": "nobody"}, 404, "study 'nobody' does not exist"),
    ({"image": "../secret"}, 400, "plain name"),
    ({"image": "/etc/passwd"}, 400, "plain name"),
    ({}, 400, "nothing to generate"),
    ({"image": "STUDY", "params": "{"}, 400, "JSON"),
    ({"image": "STUDY", "params": "[1]"}, 400, "JSON object"),
    ({"image": "STUDY", "params": {"label": "/etc/passwd"}}, 400, "unknown parameter"),
    ({"image": "STUDY", "params": {"sed": 1}}, 400, "unknown parameter"),
    ({"image": "STUDY", "params": {"seed": -1}}, 400, "seed"),
    ({"image": "STUDY", "params": {"num_steps": 0}}, 400, "num_steps"),
    ({"image": "STUDY", "params": {"drop_classes": "heart"}}, 400, "cannot drop heart"),
    ({"image": "STUDY", "params": {"similarity": 2}}, 400, "similarity"),
    ({"image": "STUDY", "output": "dicom_seg"}, 400, "the result is an image, not a segmentation"),
    ({"image": "STUDY", "output": "surprise"}, 422, "output"),
]


@pytest.mark.parametrize(("query", "status", "message"), BAD_QUERIES)
def test_a_bad_request_is_told_what_is_wrong(
    server: Any, study: str, query: dict[str, Any], status: int, message: str
) -> None:
    query = {key: study if value == "STUDY" else value for key, value in query.items()}
    answer = server.infer("ct_organ", **query)
    assert answer.status_code == status, answer.text
    assert message in answer.text


def bad_files() -> list[tuple[str, Any, str]]:
    good = np.zeros((16, 16), np.uint8)
    return [
        ("mask.nii.gz", nifti(np.full((16, 16), 77, np.uint8)), "77"),
        ("mask.nii.gz", b"not an image", "cannot be read"),
        ("mask.nii.gz", nifti(good).getvalue()[:60], "cannot be read"),
        ("mask.nii.gz", b"", "cannot be read"),
        ("mask.pt", nifti(good), "end in one of"),
        ("mask", nifti(good), "end in one of"),
        ("../../.mask.nii.gz", nifti(good), "plain name"),
    ]


@pytest.mark.parametrize("number", range(len(bad_files())))
def test_a_bad_file_is_refused_and_forgotten(server: Any, number: int) -> None:
    name, content, message = bad_files()[number]
    before = server.temporary_files
    answer = server.infer("ct_organ", files={"file": (name, content)})
    assert answer.status_code == 400, answer.text
    assert message in answer.text
    assert str(server.temporary) not in answer.text
    assert not server.leaves(before)


def test_a_mask_of_another_size_is_no_error(server: Any) -> None:
    answer = server.infer("ct_organ", files={"file": ("mask.nii.gz", nifti(np.ones((20, 16), np.uint8)))})
    assert answer.status_code == 200, answer.text
    assert answer.content


def test_another_model_is_not_found(server: Any, study: str) -> None:
    assert server.infer("surprise", image=study).status_code == 404
    for path in ("/batch/infer/surprise", "/train/surprise"):
        assert requests.post(server.url + path, json={}, timeout=900).status_code == 404


@pytest.mark.parametrize(
    ("path", "query"),
    [
        ("/datastore/image", {"image": "../../etc/passwd"}),
        ("/datastore/label", {"label": "a", "tag": "../.."}),
        ("/datastore/image", {"image": "datastore_v2.json"}),
    ],
)
def test_nothing_outside_the_studies_is_read(server: Any, path: str, query: dict[str, str]) -> None:
    assert 400 <= requests.get(server.url + path, params=query, timeout=900).status_code < 500


@pytest.mark.parametrize(
    ("image", "name", "query"),
    [
        ("../escaped", "a.nii.gz", {}),
        ("datastore_v2", "a.json", {}),
        ("new", "../../.a.nii.gz", {}),
        ("new", "a.py", {}),
        (".hidden", "a.nii.gz", {}),
    ],
)
def test_nothing_outside_the_studies_is_written(server: Any, image: str, name: str, query: dict[str, str]) -> None:
    before = sorted(server.studies.parent.rglob("*"))
    listed = (server.studies / "datastore_v2.json").read_bytes()
    answer = requests.put(
        f"{server.url}/datastore/image",
        params={"image": image},
        files={"file": (name, nifti(np.zeros((16, 16))))},
        timeout=900,
    )
    assert answer.status_code == 400, answer.text
    label = requests.put(
        f"{server.url}/datastore/label",
        params={"image": image, "tag": "../../final"},
        files={"label": (name, nifti(np.zeros((16, 16))))},
        timeout=900,
    )
    assert label.status_code == 400, label.text
    assert sorted(server.studies.parent.rglob("*")) == before
    assert (server.studies / "datastore_v2.json").read_bytes() == listed


def test_the_server_listens_on_this_machine_only(server: Any) -> None:
    listening = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    addresses = {
        row[1].split(":")[0] for row in listening if row[3] == "0A" and int(row[1].split(":")[1], 16) == server.port
    }
    assert addresses == {"0100007F"}
