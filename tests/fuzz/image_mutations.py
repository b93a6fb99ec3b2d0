"""What may stand in the headers of images that should not."""

from __future__ import annotations

import gzip
import io
import re
import struct
import zlib
from typing import Any

import nibabel as nib
import numpy as np
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.filebase import DicomBytesIO

from .byte_mutations import EXTREME_NUMBERS, Draw, position

__all__ = [
    "mutate_dicom",
    "mutate_jpeg",
    "mutate_mha",
    "mutate_nifti",
    "mutate_nrrd",
    "mutate_png",
    "mutate_tiff",
    "png_chunks",
]

_FLOATS = (0.0, -0.0, 1.0, -1.0, 1e-30, 1e30, float("nan"), float("inf"), float("-inf"), 255.0)
_HEADER = nib.Nifti1Header().template_dtype
_DATA_TYPES = (0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 768, 1024, 1280, 1536, 1792, 2048, 2304)


def mutate_nifti(draw: Draw, content: bytes) -> tuple[str, bytes]:
    """Another header, or a compressed file that its own checksum does not fit."""
    packed = content[:2] == b"\x1f\x8b"
    raw = gzip.decompress(content) if packed else content
    kinds = ("field", "field", "field", "field", "swapped", *(("checksum", "unfinished", "twice") if packed else ()))
    kind = draw(st.sampled_from(kinds))
    if kind == "checksum":
        changed = bytearray(raw)
        changed[position(draw, raw)] ^= 1 << draw(st.integers(0, 7))
        return "gzip checksum wrong", _stored(bytes(changed)) + content[-8:]
    if kind == "unfinished":
        return "gzip without its checksum", content[: -draw(st.integers(1, 8))]
    if kind == "twice":
        return "two gzip members", content + gzip.compress(raw[:400], mtime=0)
    header = np.frombuffer(raw[:348], dtype=_HEADER).copy()
    if kind == "swapped":
        changed = header.byteswap().tobytes() + raw[348:]
        name = "bytes of the header swapped"
    else:
        field = draw(
            st.sampled_from([name for name in _HEADER.names if name not in ("data_type", "db_name", "aux_file")])
        )
        values = header[field].reshape(-1)
        at = draw(st.integers(0, max(0, values.size - 1)))
        values[at] = _value_for(draw, values.dtype, field)
        header[field] = values.reshape(header[field].shape)
        changed = header.tobytes() + raw[348:]
        name = f"header {field}"
    return name, gzip.compress(changed, mtime=0) if packed else changed


def mutate_png(draw: Draw, content: bytes) -> tuple[str, bytes]:
    """Other chunks, with checksums that fit or do not."""
    chunks = png_chunks(content)
    kind = draw(st.sampled_from(("size", "header", "checksum", "data", "drop", "repeat", "palette", "text")))
    at = draw(st.integers(0, len(chunks) - 1))
    if kind in ("size", "header"):
        fields = list(struct.unpack(">IIBBBBB", chunks[0][1]))
        field = draw(st.integers(0, 1) if kind == "size" else st.integers(2, 6))
        choices = [n for n in EXTREME_NUMBERS if 0 <= n < 2**32] if kind == "size" else [0, 1, 2, 3, 4, 6, 8, 16, 255]
        fields[field] = draw(st.sampled_from(choices))
        chunks[0] = (b"IHDR", struct.pack(">IIBBBBB", *fields))
    elif kind == "checksum":
        return "PNG checksum wrong", _png(chunks, wrong=at)
    elif kind == "data":
        index = next(number for number, (name, _) in enumerate(chunks) if name == b"IDAT")
        data = bytearray(chunks[index][1])
        data[draw(st.integers(2, len(data) - 1))] ^= 1 << draw(st.integers(0, 7))
        chunks[index] = (b"IDAT", bytes(data))
    elif kind == "drop":
        del chunks[at]
    elif kind == "repeat":
        chunks.insert(at, chunks[at])
    elif kind == "palette":
        chunks.insert(1, draw(st.sampled_from([(b"PLTE", b"\1\2\3" * 300), (b"PLTE", b"\1"), (b"tRNS", b"\0" * 300)])))
    else:
        bomb = zlib.compress(b"\0" * 2**22)
        chunks.insert(
            1, draw(st.sampled_from([(b"zTXt", b"k\0\0" + bomb), (b"iCCP", b"k\0\0" + bomb), (b"eXIf", b"II*\0")]))
        )
    return f"PNG {kind}", _png(chunks)


