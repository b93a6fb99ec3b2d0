"""Counterfactual edits: an image as it would be, had its mask been another one."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from monai_segdiff.data import Case, SegmentationDataset, case_name, read_dataset, write_like
from monai_segdiff.data.issues import case_issues
from monai_segdiff.data.writers import check_writable, extension_of
from monai_segdiff.files import atomic_file, inside
from monai_segdiff.generation.covariates import Covariates
from monai_segdiff.generation.edit_picture import edit_picture
from monai_segdiff.generation.edits import Edit
from monai_segdiff.generation.folder import (
    IMAGES,
    LABELS,
    PICTURES,
    SOURCES,
    base_header,
    digest_of_inputs,
    fill_folder,
    write_description,
    write_label_map,
)
from monai_segdiff.generation.generator import TrainedGenerator
from monai_segdiff.generation.region import edit_region
from monai_segdiff.generation.similarity import check_time
from monai_segdiff.inferers import BlendConstraint, ContrastGuidance, ImageStart, NoiseStart, SamplingInferer
from monai_segdiff.transforms import CovariateValue

__all__ = ["EditSettings", "edit_dataset", "edit_images"]

DEFAULT_LEVEL = 1.5  # of the images' range


@dataclass(frozen=True)
class EditSettings:
    """How an edit is made.

    Args:
        method: ``"invert"`` goes from the image back to the noise that it comes from under its own mask, and holds what
            is to stay to that way; ``"noise"`` puts fresh noise on the image (XReal, arXiv 2403.09240).
        t0: time in (0, 1] of the parameterization up to which the image is undone; by default to where the noise has
            1.5 times the images' range as its standard deviation. At low levels the look of what was there stays.
        dilation: how far beyond the pixels whose label changes the image may change, in pixels.
        softness: width of that region's soft edge, which lies inside it, in pixels.
        guidance: weight with which the edited mask is told apart from the image's own, see
            :class:`~monai_segdiff.inferers.ContrastGuidance`; above 1, at two evaluations a step, less stays of what
            was there. The generator's own guidance does not count.

    Raises:
        ValueError: for an unknown method, or a value out of range.
    """

    method: str = "invert"
    t0: float | None = None
    dilation: float = 3.0
    softness: float = 2.0
    guidance: float = 2.0

    def __post_init__(self) -> None:
        if self.method not in ("invert", "noise"):
            raise ValueError(f"unknown method {self.method!r} of editing: choose invert or noise")
        check_time(self.t0, "how far an edit is undone (t0, --level)")
        edit_region(torch.ones(1, dtype=torch.bool), self.dilation, self.softness)
        if not 1.0 <= self.guidance < math.inf:
            raise ValueError(
                f"the guidance of an edit (--guidance) must be at least 1, which is none, got {self.guidance:g}"
            )

    def level(self, network_range: tuple[float, float]) -> dict[str, float]:
        """The level, as the inferer takes it.

        Args:
            network_range: lowest and highest value of an image, as the network sees it.
        """
        return {"sigma": DEFAULT_LEVEL * (network_range[1] - network_range[0])} if self.t0 is None else {"t0": self.t0}


def edit_images(
    generator: TrainedGenerator,
    images: torch.Tensor,
    conditions: torch.Tensor,
    edited: torch.Tensor,
    indices: Sequence[int],
    settings: EditSettings | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Make the images that belong to edited masks, and leave what the edit does not touch.

    Args:
        generator: from :func:`monai_segdiff.generation.load_generator`.
        images: (B, C, *spatial), in the network's range, see ``TrainedGenerator.image``.
        conditions: their masks, encoded, (B, channels, *spatial), see ``TrainedGenerator.condition``.
        edited: the edited masks, encoded, same shape.
        indices: index of each sample; with the seed it decides the noise, of which ``"invert"`` has none.
        settings: how; the defaults if left out.

    Returns:
        The images, (B, C, *spatial), in the network's range, and the region that was free, (B, 1, *spatial). Outside
        the region they are the given ones, to the bit.

    Raises:
        ValueError: if a mask was not edited, or the generator cannot do it.
    """
    settings = settings or EditSettings()
    inferer = generator.inferer
    if not isinstance(inferer, SamplingInferer) or not isinstance(inferer.start, NoiseStart):
        raise ValueError(f"{generator.name} does not sample from noise under a mask: it cannot edit")
    changed = (conditions != edited).any(dim=1)
    if unedited := [row for row, changes in enumerate(changed.flatten(1).any(dim=1).tolist()) if not changes]:
        raise ValueError(f"the edited mask of image number {unedited[0]} equals its own: nothing is edited")
    regions = [edit_region(pixels, settings.dilation, settings.softness) for pixels in changed]
    region = torch.stack(regions)[:, None]
    level: dict[str, Any] = settings.level(generator.network_range)
    start: Any = ImageStart(images, **level)
    reference: Any = images
    if settings.method == "invert":
        start = reference = inferer.invert(images, conditions, generator.network, **level)
    result = inferer(
        inputs=edited,
        network=generator.network,
        indices=list(indices),
        start=start,
        guidance=ContrastGuidance(settings.guidance, conditions),
        constraints=[BlendConstraint(reference, region)],
    )
    return result.cpu(), region


