"""Training the classifier of findings on the real training cases, once per data set."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from monai.engines import PrepareBatch
from monai.losses import DiceCELoss
from monai.transforms import Transform
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits

from monai_segdiff.data import Case
from monai_segdiff.data.channels import image_files_of
from monai_segdiff.evaluation.pairs import PairReader
from monai_segdiff.evaluation.readers.augmentation import augment
from monai_segdiff.evaluation.readers.finding_classifier import (
    FindingClassifier,
    FindingMaps,
    load_finding_classifier,
)
from monai_segdiff.evaluation.readers.fitting import Training, fit, load_or_train, require_finite_case
from monai_segdiff.metrics import youden_threshold

__all__ = ["finding_flags", "learnable_findings", "train_finding_classifier"]

_EVERY = 5  # one patient in so many is set aside to choose thresholds on
_FEWEST_PATIENTS = 10  # with fewer, none is set aside
_FEWEST_CASES = 5  # set aside, with and without a finding, that a threshold can be chosen on


def learnable_findings(cases: Sequence[Case], vocabulary: Sequence[str]) -> list[str]:
    """Names of the findings that some of the cases show and others do not, in the order of the vocabulary."""
    known = [case.findings for case in cases if case.findings is not None]
    return [name for name in vocabulary if 0 < sum(name in found for found in known) < len(known)]


def finding_flags(cases: Sequence[Case], findings: Sequence[str]) -> torch.Tensor:
    """Findings of each case, (N, K) bool; False also where they are unknown."""
    flags = [[name in (case.findings or ()) for name in findings] for case in cases]
    return torch.tensor(flags, dtype=torch.bool).reshape(len(cases), len(findings))


def train_finding_classifier(
    cases: Sequence[Case],
    reader: PairReader,
    vocabulary: Sequence[str],
    images: int | None = None,
    seed: int = 0,
    *,
    cache_dir: str | Path,
    device: str | torch.device | None = None,
    progress: bool = True,
) -> FindingClassifier:
    """Train a classifier of findings, or take it from the cache.

    It learns from the findings of each image, and from their regions where region maps have them. Every fifth patient
    is set aside, to choose the operating point of each finding: the highest sum of sensitivity and specificity. If
    fewer than 5 of the images set aside show a finding, or do not show it, the point is chosen on all images.

    The same cases, settings and seed give the same classifier (on one machine with one number of threads), kept under
    the hash of findings, file contents and settings.

    Args:
        cases: real training cases; those of unknown findings are left out.
        reader: reads them.
        vocabulary: names of findings, in the order of the ids 1, 2, ... of region maps.
        images: length of the training in images seen; default: as long as the segmenter's, by image size.
        seed: of weights, order and augmentation.
        cache_dir: folder of trained networks.
        device: where to train; default: a GPU where there is one.
        progress: whether to show a progress bar.

    Returns:
        The classifier, on the CPU, of the findings that some cases show and others do not.

    Raises:
        ValueError: if there is no such finding, or a file is not as it should be.
    """
    known = [case for case in cases if case.findings is not None]
    findings = learnable_findings(known, vocabulary)
    if not findings:
        raise ValueError(
            "the classifier of findings needs training images that show a finding and others that do not: "
            'add "findings" to the cases in dataset.json'
        )
    bar = "classifier of findings" if progress else None
    training = Training(tuple(reader.image(known[0]).shape), images, seed, device, bar)
    network = {"findings": findings, **training.network}

    def train() -> FindingClassifier:
        fitted, kept_out = _set_aside(known)
        classifier = FindingClassifier(**network)
        read = _ReadFindings(reader, findings, vocabulary)
        fit(classifier, fitted, read, _FindingLoss(), _FindingBatch(), training)
        _choose_thresholds(classifier, fitted, kept_out, reader)
        return classifier

    shown = [[case.patient, sorted(case.findings or ()), case.region is not None] for case in known]
    return load_or_train(
        "findings",
        [training.settings(network, reader), list(vocabulary), shown],
        [file for case in known for file in (*image_files_of(case), case.region)],
        train,
        seed=seed,
        load=load_finding_classifier,
        cache_dir=cache_dir,
    )


class _ReadFindings(Transform):
    """Reads a training case; `located` is True if the region map has all its findings, or there are none."""

    def __init__(self, reader: PairReader, findings: Sequence[str], vocabulary: Sequence[str]) -> None:
        self.reader, self.findings = reader, list(findings)
        self.ids = [1 + list(vocabulary).index(name) for name in findings]

    def __call__(self, case: Case) -> dict[str, torch.Tensor]:
        image, ids = self.reader.image(case), self.reader.region(case)
        require_finite_case(image, case)
        region = torch.zeros_like(ids, dtype=torch.uint8)
        for index, found in enumerate(self.ids, start=1):
            region[ids == found] = index
        flags = finding_flags([case], self.findings)[0]
        located = all(bool((region == 1 + k).any()) for k in flags.nonzero().flatten().tolist())
        return {"image": image, "region": region, "findings": flags.float(), "located": torch.tensor(located)}


class _FindingBatch(PrepareBatch):
    """Augments every batch on its way into a stock MONAI trainer."""

    def __call__(
        self,
        batchdata: Mapping[str, torch.Tensor],
        device: str | torch.device | None = None,
        non_blocking: bool = False,
        **kwargs: Any,
    ) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
        """Images, and (regions, findings, located) of the batch, on the device."""
        batch = {key: value.to(device, non_blocking=non_blocking) for key, value in batchdata.items()}
        images, regions = augment(batch["image"], batch["region"])
        return images, (regions, batch["findings"], batch["located"])


class _FindingLoss(nn.Module):
    """Cross-entropy of the image's findings, plus Dice and cross-entropy of their regions where these are known."""

    def __init__(self) -> None:
        super().__init__()
        self.places = DiceCELoss(include_background=False, to_onehot_y=True, softmax=True, batch=True)

    def forward(self, maps: FindingMaps, target: tuple[torch.Tensor, ...]) -> torch.Tensor:
        """Loss of a batch."""
        regions, findings, located = target
        loss = binary_cross_entropy_with_logits(maps.scores, findings)
        # A batch without any region would only teach the network to predict no region at all.
        if bool((regions[located] > 0).any()):
            loss = loss + self.places(maps.classes[located], regions[located])
        return loss


