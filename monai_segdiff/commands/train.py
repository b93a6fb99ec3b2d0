"""Verb `train`: a bundle's training, with what follows from the data set filled in."""

from __future__ import annotations

import argparse
import os
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from monai_segdiff.commands.common import add_verb, number, positive, require_device

__all__ = ["add_train"]

_GENERAL = "ct_organ"  # the bundle for any image with a label map


@dataclass
class _Training:
    """What to train on what, and where images generated afterwards belong."""

    bundle: Path
    dataset: Path | None
    plan: Path | None
    synthetic: Path


def train(args: argparse.Namespace) -> int:
    """Train a bundle on a prepared data set."""
    if args.device is not None:
        require_device(args.device)
    training = _found(args)
    speaks = os.environ.get("RANK", "0") == "0"
    if training.dataset is None and speaks:
        print(f"{training.bundle}: without --data it is trained on phantoms, which it makes once")
    from monai_segdiff.workflows.train import train_bundle

    weights = train_bundle(
        training.bundle,
        dataset=training.dataset,
        plan=training.plan,
        overlays=args.overlay or (),
        images=args.images,
        tune=args.tune,
        device=args.device,
        tracking=args.tracking,
        quiet=not args.verbose,
    )
    if speaks:
        print(f"weights: {weights}\nnext: {_next(training)}")
    return 0


def add_train(verbs: Any) -> None:
    """Add the verb to the command line."""
    p = add_verb(
        verbs,
        train,
        "train",
        "Train a bundle, or go on where its training was stopped. Size and dimension of the images are the data set's. "
        "It is `python -m monai.bundle run training ...`, which it prints. Ctrl-C and SIGTERM save the state after the "
        "running step; a second Ctrl-C ends it at once.",
    )
    p.add_argument(
        "bundle",
        help="a bundle's folder; or the name of one that comes with the package, such as ct_organ, with --output; or a "
        "study's folder, with prepared, bundle and plan.yaml in it",
    )
    p.add_argument(
        "--data", help="folder that prepare has made (default: the study's, or phantoms that the bundle makes)"
    )
    p.add_argument(
        "--output", help="folder for a copy of the bundle, which is trained; one that is there is used as it is"
    )
    p.add_argument("--images", type=positive, help="length of the training in images seen (default: as configured)")
    p.add_argument(
        "--tune",
        type=number(0, 0.9),
        nargs="?",
        const=0.25,
        default=0.0,
        metavar="SHARE",
        help="at the end tune the network for few evaluations, with this share of the images (default where no number "
        "is given: %(const)s); the weights before it are kept, too",
    )
    p.add_argument("--plan", metavar="FILE", help="overlay that is read first (default: the study's plan.yaml)")
    p.add_argument(
        "--overlay",
        nargs="+",
        action="extend",
        metavar="FILE",
        help="configuration files that are read over the bundle's, or names of those in it, such as cpu_demo",
    )
    p.add_argument("--device", help="cpu, cuda or cuda:1 (default: a GPU where there is one)")
    p.add_argument("--tracking", help="mlflow, or a file of settings, as MONAI takes it (default: TensorBoard alone)")
    p.add_argument("--verbose", action="store_true", help="show all that MONAI, Ignite and other libraries log")


def _found(args: argparse.Namespace) -> _Training:
    """What the arguments mean."""
    folder = Path(args.bundle)
    data = None if args.data is None else Path(args.data)
    plan = None if args.plan is None else Path(args.plan)
    if _is_study(folder):
        if args.output is not None:
            raise ValueError(f"--output does not go with a study: {folder}/bundle is trained; leave it out")
        data = data or folder / "prepared"
        if not data.is_dir():
            raise FileNotFoundError(
                f"{folder} has no prepared data set: make it with "
                f"`python -m monai_segdiff prepare SCANS {shlex.quote(str(data))}`"
            )
        bundle = _copied(_GENERAL, folder / "bundle")
        if plan is None and (folder / "plan.yaml").is_file():
            from monai_segdiff.workflows.plan.document import overlay_of

            plan = overlay_of(folder / "plan.yaml", bundle)  # names from the data stay out of it
        return _Training(bundle, data, plan, folder / "synthetic")
    if args.output is not None:
        return _Training(_copied(args.bundle, Path(args.output)), data, plan, Path("synthetic"))
    if not _is_bundle(folder):
        from monai_segdiff.bundle import bundle_path

        bundle_path(args.bundle)  # says which there are
        raise ValueError(
            f"{args.bundle} comes with the package and stays as it is: give --output FOLDER for a copy of it"
        )
    return _Training(folder, data, plan, Path("synthetic"))


def _is_bundle(folder: Path) -> bool:
    return (folder / "configs" / "metadata.json").is_file()


def _is_study(folder: Path) -> bool:
    return not _is_bundle(folder) and any((folder / name).exists() for name in ("bundle", "prepared", "plan.yaml"))


def _copied(name: str, target: Path) -> Path:
    """A bundle's copy: made once, whole or not at all, and left as it is afterwards."""
    from monai_segdiff.bundle import bundle_path, copy_bundle
    from monai_segdiff.files import atomic_folder

    if _is_bundle(target):
        return target
    bundle_path(name)  # says which there are, before anything is made
    if os.environ.get("WORLD_SIZE", "1") != "1":
        raise ValueError(
            f"{target} is no bundle yet, and several processes cannot copy one at once: copy it before, with "
            f'python -c "import monai_segdiff; monai_segdiff.copy_bundle({name!r}, {str(target)!r})"'
        )
    with atomic_folder(target) as folder:
        copy_bundle(name, folder)
    return target


def _next(training: _Training) -> str:
    """The command that follows."""
    phantoms = sorted(training.bundle.glob("phantoms_*"))
    masks = training.dataset or (phantoms[0] if len(phantoms) == 1 else Path("MASKS"))
    options = {"bundle": training.bundle, "masks": masks, "output": training.synthetic}
    listed = " ".join(f"--{name} {shlex.quote(str(value))}" for name, value in options.items())
    return f"python -m monai_segdiff generate {listed}"
