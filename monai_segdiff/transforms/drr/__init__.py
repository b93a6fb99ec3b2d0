"""Digitally reconstructed radiographs: geometry, attenuation, line integrals, the transform."""

from __future__ import annotations

from monai_segdiff.transforms.drr.transform import ProjectDRR, ProjectDRRD, ProjectDRRd, ProjectDRRDict

__all__ = ["ProjectDRR", "ProjectDRRD", "ProjectDRRDict", "ProjectDRRd"]
