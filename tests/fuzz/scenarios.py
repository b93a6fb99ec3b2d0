"""Which file is mutated, and which verb reads it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

__all__ = ["SCENARIOS", "Scenario"]


@dataclass(frozen=True)
class Scenario:
    """A command, and the files of its input of which one is mutated.

    Args:
        format: whose mutations apply.
        inputs: folders and files of the samples that are copied for each run.
        files: which of them may be mutated, as patterns below these.
        command: words of the command line; IN is the folder that holds the inputs, OUT what may be written.
        weight: how often it is run, compared with others.
        recorded: whether the mutated file's hash was recorded, so that no change of it goes unseen.
        keeps_output: whether the mutated file lies in the output of an earlier run, which this one goes on with.
    """

    format: str
    inputs: tuple[str, ...]
    files: tuple[str, ...]
    command: str
    weight: int = 4
    recorded: bool = False
    keeps_output: bool = False

    @property
    def verb(self) -> str:
        """Name of the verb."""
        return self.command.split()[0]

    def argv(self, inputs: Path, output: Path) -> list[str]:
        """The command line.

        Args:
            inputs: the folder that holds the inputs.
            output: what may be written.
        """
        return [word.replace("IN", str(inputs)).replace("OUT", str(output)) for word in self.command.split()]


_ALL = "--fractions 1 0 0 --size"
_GENERATE = "generate --num-steps 1 --output OUT --bundle"
_EVALUATE = "evaluate --real IN/real --synthetic IN/synthetic --segmenter IN/segmenter.pt --output OUT"
_VOLUMES = ("volumes/*/*.gz", "volumes/*/*.nii")
_IMAGES, _LABELS = "pictures/images/*.png", "pictures/labels/*.png"

SCENARIOS = (
    Scenario("nifti", ("volumes",), _VOLUMES, "check-data IN/volumes", 8),
    Scenario("nifti", ("volumes",), _VOLUMES, f"prepare IN/volumes OUT {_ALL} 12"),
    Scenario("nifti", ("volumes",), _VOLUMES, f"prepare IN/volumes OUT {_ALL} 12 --spatial-dims 3", 2),
    Scenario("nifti", ("bundle", "real"), ("real/labelsTr/p2.nii.gz",), f"{_GENERATE} IN/bundle --masks IN/real", 2),
    Scenario(
        "nifti",
        ("bundle", "edits"),
        ("edits/*/*.gz",),
        "edit --bundle IN/bundle --images IN/edits --edited IN/edits/edited --num-steps 1 --output OUT",
        2,
    ),
    Scenario("nifti", ("legs",), ("legs/ct/leg.nii.gz",), f"make-drr IN/legs/ct OUT --views 1 {_ALL} 8", 2),
    Scenario("nifti", ("prepared",), ("prepared/*/*.gz",), "verify IN/prepared", recorded=True),
    Scenario("nifti", ("real", "synthetic", "segmenter.pt"), ("synthetic/*Tr/*.gz", "real/*Tr/*.gz"), _EVALUATE, 1),
    Scenario("png", ("pictures",), (_IMAGES, _LABELS), "check-data IN/pictures --classes body=1 liver=2", 6),
    Scenario(
        "png", ("pictures",), (_IMAGES, _LABELS), f"prepare IN/pictures OUT --classes body=1 liver=2 {_ALL} 12", 6
    ),
    Scenario("png", ("gray", "pictures"), (_LABELS,), f"{_GENERATE} IN/gray --masks IN/pictures/labels", 2),
    Scenario("tiff", ("stacks",), ("stacks/*/*.tif",), "check-data IN/stacks --classes body=1 liver=2", 6),
    Scenario("tiff", ("stacks",), ("stacks/*/*.tif",), f"prepare IN/stacks OUT --classes body=1 liver=2 {_ALL} 12", 4),
    Scenario("json", ("lists",), ("lists/datalist.json",), "check-data IN/lists --classes body=1 liver=2", 2),
    Scenario(
        "jpeg",
        ("pictures",),
        ("pictures/jpeg/*.jpg",),
        f"prepare IN/pictures/jpeg OUT --labels IN/pictures/labels --classes body=1 liver=2 {_ALL} 12",
        6,
    ),
    Scenario("nrrd", ("others",), ("others/*/*.nrrd",), "check-data IN/others --classes body=1 liver=2", 6),
    Scenario("nrrd", ("others",), ("others/*/*.nrrd",), f"prepare IN/others OUT --classes body=1 liver=2 {_ALL} 12"),
    Scenario("mha", ("others",), ("others/*/*.mha",), "check-data IN/others --classes body=1 liver=2"),
    Scenario("dicom", ("dicom",), ("dicom/*/*/*.dcm", "dicom/*/*.dcm"), f"prepare IN/dicom OUT {_ALL} 12", 6),
    Scenario("dicom", ("series",), ("series/*/*.dcm",), f"make-drr IN/series OUT --views 1 {_ALL} 8", 2),
    Scenario("dicom", ("bundle", "slice"), ("slice/mask.dcm",), f"{_GENERATE} IN/bundle --masks IN/slice/mask.dcm", 2),
    Scenario("json", ("volumes",), ("volumes/dataset.json",), "check-data IN/volumes", 6),
    Scenario("json", ("volumes",), ("volumes/dataset.json",), f"prepare IN/volumes OUT {_ALL} 12", 6),
    Scenario("json", ("bundle", "real"), ("real/dataset.json",), f"{_GENERATE} IN/bundle --masks IN/real", 3),
    Scenario("json", ("prepared",), ("prepared/dataset.json",), "verify IN/prepared", 2, recorded=True),
    Scenario("json", ("bundle",), ("bundle/configs/metadata.json",), "verify IN/bundle", 2),
    Scenario("json", ("old",), ("old/old.json",), "convert --config IN/old/old.json --new-config OUT/new.json", 4),
    Scenario(
        "json",
        ("bundle", "real", "synthetic"),
        ("synthetic/manifest.json", "synthetic/dataset.json"),
        f"{_GENERATE.replace('OUT', 'IN/synthetic')} IN/bundle --masks IN/real",
        2,
        keeps_output=True,
    ),
    Scenario("json", ("real", "synthetic", "segmenter.pt"), ("synthetic/*.json", "real/dataset.json"), _EVALUATE, 1),
    Scenario("yaml", ("bundle", "real"), ("bundle/models/model.yaml",), f"{_GENERATE} IN/bundle --masks IN/real", 4),
    Scenario("yaml", ("bundle",), ("bundle/models/model.yaml", "bundle/configs/*.yaml"), "verify IN/bundle", 4),
    Scenario(
        "config", ("bundle", "real"), ("bundle/configs/inference.yaml",), f"{_GENERATE} IN/bundle --masks IN/real", 2
    ),
    Scenario("yaml", ("old",), ("old/old.yaml",), "convert --config IN/old/old.yaml --new-config OUT/new.yaml", 6),
    Scenario(
        "csv",
        ("pictures",),
        ("pictures/patients.csv",),
        "prepare IN/pictures/images OUT --labels IN/pictures/labels --patients-csv IN/pictures/patients.csv "
        f"--classes body=1 liver=2 {_ALL} 12",
        6,
    ),
    Scenario(
        "csv",
        ("pictures",),
        ("pictures/findings.csv",),
        "prepare IN/pictures OUT --findings-table IN/pictures/findings.csv --findings nodule effusion "
        f"--classes body=1 liver=2 {_ALL} 12",
        6,
    ),
    Scenario(
        "csv",
        ("legs",),
        ("legs/tissues.csv",),
        f"make-drr IN/legs/labels OUT --tissues IN/legs/tissues.csv --views 1 {_ALL} 8",
    ),
    Scenario("weights", ("bundle",), ("bundle/models/model.pt",), "verify IN/bundle/models/model.pt", 6),
    Scenario("weights", ("bundle", "real"), ("bundle/models/model.pt",), f"{_GENERATE} IN/bundle --masks IN/real", 3),
    Scenario("weights", ("old",), ("old/old.pt",), "convert IN/old/old.pt OUT/new.pt", 6),
    Scenario("weights", ("real", "synthetic", "segmenter.pt"), ("segmenter.pt",), _EVALUATE, 1),
    Scenario("sums", ("prepared",), ("prepared/SHA256SUMS",), "verify IN/prepared", 4),
)
