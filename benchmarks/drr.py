"""Radiographs from CT: time, memory and accuracy of our projector beside ITK-RTK's."""

from __future__ import annotations

import argparse
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor

from benchmarks.common import Cell, Column, Results, Table, arguments, chosen_device, say
from benchmarks.loops import interleaved, median_ratio
from benchmarks.solids import Box, Cylinder, Solid, Sphere, chord_lengths, grid, voxels
from monai_segdiff.transforms import ProjectDRR
from monai_segdiff.transforms.drr.attenuation import attenuation
from monai_segdiff.transforms.drr.rtk import rtk_filter

_TEXT = (
    "A limb of soft tissue and bone with noise of 10 HU everywhere, so that no voxel can be left out, is projected "
    "about its own axis with the fitted detector. Our time is that of the whole transform: checks, attenuation, line "
    "integrals, normalization. ITK-RTK's is that of its Joseph filter alone, on a volume of attenuation that is there "
    "already."
)
_NOTES = (
    "Relative RMS difference: of the line integrals of all views, over the RMS of ITK-RTK's.",
    "Memory: highest resident memory during a call above that before it, with the volume in memory.",
)
_SOLIDS: dict[str, tuple[str, Solid, tuple[int, ...]]] = {
    "sphere": ("sphere, radius 36 mm", Sphere((3.3, -5.2, 0.7), 36.0), (0, 45, 133, 250)),
    "cylinder": ("cylinder, radius 36 mm", Cylinder((3.3, -5.2, 0.7), 36.0, 16.0), (0, 45, 133, 250)),
    "box": ("box, 56 x 48 x 32 mm", Box((3.3, -5.2, 0.7), (28.0, 24.0, 16.0)), (17, 45, 110, 250)),
}
_GEOMETRIES: dict[str, tuple[str, dict[str, Any]]] = {
    "cone": ("cone beam", {}),
    "parallel": ("parallel beam", {"beam": "parallel"}),
    "oblique": (
        "cone beam about an oblique axis, rays leave where tissue is cut",
        {"axis": (1, 2, 3), "detector_spacing": 2.0},
    ),
}


def limb(size: int, voxel: float) -> MetaTensor:
    """A CT volume of size**3 voxels: soft tissue around two bones, all cut by the ends of the volume."""
    shape = (size, size, size)
    affine = grid(shape, voxel)
    reach = size * voxel / 2
    hu = np.full(shape, -1000, dtype=np.float32)
    for center, radius, step in (((0.05, 0.0), 0.7, 1040.0), ((0.2, 0.1), 0.25, 900.0), ((-0.3, -0.2), 0.1, 900.0)):
        solid = Cylinder((center[0] * reach, center[1] * reach, 0.0), radius * reach, 2 * reach)
        hu += step * voxels(solid, (size, size, 1), affine, samples=4)
    hu += 10 * np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
    return MetaTensor(torch.as_tensor(hu[None]), affine=torch.as_tensor(affine))


def peak_memory(function: Callable[[], Any], interval: float = 0.002) -> float:
    """Highest resident memory while a function runs, above that before it, in GB."""
    statistics, page = Path("/proc/self/statm"), 4096
    done = threading.Event()

    def resident() -> int:
        return int(statistics.read_text().split()[1]) * page

    before = highest = resident()

    def watch() -> None:
        nonlocal highest
        while not done.is_set():
            highest = max(highest, resident())
            time.sleep(interval)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        function()
    finally:
        done.set()
        watcher.join()
    return (highest - before) / 1e9


def rtk_update(projector: ProjectDRR, volume: MetaTensor, threads: int) -> Callable[[], None]:
    """ITK-RTK's filter with the volume's attenuation and the projector's geometry, to be run any number of times."""
    import itk

    itk.MultiThreaderBase.SetGlobalDefaultNumberOfThreads(threads)
    affine = volume.affine.numpy()
    values = attenuation(volume.as_tensor()[0], projector.energy).numpy()
    project, _ = rtk_filter(values, affine, projector.geometry(volume.shape[1:], affine))
    project.InPlaceOff()

    def update() -> None:
        project.Modified()
        project.Update()

    return update


def measure_time(args: argparse.Namespace, device: torch.device, rtk: bool) -> dict[str, dict[str, Cell]]:
    """Rows of both sides, whose runs alternate in one process."""
    volume = limb(args.size, args.voxel)
    angles = np.arange(args.views) * 360 / args.views
    projector = ProjectDRR(angles, args.detector, device=device)
    memory = peak_memory(lambda: projector(volume))
    functions: dict[str, Callable[[], Any]] = {"torch": lambda: projector(volume)}
    if rtk:
        functions["rtk"] = rtk_update(projector, volume, args.threads)
    times = interleaved(functions, args.runs, device)
    rows: dict[str, dict[str, Cell]] = {}
    for name, found in times.items():
        median = float(np.median(found))
        rows[name] = {"seconds": median, "view": median / args.views, "rate": args.views / median, "runs": len(found)}
    rows["torch"]["memory"] = memory
    if rtk:
        rows["torch"]["ratio"] = median_ratio(times, "torch", "rtk")[2]
        pairs = zip(times["torch"], times["rtk"], strict=True)
        rows["torch"]["pairs"] = " ".join(f"{ours / theirs:.2f}" for ours, theirs in pairs)
    return rows


