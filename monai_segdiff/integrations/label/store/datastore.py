"""A folder of studies that takes synthetic pairs: each is complete and marked, even if a process is killed."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from monailabel.datastore.local import DataModel, ImageLabelModel
from monailabel.interfaces.datastore import DefaultLabelTag
from monailabel.interfaces.exception import ImageNotFoundException, LabelNotFoundException

from monai_segdiff.generation.folder import copy_file
from monai_segdiff.integrations.label.errors import RequestError, check_name
from monai_segdiff.integrations.label.firewall.headers import check_file
from monai_segdiff.integrations.label.store.datastore_lock import LockedDatastore
from monai_segdiff.integrations.label.store.json_store import read_notes, write_notes

__all__ = ["RECORDS", "StudyDatastore", "is_synthetic", "record_of"]

#: Folder in the studies folder that holds a record of each synthetic pair.
RECORDS = "synthetic"
_FINAL = DefaultLabelTag.FINAL.value


def record_of(datastore: Any, image_id: str) -> dict[str, Any] | None:
    """The record of a synthetic pair; None for a real study.

    The record is a file of its own, as every client can change the datastore's notes.

    Args:
        datastore: where the study is.
        image_id: its id.

    Raises:
        RuntimeError: if the record is damaged; names its file.
    """
    folder = getattr(datastore, "records", None)
    return None if folder is None else read_notes(folder / f"{image_id}.json")


def is_synthetic(datastore: Any, image_id: str) -> bool:
    """Whether a study was generated, and so cannot be the source of another.

    Args:
        datastore: where the study is.
        image_id: its id.
    """
    info = datastore.get_image_info(image_id) or {}
    return record_of(datastore, image_id) is not None or info.get("synthetic") is True


class StudyDatastore(LockedDatastore):
    """MONAI Label's folder of studies, written atomically and by several processes at once.

    A pair is written as label map, record and image, in this order. A study exists once its image does. So an
    interrupted pair is no study, and no synthetic image lacks its record and is taken for a real one. MONAI Label adds
    files that its list of studies lacks; their marks are then taken from the records.

    Args:
        datastore_path: the folder.
        **options: as for MONAI Label's own.
    """

    def __init__(self, datastore_path: str, **options: Any) -> None:
        self.records = Path(datastore_path) / RECORDS
        super().__init__(datastore_path, **options)

    def add_image(self, image_id: str, image_filename: str, image_info: Mapping[str, Any] | None) -> str:
        """Add a real study.

        Args:
            image_id: its id; by default the file's name.
            image_filename: its file, which is copied.
            image_info: what is known of it.

        Returns:
            The id.

        Raises:
            RequestError: if id or file are not possible, the file is damaged or too large once it is unpacked, or the
                id is that of a synthetic study.
        """
        found, ending = self.id_and_ending(os.path.basename(image_filename))
        image_id = check_name(image_id or found, "image")
        if record_of(self, image_id) is not None:
            raise RequestError(f"id {image_id!r} belongs to a synthetic study: give another id")
        self._check_ending(ending)
        check_file(Path(image_filename), "image")
        with self._exclusive():
            self.read_list()
            copy_file(Path(image_filename), self.root / f"{image_id}{ending}")
            info = {**(image_info or {}), "ts": int(time.time()), "name": f"{image_id}{ending}"}
            labels = getattr(self.listed.objects.get(image_id), "labels", {})
            self.listed.objects[image_id] = ImageLabelModel(image=DataModel(info=info, ext=ending), labels=labels)
            self.write_list()
        return image_id

    def save_label(
        self, image_id: str, label_filename: str, label_tag: str, label_info: Mapping[str, Any] | None
    ) -> str:
        """Save the label map of a real study.

        Args:
            image_id: the study's id.
            label_filename: its file, which is copied.
            label_tag: "final" or another tag.
            label_info: what is known of it.

        Returns:
            The id.

        Raises:
            ImageNotFoundException: if there is no such study.
            RequestError: if tag or file are not possible, the file is damaged or too large once it is unpacked, or the
                study is synthetic: its label map is what it obeys.
        """
        tag = check_name(getattr(label_tag, "value", label_tag), "tag")
        if record_of(self, check_name(image_id, "image")) is not None:
            raise RequestError(f"study {image_id!r} is synthetic: its label map cannot be replaced")
        _, ending = self.id_and_ending(os.path.basename(label_filename))
        self._check_ending(ending)
        check_file(Path(label_filename), "label map")
        with self._exclusive():
            self.read_list()
            study = self.listed.objects.get(image_id)
            if study is None:
                raise ImageNotFoundException(f"Image {image_id} not found")
            copy_file(Path(label_filename), Path(self.listed.label_path(tag)) / f"{image_id}{ending}")
            info = {**(label_info or {}), "ts": int(time.time()), "name": f"{image_id}{ending}"}
            study.labels[tag] = DataModel(info=info, ext=ending)
            self.write_list()
        return image_id

    def add_pair(self, image_id: str, image: Path, label: Path, record: Mapping[str, Any]) -> None:
        """Add a synthetic study with its finished label map.

        Args:
            image_id: its id.
            image: the image's file.
            label: the label map's file.
            record: what made it, of JSON types.

        Raises:
            OSError: if a file cannot be written; no study is there then.
        """
        _, ending = self.id_and_ending(image.name)
        with self._exclusive():
            copy_file(label, Path(self.listed.label_path(_FINAL)) / f"{image_id}{ending}")
            write_notes(self.records / f"{image_id}.json", record)
            copy_file(image, self.root / f"{image_id}{ending}")
            self.rebuild_list()

    def update_image_info(self, image_id: str, info: dict[str, Any]) -> None:
        """Add to what is known of a study; the marks of a synthetic one stay."""
        with self._exclusive():
            self.read_list()
            super().update_image_info(image_id, {**info, **_mark(record_of(self, image_id))})

    def update_label_info(self, label_id: str, label_tag: str, info: dict[str, Any]) -> None:
        """Add to what is known of a label map; the marks of a synthetic one stay."""
        with self._exclusive():
            self.read_list()
            super().update_label_info(label_id, label_tag, {**info, **_mark(record_of(self, label_id))})

    def remove_image(self, image_id: str) -> None:
        """Remove a study with its label maps, and its record if it has one; of a linked file the link.

        Args:
            image_id: its id.

        Raises:
            ImageNotFoundException: if there is no such study.
        """
        check_name(image_id, "image")
        with self._exclusive():
            self.read_list()
            study = self.listed.objects.get(image_id)
            if study is None:
                raise ImageNotFoundException(f"Image {image_id} not found")
            # In the order in which a kill leaves no half study: the image first, the record last.
            (self.root / f"{image_id}{study.image.ext}").unlink(missing_ok=True)
            for tag, label in study.labels.items():
                Path(self.listed.label_path(tag), f"{image_id}{label.ext}").unlink(missing_ok=True)
            (self.records / f"{image_id}.json").unlink(missing_ok=True)
            self.rebuild_list()

    def remove_label(self, label_id: str, label_tag: str) -> None:
        """Remove a label map of a real study; of a linked file the link.

        Args:
            label_id: the study's id.
            label_tag: "final" or another tag.

        Raises:
            LabelNotFoundException: if there is no such label map.
            RequestError: if the study is synthetic: its label map is what it obeys.
        """
        tag = check_name(getattr(label_tag, "value", label_tag), "tag")
        if record_of(self, check_name(label_id, "label")) is not None:
            raise RequestError(f"study {label_id!r} is synthetic: its label map cannot be removed")
        with self._exclusive():
            self.read_list()
            label = self.listed.label(label_id, tag)
            if label is None:
                raise LabelNotFoundException(f"Label: {label_id} Tag: {tag} not found")
            Path(self.listed.label_path(tag), f"{label_id}{label.ext}").unlink(missing_ok=True)
            self.rebuild_list()

    def _check_ending(self, ending: str) -> None:
        if ending not in self.endings:
            raise RequestError(f"files must end in one of {', '.join(self.endings)}, got {ending[:20]!r}")

    def rebuild_list(self) -> None:
        with self._exclusive():
            super().rebuild_list()
            self._mark_synthetic()

    def _mark_synthetic(self) -> None:
        changed = False
        for image_id, study in self.listed.objects.items():
            if study.image.info.get("synthetic") is True or (record := record_of(self, image_id)) is None:
                continue
            for entry in (study.image, *study.labels.values()):
                entry.info.update(_mark(record))
            changed = True
        if changed:
            self.write_list()


def _mark(record: Mapping[str, Any] | None) -> dict[str, Any]:
    if record is None:
        return {}
    return {key: record[key] for key in ("synthetic", "source", "seed", "generator", "parameters") if key in record}
