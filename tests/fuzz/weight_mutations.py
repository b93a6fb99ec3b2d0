"""What may be in a file of weights that should not."""

from __future__ import annotations

import io
import os
import zipfile
from typing import Any

import torch
from hypothesis import strategies as st

from .byte_mutations import Draw

__all__ = ["mutate_weights"]


class _Code:
    """Runs when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ('touch "$SEGDIFF_CANARY"',)


def mutate_weights(draw: Draw, content: bytes) -> tuple[str, bytes]:
    """Other tensors, other objects, or an archive that its own checksums do not fit."""
    kind = draw(
        st.sampled_from(("tensor", "tensor", "tensor", "name", "object", "checksum", "entry", "claim", "legacy"))
    )
    if kind in ("checksum", "entry", "claim"):
        return f"zip {kind}", _other_archive(draw, content, kind)
    state = torch.load(io.BytesIO(content), weights_only=True)
    holder = next((value for value in (state.values()) if isinstance(value, dict)), state)
    name = draw(
        st.sampled_from([key for key, value in holder.items() if isinstance(value, torch.Tensor)] or list(holder))
    )
    if kind == "object":
        holder[name] = draw(st.sampled_from((_Code(), None, "text", [1], {"a": 1}, 10**30)))
    elif kind == "name":
        holder[draw(st.sampled_from((5, "", "a.b", None, "module." + str(name), ("a",))))] = holder.pop(name)
    elif kind == "tensor" and isinstance(holder[name], torch.Tensor):
        holder[name] = draw(st.sampled_from(_tensors(holder[name])))
    written = io.BytesIO()
    if kind == "legacy":
        torch.save(state, written, _use_new_zipfile_serialization=False)
    else:
        torch.save(state, written)
    return f"weights {kind}", written.getvalue()


def _tensors(value: torch.Tensor) -> list[torch.Tensor]:
    spoiled = value.clone().float()
    spoiled.view(-1)[:1] = float("nan")
    return [
        spoiled,
        value.float() * float("inf"),
        value.double(),
        value.to(torch.int8),
        value.to(torch.complex64),
        value.bfloat16(),
        value[:0],
        value.reshape(-1),
        value[None],
        torch.zeros(()),
        torch.zeros(1).expand(2**33),
        torch.zeros(4, 4).to_sparse(),
        torch.empty(3, device="meta"),
    ]


def _other_archive(draw: Draw, content: bytes, kind: str) -> bytes:
    if kind == "entry":
        written = io.BytesIO()
        with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(written, "w") as new:
            names = old.namelist()
            dropped = draw(st.sampled_from(names))
            for name in names:
                if name != dropped:
                    new.writestr(name, old.read(name))
        return written.getvalue()
    changed = bytearray(content)
    if kind == "claim":  # a size in the central directory
        at = content.rindex(b"PK\x01\x02") + draw(st.sampled_from((16, 20, 24, 28, 42)))
        changed[at : at + 4] = draw(st.sampled_from((b"\xff" * 4, b"\0" * 4, b"\xff\xff\xff\x7f")))
        return bytes(changed)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        entries = [entry for entry in archive.infolist() if "/data/" in entry.filename and entry.file_size >= 4]
        entry = draw(st.sampled_from(entries))
        at = content.index(archive.read(entry))
    changed[at + draw(st.integers(0, entry.file_size - 1))] ^= 1 << draw(st.integers(0, 7))
    return bytes(changed)
