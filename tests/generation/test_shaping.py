"""What every way to shape samples can rely on."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import torch

from monai_segdiff.data import load_label_map, write_like
from monai_segdiff.generation.job import GenerationJob
from monai_segdiff.generation.shaping import Shaping


class Nothing(Shaping):
    key = "nothing"

    def header(self, generator, masks=()):
        return {"asked": True}


class Mirrored(Nothing):
    """Label maps the other way round."""

    key = "mirrored"

    def write_label(self, job, mask, target):
        write_like(np.asarray(load_label_map(mask.label))[0, ::-1].copy(), mask.label, target)
        return True


class Named(Nothing):
    """Puts its name to what it is asked for."""

    def __init__(self, name: str, calls: list[str]) -> None:
        self.key, self.calls = name, calls

    def wrap(self, job, draw):
        def named(samples, noise):
            self.calls.append(self.key)
            return draw(samples, noise)

        return named

    def source(self, job, mask):
        return {self.key: mask.id}

    def record(self, job, sample, image):
        return {"evaluations": 0, self.key: sample.index}


def make(job: GenerationJob, indices: list[int]) -> list[dict]:
    return [{key: value for key, value in record.items() if key != "seconds"} for record in job.make(indices)]


def test_a_part_that_changes_nothing_adds_its_header_alone(tmp_path: Path, load, masks) -> None:
    plain = GenerationJob(load(), masks, tmp_path / "plain", 2)
    shaped = GenerationJob(load(), masks, tmp_path / "shaped", 2, [Nothing()])
    assert shaped.header == plain.header | {"nothing": {"asked": True}}
    assert shaped.files == plain.files
    assert make(shaped, [0, 3]) == make(plain, [0, 3])
    for file in (tmp_path / "plain").rglob("*.nii.gz"):
        other = nib.load(tmp_path / "shaped" / file.relative_to(tmp_path / "plain"))
        np.testing.assert_array_equal(nib.load(file).get_fdata(), other.get_fdata())


def test_images_obey_the_label_map_that_is_written(tmp_path: Path, load, masks) -> None:
    generator, seen = load(), []
    sample = generator.sample
    generator.sample = lambda conditions, indices: seen.append(conditions) or sample(conditions, indices)
    make(GenerationJob(generator, masks, tmp_path, 1, [Mirrored()]), [0])
    assert torch.equal(seen[0][0], generator.condition(tmp_path / "labelsTr" / f"{masks[0].id}_000.nii.gz"))
    assert not torch.equal(seen[0][0], generator.condition(masks[0].label))


def test_parts_are_asked_in_the_order_of_the_list(tmp_path: Path, load, masks) -> None:
    calls: list[str] = []
    job = GenerationJob(load(), masks, tmp_path, 1, [Named("first", calls), Named("second", calls)])
    assert list(job.header)[-2:] == ["first", "second"]
    (record,) = make(job, [1])
    assert calls == ["second", "first"]  # what is wrapped last is outermost
    assert record["source"] == {"first": masks[1].id, "second": masks[1].id}
    assert list(record)[-2:] == ["first", "second"]
    assert record["evaluations"] == 0
