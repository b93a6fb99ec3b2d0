"""Values of DICOM images that are none."""

from __future__ import annotations

import numpy as np
import pydicom
import pytest

from monai_segdiff.data import read_dicom_series

HU = (np.arange(6 * 5 * 4).reshape(6, 5, 4) * 10 - 1000).astype(np.float32)


def _table() -> list[pydicom.Dataset]:
    table = pydicom.Dataset()
    table.add_new("LUTDescriptor", "US", [4, 0, 16])
    table.ModalityLUTType, table.LUTData = "HU", bytes(8)
    return [table]


REFUSED = {
    "slope 0": ({"RescaleSlope": 0}, r"IM97 has values of 0 times what is stored plus -1024"),
    "slope NaN": ({"RescaleSlope": "nan"}, r"IM97 has values of nan times"),
    "slope beyond numbers": ({"RescaleSlope": "1e300"}, r"IM97 has values of 1e\+300 times"),
    "intercept infinite": ({"RescaleIntercept": "inf"}, r"IM97 has values of 2 times what is stored plus inf"),
    "two slopes": ({"RescaleSlope": [1, 2]}, r"IM97 has a rescaling that is no number"),
    "a palette": ({"PhotometricInterpretation": "PALETTE COLOR"}, r"IM97 is a PALETTE COLOR image where a gray one"),
    "a table of values": ({"ModalityLUTSequence": _table()}, r"IM97 has a table of its values \(Modality LUT\)"),
    "more bits than are allocated": ({"BitsStored": 40}, r"IM97 cannot be decoded"),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("case", REFUSED)
def test_values_that_are_none_are_refused(case, tmp_path, write_series):
    attributes, message = REFUSED[case]
    file = write_series(tmp_path / "s", HU)[3]
    dataset = pydicom.dcmread(file)
    for name, value in attributes.items():
        setattr(dataset, name, value)
    dataset.save_as(file)
    with pytest.raises(ValueError, match=message) as caught:
        read_dicom_series(tmp_path / "s")
    assert "\n" not in str(caught.value)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "attributes",
    [{"PixelSpacing": ["nan", "1"]}, {"PixelSpacing": [-1, 1]}, {"ImageOrientationPatient": [1, 0, 0, 1, 0, 0]},
     {"ImageOrientationPatient": [0, 0, 0, 0, 0, 0]}, {"ImagePositionPatient": ["inf", "0", "0"]},
     {"SliceThickness": "nan"}],
)  # fmt: skip
def test_places_that_are_none_are_refused(attributes, tmp_path, write_series):
    (file,) = write_series(tmp_path / "s", HU[:, :, :1], **attributes)
    with pytest.raises(ValueError, match=rf"IM100 has (a |the )?{next(iter(attributes))}"):
        read_dicom_series(file)


def test_a_radiograph_of_no_pixel_size_is_refused(tmp_path, write_series):
    (file,) = write_series(tmp_path / "s", HU[:, :, :1], Modality="DX", PixelSpacing=None, ImagerPixelSpacing=[0, 0])
    with pytest.raises(ValueError, match=r"IM100 has ImagerPixelSpacing \[0.*which is no size"):
        read_dicom_series(file)
