"""A trained generator, loaded from a bundle."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigParser

from monai_segdiff.bundle import bundle_path
from monai_segdiff.errors import unwrapped_errors
from monai_segdiff.inferers import RegressionInferer, SamplingInferer
from monai_segdiff.networks import load_weights, weights_hash

__all__ = ["TrainedGenerator", "default_weights", "load_generator"]


@dataclass
class TrainedGenerator:
    """A network with what stands around it: label map file in, image in the training images' intensities out.

    Args:
        name: name of the bundle.
        network: the network with its weights, on its device.
        inferer: what samples, or what calls a regression network.
        preprocessing: dictionary transform; label map file under ``image`` to encoded mask.
        rescale: dictionary transform; network's range under ``pred`` to intensities.
        classes: class name to label id or ids, as the label maps hold them.
        parents: class name to the name of the class that encloses it.
        intensity_range: lowest and highest intensity of a generated image.
        image_size: spatial size of the images.
        weights: file of the weights.
        weights_sha256: their hash.
        settings: what shapes a sample, the seed included, for the record.
    """

    name: str
    network: torch.nn.Module
    inferer: SamplingInferer | RegressionInferer
    preprocessing: Any
    rescale: Any
    classes: dict[str, Any]
    parents: dict[str, str]
    intensity_range: tuple[float, float]
    image_size: tuple[int, ...]
    weights: Path
    weights_sha256: str
    settings: dict[str, Any]

    def condition(self, label_file: str | os.PathLike[str]) -> torch.Tensor:
        """Read and encode a label map.

        Args:
            label_file: NIfTI or PNG.

        Returns:
            The condition, (channels, *spatial).

        Raises:
            ValueError: for labels that the generator was not trained on, or another size, naming the file.
        """
        with unwrapped_errors():
            return self.preprocessing({"image": str(label_file)})["image"]

    def sample(self, conditions: torch.Tensor, indices: list[int]) -> torch.Tensor:
        """Generate one image for each condition.

        Args:
            conditions: (B, channels, *spatial).
            indices: index of each sample; with the seed it decides the noise.

        Returns:
            The images, (B, 1, *spatial), in the training images' intensities.
        """
        images = self.inferer(inputs=conditions, network=self.network, indices=indices)
        return torch.stack([self.rescale({"pred": image.cpu()})["pred"] for image in images])


def load_generator(
    bundle: str | os.PathLike[str],
    weights: str | os.PathLike[str] | None = None,
    *,
    overlays: Sequence[str] = (),
    overrides: Mapping[str, Any] | None = None,
) -> TrainedGenerator:
    """Load a generator from a bundle.

    ``configs/inference.yaml`` says what it consists of; the card that training writes beside the weights
    (``model.yaml`` for ``model.pt``) says what was trained. Read are ``network``, ``inferer``, ``preprocessing``,
    ``rescale``, ``classes``, ``parents``, ``intensity_range``, ``image_size`` and ``record``: what shapes a sample.

    Args:
        bundle: a bundle's name or folder.
        weights: file of the weights; by default ``model.pt`` in the ``ckpt_dir`` of ``inference.yaml``.
        overlays: names of files in the bundle's ``configs`` that are read after the card.
        overrides: values for ids of ``inference.yaml``, such as ``{"num_steps": 30, "device": "cpu"}``.

    Returns:
        The generator, ready to sample.

    Raises:
        FileNotFoundError: if there is no such bundle or overlay, or no weights.
        ValueError: if the weights belong to another network, or a setting does not exist or is not possible.
    """
    root = bundle_path(bundle)
    values = {"bundle_root": str(root), **(overrides or {})}
    with unwrapped_errors():
        file = default_weights(root, overlays, overrides) if weights is None else Path(weights)
        if not file.is_file():
            raise FileNotFoundError(
                f"no weights at {file}: train the bundle first (python -m monai.bundle run training --config_file "
                f"configs/train.yaml, in {root}), or name the file with --weights"
            )
        card = file.with_suffix(".yaml")
        parser = _configuration(root, [card] if card.is_file() else [], overlays, values)
        parser["ckpt_dir"] = str(file.parent)
        return _from_configuration(root.name, file, parser)


def default_weights(
    bundle: str | os.PathLike[str], overlays: Sequence[str] = (), overrides: Mapping[str, Any] | None = None
) -> Path:
    """Where the weights lie when nobody says so, whether they are there or not.

    Args:
        bundle: a bundle's name or folder.
        overlays: as for :func:`load_generator`.
        overrides: as for :func:`load_generator`.
    """
    root = bundle_path(bundle)
    parser = _configuration(root, [], overlays, {"bundle_root": str(root), **(overrides or {})})
    return Path(parser.get_parsed_content("ckpt_dir")) / "model.pt"


def _configuration(
    root: Path, cards: Sequence[Path], overlays: Sequence[str], values: Mapping[str, Any]
) -> ConfigParser:
    parser = ConfigParser()
    configs = root / "configs"
    parser.read_config([configs / "inference.yaml", *cards, *(configs / name for name in overlays)])
    for name in values:
        if parser.ref_resolver.normalize_id(name).split("::")[0] not in parser:
            raise ValueError(f"{name!r} cannot be set: {configs / 'inference.yaml'} has no such id")
    parser.update(dict(values))
    return parser


def _from_configuration(name: str, file: Path, parser: ConfigParser) -> TrainedGenerator:
    get = parser.get_parsed_content
    network = get("network")
    load_weights(network, file)
    network.eval()
    return TrainedGenerator(
        name=name,
        network=network,
        inferer=get("inferer"),
        preprocessing=get("preprocessing"),
        rescale=get("rescale"),
        classes=dict(get("classes")),
        parents=dict(get("parents")),
        intensity_range=tuple(get("intensity_range")),
        image_size=tuple(get("image_size")),
        weights=file,
        weights_sha256=weights_hash(file),
        settings=dict(get("record")),
    )
