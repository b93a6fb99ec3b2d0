"""A trained generator, loaded from a bundle."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigParser

from monai_segdiff.bundle import bundle_path
from monai_segdiff.errors import unwrapped_errors
from monai_segdiff.inferers import SamplingInferer
from monai_segdiff.networks import load_weights, weights_hash

__all__ = ["TrainedGenerator", "load_generator"]


@dataclass
class TrainedGenerator:
    """A network with what stands around it: label map file in, image in the training images' intensities out.

    Args:
        name: name of the bundle.
        network: the denoising network with its weights, on its device.
        inferer: what samples.
        preprocessing: dictionary transform; label map file under ``image`` to encoded mask.
        rescale: dictionary transform; network's range under ``pred`` to intensities.
        classes: class name to label id or ids.
        parents: class name to the name of the class that encloses it.
        intensity_range: lowest and highest intensity of a generated image.
        image_size: spatial size of the images.
        weights: file of the weights.
        weights_sha256: their hash.
        settings: what shapes a sample, for the record.
    """

    name: str
    network: torch.nn.Module
    inferer: SamplingInferer
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
    overrides: Mapping[str, Any] | None = None,
) -> TrainedGenerator:
    """Load a generator from a bundle.

    ``configs/inference.yaml`` says what it consists of; the card that training writes beside the weights
    (``model.yaml`` for ``model.pt``) says what was trained.

    Args:
        bundle: a bundle's name or folder.
        weights: file of the weights; by default the bundle's ``models/model.pt``.
        overrides: values for ids of ``inference.yaml``, such as ``{"num_steps": 30, "device": "cpu"}``.

    Returns:
        The generator, ready to sample.

    Raises:
        FileNotFoundError: if there is no such bundle, or no weights.
        ValueError: if the weights belong to another network, or a setting is not possible.
    """
    root = bundle_path(bundle)
    file = Path(weights) if weights is not None else root / "models" / "model.pt"
    if not file.is_file():
        raise FileNotFoundError(
            f"no weights at {file}: train the bundle first (python -m monai.bundle run training --config_file "
            f"configs/train.yaml, in {root}), or name the file with --weights"
        )
    card = file.with_suffix(".yaml")
    parser = ConfigParser()
    parser.read_config([root / "configs" / "inference.yaml", *([card] if card.is_file() else [])])
    parser.update({"bundle_root": str(root), "ckpt_dir": str(file.parent), **(overrides or {})})
    with unwrapped_errors():
        return _from_configuration(root.name, file, parser)


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
        settings={
            "parameterization": get("parameterization").config(),
            **{name: get(name) for name in ("encoding", "sampler", "num_steps", "guidance_weight", "clip")},
            "amp_dtype": get("amp_dtype"),
            "seed": get("seed"),
        },
    )
