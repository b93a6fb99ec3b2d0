"""What MONAI Label loads: `monailabel start_server --app` with this folder."""

from __future__ import annotations

from monailabel.interfaces.app import MONAILabelApp

from monai_segdiff.integrations.label.app import SegDiffApp


class Application(SegDiffApp, MONAILabelApp):
    """The application; MONAI Label finds it by the name of its direct base class."""
