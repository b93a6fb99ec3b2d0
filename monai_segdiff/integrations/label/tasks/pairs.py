"""One synthetic image and label map for a request: by the same way as `generate`."""

from __future__ import annotations

import copy
import json
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from monai_segdiff.bundle import bundle_path
from monai_segdiff.data import Case, load_label_map, write_like
from monai_segdiff.data.channels import load_case_image, load_channels
from monai_segdiff.errors import root_cause
from monai_segdiff.generation import Similarity, generate_dataset, load_generator
from monai_segdiff.generation.default_weights import default_weights
from monai_segdiff.generation.folder import base_header
from monai_segdiff.generation.generator import TrainedGenerator
from monai_segdiff.integrations.label.errors import RequestError
from monai_segdiff.integrations.label.firewall.headers import check_size
from monai_segdiff.integrations.label.firewall.parameters import ImageParameters
from monai_segdiff.integrations.label.store.slices import as_slice
from monai_segdiff.networks import weights_hash

__all__ = ["Pair", "PairGenerator"]

_SAME_PLACE = 1e-2  # mm
_KEPT = 2  # generators with other settings that stay loaded


@dataclass(frozen=True)
class Pair:
    """A synthetic image with the label map that it obeys.

    Args:
        image: its file.
        label: the label map's, without the classes that were dropped.
        facts: what made it, of JSON types.
    """

    image: Path
    label: Path
    facts: dict[str, Any]


class PairGenerator:
    """A bundle's generator with the settings of each request.

    A pair depends only on the weights, the study and the parameters of its request, not on earlier requests. One
    request runs at a time.

    Args:
        bundle: name or folder of a trained bundle.
        work: folder of the application. Weights that were fine-tuned there are used before those of the bundle.

    Raises:
        FileNotFoundError: if there is no such bundle, or it was not trained.
        ValueError: if its weights do not fit it.
    """

    def __init__(self, bundle: str | Path, work: Path) -> None:
        self.bundle = bundle_path(bundle)
        self.work = work / self.bundle.name
        self.tuned = self.work / "tuned" / "model.pt"
        self._lock = threading.Lock()
        self._loaded: OrderedDict[Any, TrainedGenerator] = OrderedDict()
        self.generator = self._load(ImageParameters())

    @property
    def name(self) -> str:
        """Name of the bundle."""
        return self.bundle.name

    @property
    def weights(self) -> Path:
        """The weights that are used now."""
        return self.tuned if self.tuned.is_file() else default_weights(self.bundle, tuned=False)

    def make(self, case: Case, parameters: ImageParameters, folder: Path, shown: str | None = None) -> Pair:
        """Generate the image of a study.

        Args:
            case: its label map, and its image where a similarity is asked for.
            parameters: how.
            folder: a new folder for the result.
            shown: what the client calls the study; its id by default.

        Raises:
            RequestError: if the study does not fit the generator, or the parameters do not.
        """
        shown = shown or case.id
        with self._lock:
            try:
                if case.label is None:
                    raise ValueError(f"{shown} has no label map")
                if parameters.similarity > 0 and case.image is not None:
                    channels = self.generator.channels
                    check_size(case.label, self.generator.image_size)
                    check_size(case.image, self.generator.image_size, "image", len(channels) or 1)
                    _check_place(case, channels)
                load_label_map(case.label)  # tells a file that is cut short from errors that are ours
                generator = self._load(parameters)
                flat = replace(case, label=as_slice(case.label, len(generator.image_size), folder / "slice"))
                generate_dataset(
                    generator, [flat], folder / "set", batch_size=1, progress=False, **_shaping(parameters)
                )
            except (ValueError, FileNotFoundError, RuntimeError) as error:
                raise _for_client(error, {self.bundle: self.name, **_names(case, shown)}) from error
        image = next((folder / "set" / "imagesTr").iterdir())
        label = folder / "set" / "labelsTr" / image.name
        if flat.label != case.label:  # back to the axes that the study has
            pixels = load_channels([image], generator.channels).numpy()
            image = write_like(pixels, case.label, folder / "image" / image.name, channels=len(pixels))
            label = write_like(load_label_map(label).numpy(), case.label, folder / "label" / label.name)
        return Pair(image, label, _facts(generator, parameters))

    def facts(self, parameters: ImageParameters) -> dict[str, Any]:
        """The record of a pair that is made with these parameters.

        Args:
            parameters: how.

        Raises:
            RequestError: if the bundle cannot do it.
        """
        with self._lock:
            try:
                return _facts(self._load(parameters), parameters)
            except (ValueError, RuntimeError) as error:
                raise RequestError(str(root_cause(error)).replace(str(self.bundle), self.name)) from error

    def weights_hash(self) -> str:
        """Hash of the weights that are used now."""
        return weights_hash(self.weights)

    def _load(self, parameters: ImageParameters) -> TrainedGenerator:
        file = self.weights
        state = file.stat() if file.is_file() else None
        overrides = parameters.overrides()
        key = (file, state and (state.st_mtime_ns, state.st_size), *sorted(overrides.items()))
        if key not in self._loaded:
            self._loaded[key] = load_generator(self.bundle, file, overrides=overrides)
            while len(self._loaded) > _KEPT:
                self._loaded.popitem(last=False)
        self._loaded.move_to_end(key)
        return _seeded(self._loaded[key], parameters.seed)


