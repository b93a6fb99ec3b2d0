"""The trainings behind the study of the chest X-ray bundle: three of XReal, and its rivals in the same time."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.bundles import TIME_LIMIT, TrainingFacts, train_bundle
from benchmarks.common import say
from monai_segdiff import copy_bundle
from monai_segdiff.data import SegmentationDataset
from monai_segdiff.files import atomic_file, atomic_folder

__all__ = ["LONGER", "RIVALS", "XREAL", "Part", "facts_of_all", "train_all", "train_longer", "train_part"]

_PACE_SECONDS = 20  # over which the pace of a rival is measured


@dataclass(frozen=True)
class Part:
    """One training.

    Args:
        name: of its record.
        bundle: name of the bundle.
        config: its configuration.
        checkpoints: folder of its checkpoints in ``models``.
        overlays: laid over it.
    """

    name: str
    bundle: str
    config: str
    checkpoints: str
    overlays: Sequence[str] = ("cpu_demo.yaml",)


XREAL = (
    Part("autoencoder", "chest_xray", "train_autoencoder.yaml", "autoencoder"),
    Part("anatomy", "chest_xray", "train_anatomy.yaml", "anatomy"),
    Part("diffusion", "chest_xray", "train_diffusion.yaml", "diffusion"),
)
LATENT_MASK = Part(
    "latent_mask", "chest_xray", "train_diffusion.yaml", "mask/diffusion", ("cpu_demo.yaml", "latent_mask.yaml")
)
IMAGE_SPACE = Part("image_space", "ct_organ", "train.yaml", ".")
RIVALS = (LATENT_MASK, IMAGE_SPACE)
LONGER = "chest_xray_longer"  # folder of the copy whose diffusion training goes on


def train_part(part: Part, work: Path, dataset: SegmentationDataset, size: int, **overrides: Any) -> TrainingFacts:
    """Train to the end what a configuration says, and note the processor time; what is finished is not done again.

    One that was stopped is begun anew, because its time would not be comparable otherwise.

    Args:
        part: the training.
        work: folder of the copies of the bundles.
        dataset: to train on.
        size: pixels per axis.
        **overrides: values of further ids.

    Returns:
        What was done; its seconds are of the processor.
    """
    folder = work / part.bundle
    record = folder / f"{part.name}.json"
    if record.is_file():
        return TrainingFacts(**json.loads(record.read_text()))
    copy_bundle(part.bundle, folder)
    for checkpoint in (folder / "models" / part.checkpoints).glob("checkpoint_epoch=*.pt"):
        checkpoint.unlink()
    values = {"dataset_dir": str(dataset.root), "image_size": [size, size], **overrides}
    say(f"training {part.name}")
    started = time.process_time()
    facts = train_bundle(folder, part.overlays, values, part.config)
    facts = TrainingFacts(facts.iterations, facts.images, round(time.process_time() - started, 1))
    _note(record, asdict(facts))
    return facts


def train_all(work: Path, dataset: SegmentationDataset, size: int, names: Sequence[str]) -> dict[str, TrainingFacts]:
    """Train XReal's three networks, then the rivals for as long.

    A rival's length is set by its own pace, so that its learning rate falls to zero in its time, too: the mask in
    latent space gets the time of anatomy controller and diffusion model on the same autoencoder, image space all of it.

    Args:
        work: folder of the copies of the bundles.
        dataset: to train on.
        size: pixels per axis.
        names: of the trainings that are wanted.

    Returns:
        What was done, by name.
    """
    done = {part.name: train_part(part, work, dataset, size) for part in XREAL if part.name in names}
    for part in RIVALS:
        if part.name not in names:
            continue
        counted = XREAL[1:] if part is LATENT_MASK else XREAL
        seconds = sum(train_part(other, work, dataset, size).seconds for other in counted)
        done[part.name] = train_part(part, work, dataset, size, max_images=_images(part, work, dataset, size, seconds))
    return done


def train_longer(work: Path, dataset: SegmentationDataset, size: int, images: int) -> TrainingFacts:
    """Go on with the diffusion training of a copy of XReal's networks; one that was stopped goes on where it was.

    Args:
        work: folder of the copies of the bundles.
        dataset: to train on.
        size: pixels per axis.
        images: length of the whole training in images seen.

    Returns:
        What was done; its seconds are of the processor, at the pace of the last run.
    """
    folder = work / LONGER
    record = folder / "diffusion.json"
    if record.is_file() and (facts := TrainingFacts(**json.loads(record.read_text()))).images >= images:
        return facts
    if not folder.is_dir():
        with atomic_folder(folder) as temporary:
            shutil.copytree(work / "chest_xray", temporary, dirs_exist_ok=True)
    values = {"dataset_dir": str(dataset.root), "image_size": [size, size], "diffusion_training#max_images": images}
    say(f"going on with the diffusion training up to {images:,d} images")
    started = time.process_time()
    facts = train_bundle(folder, XREAL[2].overlays, values, XREAL[2].config)
    share = (facts.iterations - facts.resumed_at) / facts.iterations
    facts = TrainingFacts(facts.iterations, facts.images, round((time.process_time() - started) / share, 1))
    _note(record, asdict(facts))
    return facts


def _images(part: Part, work: Path, dataset: SegmentationDataset, size: int, seconds: float) -> int:
    """How many images a training sees in so many seconds of the processor."""
    file = work / f"{part.name}_pace.json"
    if not file.is_file():
        scratch = work / "pace"
        if part is LATENT_MASK:
            copy_bundle(part.bundle, scratch / part.bundle)
            for name in ("autoencoder.pt", "autoencoder.yaml"):
                target = scratch / part.bundle / "models" / name
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes((work / part.bundle / "models" / name).read_bytes())
        folder = copy_bundle(part.bundle, scratch / part.bundle)
        values = {"dataset_dir": str(dataset.root), "image_size": [size, size], "limit_seconds": _PACE_SECONDS}
        say(f"measuring the pace of {part.name}")
        facts = train_bundle(
            folder, [*part.overlays, TIME_LIMIT, TIME_LIMIT.with_name("cpu_time_limit.yaml")], values, part.config
        )
        _note(file, {"images_per_second": facts.images / _PACE_SECONDS})
    return round(json.loads(file.read_text())["images_per_second"] * seconds)


def _note(file: Path, content: Mapping[str, Any]) -> None:
    with atomic_file(file) as temporary:
        temporary.write_text(json.dumps(content, indent=1))


def facts_of_all(work: Path, chest: str = "chest_xray") -> list[tuple[str, TrainingFacts]]:
    """What was done, of all trainings that are finished.

    Args:
        work: folder of the copies of the bundles.
        chest: folder in it of the copy of `chest_xray`.
    """
    found = []
    for part in (*XREAL, *RIVALS):
        record = work / (chest if part.bundle == "chest_xray" else part.bundle) / f"{part.name}.json"
        if record.is_file():
            found.append((part.name, TrainingFacts(**json.loads(record.read_text()))))
    return found
