"""Project CT volumes to digitally reconstructed radiographs."""

from __future__ import annotations

import warnings
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from monai.config import KeysCollection
from monai.config.type_definitions import NdarrayOrTensor
from monai.data import MetaTensor
from monai.data.meta_obj import get_track_meta
from monai.transforms import MapTransform, Transform
from monai.utils import TransformBackends, convert_to_tensor
from numpy.typing import NDArray

from monai_segdiff.transforms.drr.attenuation import (
    add_photon_noise,
    attenuation,
    basis_volumes,
    checked_spectrum,
    mu_of_water,
    polychromatic,
)
from monai_segdiff.transforms.drr.checks import TISSUE, check_affine, check_beam, check_hu, check_silhouette, cut_faces
from monai_segdiff.transforms.drr.geometry import Geometry, fitted_spacing, grid_corners, orbit
from monai_segdiff.transforms.drr.joseph import line_integrals
from monai_segdiff.transforms.drr.rtk import rtk_line_integrals
from monai_segdiff.transforms.vocabulary import source_of

__all__ = ["ProjectDRR", "ProjectDRRD", "ProjectDRRDict", "ProjectDRRd"]

_BACKENDS = {"torch": line_integrals, "rtk": rtk_line_integrals}
_NORMALIZATIONS = ("volume", "view", None)