def _seeded(generator: TrainedGenerator, seed: int) -> TrainedGenerator:
    inferer = copy.copy(generator.inferer)
    if hasattr(inferer, "seed"):  # a regression network draws nothing
        inferer.seed = seed
    settings = {**generator.settings, "seed": seed} if "seed" in generator.settings else generator.settings
    return replace(generator, inferer=inferer, settings=settings)


def _check_place(case: Case, channels: Sequence[str]) -> None:
    """Refuse a label map that is not on the image's grid: with another orientation, similarity has no meaning."""
    assert case.label is not None
    assert case.image is not None
    label, image = load_label_map(case.label).affine, load_case_image(case, channels).affine
    if not torch.allclose(label.float(), image.float(), atol=_SAME_PLACE):
        raise RequestError(
            "similarity needs a label map on the image's grid, but their axes or origins (affine) differ: "
            "store the label map on the image's grid, or leave similarity out"
        )


def _shaping(parameters: ImageParameters) -> dict[str, Any]:
    return {
        "drop_classes": parameters.drop_classes,
        "similarity": Similarity(parameters.similarity) if parameters.similarity > 0 else None,
        "covariates": parameters.covariates,
    }


def _facts(generator: TrainedGenerator, parameters: ImageParameters) -> dict[str, Any]:
    facts = {**base_header(generator), "parameters": _plain(parameters)}
    if (told := parameters.told()) is not None:
        facts["parameters"]["covariates"] |= told.header(generator)["given"]  # numbers, also of text
        if remarks := told.outside(generator):
            facts["remarks"] = remarks
    return json.loads(json.dumps(facts))


def _plain(parameters: ImageParameters) -> dict[str, Any]:
    given = {name: value for name, value in vars(parameters).items() if value not in (None, (), {})}
    return {
        name: list(value) if isinstance(value, tuple) else dict(value) if isinstance(value, Mapping) else value
        for name, value in given.items()
    }


def _names(case: Case, shown: str) -> dict[object, str]:
    """The client's names for the files of a study."""
    files = {case.label: f"the label map of {shown}", case.image: f"the image of {shown}"}
    return {**{file: name for file, name in files.items() if file is not None}, repr(case.id): repr(shown)}


def _for_client(error: BaseException, names: Mapping[object, str]) -> BaseException:
    """Replace the server's paths in a message by the client's names; errors of the server itself stay as they are."""
    cause = root_cause(error)
    if isinstance(cause, RequestError) or not isinstance(cause, (ValueError, FileNotFoundError)):
        return cause
    message = str(cause)
    for hidden, name in names.items():
        message = message.replace(str(hidden), name)
    return RequestError(message)
