"""MONAI Deploy: an application that turns a DICOM segmentation into a synthetic image series.

What is imported here needs no MONAI Deploy; the application itself is in ``monai_segdiff.integrations.deploy.app`` and
needs the extra ``deploy``.
"""

from __future__ import annotations

__all__: list[str] = []