def mutate_jpeg(draw: Draw, content: bytes) -> tuple[str, bytes]:
    """Another frame header, or an orientation."""
    kind = draw(st.sampled_from(("frame", "orientation", "segment")))
    frame = re.search(rb"\xff[\xc0\xc2]\x00", content)
    assert frame is not None
    changed = bytearray(content)
    if kind == "frame":
        changed[frame.start() + draw(st.integers(2, 12))] = draw(st.sampled_from((0, 1, 2, 3, 8, 12, 127, 255)))
        return "JPEG frame", bytes(changed)
    if kind == "orientation":
        tag = struct.pack("<HHIHH", 0x0112, 3, 1, draw(st.sampled_from((0, 2, 3, 6, 8, 99))), 0)
        exif = b"Exif\0\0II*\0\x08\0\0\0\x01\0" + tag + b"\0" * 4
        return "JPEG orientation", content[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + content[2:]
    places = [match.start() for match in re.finditer(rb"\xff[\xc0-\xfe]", content)]
    at = draw(st.sampled_from(places))
    return "JPEG segment", content[:at] + content[at + draw(st.integers(1, 30)) :]


def mutate_tiff(draw: Draw, content: bytes) -> tuple[str, bytes]:
    """Another entry in the first directory, or another place of it."""
    changed = bytearray(content)
    at = struct.unpack_from("<I", content, 4)[0]
    number = struct.unpack_from("<H", content, at)[0]
    values = [n for n in (*EXTREME_NUMBERS, at, len(content)) if 0 <= n < 2**32]
    kind = draw(st.sampled_from(("field", "field", "field", "offset", "next", "number")))
    if kind == "field":
        place = at + 2 + 12 * draw(st.integers(0, number - 1))
        part, code = draw(st.sampled_from(((0, "H"), (2, "H"), (4, "I"), (8, "I"))))
        struct.pack_into(
            f"<{code}", changed, place + part, draw(st.sampled_from(values)) % (2**16 if code == "H" else 2**32)
        )
    elif kind == "number":
        struct.pack_into("<H", changed, at, draw(st.sampled_from(values)) % 2**16)
    else:
        struct.pack_into("<I", changed, 4 if kind == "offset" else at + 2 + 12 * number, draw(st.sampled_from(values)))
    return f"TIFF {kind}", bytes(changed)


def mutate_nrrd(draw: Draw, content: bytes) -> tuple[str, bytes]:
    """Another line in the header."""
    values = (
        "",
        "0",
        "-1",
        "3",
        "999999999",
        "0 0 0",
        "65535 65535 65535",
        "12 12",
        "12 12 3 1",
        "(nan,0,0) (0,1,0) (0,0,1)",
        "(1,0,0) (1,0,0) (1,0,0)",
        "none",
        "nan",
        "double",
        "block",
        "gzip",
        "bzip2",
        "hex",
        "raw",
        "big",
        "../../volumes/dataset.json",
        "LIST",
        "$code",
    )
    return _other_line(draw, content, b"\n\n", ":", values, ("data file", "byte skip", "line skip", "block size"))


def mutate_mha(draw: Draw, content: bytes) -> tuple[str, bytes]:
    """Another line in the header."""
    values = (
        "",
        "0",
        "-1",
        "4",
        "999999999",
        "0 0 0",
        "65535 65535 65535",
        "12 12",
        "nan 0 0",
        "0 0 0 0 0 0 0 0 0",
        "True",
        "MET_DOUBLE",
        "MET_NONE",
        "../../volumes/dataset.json",
        "LIST",
        "x%d.raw 1 3 1",
    )
    return _other_line(
        draw, content, b"LOCAL\n", "=", values, ("CompressedData", "HeaderSize", "ElementNumberOfChannels")
    )


_KEYWORDS = (
    "Rows",
    "Columns",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "NumberOfFrames",
    "RescaleSlope",
    "RescaleIntercept",
    "RescaleType",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "SliceThickness",
    "SeriesInstanceUID",
    "SOPInstanceUID",
    "SOPClassUID",
    "FrameOfReferenceUID",
    "PatientID",
    "Modality",
    "SegmentSequence",
    "SegmentationType",
    "PerFrameFunctionalGroupsSequence",
    "SharedFunctionalGroupsSequence",
    "ReferencedSeriesSequence",
    "PixelData",
    "LossyImageCompression",
    "SpecificCharacterSet",
)
_DICOM_VALUES: tuple[Any, ...] = (
    None,
    "",
    0,
    1,
    -1,
    3,
    65535,
    "nan",
    "1e30",
    "0",
    "../../../../escaped",
    "RGB",
    "BINARY",
    "FRACTIONAL",
    ["0", "0", "0"],
    ["nan", "nan", "nan"],
    ["1", "0", "0", "1", "0", "0"],
    ["0", "0"],
    b"",
    b"\0\0",
    b"\xff" * 288,
    [],
    "1.2.3",
    "1.2.840.10008.5.1.4.1.1.66.4",
    "ISO 2022 IR 87",
)


def mutate_dicom(draw: Draw, content: bytes) -> tuple[str, bytes]:
    """Another value of an attribute, or none."""
    dataset = dcmread(io.BytesIO(content))
    keyword = draw(st.sampled_from([keyword for keyword in _KEYWORDS if keyword in dataset]))
    value = draw(st.sampled_from(_DICOM_VALUES))
    try:
        if draw(st.booleans()) and value is None:
            delattr(dataset, keyword)
        else:
            setattr(dataset, keyword, value)
        written = DicomBytesIO()
        dataset.save_as(written, enforce_file_format=False)
        return f"DICOM {keyword}", written.getvalue()
    except Exception:  # pydicom refuses to write many of them
        at = (
            content.find(struct.pack("<HH", dataset[keyword].tag.group, dataset[keyword].tag.elem))
            if keyword in dataset
            else 200
        )
        return f"DICOM bytes of {keyword}", content[: at + 8] + draw(st.binary(min_size=1, max_size=8)) + content[
            at + 12 :
        ]


def png_chunks(content: bytes) -> list[tuple[bytes, bytes]]:
    """Names and data of the chunks of a sound PNG file."""
    chunks, at = [], 8
    while at < len(content):
        (length,) = struct.unpack(">I", content[at : at + 4])
        chunks.append((content[at + 4 : at + 8], content[at + 8 : at + 8 + length]))
        at += length + 12
    return chunks


def _png(chunks: list[tuple[bytes, bytes]], wrong: int | None = None) -> bytes:
    written = b"\x89PNG\r\n\x1a\n"
    for number, (name, data) in enumerate(chunks):
        checksum = zlib.crc32(name + data) ^ (number == wrong)
        written += struct.pack(">I", len(data)) + name + data + struct.pack(">I", checksum)
    return written


def _stored(raw: bytes) -> bytes:
    """Gzip without compression, so that a bit of the file is a bit of a voxel, and without the checksum."""
    packer = zlib.compressobj(0, zlib.DEFLATED, -15)
    return b"\x1f\x8b\x08\0\0\0\0\0\0\xff" + packer.compress(raw) + packer.flush()


def _value_for(draw: Draw, dtype: np.dtype[Any], field: str) -> Any:
    if field == "datatype":
        return draw(st.sampled_from(_DATA_TYPES))
    if dtype.kind == "f":
        return np.array(draw(st.sampled_from(_FLOATS)), dtype)
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        return draw(st.sampled_from([n for n in EXTREME_NUMBERS if limits.min <= n <= limits.max]))
    return draw(st.binary(max_size=dtype.itemsize))


def _other_line(
    draw: Draw, content: bytes, end: bytes, sign: str, values: tuple[str, ...], more: tuple[str, ...]
) -> tuple[str, bytes]:
    at = content.index(end) + (len(end) if end.startswith(b"L") else 1)
    lines = content[:at].decode("latin-1").splitlines()
    named = [number for number, line in enumerate(lines) if sign in line and not line.startswith("#")]
    value = draw(st.sampled_from(values))
    kind = draw(st.sampled_from(("value", "value", "value", "drop", "twice", "add")))
    number = draw(st.sampled_from(named))
    name = lines[number].split(sign)[0].strip()
    if kind == "add":
        name = draw(st.sampled_from(more))
        lines.insert(len(lines) - 1, f"{name}{sign} {value}")
    elif kind == "drop":
        del lines[number]
    elif kind == "twice":
        lines.insert(number, f"{name}{sign} {value}")
    else:
        lines[number] = f"{name}{sign} {value}"
    return f"header {name} ({kind})", ("\n".join(lines) + "\n").encode("latin-1") + content[at:]
