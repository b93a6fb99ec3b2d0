"""A folder of studies that threads and processes read and write at once."""

from __future__ import annotations

import copy
import functools
import json
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from monai_segdiff.files import atomic_file, remove_leftovers
from monai_segdiff.integrations.label.private_names import FolderDatastore

__all__ = ["LockedDatastore"]

logger = logging.getLogger(__name__)

_TOLD_EVERY = 20.0  # seconds of waiting for another process

_READERS = (
    *("datalist", "get_dataset_archive", "get_image_info", "get_image_uri", "get_label_info", "get_label_uri"),
    *("get_labeled_images", "get_labels_by_image_id", "get_unlabeled_images", "json", "list_images", "status"),
)


class LockedDatastore(FolderDatastore):
    """MONAI Label's folder of studies, whose list is read and written by one at a time.

    MONAI Label watches the folder from a thread of its own and builds its list anew when something changes; without
    the lock a reader meets an empty list.

    Args:
        datastore_path: the folder.
        **options: as for MONAI Label's own.
    """

    def __init__(self, datastore_path: str, **options: Any) -> None:
        self.root = Path(datastore_path)
        self._own_lock = threading.RLock()
        self.root.mkdir(parents=True, exist_ok=True)
        self._file_lock = FileLock(str(self.root / ".pairs.lock"))
        with self._exclusive():  # nobody is writing now
            remove_leftovers(self.root)
            super().__init__(datastore_path, **options)

    @contextmanager
    def _exclusive(self) -> Iterator[None]:
        """One thread of one process; says so while it waits for another process."""
        with self._own_lock:
            nested = self._file_lock.is_locked
            while not self._has_file_lock():
                logger.warning(
                    f"waiting for {self._file_lock.lock_file}, which another process holds: if it hangs, end it; "
                    f"'fuser {self._file_lock.lock_file}' shows which processes have the file open"
                )
            if not nested:  # read the list anew: another process may have written within one tick of the file's time
                self.list_is_of(0.0)
            try:
                yield
            finally:
                self._file_lock.release()

    def _has_file_lock(self) -> bool:
        try:
            self._file_lock.acquire(timeout=_TOLD_EVERY)
        except Timeout:
            return False
        return True

    def rebuild_list(self) -> None:
        """Make the list what the folder holds."""
        with self._exclusive():
            super().rebuild_list()

    def read_list(self, throw_exception: bool = False) -> None:
        """Read the list from its file."""
        with self._own_lock:
            super().read_list(throw_exception)

    def write_list(self, lock: bool = True) -> None:
        """Write the list atomically: MONAI Label writes in place, and no server starts with half a list."""
        content = json.dumps(self.listed.model_dump(exclude={"base_path"}), indent=2, default=str)
        with self._exclusive(), atomic_file(self.list_file) as temporary:
            temporary.write_text(content)
        self.list_is_of(self.list_file.stat().st_mtime)


def _locked(name: str) -> Callable[..., Any]:
    """MONAI Label's method under the lock; it returns a copy, which later changes do not reach."""
    inherited = getattr(FolderDatastore, name)

    @functools.wraps(inherited)
    def method(self: LockedDatastore, *args: Any, **options: Any) -> Any:
        with self._own_lock:
            return copy.deepcopy(inherited(self, *args, **options))

    return method


for _name in _READERS:
    setattr(LockedDatastore, _name, _locked(_name))
