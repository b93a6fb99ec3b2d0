"""The application that MONAI Label serves."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from monailabel.config import settings
from monailabel.interfaces.tasks.infer_v2 import InferTask
from monailabel.interfaces.tasks.train import TrainTask

from monai_segdiff._version import __version__
from monai_segdiff.integrations.label.errors import RequestError
from monai_segdiff.integrations.label.firewall.guard import protect_server
from monai_segdiff.integrations.label.firewall.uploads import current_folder
from monai_segdiff.integrations.label.private_names import QuietApp, tasks_of
from monai_segdiff.integrations.label.store.datastore import StudyDatastore
from monai_segdiff.integrations.label.store.dicom import as_nifti, dicom_folder
from monai_segdiff.integrations.label.store.studies import find_case
from monai_segdiff.integrations.label.tasks.batch import GeneratePairs
from monai_segdiff.integrations.label.tasks.infer import GenerateImage
from monai_segdiff.integrations.label.tasks.pairs import PairGenerator
from monai_segdiff.integrations.label.tasks.segmenter import TrainSegmenter
from monai_segdiff.integrations.label.tasks.tuning import TuneGenerator, can_be_tuned

__all__ = ["SegDiffApp"]

logger = logging.getLogger(__name__)


class SegDiffApp(QuietApp):
    """Synthetic images and pairs from the studies of a server, and trainings on them.

    Configured by ``--conf``: ``bundle``, name or folder of a trained bundle; ``max_upload_mb``, largest request (256);
    ``origins``, pages of viewers elsewhere that may ask this server, separated by commas; ``dicom_folder``, a folder of
    DICOM files that are served instead of the studies folder, which then is a cache.

    Args:
        app_dir: the application's folder.
        studies: the studies' folder, or the address of a DICOMweb server.
        conf: the configuration.

    Raises:
        ValueError: if no bundle is named, or it cannot be used.
        FileNotFoundError: if there is no such bundle, or it was not trained.
    """

    def __init__(self, app_dir: str, studies: str, conf: dict[str, str]) -> None:
        if not conf.get("bundle"):
            raise ValueError("no bundle is given: start with --conf bundle, and the name or folder of a trained one")
        self.work = Path(app_dir) / "model"
        self.pairs = PairGenerator(conf["bundle"], self.work)
        super().__init__(
            app_dir=app_dir,
            studies=studies,
            conf=conf,
            name="monai_segdiff",
            description=f"synthetic images that obey a label map, by {self.pairs.name}; not for diagnostic use",
            version=__version__,
            labels=list(self.pairs.generator.classes),
        )

    def init_datastore(self) -> Any:
        """A folder of studies, one of DICOM files, or what MONAI Label makes of an address."""
        if self.conf.get("dicom_folder"):
            return dicom_folder(self.conf["dicom_folder"], self.studies)
        if self.studies.startswith(("http://", "https://")):
            return super().init_datastore()
        return StudyDatastore(
            self.studies,
            extensions=settings.MONAI_LABEL_DATASTORE_FILE_EXT,
            auto_reload=settings.MONAI_LABEL_DATASTORE_AUTO_RELOAD,
            read_only=settings.MONAI_LABEL_DATASTORE_READ_ONLY,
        )

    def init_infers(self) -> dict[str, InferTask]:
        """The generator, under its bundle's name."""
        return {self.pairs.name: GenerateImage(self.pairs)}

    def init_trainers(self) -> dict[str, TrainTask]:
        """The segmenter, and the generator where its bundle has one training."""
        trainers: dict[str, TrainTask] = {"segmenter": TrainSegmenter(self.pairs, self.work / "segmenter")}
        if can_be_tuned(self.pairs.bundle):
            trainers[self.pairs.name] = TuneGenerator(self.pairs)
        return trainers

    def init_batch_infer(self) -> GeneratePairs:
        """Pairs as new studies."""
        return GeneratePairs(self.pairs, self.work)

    def on_init_complete(self) -> None:
        """Protect the server before it listens."""
        protect_server(self)
        super().on_init_complete()

    def infer(self, request: Mapping[str, Any], datastore: Any = None) -> dict[str, Any]:
        """Generate an image.

        Args:
            request: ``model``; ``image``, a study's id, or a label map that was sent; ``label``, a label map that was
                sent; and parameters.
            datastore: the studies; the server's by default.

        Returns:
            MONAI Label's result: ``file`` and ``params``.

        Raises:
            RequestError: if it is not possible.
        """
        task = tasks_of(self, "infer").get(str(request.get("model")))
        if task is None:
            raise RequestError(f"unknown model {request.get('model')!r}: use {self.pairs.name!r}", 404)
        image, label = str(request.get("image") or ""), request.get("label")
        with tempfile.TemporaryDirectory(prefix="segdiff-", dir=current_folder()) as folder:
            file, facts = task({**request, **self._sources(image, label, datastore, Path(folder))})
        return {"label": file, "tag": "final", "file": file, "params": facts}

    def _sources(self, image: str, label: str | None, datastore: Any, folder: Path) -> dict[str, Any]:
        """Files of label map and image, and what the client calls the study."""
        if Path(image).is_absolute():  # ids are plain names
            return {"label": self._sent(label or image), "image": None, "shown": "the label map that was sent"}
        case = find_case(datastore or self.datastore(), image, needs_label=not label)
        case = as_nifti(replace(case, label=None) if label else case, folder, self.pairs.generator.classes)
        found = self._sent(label) if label else str(case.label)
        return {"label": found, "image": str(case.image), "shown": case.id}

    def _sent(self, file: str) -> str:
        """Refuse a file outside of the request's folder and of the sessions' folder."""
        places = (current_folder(), getattr(self.sessions(), "store_path", None))
        if not any(place and Path(place).resolve() in Path(file).resolve().parents for place in places):
            raise RequestError("the file is named by a path on the server: send it with the request")
        return file

    def infer_wsi(self, request: Mapping[str, Any], datastore: Any = None) -> dict[str, Any]:
        """Whole-slide inference, which is not supported."""
        raise RequestError("whole-slide images are not supported: use POST /infer with the model's name")
