"""Lets MONAI Label 0.8.5 be imported beside pydicom 3 and a torch without CUDA: put this folder on PYTHONPATH.

Python imports `sitecustomize` when it starts, here and in the processes that MONAI Label starts for its tasks.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

_KEPT: list[object] = []  # what a library defines goes when the library does


def _pydicom() -> None:
    """pydicom-seg imports a private module that pydicom 3 has merged into a public one."""
    import pydicom.uid

    sys.modules.setdefault("pydicom._storage_sopclass_uids", pydicom.uid)


def _torchvision(version_file: Path) -> None:
    """A torchvision built for CUDA cannot load its operators on a CPU, and fails where it describes them."""
    import torch

    if torch.version.cuda is None and "+cu" in version_file.read_text():
        library = torch.library.Library("torchvision", "FRAGMENT")
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _KEPT.append(library)


if importlib.util.find_spec("pydicom"):
    _pydicom()
_found = importlib.util.find_spec("torchvision")
if _found and _found.origin and importlib.util.find_spec("torch"):
    _torchvision(Path(_found.origin).with_name("version.py"))
