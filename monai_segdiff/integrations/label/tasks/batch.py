"""Batch: K synthetic pairs for each of N studies, as new studies with finished label maps."""

from __future__ import annotations

import hashlib
import logging
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from monailabel.interfaces.datastore import DefaultLabelTag
from tqdm import tqdm

from monai_segdiff.data import Case
from monai_segdiff.integrations.label.errors import RequestError
from monai_segdiff.integrations.label.firewall.parameters import BatchParameters
from monai_segdiff.integrations.label.store.datastore import StudyDatastore, record_of
from monai_segdiff.integrations.label.store.studies import real_cases
from monai_segdiff.integrations.label.tasks.pairs import PairGenerator
from monai_segdiff.integrations.label.tasks.task_process import one_at_a_time, remember_server

__all__ = ["GeneratePairs", "pair_id", "pair_seed"]

logger = logging.getLogger(__name__)

_FINAL = DefaultLabelTag.FINAL.value


def pair_id(source: str, seed: int, number: int) -> str:
    """Name of a pair: the same for the same request, so that none is made twice.

    Args:
        source: id of the study that it is made from.
        seed: of the batch.
        number: of the pair among those of the study, from 0.
    """
    return f"{source}_synthetic_{seed}_{number:03d}"


def pair_seed(source: str, seed: int, number: int) -> int:
    """Seed of a pair's image: other studies and other numbers have other noise.

    Args:
        source: as for :func:`pair_id`.
        seed: as for :func:`pair_id`.
        number: as for :func:`pair_id`.
    """
    digest = hashlib.sha256(f"{seed} {number} {source}".encode()).digest()
    return int.from_bytes(digest[:4], "big") & 0x7FFFFFFF


class GeneratePairs:
    """MONAI Label's batch task.

    Pairs that the same request has made before are not made again, so a killed batch continues when it is requested
    again. All pairs of a batch come from one generator: if the weights change meanwhile, the batch stops.

    Args:
        pairs: what generates.
        work: folder for a lock file.
    """

    def __init__(self, pairs: PairGenerator, work: Path) -> None:
        self.pairs = pairs
        self.work = work
        remember_server()

    def __call__(self, request: Mapping[str, Any], datastore: Any, infer: Callable[..., Any]) -> dict[str, Any]:
        """Run a batch.

        Args:
            request: as :class:`~monai_segdiff.integrations.label.firewall.parameters.BatchParameters` says.
            datastore: the studies.
            infer: MONAI Label's, which saves results as label maps and is of no use here.

        Returns:
            ``made`` and ``present``, lists of ids, and ``failed``, messages by study.

        Raises:
            RequestError: if the request is not possible, another batch is at work, or the generator was fine-tuned
                meanwhile.
        """
        parameters = BatchParameters.read(request)
        if not isinstance(datastore, StudyDatastore):
            raise RequestError(
                "a batch needs a folder of studies, but this server has a DICOM archive: use the command generate"
            )
        with one_at_a_time(self.work, "batch"):
            return self._run(parameters, datastore)

    def _run(self, parameters: BatchParameters, datastore: StudyDatastore) -> dict[str, Any]:
        wanted = None if isinstance(parameters.images, str) else parameters.images
        cases = real_cases(datastore, wanted)[: parameters.max_images]
        numbers = [(case, number) for case in cases for number in range(parameters.number)]
        result: dict[str, Any] = {"made": [], "present": [], "failed": {}}
        generator = self.pairs.facts(parameters.image)["generator"]
        for case, number in tqdm(numbers, desc="generating", unit="pair"):
            if case.id in result["failed"]:
                continue
            try:
                made = self._pair(case, number, parameters, datastore, generator)
                result["made" if made else "present"].append(pair_id(case.id, parameters.image.seed, number))
            except _OtherGenerator:
                raise
            except RequestError as error:
                result["failed"][case.id] = str(error)
                logger.warning(f"no pairs for {case.id}: {error}")
        logger.info(f"{len(result['made'])} pairs made, {len(result['present'])} existed already")
        if result["failed"] and not result["made"] and not result["present"]:
            study, message = next(iter(result["failed"].items()))
            raise RequestError(f"no pair was made; {study}: {message}")
        return result

    def _pair(
        self,
        case: Case,
        number: int,
        parameters: BatchParameters,
        datastore: StudyDatastore,
        generator: Mapping[str, Any],
    ) -> bool:
        """Make a pair unless its image and label map exist; whether it was made."""
        base = parameters.image.seed
        name, seed = pair_id(case.id, base, number), pair_seed(case.id, base, number)
        image = parameters.image.model_copy(update={"seed": seed})
        wanted = {"source": case.id, **self.pairs.facts(image)}
        _check_generator(wanted, generator)
        if datastore.get_image_info(name):
            record = record_of(datastore, name) or {}
            if any(record.get(key) != value for key, value in wanted.items()):
                raise RequestError(
                    f"study {name} was made with other settings: give the batch another seed, or remove the study"
                )
            if datastore.get_label_info(name, _FINAL):
                return False
        with tempfile.TemporaryDirectory(prefix="segdiff-") as folder:
            pair = self.pairs.make(case, image, Path(folder) / "pair")
            _check_generator(pair.facts, generator)
            record = {**pair.facts, "source": case.id, "seed": seed, "patient": case.patient}
            datastore.add_pair(name, pair.image, pair.label, record)
        return True


class _OtherGenerator(RequestError):
    """The weights have changed since the batch began."""


def _check_generator(facts: Mapping[str, Any], generator: Mapping[str, Any]) -> None:
    if facts["generator"] != generator:
        raise _OtherGenerator(
            "the generator was fine-tuned during this batch, which stops so that its pairs do not mix two generators: "
            "start a batch with another seed",
            409,
        )
