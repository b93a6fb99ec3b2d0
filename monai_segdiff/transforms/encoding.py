"""Encode a label map as the condition of a network."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, ClassVar

import torch
from monai.config import KeysCollection
from monai.config.type_definitions import NdarrayOrTensor
from monai.data.meta_obj import get_track_meta
from monai.transforms import MapTransform, Transform
from monai.utils import TransformBackends, convert_to_dst_type, convert_to_tensor

from monai_segdiff.transforms.covariates import CovariateValue, EncodeCovariates
from monai_segdiff.transforms.vocabulary import BACKGROUND, ClassVocabulary, check_channel_first, source_of

__all__ = ["EncodeMask", "EncodeMaskD", "EncodeMaskDict", "EncodeMaskd"]

MODES = ("one_hot", "bits", "ordinal", "values")
_COVARIATES = "covariates"


class EncodeMask(Transform):
    """Encode a label map, and which of its classes are known, as channels.

    Every mode is a code word for each class index, written at every pixel:

    - ``one_hot``: C channels in {-1, +1}, one a class, all -1 in the background;
    - ``bits``: the class index in binary, -1 and +1, lowest bit first: ceil(log2(C + 1)) channels, for many classes;
    - ``ordinal``: the label id over 255 in one channel, as published by Konz et al. 2024 (arXiv 2402.05210);
    - ``values``: one channel of chosen intensities.

    ``one_hot`` and ``bits`` go on with C *known* channels, constant over the image, +1 where the class is known and -1
    where it was ablated, so that an ablated class is told from an absent one. The other two cannot tell, nor can these
    with ``known_flags=False``.

    Covariates, such as the patient's age, follow as constant channels, see
    :class:`~monai_segdiff.transforms.EncodeCovariates`; what is not said of an image is unknown.

    Args:
        classes: class name to its label id or ids; the order is the channel order; 0, the background, is never listed.
            In ``ordinal`` mode a class with several ids is written as its first.
        mode: ``"one_hot"``, ``"bits"``, ``"ordinal"`` or ``"values"``.
        values: for ``values`` only: the intensity of every class by name, and of ``background`` (0 where left out).
        known_flags: whether ``one_hot`` and ``bits`` have their known channels; without them a network cannot tell an
            ablated class from an absent one, which is there for comparison.
        covariates: name to definition, see :class:`~monai_segdiff.transforms.EncodeCovariates`; none by default.

    Raises:
        ValueError: for bad classes, an unknown mode, intensities that do not fit the classes, or bad covariates.
    """

    backend: ClassVar[list[TransformBackends]] = [TransformBackends.TORCH]

    def __init__(
        self,
        classes: Mapping[str, int | Sequence[int]],
        mode: str = "one_hot",
        values: Mapping[str, float] | None = None,
        known_flags: bool = True,
        covariates: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        if mode not in MODES:
            raise ValueError(f"unknown mode '{mode}': choose one of {', '.join(MODES)}.")
        if (mode == "values") != (values is not None):
            raise ValueError("values belongs to mode='values', and that mode needs it.")
        vocabulary = ClassVocabulary(classes)
        self.mode = mode
        self.classes = vocabulary.classes
        self.covariates = EncodeCovariates(covariates or {})
        self._vocabulary = vocabulary
        self._has_known = known_flags and mode in ("one_hot", "bits")
        self._codes = _code_words(vocabulary, mode, values or {})

    @property
    def out_channels(self) -> int:
        """Number of channels of the encoded mask and of the covariates."""
        return self._of_mask + self.covariates.out_channels

    @property
    def _of_mask(self) -> int:
        return self._codes.shape[1] + (len(self.classes) if self._has_known else 0)

    def __call__(
        self,
        label_map: NdarrayOrTensor,
        known: NdarrayOrTensor | Sequence[bool] | None = None,
        covariates: Mapping[str, CovariateValue] | None = None,
    ) -> torch.Tensor:
        """Encode one label map.

        Args:
            label_map: label ids, (1, *spatial); whole numbers (floating point is accepted).
            known: which classes are known, bool (C,) in the order of the classes; all where left out.
            covariates: name to value, of those that are known; none where left out.

        Returns:
            A float32 tensor (out_channels, *spatial), with the label map's metadata where metadata is tracked.

        Raises:
            ValueError: for another shape, an unknown label id, values that are not whole numbers, or a class that is
                in the label map though marked as not known; the message names the file.
        """
        source = source_of(label_map)
        label = convert_to_tensor(label_map, track_meta=get_track_meta())
        check_channel_first(label, source)
        index = self._vocabulary.indices(convert_to_tensor(label, track_meta=False), source)
        flags = self._flags(known)
        # An unknown class that is still drawn would hand the network the very shape that it must not see.
        present = torch.bincount(index.flatten(), minlength=len(flags) + 1)[1:].cpu() > 0
        leaked = [name for name, drawn in zip(self.classes, (present & ~flags).tolist(), strict=True) if drawn]
        if leaked:
            where = f" of {source}" if source else ""
            raise ValueError(
                f"{', '.join(leaked)}: marked as not known but present in the label map{where}; ablate the class first."
            )
        channels = self._with_covariates(self._encode(index, flags[None])[0], covariates)
        return convert_to_dst_type(channels, dst=label, dtype=torch.float32)[0]

    def null_condition(self, spatial_shape: Sequence[int]) -> torch.Tensor:
        """The condition that says nothing: an empty label map of which no class is known, and no covariate.

        Args:
            spatial_shape: the spatial shape.

        Returns:
            A float32 tensor (out_channels, *spatial_shape).
        """
        index = torch.zeros((1, *spatial_shape), dtype=torch.long)
        return self._with_covariates(self._encode(index, torch.zeros((1, len(self.classes)), dtype=torch.bool))[0])

    def drop(
        self, condition: torch.Tensor, names: Sequence[str], parents: Mapping[str, str] | None = None
    ) -> torch.Tensor:
        """The condition as it would be, had some more classes been ablated from the label map.

        Args:
            condition: a batch of encoded masks, (B, out_channels, *spatial), of mode ``one_hot`` or ``bits`` with known
                channels. What it says of covariates stays as it is.
            names: the classes to remove.
            parents: class name to the name of the class around it, as for
                :class:`~monai_segdiff.transforms.RandClassAblation`.

        Returns:
            A new tensor of the same shape, dtype and device.

        Raises:
            ValueError: where there are no known channels, for an unknown class, or where the condition is no mask
                encoded so.
        """
        if not self._has_known:
            raise ValueError(
                f"a mask encoded as '{self.mode}' without known channels does not tell which classes are known: use "
                "one_hot or bits, with known_flags."
            )
        vocabulary = ClassVocabulary(self.classes, parents)
        dropped = vocabulary.kept(names)
        index, known = self._decode(condition)
        known = known & ~dropped
        destinations = torch.stack([vocabulary.destinations(flags) for flags in known]).to(condition.device)
        moved = destinations.gather(1, index.flatten(1)).reshape(index.shape)
        mask = self._encode(moved, known).to(condition.dtype)
        if not self.covariates.names:
            return mask
        return torch.cat([mask, convert_to_tensor(condition, track_meta=False)[:, self._of_mask :]], dim=1)

    def _with_covariates(self, mask: torch.Tensor, values: Mapping[str, CovariateValue] | None = None) -> torch.Tensor:
        """Channels of a mask (channels, *spatial), and those of the covariates after them."""
        if not self.covariates.names and not values:
            return mask
        entries = self.covariates(values or {}).to(mask)
        return torch.cat([mask, entries.reshape(-1, *[1] * (mask.ndim - 1)).expand(-1, *mask.shape[1:])])

    def _encode(self, index: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
        """Class indices (B, *spatial) and known flags (B, C) to channels (B, out_channels, *spatial)."""
        encoded = torch.movedim(self._codes.to(index.device)[index], -1, 1)
        if not self._has_known:
            return encoded.contiguous()
        flags = _signs(known).to(index.device)
        flags = flags.reshape(*flags.shape, *[1] * (index.ndim - 1)).expand(-1, -1, *index.shape[1:])
        return torch.cat([encoded, flags], dim=1)

    def _decode(self, condition: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Channels (B, out_channels, *spatial) to class indices (B, *spatial) and known flags (B, C) on the CPU."""
        width = self._codes.shape[1]
        if condition.ndim < 3 or condition.shape[1] != self.out_channels:
            raise ValueError(
                f"expected a condition of shape (B, {self.out_channels}, *spatial), got {tuple(condition.shape)}."
            )
        plain = convert_to_tensor(condition, track_meta=False).float()
        # Code words hold -1 and +1 only: a pixel's product with its own word is the width, with any other less.
        match, index = torch.einsum("kc,bc...->bk...", self._codes.to(plain.device), plain[:, :width]).max(dim=1)
        if not bool((match == width).all()):
            raise ValueError(f"the condition is no mask encoded as '{self.mode}' with these classes.")
        return index, plain[:, width : self._of_mask].flatten(2)[:, :, 0].cpu() > 0

    def _flags(self, known: NdarrayOrTensor | Sequence[bool] | None) -> torch.Tensor:
        size = len(self.classes)
        if known is None:
            return torch.ones(size, dtype=torch.bool)
        flags = convert_to_tensor(torch.as_tensor(known), track_meta=False).bool().cpu()
        if flags.shape != (size,):
            raise ValueError(f"known needs one flag for each of the {size} classes, got shape {tuple(flags.shape)}.")
        return flags


