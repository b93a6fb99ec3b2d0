"""The folder of a synthetic data set: filled by one or more processes, stopped and taken up again."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from tqdm import tqdm

from monai_segdiff._version import __version__
from monai_segdiff.data import (
    Case,
    SegmentationDataset,
    case_name,
    file_extension,
    load_label_map,
    write_dataset,
    write_like,
)
from monai_segdiff.digests import DIGESTS, digest_of
from monai_segdiff.files import atomic_file, claim_folder, inside, names_in
from monai_segdiff.generation.generator import TrainedGenerator
from monai_segdiff.generation.manifest import Manifest
from monai_segdiff.generation.processes import Processes

__all__ = [
    "ANATOMIES",
    "DICOM",
    "IMAGES",
    "LABELS",
    "PICTURES",
    "REGIONS",
    "SOURCES",
    "base_header",
    "copy_file",
    "digest_of_inputs",
    "fill_folder",
    "write_description",
    "write_label_map",
]

IMAGES, LABELS, SOURCES, PICTURES = "imagesTr", "labelsTr", "sourceTr", "pictures"
REGIONS, ANATOMIES, DICOM = "regionsTr", "anatomyTr", "dicom"


def fill_folder(
    root: Path,
    header: Mapping[str, Any],
    number: int,
    sources: Iterable[Path | None],
    make: Callable[[list[int]], Iterable[dict[str, Any]]],
    finish: Callable[[list[dict[str, Any]]], object],
    *,
    batch_size: int,
    overwrite: bool,
    progress: bool,
) -> None:
    """Make what is missing of a number of samples, and finish the data set.

    Args:
        root: its folder.
        header: what all samples share, for the manifest.
        number: how many samples there are.
        sources: files that the samples are made from; None stands for one that is not there.
        make: makes the samples of some indices, files first, and gives their records one by one.
        finish: called once, with the records of all samples, when the manifest is written.
        batch_size: indices for one call of ``make``.
        overwrite: remove first what another run has made in the folder.
        progress: show a progress bar.

    Raises:
        ValueError: if the folder holds something that was made otherwise, or what the samples are made from.
        FileExistsError: if another run is writing to the folder.
        OSError: if a file cannot be written.
    """
    if within := next((file for file in sources if file and root.resolve() in file.resolve().parents), None):
        raise ValueError(f"{within} lies in {root}, where the results go and would replace it: give another folder")
    with Processes() as processes, ExitStack() as held:
        processes.first(lambda: held.enter_context(_opened(root, overwrite)))
        manifest = Manifest(root, header)
        done = manifest.records()
        if done and max(done) >= number:
            raise ValueError(
                f"{root} holds sample {max(done)}, and there are {number} from 0 on: its manifest was changed; start "
                "anew (--overwrite), or give another folder"
            )
        processes.wait()  # until everyone has read what is there
        todo = [i for i in range(processes.rank, number, processes.number) if i not in done]
        with tqdm(total=len(todo), desc="generating", unit="img", disable=not progress or processes.rank > 0) as bar:
            for first in range(0, len(todo), batch_size):
                for record in make(todo[first : first + batch_size]):
                    manifest.append(record, processes.rank)
                    bar.update()
        processes.wait()

        def complete() -> None:
            finish(manifest.finish())
            manifest.seal()

        processes.first(complete)


def base_header(generator: TrainedGenerator) -> dict[str, Any]:
    """What every manifest says of the generator: all that decides a sample, so that none is added to another's.

    Args:
        generator: what generates.
    """
    return {
        "synthetic": True,
        "generator": {
            "bundle": generator.name,
            "weights": generator.weights.name,
            "weights_sha256": generator.weights_sha256,
            "monai_segdiff": __version__,
        },
        "settings": generator.settings,
        # A list, as the order of the classes is that of the network's channels.
        "classes": [{"name": name, "ids": ids} for name, ids in generator.classes.items()],
        "parents": generator.parents,
        "findings": list(generator.findings),
        "intensity_range": list(generator.intensity_range),
        **({"channels": list(generator.channels)} if generator.channels else {}),
        "image_size": list(generator.image_size),
        "configuration_sha256": generator.configuration_sha256,
    }


def digest_of_inputs(inputs: Iterable[Mapping[str, Any]]) -> str:
    """Hash of what samples are made from, to tell it from other files and facts under the same names.

    Args:
        inputs: facts of JSON types, and files, by name, for each mask.

    Raises:
        OSError: if a file cannot be read.
    """
    digest = hashlib.sha256()
    for facts in inputs:
        held = {k: (v.name, digest_of(v)) if isinstance(v, Path) else v for k, v in facts.items()}
        digest.update(json.dumps(held).encode() + b"\n")
    return digest.hexdigest()


def copy_file(source: Path, target: Path) -> None:
    """Copy a file byte for byte; it appears under its name once it is complete.

    Args:
        source: an existing file.
        target: where to.

    Raises:
        OSError: if it cannot be written.
    """
    with atomic_file(target) as temporary:
        shutil.copyfile(source, temporary)


def write_label_map(source: Path, target: Path) -> None:
    """Write a label map as it is: byte for byte, or, in another format, with its ids and its place in space.

    Args:
        source: the label map.
        target: where to.

    Raises:
        ValueError: if the format cannot hold it.
        OSError: if it cannot be written.
    """
    if file_extension(source) == file_extension(target):
        copy_file(source, target)
    else:
        write_like(load_label_map(source).numpy(), source, target)


def write_description(
    root: Path,
    records: Sequence[Mapping[str, Any]],
    generator: TrainedGenerator,
    name: str,
) -> None:
    """Write ``dataset.json``.

    Args:
        root: folder of the data set.
        records: its samples, from the manifest.
        generator: what made them, with the classes and parents of their label maps.
        name: title.
    """
    cases = [
        Case(
            case_name(record["image"]),
            root / record["image"],
            root / record["label"],
            record["patient"],
            findings=tuple(record["findings"]) if "findings" in record else None,
            region=root / record["region_map"] if "region_map" in record else None,
            patient_known=record.get("patient_known", True),
            covariates=tuple(record.get("covariates", {}).items()),
        )
        for record in records
    ]
    dataset = SegmentationDataset(
        root=root,
        name=name,
        classes=dict(generator.classes),
        parents=dict(generator.parents),
        splits={"training": cases},
        intensity_range=generator.intensity_range,
        spatial_dims=len(generator.image_size),
        settings={"synthetic": True},
        findings=generator.findings,
        channels=generator.channels,
        covariates=generator.covariates,
    )
    write_dataset(root, dataset)


@contextmanager
def _opened(root: Path, overwrite: bool) -> Iterator[None]:
    """The folder, which no other run writes to meanwhile, once it is known that it may be written."""
    held = sorted(names_in(root), key=lambda name: name.startswith("."))
    if held and not Manifest.owns(root):
        shown = "manifest.json" if "manifest.json" in held else held[0]
        raise ValueError(f"{root} holds {shown!r}, which was not generated here: give an empty folder")
    folders = [inside(root, part) for part in (IMAGES, LABELS, SOURCES, PICTURES, REGIONS, ANATOMIES, DICOM)]
    with claim_folder(root):
        if overwrite:  # what was written here, and nothing that somebody else has put beside it
            for folder in folders:
                shutil.rmtree(folder, ignore_errors=True)
            for file in (root / DIGESTS, root / "dataset.json", *root.glob("manifest.*")):
                file.unlink(missing_ok=True)
        yield
