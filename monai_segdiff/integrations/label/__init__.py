"""MONAI Label: synthetic images and label maps of the studies that a server holds.

What is imported here needs no MONAI Label; the application itself is in ``monai_segdiff.integrations.label.app``.
"""

from __future__ import annotations

from monai_segdiff.integrations.label.folder import make_label_app

__all__ = ["make_label_app"]