def _set_aside(cases: Sequence[Case]) -> tuple[list[Case], list[Case]]:
    """Cases to train on, and those of every fifth patient, stratified by findings."""
    found: dict[str, set[str]] = {}
    for case in cases:
        found.setdefault(case.patient, set()).update(case.findings or ())
    if len(found) < _FEWEST_PATIENTS:
        return list(cases), []
    drawn = {patient: hashlib.sha256(patient.encode()).hexdigest() for patient in found}
    order = sorted(found, key=lambda patient: (sorted(found[patient]), drawn[patient]))
    chosen = set(order[_EVERY // 2 :: _EVERY])
    return [c for c in cases if c.patient not in chosen], [c for c in cases if c.patient in chosen]


def _choose_thresholds(
    classifier: FindingClassifier, fitted: Sequence[Case], kept_out: Sequence[Case], reader: PairReader
) -> None:
    cases = [*kept_out, *fitted]
    flags = finding_flags(cases, classifier.findings)
    aside = flags[: len(kept_out)]
    enough = (aside.sum(0) >= _FEWEST_CASES) & ((~aside).sum(0) >= _FEWEST_CASES)
    read = cases[: len(kept_out)] if enough.all() else cases
    size = reader.batch_size(read[0])
    parts = (torch.stack([reader.image(case) for case in read[i : i + size]]) for i in range(0, len(read), size))
    scores = torch.cat([classifier.scores(part) for part in parts])
    for k, own in enumerate(enough.tolist()):
        number = len(kept_out) if own else len(cases)
        classifier.thresholds[k] = youden_threshold(scores[:number, k], flags[:number, k])
        classifier.threshold_images[k] = number
    classifier.set_aside.copy_(enough)