class EncodeMaskd(MapTransform):
    """Dictionary-based version of :class:`EncodeMask`: replaces the label map by its encoding.

    Reads ``d[f"{key}_known"]``, as :class:`~monai_segdiff.transforms.RandClassAblationd` writes it; where it is
    missing, all classes are known. Where there are covariates it reads their values from ``d["covariates"]``, a
    mapping, and puts their encoding, (entries,), in its place; where that is missing, all are unknown.

    Args:
        keys: keys of the label maps.
        classes: class name to its label id or ids; 0, the background, is never listed.
        mode: ``"one_hot"``, ``"bits"``, ``"ordinal"`` or ``"values"``.
        values: for ``values`` only: the intensity of every class by name.
        known_flags: whether ``one_hot`` and ``bits`` have their known channels.
        covariates: name to definition, see :class:`~monai_segdiff.transforms.EncodeCovariates`; none by default.
        allow_missing_keys: do not raise where a key is missing.
    """

    backend: ClassVar[list[TransformBackends]] = EncodeMask.backend

    def __init__(
        self,
        keys: KeysCollection,
        classes: Mapping[str, int | Sequence[int]],
        mode: str = "one_hot",
        values: Mapping[str, float] | None = None,
        known_flags: bool = True,
        covariates: Mapping[str, Mapping[str, Any]] | None = None,
        allow_missing_keys: bool = False,
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        self.encoder = EncodeMask(classes, mode, values, known_flags, covariates)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Encode every label map under its own known flags."""
        d = dict(data)
        told = (d.get(_COVARIATES) or {}) if self.encoder.covariates.names else {}
        for key in self.key_iterator(d):
            d[key] = self.encoder(d[key], d.get(f"{key}_known"), told)
        if self.encoder.covariates.names:
            d[_COVARIATES] = self.encoder.covariates(told)
        return d


EncodeMaskD = EncodeMaskDict = EncodeMaskd


def _signs(on: torch.Tensor) -> torch.Tensor:
    return on.float() * 2 - 1


def _code_words(vocabulary: ClassVocabulary, mode: str, values: Mapping[str, float]) -> torch.Tensor:
    """One row of channels for each class index, (C + 1, channels), float32."""
    size = len(vocabulary.names)
    if mode == "one_hot":
        return _signs(torch.eye(size + 1, dtype=torch.bool)[:, 1:])
    if mode == "bits":
        return _signs((torch.arange(size + 1)[:, None] >> torch.arange(size.bit_length())) % 2 == 1)
    if mode == "ordinal":
        if int(vocabulary.first_ids.max()) > 255:
            raise ValueError("mode 'ordinal' writes label ids over 255 and takes ids of at most 255.")
        return vocabulary.first_ids[:, None].float() / 255
    if set(values) - {BACKGROUND} != set(vocabulary.names):
        raise ValueError(f"values must name each of {', '.join(vocabulary.names)}, got {', '.join(values) or 'none'}.")
    intensities = [float(values.get(BACKGROUND, 0.0)), *(float(values[name]) for name in vocabulary.names)]
    if not all(math.isfinite(value) for value in intensities):
        raise ValueError(f"values must be finite, got {intensities}.")
    return torch.tensor(intensities)[:, None]
