"""A trained generator, loaded from a bundle."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigParser
from monai.data import MetaTensor
from monai.transforms import Compose, ScaleIntensityRange
from monai.utils import convert_to_tensor

from monai_segdiff.bundle import bundle_path
from monai_segdiff.configuration import configuration_digest, made_without_memory, naming_configuration, open_inference
from monai_segdiff.data import CheckSpatialSized, LoadCanonicald
from monai_segdiff.data.channels import load_channels
from monai_segdiff.data.load import as_slice
from monai_segdiff.errors import UnreadableFileError, unwrapped_errors
from monai_segdiff.generation.default_weights import default_weights
from monai_segdiff.generation.trained_grid import TrainedGrid
from monai_segdiff.inferers import LatentSamplingInferer, RegressionInferer, SamplingInferer, XRealInferer
from monai_segdiff.networks import weights_hash
from monai_segdiff.networks.cards import card_of
from monai_segdiff.networks.weights import check_card, check_fit, read_weights
from monai_segdiff.transforms import (
    CovariateValue,
    IntensityRange,
    ScaleFromRange,
    check_covariates,
    clamp_channels,
)

__all__ = ["TrainedGenerator", "load_generator"]

_IDS = (
    "network_def",
    "network",
    "inferer",
    "preprocessing",
    "rescale",
    "classes",
    "parents",
    "intensity_range",
    "image_size",
    "record",
)


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
        intensity_range: lowest and highest intensity of a generated image, or those of each channel.
        image_size: spatial size of the images.
        weights: file of the weights.
        weights_sha256: their hash.
        settings: what shapes a sample, the seed included, for the record.
        full_prob: share of the training samples whose mask was whole, or None where the bundle does not say.
        findings: names of the findings that it can be asked for; none for a generator of anatomy alone.
        configuration_sha256: hash of what the bundle's configuration says of a sample.
        grid: how the training images lay, as far as the card says.
        channels: names of the images' channels; none for one without a name.
        covariates: name to definition of what it can be told of a patient or image, see
            :class:`~monai_segdiff.transforms.EncodeCovariates`.
    """

    name: str
    network: torch.nn.Module
    inferer: SamplingInferer | XRealInferer | RegressionInferer
    preprocessing: Any
    rescale: Any
    classes: dict[str, Any]
    parents: dict[str, str]
    intensity_range: IntensityRange
    image_size: tuple[int, ...]
    weights: Path
    weights_sha256: str
    settings: dict[str, Any]
    full_prob: float | None = None
    findings: tuple[str, ...] = ()
    configuration_sha256: str = ""
    grid: TrainedGrid = field(default_factory=TrainedGrid)
    channels: tuple[str, ...] = ()
    covariates: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def draws_windows(self) -> bool:
        """Whether images larger than the network's can be drawn in windows."""
        return isinstance(self.inferer, SamplingInferer) and not isinstance(self.inferer, LatentSamplingInferer)

    def condition(
        self,
        label_file: str | os.PathLike[str],
        known: Sequence[bool] | None = None,
        covariates: Mapping[str, CovariateValue] | None = None,
    ) -> torch.Tensor:
        """Read and encode a label map.

        Args:
            label_file: NIfTI or PNG.
            known: which classes are known, in their order; all by default. An encoding that cannot tell ignores it.
            covariates: name to value, of those that are known; none by default.

        Returns:
            The condition, (channels, *spatial).

        Raises:
            ValueError: for labels or covariates that the generator was not trained on, or another size, naming the
                file.
        """
        with unwrapped_errors():
            flags = {} if known is None else {"image_known": torch.tensor(known)}
            told = {"covariates": dict(covariates)} if covariates else {}
            return self.preprocessing({"image": str(label_file), **flags, **told})["image"]

    def encode(
        self,
        labels: MetaTensor,
        known: Sequence[bool] | None = None,
        covariates: Mapping[str, CovariateValue] | None = None,
    ) -> torch.Tensor:
        """Encode a label map that was brought onto the network's grid, or a larger one for windows.

        Args:
            labels: (1, *spatial), label ids.
            known: as for :meth:`condition`.
            covariates: as for :meth:`condition`.

        Returns:
            The condition, (channels, *spatial).

        Raises:
            ValueError: for labels that the generator was not trained on, or a bundle that reads files in its own way.
        """
        first, *steps = getattr(self.preprocessing, "transforms", (None,))
        if not isinstance(first, LoadCanonicald):
            raise ValueError(
                f"{self.name} reads label maps in its own way, so they must have its size {self.image_size}: bring "
                "them to that with the prepare command, or let its preprocessing begin with LoadCanonicald"
            )
        with unwrapped_errors():
            flags = {} if known is None else {"image_known": torch.tensor(known)}
            told = {"covariates": dict(covariates)} if covariates else {}
            rest = Compose([step for step in steps if not isinstance(step, CheckSpatialSized)])
            return rest({"image": labels, **flags, **told})["image"]

    def image(self, image_file: str | os.PathLike[str] | Sequence[Path]) -> torch.Tensor:
        """Read an image as the network sees it.

        Args:
            image_file: NIfTI or PNG, in the training images' intensities; or a file for each channel.

        Returns:
            The image, (C, *spatial), float32: ``intensity_range`` mapped to the network's range, and clipped.

        Raises:
            ValueError: for another size, other channels, or values that are not finite, naming the file; or for a
                bundle that does not rescale linearly.
        """
        files = [Path(image_file)] if isinstance(image_file, str | os.PathLike) else list(image_file)
        image = as_slice(load_channels(files, self.channels), len(self.image_size)).as_tensor().float()
        if tuple(image.shape[1:]) != self.image_size:
            raise ValueError(
                f"{files[0]} has size {tuple(image.shape[1:])}, the images of {self.name} {self.image_size}: "
                "bring it to that size with the prepare command"
            )
        if not bool(torch.isfinite(image).all()):
            raise ValueError(f"{files[0]} holds NaN or infinite values: repair the file")
        scaler = self._scaler()
        back = ScaleFromRange(scaler.b_min, scaler.b_max, scaler.a_min, scaler.a_max)
        return convert_to_tensor(back(image), track_meta=False)

    @property
    def network_range(self) -> tuple[float, float]:
        """The range that the network was trained on, which ``rescale`` maps to ``intensity_range``.

        Raises:
            ValueError: for a bundle that does not rescale linearly.
        """
        scaler = self._scaler()
        return float(scaler.a_min), float(scaler.a_max)

    def _scaler(self) -> ScaleIntensityRange:
        scaler = getattr(self.rescale, "scaler", None)
        if not isinstance(scaler, ScaleIntensityRange):
            raise ValueError(
                f"real images cannot be brought to the network's range, as {self.name}'s rescale is no "
                "ScaleToRanged: make it one"
            )
        return scaler

    def intensities(self, images: torch.Tensor) -> torch.Tensor:
        """Map images from the network's range to the training images' intensities, which they do not leave.

        Args:
            images: (B, C, *spatial).
        """
        rescaled = torch.stack([self.rescale({"pred": image.cpu()})["pred"] for image in images])
        return clamp_channels(rescaled, self.intensity_range)

    def sample(self, conditions: torch.Tensor, indices: list[int], **shaping: Any) -> torch.Tensor:
        """Generate one image for each condition.

        Args:
            conditions: (B, channels, *spatial).
            indices: index of each sample; with the seed it decides the noise.
            **shaping: further arguments of this call that the inferer takes: ``start`` and ``constraints`` where it
                samples, ``windows`` where conditions are larger than its images, ``findings`` and ``regions`` where
                it knows findings.

        Returns:
            The images, (B, C, *spatial), in the training images' intensities.
        """
        images = self.inferer(inputs=conditions, network=self.network, indices=indices, **shaping)
        return self.intensities(images)


