"""Every verb killed (SIGKILL) at many moments, verified, and run again: the same results, and nothing left over?"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch
from monai.bundle import run as run_bundle
from monai.networks.nets import AutoencoderKL

from benchmarks.common import Cell, Column, Results, Table, arguments, say
from benchmarks.killing import Ended, Kill, run_apart
from benchmarks.resume import equal
from monai_segdiff import copy_bundle
from monai_segdiff.__main__ import main as run_verb
from monai_segdiff.data import read_dataset
from monai_segdiff.digests import digest_of
from monai_segdiff.evaluation import evaluate
from monai_segdiff.verification import verify

_TEXT = (
    "Each verb is run undisturbed; then again and again in a new folder, each time killed (SIGKILL, with all its "
    "processes): half the kills at moments spread over its time, half right before or after one of its file operations "
    "(renaming, flush to the disk, new folder, removal). After each kill `verify` looks at what is there, and the same "
    "command runs again, undisturbed. What it has made then is compared with the undisturbed run's: bytes of every "
    "file, and every tensor in files of tensors. In the same way the undisturbed run was compared with a second one."
)
_COLUMNS = {
    "kills": Column("kills", "{:,d}"),
    "in_writing": Column("of these with a temporary file or folder there", "{:,d}"),
    "called_whole": Column("called whole by verify while another result", "{:,d}"),
    "refused": Column("second run failed", "{:,d}"),
    "different": Column("another result after the second run", "{:,d}"),
    "not_whole": Column("not whole after the second run", "{:,d}"),
    "leftovers": Column("temporary files after the second run", "{:,d}"),
    "undisturbed": Column("seconds undisturbed", "{:.1f}"),
    "seconds": Column("seconds of all", "{:,d}"),
}
_TINY = {
    "image_size": [16, 16],
    "channels": [8, 8],
    "num_res_blocks": 1,
    "attention_levels": [False, False],
    "num_head_channels": 4,
    "norm_num_groups": 4,
    "num_steps": 2,
    "batch_size": 4,
    "images_per_epoch": 16,
    "max_images": 96,
    "learning_rate": 0.01,
    "warmup_steps": 1,
    "amp_dtype": "float32",
    "val_interval": 2,
    "preview_interval": 2,
    "preview_images": 2,
}
# Times, dates and what only a run is about.
_OF_THE_RUN = ("manifest.seconds.json", ".log", ".out", "tfevents")
_AFFINE = np.diag([2.0, 2.0, 5.0, 1.0])


@dataclass(frozen=True)
class Work:
    """One verb.

    Args:
        label: its name in the table.
        run: does it, with a folder for all that it writes; gives the exit code.
        verified: what `verify` is asked for, in that folder; None where it has no say.
        ends: whether it calls whole only what is finished; a bundle is sound at any time of its training.
    """

    label: str
    run: Callable[[Path], int]
    verified: str | None
    ends: bool = True


def works(inputs: Path) -> dict[str, Work]:
    """All verbs that write.

    Args:
        inputs: what :func:`make_inputs` filled.
    """

    def of(*words: Any) -> Callable[[Path], int]:
        return lambda folder: run_verb([str(word).replace("OUT", str(folder)) for word in words])

    def training(folder: Path) -> int:
        return train(folder / "bundle", inputs / "prepared")

    def evaluation(folder: Path) -> int:
        evaluate(inputs / "prepared", inputs / "synthetic", folder / "out", segmenter_images=400, progress=False)
        return 0

    bundle = inputs / "bundle"
    generated = ("--bundle", bundle, "--output", "OUT/out", "--batch-size", "1")
    edited = ("--images", inputs / "prepared", "--edited", inputs / "edited")
    new_config = ("--new-config", "OUT/out/new.yaml")
    return {
        "prepare": Work("prepare", of("prepare", inputs / "scans", "OUT/out", "--size", "16"), "out"),
        "make_drr": Work(
            "make-drr",
            of("make-drr", inputs / "legs", "OUT/out", "--views", "4", "--size", "12", "--fractions", ".4", ".3", ".3"),
            "out",
        ),
        "training": Work("training of a bundle", training, "bundle", ends=False),
        "generate": Work(
            "generate", of("generate", *generated, "--masks", inputs / "prepared", "--per-mask", "3"), "out"
        ),
        "edit": Work("edit", of("edit", *generated, *edited), "out"),
        "evaluate": Work("evaluate, which trains a segmenter", evaluation, None),
        "convert": Work(
            "convert",
            of("convert", inputs / "old.pt", "OUT/out/new.pt", *("--config", inputs / "old.json"), *new_config),
            "out/new.pt",
        ),
    }


def make_inputs(root: Path) -> None:
    """Make what the verbs read: small scans, a trained bundle, what it generated, masks to edit, volumes of legs.

    Args:
        root: a new folder.
    """
    for number in range(6):
        label = np.zeros((24, 24, 4), np.uint8)
        label[3:-3, 3:-3] = 1
        label[6 + number : 12 + number, 7:14] = 2
        noise = np.random.default_rng(number).normal(0, 20, label.shape)
        _save(root / "scans" / "imagesTr" / f"p{number}.nii.gz", (noise + 80.0 * label).astype(np.float32))
        _save(root / "scans" / "labelsTr" / f"p{number}.nii.gz", label)
    names = [f"p{number}.nii.gz" for number in range(6)]
    entries = [{"image": f"imagesTr/{name}", "label": f"labelsTr/{name}", "patient": name[:2]} for name in names]
    content = {"labels": {"0": "background", "1": "body", "2": "liver"}, "training": entries}
    (root / "scans" / "dataset.json").write_text(json.dumps(content))
    grid = np.stack(np.meshgrid(*[np.arange(24) - 11.5] * 3, indexing="ij"))
    for number in range(4):
        distance, inside = np.hypot(grid[0], grid[1]), np.abs(grid[2]) < 9
        leg = np.where((distance < 8) & inside, np.where(distance < 2 + number / 2, 900, 40), -1000)
        _save(root / "legs" / f"leg{number}.nii.gz", leg.astype(np.int16), np.diag([4.0, 4.0, 4.0, 1.0]))
    _done(["prepare", root / "scans", root / "prepared", "--size", "16", "--fractions", ".5", ".17", ".33"])
    if train(root / "bundle", root / "prepared") != 0:
        raise RuntimeError("the bundle cannot be trained")
    _done(["generate", "--bundle", root / "bundle", "--masks", root / "prepared", "--output", root / "synthetic"])
    test = [case.label for case in read_dataset(root / "prepared").splits["test"]]
    for file in (file for file in test if file is not None):
        voxels = nib.load(file)
        _save(root / "edited" / file.name, np.roll(np.asarray(voxels.dataobj), 2, axis=1), voxels.affine)
    options = {
        "spatial_dims": 2,
        "in_channels": 1,
        "out_channels": 1,
        "num_res_blocks": [1, 1],
        "attention_levels": [False, True],
        "norm_num_groups": 4,
    }
    network = AutoencoderKL(**options, channels=(8, 8))
    definition = {"_target_": "generative.networks.nets.AutoencoderKL", **options, "num_channels": [8, 8]}
    (root / "old.json").write_text(json.dumps({"network": definition}))
    old = {".attn.out_proj.": ".proj_attn.", ".attn.to_": ".to_", ".postconv.": ".conv."}
    state = network.state_dict()
    for new, name in old.items():
        state = {key.replace(new, name): value for key, value in state.items()}
    torch.save(state, root / "old.pt")


def train(bundle: Path, dataset: Path) -> int:
    """Train a copy of ``ct_organ`` for some seconds, or go on with it, by the documented call."""
    copy_bundle("ct_organ", bundle)
    options = {"bundle_root": str(bundle), "dataset_dir": str(dataset), **_TINY}
    run_bundle("training", config_file=str(bundle / "configs" / "train.yaml"), **options)
    return 0


def differences(first: Path, second: Path) -> list[str]:
    """Files that two folders do not have alike: bytes, or tensors in files of tensors.

    Args:
        first: what an undisturbed run has made.
        second: what another one has made.
    """
    names = [_files(folder) for folder in (first, second)]
    return sorted(
        {*names[0] ^ names[1], *(name for name in names[0] & names[1] if _differ(first / name, second / name))}
    )


def measure(work: Work, folder: Path, kills: int, seed: int) -> dict[str, Cell]:
    """Run a verb undisturbed twice, then kill it and run it again as often as asked.

    Args:
        work: the verb.
        folder: a new folder.
        kills: how often it is killed.
        seed: of the moments.

    Raises:
        RuntimeError: if the verb fails undisturbed, does not give the same twice, or ends before it can be killed.
    """
    started, draws = time.monotonic(), random.Random(seed)
    whole = _run(work, folder / "whole")
    _run(work, folder / "again")
    if whole.code != 0 or (found := differences(folder / "whole" / "made", folder / "again" / "made")):
        raise RuntimeError(f"{work.label} fails, or gives another result, undisturbed: {whole.code or found}")
    counts = dict.fromkeys(list(_COLUMNS)[:7], 0)
    for number in _until(kills, counts):
        place = folder / f"killed_{number}"
        kill = Kill(seconds=draws.uniform(0.0, whole.seconds))
        if counts["kills"] % 2:
            kill = Kill(call=draws.randrange(whole.calls), after=draws.random() < 0.5)
        if not _run(work, place, kill).killed:
            continue
        counts["kills"] += 1
        for name, is_so in _after(work, folder / "whole" / "made", place).items():
            counts[name] += is_so
            if is_so and name != "in_writing":
                say(f"{work.label}: {_COLUMNS[name].title}: {kill} in {place}")
        if not any((place / "made").rglob(".tmp-*")):
            shutil.rmtree(place / "made")
    judged = work.verified is not None
    cells: dict[str, Cell] = dict(counts)
    cells |= {"called_whole": counts["called_whole"] if judged and work.ends else None}
    cells |= {"not_whole": counts["not_whole"] if judged else None}
    return {**cells, "undisturbed": whole.seconds, "seconds": round(time.monotonic() - started)}


def _after(work: Work, whole: Path, place: Path) -> dict[str, bool]:
    """What is found after a kill, and after the second run."""
    made = place / "made"
    found = {"in_writing": any(made.rglob(".tmp-*"))}
    called_whole = work.ends and _is_whole(work, made)
    found["called_whole"] = called_whole and bool(differences(_verified(work, whole), _verified(work, made)))
    found["refused"] = _run(work, place).code != 0
    found["different"] = bool(differences(whole, made))
    found["not_whole"] = work.verified is not None and not _is_whole(work, made)
    found["leftovers"] = any(made.rglob(".tmp-*"))
    return found


def _until(kills: int, counts: dict[str, int]) -> Iterator[int]:
    number = 0
    while counts["kills"] < kills:
        if number > 5 * kills:
            raise RuntimeError("the runs end too soon to be killed")
        yield number
        number += 1


def _run(work: Work, place: Path, kill: Kill | None = None) -> Ended:
    (place / "made").mkdir(parents=True, exist_ok=True)
    return run_apart(lambda: work.run(place / "made"), place / "run.out", kill)


def _verified(work: Work, made: Path) -> Path:
    return made / (work.verified or "")


def _is_whole(work: Work, made: Path) -> bool:
    path = _verified(work, made)
    return (
        work.verified is not None and path.exists() and (path.is_file() or any(path.iterdir())) and verify(path).whole
    )


def _files(folder: Path) -> set[str]:
    if folder.is_file():
        return {"."}
    files = (file for file in folder.rglob("*") if file.is_file())
    return {str(f.relative_to(folder)) for f in files if not any(sign in f.name for sign in _OF_THE_RUN)}


def _differ(first: Path, second: Path) -> bool:
    if first.suffix != ".pt":
        return digest_of(first) != digest_of(second)
    states = [torch.load(file, map_location="cpu", weights_only=True) for file in (first, second)]
    return not equal(*states)


def _save(path: Path, array: np.ndarray, affine: np.ndarray = _AFFINE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, affine), path)


def _done(words: Sequence[Any]) -> None:
    if run_verb([str(word) for word in words]) != 0:
        raise RuntimeError(f"{words[0]} failed")


def main(argv: Sequence[str] | None = None) -> None:
    """Run the benchmark."""
    parser = arguments("kill -9 in every verb, verify, and run again.", "kills")
    parser.add_argument("--kills", type=int, default=20, help="kills of each verb")
    parser.add_argument("--verbs", nargs="+", help="rows (default: all)")
    parser.add_argument("--work", type=Path, default=Path("runs/kills"), help="empty or new folder")
    args: argparse.Namespace = parser.parse_args(argv)
    torch.set_num_threads(1)
    place = args.work.resolve() / time.strftime("%Y%m%d_%H%M%S")
    rows = works(place / "inputs")
    tables = [Table("Killed, verified, and run again", _COLUMNS, {key: work.label for key, work in rows.items()})]
    settings = {"kills of each verb": args.kills, "seed": args.seed, "threads": 1}
    results = Results(args.output, "Kills", _TEXT, settings, tables, overwrite=args.overwrite)
    wanted = [key for key in rows if (not args.verbs or key in args.verbs) and key not in results]
    if wanted:
        make_inputs(place / "inputs")
    for key in wanted:
        say(rows[key].label)
        results.add(key, measure(rows[key], place / key, args.kills, args.seed))
    say(f"results: {results.page}")


if __name__ == "__main__":
    main()