class ProjectDRR(Transform):
    """Project a CT volume to radiographs from many angles.

    Line integrals of attenuation run from a source to the pixels of a flat detector that turn about an axis, placed in
    the millimeters of the volume's own affine: whichever way its voxels are stored, the views are the same. At angle 0
    the source is in front of the patient and u runs to the patient's right; v runs along the axis. One affine map takes
    the line integrals p to images in [0, 1]: p = offset + scale * image.

    Args:
        angles: degrees about the axis, one view each, counter-clockwise seen from the axis's tip.
        detector_shape: pixels (U, V), or one number for both.
        detector_spacing: mm between pixels on the detector, (u, v) or one number for both. By default square pixels of
            the largest field that the volume's grid and the angles allow: rays do not leave through the two end faces
            along the axis, and the field ends at the circle around the grid.
        source_to_isocenter: mm.
        source_to_detector: mm.
        axis: axis of rotation: ``"S"`` (superior), ``"A"`` (anterior), ``"R"`` (right) or a vector in RAS.
        isocenter: a point on the axis, RAS in mm; the middle of the volume's grid by default.
        beam: ``"cone"``, or ``"parallel"`` with rays at right angles to the detector.
        energy: keV of a monochromatic beam, 10 to 200.
        spectrum: (keV, weight) pairs of a polychromatic beam, or ``"70kVp"``; the energy is then not used.
        photons: mean number of photons in a pixel without an object, for Poisson noise; none by default.
        seed: seed of the noise; with it a view's angle decides its noise.
        normalize: one map to [0, 1] for all views of a ``"volume"``, one for each ``"view"``, or None for line
            integrals as they are.
        allow_truncation: project a volume that cuts tissue within the beam, with a warning.
        backend: ``"torch"``, or ``"rtk"`` for ITK-RTK on the CPU (the extra ``rtk``).
        device: where to project; the volume's device by default.

    Raises:
        ValueError: for no angles, an unknown option or a value outside its range.
    """

    backend: ClassVar[list[TransformBackends]] = [TransformBackends.TORCH]

    def __init__(
        self,
        angles: Sequence[float] = tuple(range(0, 360, 6)),
        detector_shape: int | Sequence[int] = (256, 256),
        detector_spacing: float | Sequence[float] | None = None,
        source_to_isocenter: float = 1000.0,
        source_to_detector: float = 1500.0,
        axis: str | Sequence[float] = "S",
        isocenter: Sequence[float] | None = None,
        beam: str = "cone",
        energy: float = 60.0,
        spectrum: str | Sequence[tuple[float, float]] | None = None,
        photons: float | None = None,
        seed: int = 0,
        normalize: str | None = "volume",
        allow_truncation: bool = False,
        backend: str = "torch",
        device: torch.device | str | None = None,
    ) -> None:
        if normalize not in _NORMALIZATIONS:
            raise ValueError(f"unknown normalize '{normalize}': choose volume, view or None.")
        if backend not in _BACKENDS:
            raise ValueError(f"unknown backend '{backend}': choose one of {', '.join(_BACKENDS)}.")
        if photons is not None and not 1 <= photons < float("inf"):
            raise ValueError(f"photons (--photons) must be at least 1 and finite, got {photons}.")
        self.orbit = orbit(angles, axis, source_to_isocenter, source_to_detector, beam)
        self.detector_shape = _shape(detector_shape)
        self.detector_spacing = (
            None if detector_spacing is None else _pair(detector_spacing, "detector_spacing (--detector-spacing)")
        )
        self.isocenter = None if isocenter is None else _point(isocenter)
        mu_of_water(energy)
        self.energy = float(energy)
        self.spectrum = None if spectrum is None else checked_spectrum(spectrum)
        self.photons, self.seed = photons, int(seed)
        self.normalize = normalize
        self.allow_truncation = allow_truncation
        self.projector = backend
        self.device = None if device is None else torch.device(device)

    def geometry(self, shape: Sequence[int], affine: NdarrayOrTensor) -> Geometry:
        """Where source and detector stand around a grid.

        Args:
            shape: voxels (X, Y, Z).
            affine: voxel index to RAS in mm, (4, 4).

        Raises:
            ValueError: for an affine that cannot be used, or if source or detector do not fit around the grid.
        """
        placed = _numpy(affine)
        check_affine(placed)
        corners = grid_corners(shape, placed)
        isocenter = corners.reshape(8, 3).mean(axis=0) if self.isocenter is None else self.isocenter
        spacing = self.detector_spacing
        if spacing is None:
            fitted = fitted_spacing(self.orbit, isocenter, self.detector_shape, corners)
            spacing = (fitted, fitted)
        geometry = Geometry(self.orbit, isocenter, self.detector_shape, spacing)
        check_beam(geometry, corners)
        return geometry

    def project(self, values: NdarrayOrTensor, affine: NdarrayOrTensor) -> torch.Tensor:
        """Line integrals of any volumes on one grid, as they are: no attenuation, noise or normalization.

        Args:
            values: (C, X, Y, Z).
            affine: voxel index to RAS in mm, (4, 4).

        Returns:
            Value times mm, (C * views, U, V), float32: all views of the first volume come first.
        """
        plain = convert_to_tensor(values, track_meta=False, dtype=torch.float32)
        geometry = self.geometry(plain.shape[1:], affine)
        integrals = self._integrate(plain.to(self.device or plain.device), _numpy(affine), geometry)
        return integrals.flatten(0, 1).to(plain.device)

    def __call__(self, volume: NdarrayOrTensor) -> torch.Tensor:
        """Project one volume.

        Args:
            volume: HU, (1, X, Y, Z), a MetaTensor with its affine.

        Returns:
            (views, U, V), float32, on the volume's device. Where metadata is tracked, the affine holds the detector's
            pixels and ``meta["drr"]`` the geometry of every view, ``offset`` and ``scale``, in JSON types.

        Raises:
            ValueError: without a usable affine, for another shape, values that are no HU, air only, a source or
                detector inside the volume, a detector that misses the object, or tissue that the volume cuts within the
                beam (unless allowed); the message names the file.
        """
        name = source_of(volume)
        try:
            return self._project(volume, name)
        except ValueError as error:
            raise ValueError(f"{name}: {error}" if name else str(error)) from None

    def _project(self, volume: NdarrayOrTensor, name: str) -> torch.Tensor:
        if not isinstance(volume, MetaTensor):
            raise ValueError(
                f"no usable affine: got a plain {type(volume).__name__}; read the volume with LoadImage, or give "
                "MetaTensor(array, affine=...)."
            )
        if volume.ndim != 4 or volume.shape[0] != 1:
            raise ValueError(
                f"expected a volume of shape (1, X, Y, Z), got {tuple(volume.shape)}: use EnsureChannelFirst."
            )
        hu = convert_to_tensor(volume, track_meta=False, dtype=torch.float32, device=self.device)
        affine = _numpy(volume.affine)
        check_hu(hu)
        geometry = self.geometry(hu.shape[1:], affine)
        truncated = self._is_truncated(hu, affine, geometry, name)
        check_silhouette(hu, affine, geometry)
        readings = self._readings(hu, affine, geometry)
        images, offset, scale = _normalized(readings, self.normalize)
        images = images.to(volume.device)
        if not get_track_meta():
            return images
        described = {
            "volume": Path(name).name.removesuffix(".gz").removesuffix(".nii"),
            "offset": offset.tolist(),
            "scale": scale.tolist(),
            **geometry.describe(),
            "truncated": truncated,
            **self._physics(),
        }
        meta = {"drr": described, **({"filename_or_obj": name} if name else {})}
        return MetaTensor(images, affine=torch.as_tensor(geometry.affine), meta=meta)

    def _is_truncated(self, hu: torch.Tensor, affine: NDArray[np.float64], geometry: Geometry, name: str) -> bool:
        faces = cut_faces(hu, affine, geometry)
        if not faces:
            return False
        airless = " (no voxel is air: is it windowed?)" if hu.min() > TISSUE else ""
        what = f"the volume ends in tissue at its {', '.join(faces)} side, within the beam{airless}"
        if not self.allow_truncation:
            raise ValueError(
                f"{what}: give a volume with air around the object, a smaller field (by default it keeps between the "
                "two ends), or allow it (allow_truncation=True, --allow-truncation)."
            )
        warnings.warn(f"{f'{name}: ' if name else ''}{what}: line integrals there are too small.", stacklevel=4)
        return True

    def _readings(self, hu: torch.Tensor, affine: NDArray[np.float64], geometry: Geometry) -> torch.Tensor:
        """-ln of the transmitted share at every pixel, (views, U, V)."""
        if self.spectrum is None:
            readings = self._integrate(attenuation(hu, self.energy), affine, geometry)[0]
        else:
            water, bone = self._integrate(basis_volumes(hu), affine, geometry)
            readings = polychromatic(water, bone, self.spectrum)
        if self.photons is None:
            return readings
        return add_photon_noise(readings, self.photons, self.seed, self.orbit.angles)

    def _integrate(self, values: torch.Tensor, affine: NDArray[np.float64], geometry: Geometry) -> torch.Tensor:
        return _BACKENDS[self.projector](values, affine, geometry)

    def _physics(self) -> dict[str, Any]:
        """What the readings depend on; without None, which batches cannot hold."""
        beam = {"spectrum": [list(line) for line in self.spectrum]} if self.spectrum else {"energy": self.energy}
        noise = {} if self.photons is None else {"photons": float(self.photons), "seed": self.seed}
        return {**beam, **noise, "normalize": self.normalize or "none"}


