"""Applications for the tools of the clinic: a package each, which knows nothing of the others."""

from __future__ import annotations

from monai_segdiff.integrations.label import make_label_app

__all__ = ["make_label_app"]
