from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scipy.ndimage import binary_dilation, label

from monai_segdiff.data import (
    CHEST_PHANTOM_CLASSES,
    CHEST_PHANTOM_FINDINGS,
    CHEST_PHANTOM_RANGE,
    ChestPhantom,
    check_dataset,
    make_chest_phantoms,
    read_dataset,
    write_dataset,
)

RIGHT, LEFT, HEART = CHEST_PHANTOM_CLASSES.values()
SIZE = (64, 64)
Rendered = tuple[np.ndarray, np.ndarray, np.ndarray]


@pytest.fixture(scope="module")
def phantoms() -> list[ChestPhantom]:
    return [ChestPhantom(seed) for seed in range(200)]


@pytest.fixture(scope="module")
def plain(phantoms: list[ChestPhantom]) -> list[Rendered]:
    """Every patient without findings."""
    return [phantom.render(SIZE, ()) for phantom in phantoms]


@pytest.fixture(scope="module")
def edits(phantoms: list[ChestPhantom], plain: list[Rendered]) -> dict[str, list[Rendered]]:
    """Difference that each finding makes, label map and region, for some of the patients."""
    found: dict[str, list[Rendered]] = {}
    for phantom, (image, *_) in list(zip(phantoms, plain, strict=True))[:40]:
        for name in CHEST_PHANTOM_FINDINGS:
            changed, labels, region = phantom.render(SIZE, (name,))
            found.setdefault(name, []).append((changed - image, labels, region))
    return found


def test_the_same_seed_gives_the_same_patient_and_another_seed_another() -> None:
    first, again, other = (ChestPhantom(seed).render(SIZE) for seed in (3, 3, 4))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert [array.dtype for array in first] == [np.float32, np.uint8, np.uint8]
    assert np.mean(first[1] != other[1]) > 0.02
    assert np.abs(first[0] - other[0]).mean() > 0.02


def test_every_patient_has_two_lungs_and_a_heart_in_plausible_sizes(
    phantoms: list[ChestPhantom], plain: list[Rendered]
) -> None:
    for phantom, (_, labels, region) in zip(phantoms, plain, strict=True):
        pixel = (phantom.extent / 64) ** 2 / 100
        right, left, heart = (float((labels == i).sum() * pixel) for i in (RIGHT, LEFT, HEART))
        assert 115 < right < 230, "cm^2"
        assert 90 < left < right
        assert 60 < heart < 165
        columns = [np.flatnonzero(np.isin(labels, ids).any(axis=1)) for ids in ((HEART,), (RIGHT, LEFT))]
        assert 0.38 < (np.ptp(columns[0]) + 1) / (np.ptp(columns[1]) + 1) < 0.6, "cardiothoracic ratio"
        assert 320 <= phantom.extent <= 360
        assert not region.any()
        edges = [labels[0], labels[-1], labels[:, 0], labels[:, -1]]
        assert not np.any(np.concatenate(edges)), "nothing is cut off"


def test_cardiothoracic_ratio_is_the_one_drawn(phantoms: list[ChestPhantom], plain: list[Rendered]) -> None:
    measured = []
    for _, labels, _ in plain:
        spans = [np.ptp(np.flatnonzero(np.isin(labels, i).any(axis=1))) + 1 for i in ((HEART,), (RIGHT, LEFT))]
        measured.append(spans[0] / spans[1])
    drawn = np.array([phantom.cardiothoracic_ratio for phantom in phantoms])
    assert np.corrcoef(drawn, measured)[0, 1] > 0.85
    assert np.abs(np.array(measured) - drawn).mean() < 0.025


def test_sides_are_the_patients_and_y_runs_up(phantoms: list[ChestPhantom], plain: list[Rendered]) -> None:
    for phantom, (image, labels, _) in zip(phantoms, plain, strict=True):
        affine = phantom.affine(SIZE)
        assert nib.aff2axcodes(affine) == ("R", "A", "S")
        x, y = (affine[i, 3] + affine[i, i] * np.arange(64) for i in (0, 1))
        middle = {i: [float(np.average(a, weights=(labels == i).sum(axis=1 - k))) for k, a in enumerate((x, y))]
                  for i in (RIGHT, LEFT, HEART)}  # fmt: skip
        assert middle[RIGHT][0] > 30
        assert middle[LEFT][0] < -30
        assert middle[HEART][0] < np.mean([middle[RIGHT][0], middle[LEFT][0]]), "the heart is on the left"
        assert middle[HEART][1] < middle[RIGHT][1]
        assert image[:, :6].mean() > image[:, -6:].mean() + 0.2, "the abdomen is below, neck and air are above"


