"""Bone as a radiograph shows it: thresholded in the CT volume, projected like the volume."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from typing import ClassVar

import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.data.meta_obj import get_track_meta
from monai.transforms import MapTransform, Transform
from monai.utils import TransformBackends

from monai_segdiff.transforms.drr import ProjectDRR
from monai_segdiff.transforms.vocabulary import source_of

__all__ = ["ProjectBone", "ProjectBoneD", "ProjectBoneDict", "ProjectBoned"]


class ProjectBone(Transform):
    """Segment bone in the views of a CT volume: one value where a ray passes through bone, 0 elsewhere.

    Bone is everything at or above a threshold in HU (arXiv 2404.03541, "contour + bone"). It is projected with the
    geometry of the volume's own views, so that it lies on them pixel by pixel; added to what
    :class:`~monai_segdiff.transforms.SegmentContour` makes of those views, it is 1.

    Args:
        projector: what projects the volume; only its geometry counts, not its attenuation or normalization.
        threshold: lowest HU of bone. 200 separates cancellous bone from muscle (about 60) in scans without contrast
            medium.
        value: what bone becomes.
        min_length: length in mm of the path through bone from which on a pixel counts as bone; single voxels of noise
            stay below it.

    Raises:
        ValueError: if an argument is not finite, or the length not positive.
    """

    backend: ClassVar[list[TransformBackends]] = [TransformBackends.TORCH]

    def __init__(
        self, projector: ProjectDRR, threshold: float = 200.0, value: float = 0.5, min_length: float = 2.0
    ) -> None:
        if not (math.isfinite(threshold) and math.isfinite(value)):
            raise ValueError(f"threshold and value must be finite, got {threshold} and {value}.")
        if not 0 < min_length < math.inf:
            raise ValueError(f"min_length must be a positive length in mm, got {min_length}.")
        self.projector = projector
        self.threshold = float(threshold)
        self.value = float(value)
        self.min_length = float(min_length)

    def __call__(self, volume: torch.Tensor) -> torch.Tensor:
        """Project the bones of one volume.

        Args:
            volume: CT in HU, (1, X, Y, Z), a MetaTensor with its affine.

        Returns:
            A float32 tensor (views, U, V); where metadata is tracked, with the affine of the detector's pixels and the
            volume's file.

        Raises:
            ValueError: without a usable affine, or for another shape; names the file.
        """
        name = source_of(volume)
        try:
            return self._project(volume, name)
        except ValueError as error:
            raise ValueError(f"{name}: {error}" if name else str(error)) from None

    def _project(self, volume: torch.Tensor, name: str) -> torch.Tensor:
        if not isinstance(volume, MetaTensor):
            raise ValueError(
                f"no usable affine: got a plain {type(volume).__name__}; read the volume with LoadImage, or give "
                "MetaTensor(array, affine=...)."
            )
        if volume.ndim != 4 or volume.shape[0] != 1:
            raise ValueError(f"expected a volume of shape (1, X, Y, Z), got {tuple(volume.shape)}.")
        bone = (volume.as_tensor() >= self.threshold).float()
        lengths = self.projector.project(bone, volume.affine)
        shown = (lengths >= self.min_length).float() * self.value
        if not get_track_meta():
            return shown
        affine = torch.as_tensor(self.projector.geometry(bone.shape[1:], volume.affine).affine)
        return MetaTensor(shown, affine=affine, meta={"filename_or_obj": name} if name else {})


class ProjectBoned(MapTransform):
    """Dictionary-based version of :class:`ProjectBone`: replaces the volume by the bones in its views.

    Copy the volume first (``CopyItemsd``) where its own views are wanted as well.

    Args:
        keys: keys of the volumes.
        projector: what projects the volumes.
        threshold: lowest HU of bone.
        value: what bone becomes.
        min_length: length in mm of the path through bone from which on a pixel counts as bone.
        allow_missing_keys: do not raise where a key is missing.
    """

    backend: ClassVar[list[TransformBackends]] = ProjectBone.backend

    def __init__(
        self,
        keys: KeysCollection,
        projector: ProjectDRR,
        threshold: float = 200.0,
        value: float = 0.5,
        min_length: float = 2.0,
        allow_missing_keys: bool = False,
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        self.segment = ProjectBone(projector, threshold, value, min_length)

    def __call__(self, data: Mapping[Hashable, torch.Tensor]) -> dict[Hashable, torch.Tensor]:
        """Project the bones of every volume."""
        d = dict(data)
        for key in self.key_iterator(d):
            d[key] = self.segment(d[key])
        return d


ProjectBoneD = ProjectBoneDict = ProjectBoned
