"""Paired data sets from label maps."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from tqdm import tqdm

from monai_segdiff._version import __version__
from monai_segdiff.data import Case, SegmentationDataset, write_dataset, write_like
from monai_segdiff.generation.generator import Generator
from monai_segdiff.generation.manifest import Manifest

__all__ = ["generate_dataset"]


def generate_dataset(
    generator: Generator,
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
    how often the run was stopped and taken up again, nor on how many processes share it. Under ``torchrun`` each
    process takes every n-th sample.

    Args:
        generator: from :func:`monai_segdiff.generation.load_generator`.
        masks: from :func:`monai_segdiff.generation.collect_masks`.
        output: folder for ``imagesTr``, ``labelsTr``, ``dataset.json`` and ``manifest.json``. What is there already,
            made with the same arguments, is not made again.
        per_mask: images for each mask, at least 1.
        batch_size: images sampled at once.
        overwrite: remove what is in the folder first.
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
                conditions = torch.stack([generator.condition(_label(masks[i // per_mask])) for i in indices])
                images = generator.sample(conditions, indices)
                for index, image in zip(indices, images, strict=True):
                    record = _write_pair(root, masks[index // per_mask], index, per_mask, image, generator)
                    manifest.append(record, rank)
                    bar.update()
        processes.wait()
        return _finish(root, manifest, masks, generator) if rank == 0 else _described(root, [], generator)


def _batches(items: Sequence[int], size: int) -> Iterator[list[int]]:
    for first in range(0, len(items), size):
        yield list(items[first : first + size])


def _label(case: Case) -> Path:
    assert case.label is not None
    return case.label


def _header(generator: Generator, masks: Sequence[Case], per_mask: int) -> dict[str, Any]:
    return {
        "synthetic": True,
        "generator": {
            "bundle": generator.name,
            "weights": generator.weights.name,
            "weights_sha256": generator.weights_sha256,
            "monai_segdiff": __version__,
        },
        "settings": generator.settings,
        "masks": {"number": len(masks), "first": masks[0].id, "last": masks[-1].id, "per_mask": per_mask},
    }


def _prepare_folder(root: Path, overwrite: bool) -> None:
    if overwrite and (root / "manifest.json").is_file() or (root / "manifest.header.json").is_file() and overwrite:
        shutil.rmtree(root)
    if root.is_dir() and any(root.iterdir()) and not any(root.glob("manifest.*")):
        raise ValueError(f"{root} holds something that was not generated here: give an empty folder")
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(f"cannot make the folder {root}: {error.strerror}; give one that can be written") from error


def _write_pair(
    root: Path, mask: Case, index: int, per_mask: int, image: torch.Tensor, generator: Generator
) -> dict[str, Any]:
    label = _label(mask)
    ending = label.name[len(mask.id) :]
    name = f"{mask.id}_{index % per_mask:03d}{ending}"
    image_file, label_file = Path("imagesTr") / name, Path("labelsTr") / name
    write_like(image[0].numpy(), label, root / image_file)
    (root / label_file).parent.mkdir(exist_ok=True)
    _copy_atomically(label, root / label_file)
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


def _copy_atomically(source: Path, target: Path) -> None:
    temporary = target.with_name(f".{target.name}.tmp")
    try:
        shutil.copyfile(source, temporary)
        os.replace(temporary, target)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise OSError(f"cannot write {target}: {error.strerror}; free space there and run again to go on") from error


def _described(root: Path, cases: list[Case], generator: Generator) -> SegmentationDataset:
    return SegmentationDataset(
        root=root,
        name=f"synthetic images of {generator.name}",
        classes=generator.classes,
        splits={"training": cases},
        intensity_range=generator.intensity_range,
        spatial_dims=len(generator.image_size),
        settings={"synthetic": True},
    )


def _finish(root: Path, manifest: Manifest, masks: Sequence[Case], generator: Generator) -> SegmentationDataset:
    cases = [
        Case(Path(r["image"]).name.split(".")[0], root / r["image"], root / r["label"], r["patient"])
        for r in manifest.finish()
    ]
    dataset = _described(root.resolve(), cases, generator)
    write_dataset(root, dataset)
    return dataset


class _Processes:
    """Those that share the work under ``torchrun``; a single process waits for nobody."""

    def __init__(self, number: int) -> None:
        self.joined = number > 1 and not dist.is_initialized()

    def __enter__(self) -> _Processes:
        if self.joined:
            dist.init_process_group("gloo")
        return self

    def wait(self) -> None:
        if dist.is_initialized():
            dist.barrier()

    def __exit__(self, *_: object) -> None:
        if self.joined:
            dist.destroy_process_group()
