"""Training a bundle by one function: its configuration, size, overlays, and where it was stopped before."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from monai_segdiff.bundle import bundle_path
from monai_segdiff.errors import unwrapped_errors
from monai_segdiff.workflows.quiet import own_logging, quiet_log
from monai_segdiff.workflows.training_config import TrainingConfig, grid_of, overlay_file, stages_of

__all__ = ["train_bundle", "tune_bundle"]

_SEVERAL = "multi_gpu_train.yaml"
_TUNE = "tune.yaml"


def train_bundle(
    bundle: str | os.PathLike[str],
    *,
    dataset: str | os.PathLike[str] | None = None,
    plan: str | os.PathLike[str] | None = None,
    overlays: Sequence[str | os.PathLike[str]] = (),
    images: int | None = None,
    tune: float = 0.0,
    device: str | None = None,
    tracking: str | None = None,
    quiet: bool = True,
) -> Path:
    """Train a bundle, or go on where its training was stopped.

    It is ``python -m monai.bundle run training`` with the values that follow from the data, and prints that command.
    Where a bundle has several networks, each is trained in turn; what is trained already has nothing left to do.

    Ctrl-C and SIGTERM save the state after the step that is running and end the process
    (:class:`monai_segdiff.handlers.ResumeCheckpoint`).

    Args:
        bundle: a bundle's folder, such as :func:`monai_segdiff.copy_bundle` makes; it is written to.
        dataset: a prepared data set, which sets ``image_size`` and ``spatial_dims``; by default the bundle's phantoms.
        plan: an overlay that is read before the others.
        overlays: files that are read over the configuration, or names of those in the bundle's ``configs``.
        images: how many images each training sees, rounded up to whole epochs; by default as configured.
        tune: share of the images that tune the trained network for few evaluations, by the bundle's ``tune.yaml``;
            with 0 it is not tuned. Where ``images`` is left out, the training is as long as configured, and the tuning
            comes on top: ``tuning_images``, whatever the share.
        device: such as ``"cpu"`` or ``"cuda:1"``; by default a GPU where there is one.
        tracking: as MONAI takes it: ``"mlflow"``, or a file of settings.
        quiet: leave out what MONAI and Ignite log, and warnings of libraries.

    Returns:
        The averaged weights: of the last network where there are several, and the tuned ones where they are tuned.

    Raises:
        FileNotFoundError: where bundle, data set, plan or an overlay is missing.
        ValueError: where a setting is not possible, the bundle cannot be tuned, or a checkpoint is of another training.
        OSError: where a file cannot be written.
        SystemExit: where a signal has stopped it.
    """
    root = _own_folder(bundle)
    if plan is not None and not Path(plan).is_file():
        raise FileNotFoundError(f"there is no plan {plan}: leave it out, or give its file")
    over = [
        _several(root, device),
        None if plan is None else Path(plan),
        *(overlay_file(root, one) for one in overlays),
    ]
    if not 0 <= tune < 1:
        raise ValueError(f"tune is the share of the images that tune the network, from 0 to 1, not {tune:g}")
    if tune:
        _tuning(root)  # refused before hours have gone by
    weights = Path()
    for stage in stages_of(root):
        files = [root / "configs" / stage, *(file for file in over if file)]
        weights = _trained(
            root,
            files,
            dataset,
            None if images is None else max(1, round(images * (1 - tune))),
            device,
            tracking,
            quiet,
        )
    if not tune:
        return weights
    return tune_bundle(
        root,
        dataset=dataset,
        plan=plan,
        overlays=overlays,
        images=None if images is None else max(1, round(images * tune)),
        device=device,
        tracking=tracking,
        quiet=quiet,
    )


def tune_bundle(
    bundle: str | os.PathLike[str],
    *,
    dataset: str | os.PathLike[str] | None = None,
    plan: str | os.PathLike[str] | None = None,
    overlays: Sequence[str | os.PathLike[str]] = (),
    images: int | None = None,
    device: str | None = None,
    tracking: str | None = None,
    quiet: bool = True,
) -> Path:
    """Tune a trained bundle for few evaluations, or go on where that was stopped.

    Args:
        bundle: folder of a bundle that was trained and has an overlay ``tune.yaml``.
        dataset: as for :func:`train_bundle`, and so the others.
        plan: an overlay that is read before the others.
        overlays: those of the training; ``tune.yaml`` is read over them.
        images: length of the tuning; by default ``tuning_images``.
        device: such as ``"cpu"``.
        tracking: as MONAI takes it.
        quiet: leave out what MONAI and Ignite log.

    Returns:
        The tuned weights.

    Raises:
        FileNotFoundError: where the bundle is not trained, or a file is missing.
        ValueError: where the bundle cannot be tuned, or its weights are of other data, classes or sizes.
        OSError: where a file cannot be written.
        SystemExit: where a signal has stopped it.
    """
    root = _own_folder(bundle)
    over = [
        _several(root, device),
        *([] if plan is None else [Path(plan)]),
        *(overlay_file(root, one) for one in overlays),
    ]
    files = [root / "configs" / stages_of(root)[-1], *(file for file in over if file), _tuning(root)]
    return _trained(root, files, dataset, images, device, tracking, quiet)


def _trained(
    root: Path,
    files: Sequence[Path],
    dataset: str | os.PathLike[str] | None,
    images: int | None,
    device: str | None,
    tracking: str | None,
    quiet: bool,
) -> Path:
    """The weights of one training, after it."""
    values: dict[str, Any] = {"bundle_root": str(root)}
    if dataset is not None:
        values["dataset_dir"] = str(dataset)
    if device is not None:
        values["device"] = f"$torch.device({_device(device)!r})"
    with unwrapped_errors():
        config = TrainingConfig(files, values)
        if dataset is not None:
            config.fit_data(grid_of(dataset))
        if images is not None:
            config.limit(images)
        weights = config.weights
        _run(config, tracking, quiet)
    return weights


def _run(config: TrainingConfig, tracking: str | None, quiet: bool) -> None:
    # Imported here because it takes seconds, which help texts should not cost.
    from monai.bundle import run

    if os.environ.get("RANK", "0") == "0":
        print(f"the same by MONAI: {config.command()}{f' --tracking {tracking}' if tracking else ''}", flush=True)
    options: dict[str, Any] = {} if tracking is None else {"tracking": tracking}
    with ExitStack() as stack:
        if quiet:
            stack.enter_context(quiet_log())
            options["logging_file"] = False
        else:
            stack.enter_context(own_logging())
        run("training", config_file=[str(file) for file in config.files], **config.values, **options)


def _own_folder(bundle: str | os.PathLike[str]) -> Path:
    """A bundle that can be written to."""
    folder = Path(bundle).expanduser()
    if not (folder / "configs" / "metadata.json").is_file():
        bundle_path(bundle)  # says which there are
        raise ValueError(f"{str(bundle)!r} comes with the package and stays as it is: copy it to a folder first")
    return folder


def _several(root: Path, device: str | None) -> Path | None:
    """The overlay for several processes, where there are."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return None
    if device is not None:
        raise ValueError("each of several processes has a device of its own: leave the device out")
    return overlay_file(root, _SEVERAL)


def _tuning(root: Path) -> Path:
    """The overlay that tunes a trained network."""
    file = root / "configs" / _TUNE
    if not file.is_file():
        raise ValueError(
            f"{root} has no configs/{_TUNE}, so its network cannot be tuned for few evaluations: leave that out"
        )
    return file


def _device(name: str) -> str:
    """A device's name as torch writes it, which is no other text."""
    import torch

    try:
        return str(torch.device(name))
    except RuntimeError:
        raise ValueError(
            f"device {name!r} is none that torch knows: give cpu, cuda or cuda:1, or leave it out"
        ) from None