def test_dense_is_bright_and_nearly_all_intensities_are_in_the_range(plain: list[Rendered]) -> None:
    for image, labels, _ in plain:
        lungs, heart = (image[np.isin(labels, ids)].mean() for ids in ((RIGHT, LEFT), (HEART,)))
        assert heart > lungs + 0.2
    pixels = np.concatenate([image.ravel() for image, *_ in plain])
    low, high = CHEST_PHANTOM_RANGE
    assert np.mean((pixels < low) | (pixels > high)) < 0.002
    assert np.percentile(pixels, 99.5) - np.percentile(pixels, 0.5) > 0.8


def test_noise_has_a_known_level_and_is_slightly_correlated() -> None:
    for seed in range(4):
        phantom = ChestPhantom(seed)
        noisy = phantom.render((128, 128))[0]
        phantom._noise, level = 0.0, phantom._noise
        noise = noisy - phantom.render((128, 128))[0]
        assert 0.01 <= level <= 0.02
        # 4 standard errors of a standard deviation over 128^2 pixels that are nearly independent.
        assert noise.std() == pytest.approx(level, rel=0.03)
        # Kernel (0.1, 0.8, 0.1): lag 1 is 2 * 0.1 * 0.8 over its squared norm, lag 2 is 0.1^2.
        correlation = [np.mean(noise[k:] * noise[:-k]) / noise.var() for k in (1, 2)]
        assert correlation == pytest.approx([0.16 / 0.66, 0.01 / 0.66], abs=0.035)


def test_resolution_does_not_change_the_anatomy_or_the_findings() -> None:
    for seed in range(5):
        phantom = ChestPhantom(seed)
        coarse, fine = (phantom.render((n, n), CHEST_PHANTOM_FINDINGS) for n in (64, 256))
        for index in (RIGHT, LEFT, HEART):
            assert (fine[1] == index).mean() == pytest.approx((coarse[1] == index).mean(), rel=0.05)
        for index in (1, 2, 3):
            assert (fine[2] == index).mean() == pytest.approx((coarse[2] == index).mean(), rel=0.25)
        averaged = fine[0].reshape(64, 4, 64, 4).mean(axis=(1, 3))
        # The coarse image's own noise is the larger; edges lie within a pixel.
        assert np.median(np.abs(averaged - coarse[0])) < 1.5 * phantom._noise


@pytest.mark.parametrize("name", CHEST_PHANTOM_FINDINGS)
def test_a_finding_changes_the_image_where_it_is_and_nowhere_else(edits: dict, plain: list, name: str) -> None:
    number = 1 + CHEST_PHANTOM_FINDINGS.index(name)
    for (difference, labels, region), (_, before, _) in zip(edits[name], plain, strict=False):
        assert np.array_equal(labels, before), "the label map is the anatomy's"
        assert set(np.unique(region)) == {0, number}
        assert np.isin(labels[region > 0], (RIGHT, LEFT)).all()
        outside = ~binary_dilation(region > 0, np.ones((3, 3)))
        assert not difference[outside].any()
        assert difference[region > 0].min() >= 0


@pytest.mark.parametrize("name", CHEST_PHANTOM_FINDINGS)
def test_a_finding_stands_out_of_the_noise(edits: dict, phantoms: list[ChestPhantom], name: str) -> None:
    contrast = np.array([d[r > 0].mean() / p._noise for (d, _, r), p in zip(edits[name], phantoms, strict=False)])
    assert contrast.min() > 4
    assert np.median(contrast) > 8


def test_findings_differ_in_size_place_and_edge(edits: dict, phantoms: list[ChestPhantom]) -> None:
    for index, phantom in enumerate(phantoms[:40]):
        pixel = (phantom.extent / 64) ** 2
        area = {name: float((edits[name][index][2] > 0).sum() * pixel) for name in CHEST_PHANTOM_FINDINGS}
        assert np.pi * 16**2 * 0.75 < area["mass"] < np.pi * 25**2 * 1.15, "32 to 50 mm"
        assert area["opacity"] > 2400 > area["mass"], "square mm"
        assert area["effusion"] > 800
    edge = {}
    for name in ("mass", "opacity"):
        shares = []
        for difference, _, region in edits[name]:
            rim = (region > 0) & binary_dilation(region == 0)
            shares.append(difference[rim].mean() / difference.max())
        edge[name] = np.mean(shares)
    assert edge["mass"] > 0.5 > 0.3 > edge["opacity"], "sharp against ill-defined"