def load_generator(
    bundle: str | os.PathLike[str],
    weights: str | os.PathLike[str] | None = None,
    *,
    overlays: Sequence[str] = (),
    overrides: Mapping[str, Any] | None = None,
    tuned: bool = True,
) -> TrainedGenerator:
    """Load a generator from a bundle.

    ``configs/inference.yaml`` says what it consists of, and reads what was trained from the card that training writes
    beside the weights (``model.yaml`` for ``model.pt``); nothing in a card is evaluated. Used are ``network``,
    ``inferer``, ``preprocessing``, ``rescale``, ``classes``, ``parents``, ``intensity_range``, ``image_size`` and
    ``record``: what shapes a sample; and ``full_prob``, ``findings``, ``image_channels``, ``channel_names`` and
    ``covariates`` where they are there.

    Args:
        bundle: a bundle's name or folder.
        weights: file of the weights; by default those tuned for few evaluations, ``tuned/model.pt`` in ``ckpt_dir``,
            where they are there and can do what the overrides ask for; else ``weights`` of ``inference.yaml``,
            ``model.pt`` in ``ckpt_dir``.
        overlays: names of files in the bundle's ``configs`` that are read after ``inference.yaml``.
        overrides: values for ids of ``inference.yaml``, such as ``{"num_steps": 30, "device": "cpu"}``; they stand for
            themselves, and none is evaluated.
        tuned: whether tuned weights will do; what begins at an image (similarity, edits, inversion) needs the others.

    Returns:
        The generator, ready to sample.

    Raises:
        FileNotFoundError: if there is no such bundle or overlay, or no weights.
        ValueError: if the weights belong to another network or card, a file is damaged, or a setting does not exist or
            is not possible.
    """
    root = bundle_path(bundle)
    file = Path(weights) if weights is not None else default_weights(root, overlays, overrides, tuned=tuned)
    if not file.is_file():
        raise FileNotFoundError(
            f"no weights at {file}: train the bundle first (python -m monai.bundle run training --config_file "
            f"{' and then '.join(_trainings(root))}, in {root}), or name the file with --weights"
        )
    values = {"bundle_root": str(root), **(overrides or {}), "weights": str(file)}
    parser = open_inference(root, overlays, values)
    digest = configuration_digest(parser, values)
    configuration = root / "configs" / "inference.yaml"
    if missing := [name for name in _IDS if name not in parser]:
        raise UnreadableFileError(f"{configuration} has no id {missing[0]!r}; copy the bundle's configs anew")
    state = read_weights(file)
    with naming_configuration(configuration, card_of(file)):
        values["card"] = parser.get_parsed_content("card")
        # Sizes may come from a file: they are compared before memory is taken.
        check_fit(made_without_memory(open_inference(root, overlays, values), "network_def"), state, file)
        return _from_configuration(root.name, file, state, digest, parser)


