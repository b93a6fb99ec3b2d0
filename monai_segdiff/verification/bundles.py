"""Bundles: configuration that can be read, and what their trainings have left in them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from monai_segdiff.data import Issue
from monai_segdiff.documents import read_json, read_yaml
from monai_segdiff.verification.datasets import leftovers
from monai_segdiff.verification.tensors import verify_tensors
from monai_segdiff.verification.verdict import Verdict

__all__ = ["verify_bundle"]

_NEEDED = ("metadata.json", "inference.yaml")
_RESTORE = "restore it from a copy of the bundle"


def verify_bundle(root: Path, progress: bool = False) -> Verdict:
    """See :func:`~monai_segdiff.verification.verify`.

    Args:
        root: the bundle's folder.
        progress: whether to show a progress bar.
    """
    configs = root / "configs"
    issues = list(leftovers(root, "run the training again, which goes on and removes it"))
    for name in _NEEDED:
        if not (configs / name).is_file():
            issues.append(Issue("error", str(configs / name), "is missing", _RESTORE))
    documents = sorted(file for file in configs.iterdir() if file.suffix in (".json", ".yaml", ".yml"))
    tensors = sorted(f for f in (root / "models").rglob("*.pt") if not f.name.startswith(".tmp-"))
    for file in documents:
        issues.extend(_document_issues(file))
    for file in tqdm(tensors, desc="verify", unit="file", disable=not progress):
        issues.extend(verify_tensors(file).issues)
    return Verdict("bundle", tuple(issues), len(documents) + len(tensors), recorded=True)


def _document_issues(file: Path) -> Iterator[Issue]:
    read: Any = read_json if file.suffix == ".json" else read_yaml
    try:
        content = read(file, "a bundle's configuration", remedy=_RESTORE)
    except ValueError as error:
        message, _, remedy = str(error).removeprefix(f"{file} ").rpartition("; ")
        yield Issue("error", str(file), message, remedy)
        return
    if not isinstance(content, dict) or not content:
        yield Issue("error", str(file), "holds no settings", _RESTORE)
