"""Several methods on the same masks: how far each one's images are from the real ones."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from monai_segdiff.evaluation.measure.inputs import Inputs, read_inputs
from monai_segdiff.evaluation.measure.matching import match_cases, same_masks
from monai_segdiff.evaluation.methods.picture import methods_picture
from monai_segdiff.evaluation.methods.rows import MethodRow, group_of, measure_group, measure_row, measure_views
from monai_segdiff.evaluation.methods.sections import (
    difference_section,
    error_section,
    failure_section,
    method_headlines,
    view_section,
)
from monai_segdiff.evaluation.readers.train_segmenter import open_segmenter
from monai_segdiff.evaluation.report.page import write_page, write_picture
from monai_segdiff.evaluation.report.report import Report, Section
from monai_segdiff.files import atomic_file, claim_folder, remove_leftovers

__all__ = ["compare_methods"]

_NAME = "methods"  # of the files

Classes = Mapping[str, int | Sequence[int]]


def compare_methods(
    real: str | Path,
    synthetic: Mapping[str, str | Path],
    output: str | Path,
    *,
    conditions: Mapping[str, Classes] | None = None,
    published: Mapping[str, Mapping[str, float]] | None = None,
    segmenter: str | Path | None = None,
    limits: str | Path | None = None,
    cache_dir: str | Path | None = None,
    segmenter_images: int | None = None,
    seed: int = 0,
    no_real_images: bool = False,
    max_images: int | None = None,
    progress: bool = True,
) -> Report:
    """Compare the images of several methods with the real images of the same label maps, and with each other.

    Writes `methods.html`, `methods.md`, `methods.json`, `methods.csv`, `methods.txt` and `methods.png`. Every image is
    paired, by the name of its mask, with the real image that the mask belongs to; intensities are mapped to [0, 1] by
    the data set's `intensity_range`. Where the real data set has the geometry of several views of a volume, the views'
    consistency stands beside that of the real ones.

    Args:
        real: data set folder with held-out cases; training cases serve the segmenter only.
        synthetic: data set folder, as `generate` writes it, by name of the row: "condition / method", such as
            "contour / CTM", or the method's name alone. Rows of one condition stand together and are compared.
        output: folder for the report.
        conditions: what the methods were told of, by the condition's name: class name to label ids, as
            `{"contour": {"contour": [1, 2]}}` where bone (2) is not told apart. Failed samples are then found with
            these classes. Default: the data set's classes.
        published: published figures to stand beside, `{"mae", "psnr"}` by name of the row.
        segmenter: as for `evaluate`; default: trained on the real training cases.
        limits: data set folder whose held-out real images give the limits of failed samples; default: `real`. Where
            methods are tried on other patients than those of their population, give the data set that they were
            trained on: it says how much noise their images should have.
        cache_dir: where trained segmenters are kept; default: `segmenter` in the output folder.
        segmenter_images: length of the segmenter's training in images seen; default: by image size.
        seed: of the segmenter's training, of the resampling and of the draw of other patients' masks.
        no_real_images: leave real images out of the picture.
        max_images: use at most so many images of each row, evenly spaced.
        progress: whether to show progress bars.

    Returns:
        The report.

    Raises:
        FileNotFoundError: if a folder or file is missing.
        ValueError: if data sets do not fit each other, a generated image has no real partner, or rows were generated
            for different masks; names the file and the remedy.
        FileExistsError: if another run is writing to the folder.
        OSError: if the report cannot be written.
    """
    if not synthetic:
        raise ValueError("there is nothing to compare: give at least one generated data set, under the name of its row")
    _known("published figures", published or (), synthetic)
    _known("conditions", conditions or (), map(group_of, synthetic))
    inputs = {name: read_inputs(real, folder) for name, folder in synthetic.items()}
    first = next(iter(inputs.values()))
    matches = same_masks({name: match_cases(found) for name, found in inputs.items()}, max_images)
    with claim_folder(output) as output:
        cache = output / "segmenter" if cache_dir is None else Path(cache_dir)
        remove_leftovers(cache, depth=0)
        reads = open_segmenter(
            segmenter, first.training, first.real_reader, segmenter_images, seed, cache_dir=cache, progress=progress
        )
        told = {name: (conditions or {}).get(name, first.real.classes) for name in map(group_of, synthetic)}
        population = None if limits is None else read_inputs(limits, next(iter(synthetic.values())))
        groups = {name: measure_group(name, c, first, reads, seed, progress, population) for name, c in told.items()}
        rows = [measure_row(n, inputs[n], matches[n], groups[group_of(n)], seed, progress) for n in synthetic]
        rows.sort(key=lambda row: list(told).index(row.condition.name))  # rows of one condition stand together

        split, weak = first.split()
        report = Report(
            title=f"Methods on {first.real.name}",
            compared=_compared(first, rows),
            split=split,
            split_is_weak=weak,
            sections=_sections(
                rows, first, published or {}, reads.name if segmenter is None else Path(segmenter).name, seed
            ),
            samples=methods_picture(rows, first.real_reader, not no_real_images),
            headlines=method_headlines(rows),
        )
        report.write_data(output, _NAME)
        with atomic_file(output / f"{_NAME}.md") as temporary:
            temporary.write_text(report.markdown(), encoding="utf-8")
        write_picture(report.samples, output / f"{_NAME}.png")
        write_page(report, output, _NAME)
        return report


def _sections(
    rows: Sequence[MethodRow],
    inputs: Inputs,
    published: Mapping[str, Mapping[str, float]],
    segmenter: str,
    seed: int,
) -> list[Section]:
    sections = [error_section(rows, published, seed)]
    if len(rows) > len({row.condition.name for row in rows}):
        sections.append(difference_section(rows, seed))
    sections.append(failure_section(rows, segmenter))
    matches = rows[0].matches
    real = measure_views(matches, [match.real for match in matches], inputs.real_reader, inputs.real.root)
    if real is not None:
        sections.append(view_section(rows, real, seed))
    return sections


def _compared(inputs: Inputs, rows: Sequence[MethodRow]) -> dict[str, str]:
    wanted = ("Real", "Classes", "Images", "Source of the real images")
    kept = {key: value for key, value in inputs.describe().items() if key in wanted}
    return {"Methods": ", ".join(row.name for row in rows), **kept}


def _known(what: str, given: Iterable[str], rows: Iterable[str]) -> None:
    known = list(dict.fromkeys(rows))
    if unknown := sorted(set(given) - set(known)):
        raise ValueError(f"{what} name unknown rows {', '.join(map(repr, unknown))}: the rows are {', '.join(known)}")
