from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from PIL import Image

from benchmarks import knee, samplers
from benchmarks.quality import Judge, Sampled
from monai_segdiff.bundle import bundle_path
from monai_segdiff.data import Case, make_ct_phantoms

TINY = {
    "channels": [8, 8],
    "num_res_blocks": 1,
    "attention_levels": [False, False],
    "norm_num_groups": 4,
    "batch_size": 4,
    "images_per_epoch": 8,
    "preview_interval": 100,
}


def test_every_nth_view_of_each_patient_is_taken() -> None:
    masks = [Case(f"{patient}_view{i:03d}", None, None, patient) for i in range(6) for patient in "ba"]
    chosen = [case.id for case in knee.every_nth_view(masks, 3)]
    assert chosen == ["a_view000", "a_view003", "b_view000", "b_view003"]


def test_the_networks_are_those_that_the_table_needs() -> None:
    rows = yaml.safe_load((bundle_path("knee_drr") / "configs" / "evaluate.yaml").read_text())["rows"].values()
    needed = {(row["method"], None if row["method"] == "csm" else row["condition"]) for row in rows}
    trained = [[overlay.removesuffix(".yaml") for overlay in overlays] for overlays in knee.NETWORKS.values()]
    assert {(method, condition[0] if condition else None) for method, *condition in trained} == needed


def test_real_images_have_no_distance_to_themselves_and_lose_to_no_reference(tmp_path: Path) -> None:
    dataset = make_ct_phantoms(
        tmp_path / "phantoms", 6, 16, slices_per_patient=3, fractions=(0.4, 0.2, 0.4), progress=False
    )
    judge = Judge(dataset, 100, tmp_path / "segmenters", paired=True)
    named = [Case(f"{case.id}_000", case.image, case.label, case.patient) for case in dataset.splits["test"]]
    measured = judge.measure(named, "real")
    cells = judge.cells(Sampled(named, 0.5, 7), measured)
    assert cells["mae"].value == 0  # type: ignore[union-attr]
    assert cells["psnr"].reason is not None  # type: ignore[union-attr]
    assert judge.differences(measured, measured)["mae_difference"].value == 0  # type: ignore[union-attr]


@pytest.fixture
def arguments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.delenv("SEGDIFF_DATA", raising=False)
    words = f"--work {tmp_path / 'work'} --output {tmp_path / 'out' / 'knee'} --patients 5 --validation-patients 1 "
    words += "--test-patients 2 --views 4 --size 16 --images 8 --every 1 --segmenter-images 40 --device cpu"
    return [*words.split(), "--overrides", json.dumps(TINY)]


@pytest.mark.slow
def test_what_is_trained_is_compared_from_the_command_line(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own_logging
) -> None:
    with own_logging():
        for network in ("unet_contour", "ctm_contour_bone"):  # as two processes would
            knee.main([*arguments, "--stage", "train", "--networks", network])
        trained = tmp_path / "work" / "trained"
        assert sorted(file.stem for file in trained.iterdir()) == ["ctm_contour_bone", "unet_contour"]
        sampling = {"sampler": "ve_pc", "sigmas": "$monai_segdiff.diffusion.geometric(3, 0.01, 128.0)"}
        (tmp_path / "sampling.yaml").write_text(yaml.safe_dump(sampling))
        monkeypatch.setattr(knee, "_PUBLISHED_WAY", samplers.Way("ve_pc", 3))
        monkeypatch.setattr(knee, "_PUBLISHED_SAMPLING", str(tmp_path / "sampling.yaml"))
        monkeypatch.setattr(knee, "_STEPS", {"dpmpp_2m": (2,), "heun": (2,)})
        knee.main([*arguments, "--stage", "table", "samplers"])
    page = (tmp_path / "out" / "knee.md").read_text()
    rows = json.loads((tmp_path / "out" / "knee.json").read_text())["rows"]
    assert rows["phantoms/table/contour / U-Net"]["evaluations"] == 1
    assert rows["phantoms/table/contour + bone / CTM"]["evaluations"] == 25
    assert rows["phantoms/table/contour / U-Net"]["images"] == 8
    assert rows["phantoms/table/contour / U-Net"]["mae_published"] == 0.0209
    assert rows["phantoms/views/real images"]["sets"] == 2
    assert "| contour / U-Net |" in page
    assert "atlas, which" not in page
    assert rows["trained/unet_contour"]["images"] == 8
    assert Image.open(tmp_path / "out" / "knee.png").width > 4 * 96
    fewer = json.loads((tmp_path / "out" / "knee_samplers.json").read_text())["rows"]
    assert fewer["ctm-ve_pc-3"]["evaluations"] == 5
    assert fewer["ctm-heun-2"]["evaluations"] == 3
    difference = fewer["ctm-dpmpp_2m-2"]["psnr_difference"]
    psnr = {name: fewer[f"ctm-{name}"]["psnr"]["value"] for name in ("dpmpp_2m-2", "ve_pc-3")}
    assert difference["value"] == pytest.approx(psnr["dpmpp_2m-2"] - psnr["ve_pc-3"], abs=1e-6)
    with pytest.raises(SystemExit, match="trained with other settings"):
        knee.main([*arguments, "--images", "12", "--stage", "train", "--networks", "unet_contour"])