def _trainings(root: Path) -> list[str]:
    """The bundle's trainings, the last of which writes the weights."""
    stages = [f"configs/train_{stage}.yaml" for stage in ("autoencoder", "anatomy", "diffusion")]
    return [file for file in stages if (root / file).is_file()] or ["configs/train.yaml"]


def _from_configuration(
    name: str, file: Path, state: Mapping[str, torch.Tensor], digest: str, parser: ConfigParser
) -> TrainedGenerator:
    get = parser.get_parsed_content
    sha256 = weights_hash(state)
    check_card(file, sha256, get("card"))
    network = get("network")
    network.load_state_dict(state)
    network.eval()
    return TrainedGenerator(
        name=name,
        network=network,
        inferer=get("inferer"),
        preprocessing=get("preprocessing"),
        rescale=get("rescale"),
        classes=dict(get("classes")),
        parents=dict(get("parents")),
        intensity_range=_limits(get("intensity_range")),
        image_size=tuple(get("image_size")),
        weights=file,
        weights_sha256=sha256,
        settings=dict(get("record")),
        full_prob=float(get("full_prob")) if "full_prob" in parser else None,
        findings=tuple(get("findings")) if "findings" in parser else (),
        configuration_sha256=digest,
        grid=TrainedGrid.of_card(get("card")),
        channels=_channels(parser),
        covariates=check_covariates(get("covariates")) if "covariates" in parser else {},
    )


def _limits(intensity_range: Sequence[Any]) -> IntensityRange:
    """One pair, or a pair for each channel, as tuples."""
    return tuple(tuple(end) if isinstance(end, Sequence) else end for end in intensity_range)


def _channels(parser: ConfigParser) -> tuple[str, ...]:
    """Names of the images' channels; of several without names their numbers."""
    get = parser.get_parsed_content
    names = tuple(get("channel_names")) if "channel_names" in parser else ()
    number = int(get("image_channels")) if "image_channels" in parser else 1
    return names or (tuple(f"channel {k}" for k in range(1, number + 1)) if number > 1 else ())