def test_an_effusion_lies_on_the_lower_lung_edge_with_a_meniscus(edits: dict, phantoms: list[ChestPhantom]) -> None:
    for (_, labels, region), phantom in zip(edits["effusion"], phantoms, strict=False):
        side = phantom.place("effusion").side
        lung = labels == (RIGHT if side > 0 else LEFT)
        inside = region > 0
        assert not (inside & ~lung).any()
        assert label(inside, np.ones((3, 3)))[1] == 1
        rows = np.flatnonzero(lung.any(axis=0))
        assert np.flatnonzero(inside.any(axis=0)).min() <= rows.min() + 1, "it fills the costophrenic angle"
        columns = np.flatnonzero(inside.any(axis=1))
        tops = np.array([np.flatnonzero(inside[column]).max() for column in columns])
        medial = tops[0] if side > 0 else tops[-1]
        assert tops.max() > medial + 2
        assert np.argmax(tops) > len(tops) / 2 if side > 0 else np.argmax(tops) < len(tops) / 2
        for column in columns[1:-1]:
            bottom = np.flatnonzero(lung[column]).min()
            assert inside[column, bottom], "no air below the fluid"


def test_half_of_the_patients_are_healthy_and_the_others_have_one_finding_or_two(phantoms: list[ChestPhantom]) -> None:
    counts = np.bincount([len(phantom.findings) for phantom in phantoms], minlength=3)
    # 4 standard deviations of a binomial of 200.
    assert abs(counts[0] - 100) < 28
    assert len(counts) == 3
    assert counts[2] > 0
    assert {name for phantom in phantoms for name in phantom.findings} == set(CHEST_PHANTOM_FINDINGS)
    assert not any(ChestPhantom(seed, healthy=1.0).findings for seed in range(20))
    assert all(ChestPhantom(seed, healthy=0.0).findings for seed in range(20))


def test_several_findings_and_other_places() -> None:
    phantom = ChestPhantom(5)
    region = phantom.render(SIZE, CHEST_PHANTOM_FINDINGS)[2]
    assert set(np.unique(region)) == {0, 1, 2, 3}
    alone = phantom.render(SIZE, ["mass"])[2]
    assert np.isin(region[alone == 2], (2, 3)).all(), "where it is alone, unless fluid covers it"
    assert (alone[region == 2] == 2).all()
    own = [phantom.render(SIZE, phantom.findings), phantom.render(SIZE)]
    assert all(np.array_equal(a, b) for a, b in zip(*own, strict=True))
    places = {phantom.place("mass", draw).center for draw in range(6)}
    assert len(places) == 6
    assert {phantom.place("mass", draw).side for draw in range(12)} == {1, -1}
    other = phantom.render(SIZE, ["mass"], draw=1)
    assert not np.array_equal(other[2], alone)


def test_wrong_arguments_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"shape must be \(X, Y\)"):
        ChestPhantom(0).render((8, 8, 8))
    with pytest.raises(ValueError, match="unknown finding 'nodule'; a chest phantom can have opacity, mass, effusion"):
        ChestPhantom(0).render((8, 8), ["nodule"])
    with pytest.raises(ValueError, match="share"):
        ChestPhantom(0, healthy=1.5)
    for wrong in ({"patients": 0}, {"size": (8, 8, 8)}, {"healthy": -0.1}):
        with pytest.raises(ValueError, match="at least one patient"):
            make_chest_phantoms(tmp_path / "none", **wrong)


def test_the_population_is_a_sound_data_set_whose_findings_read_back(tmp_path: Path) -> None:
    arguments = {"patients": 12, "size": 32, "progress": False}
    dataset = make_chest_phantoms(tmp_path / "cxr", **arguments)
    assert {split: len(cases) for split, cases in dataset.splits.items()} == {
        "training": 10,
        "validation": 1,
        "test": 1,
    }
    assert (dataset.split_kind, dataset.modality, dataset.findings) == ("by patient", "DX", CHEST_PHANTOM_FINDINGS)
    assert (dataset.classes, dataset.intensity_range) == (CHEST_PHANTOM_CLASSES, CHEST_PHANTOM_RANGE)
    assert check_dataset(tmp_path / "cxr", spatial_dims=2) == []
    for case in (case for cases in dataset.splits.values() for case in cases):
        phantom = ChestPhantom(int(case.id[-4:]))
        assert case.findings == phantom.findings
        assert (case.region is None) == (not phantom.findings)
        files = [case.image, case.label, *([case.region] if case.region else [])]
        for file, rendered in zip(files, phantom.render((32, 32)), strict=False):
            stored = nib.load(file)
            assert stored.get_data_dtype() == rendered.dtype
            assert np.array_equal(np.asarray(stored.dataobj), rendered)
            assert np.allclose(stored.affine, phantom.affine((32, 32)), atol=1e-4)
    write_dataset(tmp_path / "cxr", dataset)
    assert read_dataset(tmp_path / "cxr") == dataset
    assert make_chest_phantoms(tmp_path / "cxr", **arguments) == dataset
    with pytest.raises(FileExistsError, match="other settings"):
        make_chest_phantoms(tmp_path / "cxr", **{**arguments, "seed": 1})
