"""Paired data sets from label maps."""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from tqdm import tqdm

from monai_segdiff._version import __version__
from monai_segdiff.data import Case, SegmentationDataset, case_name, read_dataset, write_dataset, write_like
from monai_segdiff.data.atomic import atomic_file, remove_leftovers
from monai_segdiff.generation.generator import TrainedGenerator
from monai_segdiff.generation.manifest import Manifest

__all__ = ["generate_dataset"]

_IMAGES, _LABELS = "imagesTr", "labelsTr"
# One process may be done long before another.
_PATIENCE = timedelta(days=30)


def generate_dataset(
    generator: TrainedGenerator,
    masks: Sequence[Case],
    output: str | os.PathLike[str],
    *,
    per_mask: int = 1,
    batch_size: int = 16,
    overwrite: bool = False,
    progress: bool = True,
) -> SegmentationDataset:
    """Generate images for label maps and write both as a data set.

    Images take names, file format and geometry from their label maps. Sample ``k`` of mask ``m`` has index
    ``m * per_mask + k``, and seed and index alone decide its noise: the result depends neither on the batch size nor on
    how often the run was stopped and taken up again, nor on how many processes share it, but for the network's
    rounding. Under ``torchrun`` each process takes every n-th sample.

    Args:
        generator: from :func:`monai_segdiff.generation.load_generator`.
        masks: from :func:`monai_segdiff.generation.collect_masks`.
        output: folder for ``imagesTr``, ``labelsTr``, ``dataset.json``, ``manifest.json`` and
            ``manifest.seconds.json``. What is there already, made with the same arguments, is not made again.
        per_mask: images for each mask, at least 1.
        batch_size: images sampled at once.
        overwrite: remove first what another run has generated in the folder.
        progress: show a progress bar.

    Returns:
        The data set; everything is in its split ``training``.

    Raises:
        ValueError: if a mask does not fit the generator, or the folder holds something that was made otherwise.
        OSError: if a file cannot be written; samples that were finished stay, and the next run goes on from there.
    """
    if per_mask < 1 or batch_size < 1:
        raise ValueError(f"per_mask and batch_size must be at least 1, got {per_mask} and {batch_size}")
    root = Path(output)
    rank, world_size = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    header = _header(generator, masks, per_mask)
    with _Processes(world_size) as processes:
        if rank == 0:
            _prepare_folder(root, overwrite)
        processes.wait()
        manifest = Manifest(root, header)
        done = manifest.records()
        processes.wait()  # until everyone has read what is there
        todo = [i for i in range(rank, len(masks) * per_mask, world_size) if i not in done]
        with tqdm(total=len(todo), desc="generating", unit="img", disable=not progress or rank != 0) as bar:
            for indices in _batches(todo, batch_size):
                encoded = {m: generator.condition(_label(masks[m])) for m in {i // per_mask for i in indices}}
                conditions = torch.stack([encoded[i // per_mask] for i in indices])
                started = time.perf_counter()
                images = generator.sample(conditions, indices)
                seconds = round((time.perf_counter() - started) / len(indices), 6)
                for index, image in zip(indices, images, strict=True):
                    record = _write_pair(root, masks[index // per_mask], index, per_mask, image, generator)
                    manifest.append({**record, "seconds": seconds}, rank)
                    bar.update()
        processes.wait()
        if rank == 0:
            _finish(root, manifest, generator)
        processes.wait()
    return read_dataset(root)


def _batches(items: Sequence[int], size: int) -> Iterator[list[int]]:
    for first in range(0, len(items), size):
        yield list(items[first : first + size])


def _label(case: Case) -> Path:
    assert case.label is not None
    return case.label


def _header(generator: TrainedGenerator, masks: Sequence[Case], per_mask: int) -> dict[str, Any]:
    return {
        "synthetic": True,
        "generator": {
            "bundle": generator.name,
            "weights": generator.weights.name,
            "weights_sha256": generator.weights_sha256,
            "monai_segdiff": __version__,
        },
        "settings": generator.settings,
        "masks": {"number": len(masks), "sha256": _digest(masks), "per_mask": per_mask},
    }


def _digest(masks: Sequence[Case]) -> str:
    """Hash of names and contents: other masks under the same names are other masks."""
    digest = hashlib.sha256()
    for mask in masks:
        digest.update(mask.id.encode() + b"\0" + _label(mask).read_bytes())
    return digest.hexdigest()


def _prepare_folder(root: Path, overwrite: bool) -> None:
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(f"cannot make the folder {root}: {error.strerror}; give one that can be written") from error
    held = [path.name for path in root.iterdir() if not path.name.startswith(".tmp-")]
    if held and not Manifest.owns(root):
        raise ValueError(f"{root} holds {held[0]!r}, which was not generated here: give an empty folder")
    remove_leftovers(root)
    if overwrite:  # what was written here, and nothing that somebody else has put beside it
        for folder in (_IMAGES, _LABELS):
            shutil.rmtree(root / folder, ignore_errors=True)
        for file in (root / "dataset.json", *root.glob("manifest.*")):
            file.unlink(missing_ok=True)


def _write_pair(
    root: Path, mask: Case, index: int, per_mask: int, image: torch.Tensor, generator: TrainedGenerator
) -> dict[str, Any]:
    label = _label(mask)
    ending = label.name[len(mask.id) :]
    name = f"{mask.id}_{index % per_mask:03d}{ending}"
    image_file, label_file = Path(_IMAGES) / name, Path(_LABELS) / name
    write_like(image[0].numpy(), label, root / image_file)
    with atomic_file(root / label_file) as temporary:
        shutil.copyfile(label, temporary)
    return {
        "index": index,
        "image": image_file.as_posix(),
        "label": label_file.as_posix(),
        "mask": mask.id,
        "patient": mask.patient,
        "seed": generator.settings["seed"],
        "evaluations": generator.inferer.evaluations,
        "weights_sha256": generator.weights_sha256,
    }


def _finish(root: Path, manifest: Manifest, generator: TrainedGenerator) -> None:
    cases = [
        Case(case_name(record["image"]), root / record["image"], root / record["label"], record["patient"])
        for record in manifest.finish()
    ]
    dataset = SegmentationDataset(
        root=root,
        name=f"synthetic images of {generator.name}",
        classes=generator.classes,
        parents=generator.parents,
        splits={"training": cases},
        intensity_range=generator.intensity_range,
        spatial_dims=len(generator.image_size),
        settings={"synthetic": True},
    )
    write_dataset(root, dataset)


class _Processes:
    """Those that share the work under ``torchrun``; a single process waits for nobody."""

    def __init__(self, number: int) -> None:
        self.joined = number > 1 and not dist.is_initialized()

    def __enter__(self) -> _Processes:
        if self.joined:
            dist.init_process_group("gloo", timeout=_PATIENCE)
        return self

    def wait(self) -> None:
        if dist.is_initialized():
            dist.barrier()

    def __exit__(self, *_: object) -> None:
        if self.joined:
            dist.destroy_process_group()