def edit_dataset(
    generator: TrainedGenerator,
    edits: Sequence[Edit],
    output: str | os.PathLike[str],
    settings: EditSettings | None = None,
    *,
    covariates: Mapping[str, CovariateValue | None] | None = None,
    batch_size: int = 16,
    overwrite: bool = False,
    progress: bool = True,
) -> SegmentationDataset:
    """Edit images and write them, with their edited label maps, as a data set.

    Args:
        generator: from :func:`monai_segdiff.generation.load_generator`.
        edits: from :func:`monai_segdiff.generation.collect_edits`.
        output: folder for ``imagesTr``, ``labelsTr``, the masks before the edit in ``sourceTr``, ``dataset.json`` and
            ``manifest.json``, and for ``pictures``: image, mask, edited mask, result and difference of each edit. What
            is there already, made with the same arguments, is not made again.
        settings: how; the defaults if left out.
        covariates: what the network is told of the patient or image, the same under both masks, as for
            :func:`~monai_segdiff.generation.generate_dataset`; those not named are as the images' data set says.
        batch_size: images edited at once.
        overwrite: remove first what another run has made in the folder.
        progress: show a progress bar.

    Returns:
        The data set; everything is in its split ``training``.

    Warns:
        UserWarning: of covariates outside what the generator was trained on.

    Raises:
        ValueError: if a file or a covariate does not fit the generator, a mask was not edited, or the folder holds
            something else.
        OSError: if a file cannot be written.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    told = Covariates(dict(covariates or {})) if covariates or generator.covariates else None
    work = _Work(generator, edits, Path(output), settings or EditSettings(), told)
    fill_folder(
        work.root,
        work.header(),
        len(edits),
        [file for edit in edits for file in (edit.image, edit.label, edit.edited)],
        work.make,
        lambda records: write_description(work.root, records, generator, f"images edited with {generator.name}"),
        batch_size=batch_size,
        overwrite=overwrite,
        progress=progress,
    )
    return read_dataset(work.root)


@dataclass(frozen=True)
class _Work:
    generator: TrainedGenerator
    edits: Sequence[Edit]
    root: Path
    settings: EditSettings
    told: Covariates | None = None

    def header(self) -> dict[str, Any]:
        for edit in self.edits:
            check_writable(edit.edited, None, self.generator.intensity_range, len(self.generator.channels) or 1)
        sha256 = digest_of_inputs(self._inputs(edit) for edit in self.edits)
        about = {"number": len(self.edits), "sha256": sha256, **asdict(self.settings)}
        header = {
            **base_header(self.generator),
            "edits": {**about, **self.settings.level(self.generator.network_range)},
        }
        if self.told is not None:
            header[self.told.key] = self.told.header(self.generator, [edit.case for edit in self.edits])
        return header

    def _inputs(self, edit: Edit) -> dict[str, Any]:
        own = {name: value for name, value in vars(edit).items() if name != "covariates"}
        return own if self.told is None else {**own, **self.told.inputs(edit.case)}

    def _of(self, edit: Edit) -> dict[str, CovariateValue]:
        """What the network is told beside the mask."""
        return {} if self.told is None else self.told.of(edit.case, self.generator)

    def make(self, indices: list[int]) -> Iterator[dict[str, Any]]:
        edits = [self.edits[index] for index in indices]
        for edit in edits:
            _check_geometry(edit, self.generator.channels)
        images = torch.stack([self.generator.image(edit.image) for edit in edits])
        before = torch.stack([self.generator.condition(edit.label, None, self._of(edit)) for edit in edits])
        after = torch.stack([self._edited_condition(edit, own) for edit, own in zip(edits, before, strict=True)])
        started = time.perf_counter()
        results, regions = edit_images(self.generator, images, before, after, indices, self.settings)
        seconds = round((time.perf_counter() - started) / len(indices), 6)
        shown = self.generator.intensities(results)
        for row, (index, edit) in enumerate(zip(indices, edits, strict=True)):
            changed = (before[row] != after[row]).any(dim=0)
            values = self.generator.network_range
            picture = edit_picture(edit, images[row], results[row], changed, values, self.generator.channels)
            record = self._write(index, edit, shown[row], picture)
            share = float((before[row] != after[row]).any(dim=0).float().mean())
            free = float((regions[row] > 0).float().mean())
            yield {**record, "edited": round(share, 6), "region": round(free, 6), "seconds": seconds}

    def _edited_condition(self, edit: Edit, own: torch.Tensor) -> torch.Tensor:
        condition = self.generator.condition(edit.edited, None, self._of(edit))
        if torch.equal(condition, own):
            raise ValueError(
                f"{edit.edited} is the same mask as {edit.label}: move, remove or grow a class in it, or leave it out"
            )
        return condition

    def _write(self, index: int, edit: Edit, image: torch.Tensor, picture: Image.Image) -> dict[str, Any]:
        name, source = _written_name(edit.edited), _written_name(edit.label)
        write_like(image.numpy(), edit.edited, self.root / IMAGES / name, channels=len(image))
        write_label_map(edit.edited, self.root / LABELS / name)
        write_label_map(edit.label, self.root / SOURCES / source)
        with atomic_file(inside(self.root / PICTURES, f"{edit.id}.png")) as temporary:
            picture.save(temporary)
        return {
            "index": index,
            "image": f"{IMAGES}/{name}",
            "label": f"{LABELS}/{name}",
            "mask": edit.id,
            "patient": edit.patient,
            **({} if edit.patient_known else {"patient_known": False}),
            "seed": self.generator.settings["seed"],
            "weights_sha256": self.generator.weights_sha256,
            "source": {
                "image": os.path.relpath(edit.image, self.root.resolve()),
                "label": f"{SOURCES}/{source}",
            },
            "picture": f"{PICTURES}/{edit.id}.png",
            **({"covariates": told} if (told := self._of(edit)) else {}),
        }


def _written_name(label: Path) -> str:
    """Name of a label map in the format that it is written in: its own, or NIfTI where that is read only."""
    return f"{case_name(label)}{extension_of(label)}"


def _check_geometry(edit: Edit, channels: Sequence[str]) -> None:
    """Refuse masks that do not lie on the image, as those that an editor has saved in another orientation."""
    for label in (edit.label, edit.edited):
        for issue in case_issues(Case(edit.id, edit.image, label, edit.patient), channels=channels):
            if issue.severity == "error":
                raise ValueError(f"{issue.file}: {issue.message}; {issue.remedy}")