class ProjectDRRd(MapTransform):
    """Dictionary-based version of :class:`ProjectDRR`: replaces volumes by their views.

    Args:
        keys: keys of the volumes.
        angles: degrees about the axis, one view each.
        detector_shape: pixels (U, V), or one number for both.
        detector_spacing: mm between pixels on the detector; by default fitted to each volume's grid.
        source_to_isocenter: mm.
        source_to_detector: mm.
        axis: ``"S"``, ``"A"``, ``"R"`` or a vector in RAS.
        isocenter: a point on the axis, RAS in mm; the middle of each volume's grid by default.
        beam: ``"cone"`` or ``"parallel"``.
        energy: keV of a monochromatic beam.
        spectrum: (keV, weight) pairs of a polychromatic beam, or ``"70kVp"``.
        photons: mean number of photons in a pixel without an object, for Poisson noise.
        seed: seed of the noise.
        normalize: ``"volume"``, ``"view"`` or None.
        allow_truncation: project volumes that cut tissue within the beam, with a warning.
        backend: ``"torch"`` or ``"rtk"``.
        device: where to project; each volume's device by default.
        allow_missing_keys: do not raise where a key is missing.
    """

    backend: ClassVar[list[TransformBackends]] = ProjectDRR.backend

    def __init__(
        self,
        keys: KeysCollection,
        angles: Sequence[float] = tuple(range(0, 360, 6)),
        detector_shape: int | Sequence[int] = (256, 256),
        detector_spacing: float | Sequence[float] | None = None,
        source_to_isocenter: float = 1000.0,
        source_to_detector: float = 1500.0,
        axis: str | Sequence[float] = "S",
        isocenter: Sequence[float] | None = None,
        beam: str = "cone",
        energy: float = 60.0,
        spectrum: str | Sequence[tuple[float, float]] | None = None,
        photons: float | None = None,
        seed: int = 0,
        normalize: str | None = "volume",
        allow_truncation: bool = False,
        backend: str = "torch",
        device: torch.device | str | None = None,
        allow_missing_keys: bool = False,
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        self.projector = ProjectDRR(
            angles,
            detector_shape,
            detector_spacing,
            source_to_isocenter,
            source_to_detector,
            axis,
            isocenter,
            beam,
            energy,
            spectrum,
            photons,
            seed,
            normalize,
            allow_truncation,
            backend,
            device,
        )

    def __call__(self, data: Mapping[Hashable, NdarrayOrTensor]) -> dict[Hashable, NdarrayOrTensor]:
        """Project every volume."""
        d = dict(data)
        for key in self.key_iterator(d):
            d[key] = self.projector(d[key])
        return d


ProjectDRRD = ProjectDRRDict = ProjectDRRd


def _numpy(affine: NdarrayOrTensor) -> NDArray[np.float64]:
    return np.asarray(convert_to_tensor(affine, track_meta=False).cpu(), dtype=np.float64)


def _shape(shape: int | Sequence[int]) -> tuple[int, int]:
    pixels = _pair(shape, "detector_shape (--size)")
    if any(number != int(number) for number in pixels):
        raise ValueError(f"detector_shape must be whole numbers, got {shape}.")
    return int(pixels[0]), int(pixels[1])


def _pair(value: float | Sequence[float], name: str) -> tuple[float, float]:
    values = tuple(float(item) for item in (value if isinstance(value, Sequence) else (value, value)))
    if len(values) != 2 or not all(0 < item < float("inf") for item in values):
        raise ValueError(f"{name} must be one or two numbers above 0, got {value}.")
    return values[0], values[1]


def _point(point: Sequence[float]) -> NDArray[np.float64]:
    values = np.asarray(point, dtype=np.float64)
    if values.shape != (3,) or not np.isfinite(values).all():
        raise ValueError(f"isocenter must be three finite numbers, got {point}.")
    return values


def _normalized(readings: torch.Tensor, normalize: str | None) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Images, (views, U, V), with offset and scale of every view: readings = offset + scale * images."""
    flat = readings.flatten(1)
    offset, scale = torch.zeros(len(flat)), torch.ones(len(flat))
    if normalize is not None:
        low, high = (ends.cpu() for ends in flat.aminmax(dim=1))
        if normalize == "volume":
            low, high = low.amin().expand_as(low), high.amax().expand_as(high)
        offset, scale = low, torch.where(high > low, high - low, 1.0)
    placed = [part.to(readings)[:, None, None] for part in (offset, scale)]
    return (readings - placed[0]) / placed[1], offset, scale
