"""Find out what something is, and whether it is whole."""

from __future__ import annotations

import os
from pathlib import Path

from monai_segdiff.data import read_dataset
from monai_segdiff.digests import DIGESTS, digests_of, write_digests
from monai_segdiff.verification.bundles import verify_bundle
from monai_segdiff.verification.datasets import files_to_record, verify_dataset
from monai_segdiff.verification.tensors import verify_tensors
from monai_segdiff.verification.verdict import Verdict

__all__ = ["record", "verify"]


def verify(path: str | os.PathLike[str], *, progress: bool = False) -> Verdict:
    """Read all of a data set, a bundle, a checkpoint or a file of weights, and say whether it is whole.

    A data set is compared with its list of what its files hold (``SHA256SUMS``), which everything here that writes one
    adds. One without a list is read file by file as :func:`~monai_segdiff.data.check_dataset` does. Of a bundle the
    configuration is read, and every file in ``models``; of these, and of single files, the checksums that they carry,
    whether all values are finite, and whether the card beside weights belongs to them.

    Args:
        path: the folder or the file.
        progress: whether to show a progress bar.

    Raises:
        FileNotFoundError: if there is no such file or folder.
        ValueError: if a folder holds neither data set nor bundle.
        OSError: if it cannot be read.
    """
    path = Path(path)
    if path.is_dir():
        return verify_bundle(path, progress) if (path / "configs").is_dir() else verify_dataset(path, progress)
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist: give a data set, a bundle, or a file of weights")
    if not path.is_file():
        raise ValueError(f"{path} is neither file nor folder: give a data set, a bundle, or a file of weights")
    return verify_tensors(path)


def record(path: str | os.PathLike[str], *, progress: bool = False) -> Verdict:
    """Write the list of what its files hold for a data set that has none, so that later changes are seen.

    Args:
        path: folder of the data set.
        progress: whether to show a progress bar.

    Returns:
        What :func:`verify` then says. Nothing is written if a file is unsound.

    Raises:
        FileExistsError: if there is a list.
        ValueError: if the folder holds no data set.
        OSError: if it cannot be read, or the list not be written.
    """
    root = Path(path)
    if (root / DIGESTS).exists():
        raise FileExistsError(f"{root / DIGESTS} is there already: remove it to record what the files hold now")
    if (root / "configs").is_dir() or not root.is_dir():
        raise ValueError(f"{root} is no data set: files are recorded of data sets only")
    verdict = verify_dataset(root, progress)
    if verdict.damaged:
        return verdict
    read_dataset(root)
    write_digests(root, digests_of(root, files_to_record(root)))
    return verify_dataset(root, progress)