def measure_agreement(args: argparse.Namespace, options: dict[str, Any]) -> dict[str, Cell]:
    """Difference of the line integrals of a quarter of the views."""
    volume = limb(args.size, args.voxel)
    values = attenuation(volume.as_tensor(), 60.0)
    angles = np.arange(0, args.views, 4) * 360 / args.views
    ours, theirs = (
        ProjectDRR(angles, args.detector, **options, backend=backend).project(values, volume.affine).double()
        for backend in ("torch", "rtk")
    )
    rms = float((ours - theirs).square().mean().sqrt() / theirs.square().mean().sqrt())
    return {"views": len(angles), "rms": rms, "largest": float((ours - theirs).abs().max() / theirs.max())}


def measure_chords(solid: Solid, angles: tuple[int, ...], voxel: float) -> dict[str, Cell]:
    """Errors of the paths through a solid, over its largest chord."""
    count = round(96 / voxel)
    shape = (count, count, count if isinstance(solid, Sphere) else count // 2)
    affine = grid(shape, voxel)
    projector = ProjectDRR(angles, (100, 90), 1.37)
    geometry = projector.geometry(shape, affine)
    true = chord_lengths(solid, geometry)
    error = (projector.project(voxels(solid, shape, affine)[None], affine) - true).abs()
    inside = chord_lengths(solid.shrunk(2 * voxel), geometry) > 0
    largest = float(true.max())
    return {
        "mean": float(error.mean()) / largest,
        "hit": float(error[true > 0].mean()) / largest,
        "inside": float(error[inside].max()) / largest,
        "own": float((error / true)[inside].max()),
    }


def _tables(args: argparse.Namespace, device: torch.device) -> list[Table]:
    times = {
        "seconds": Column(f"seconds for {args.views} views", "{:.2f}"),
        "view": Column("seconds a view", "{:.4f}"),
        "rate": Column("views a second", "{:.1f}"),
        "ratio": Column("times ITK-RTK", "{:.2f}"),
        "pairs": Column("of each pair of runs"),
        "memory": Column("memory above the volume, GB", "{:.2f}"),
        "runs": Column("runs"),
    }
    agreement = {
        "rms": Column("relative RMS difference", "{:.1e}"),
        "largest": Column("largest difference over largest value", "{:.1e}"),
        "views": Column("views"),
    }
    chords = {
        "mean": Column("mean, all rays", "{:.2%}"),
        "hit": Column("mean, rays through the solid", "{:.2%}"),
        "inside": Column("largest, 2 voxels inside the silhouette", "{:.2%}"),
        "own": Column("the same, over the ray's own chord", "{:.2%}"),
    }
    rows = {
        f"{name} {voxel:g}": f"{label}, voxels of {voxel:g} mm"
        for name, (label, _, _) in _SOLIDS.items()
        for voxel in args.voxels
    }
    size = f"{args.size}x{args.size}x{args.size} onto {args.detector}x{args.detector}"
    return [
        Table(f"Time, {size}", times, {"torch": f"ProjectDRR on {device.type}", "rtk": "ITK-RTK, Joseph"}, _NOTES[1:]),
        Table(
            "Difference to ITK-RTK", agreement, {name: label for name, (label, _) in _GEOMETRIES.items()}, _NOTES[:1]
        ),
        Table("Error of chord lengths over the largest chord", chords, rows),
    ]


def _parser() -> argparse.ArgumentParser:
    parser = arguments("Time, memory and accuracy of projecting CT to radiographs.", "drr")
    parser.add_argument("--size", type=int, default=256, help="voxels per axis")
    parser.add_argument("--voxel", type=float, default=1.0, help="voxel size in mm")
    parser.add_argument("--detector", type=int, default=256, help="pixels per axis")
    parser.add_argument("--views", type=int, default=60, help="views around the axis")
    parser.add_argument("--voxels", type=float, nargs="+", default=[2.0, 1.0], help="voxel sizes of the solids in mm")
    parser.add_argument("--runs", type=int, default=5, help="timed runs of each side")
    parser.add_argument("--threads", type=int, default=2, help="threads of both sides")
    parser.add_argument("--device", help="where ours is timed (default: a GPU if there is one)")
    return parser


def _has_rtk() -> bool:
    try:
        from itk import RTK
    except ImportError:
        say("ITK-RTK is not installed: its rows are left out")
        return False
    return RTK is not None


def main(argv: Sequence[str] | None = None) -> None:
    """Run the benchmark."""
    args = _parser().parse_args(argv)
    torch.set_num_threads(args.threads)
    device, rtk = chosen_device(args.device), _has_rtk()
    taken = ("size", "voxel", "detector", "views", "voxels", "runs", "threads")
    settings = {**{name: getattr(args, name) for name in taken}, "device": str(device), "beside ITK-RTK": rtk}
    results = Results(
        args.output, "Radiographs from CT", _TEXT, settings, _tables(args, device), device, args.overwrite
    )
    for name, (label, solid, angles) in _SOLIDS.items():
        for voxel in args.voxels:
            if f"{name} {voxel:g}" not in results:
                say(f"{label}, {voxel:g} mm")
                results.add(f"{name} {voxel:g}", measure_chords(solid, angles, voxel))
    for name, (label, options) in _GEOMETRIES.items() if rtk else ():
        if name not in results:
            say(label)
            results.add(name, measure_agreement(args, options))
    if "torch" not in results:
        say("time")
        for name, row in measure_time(args, device, rtk).items():
            results.add(name, row)
    say(f"results: {results.page}")


if __name__ == "__main__":
    main()
