"""The segmenter: what it learns, that it is the same every time, and what it refuses."""

from __future__ import annotations

import pytest
import torch

from monai_segdiff.evaluation import PairReader, TrainedSegmenter, load_segmenter, save_segmenter, train_segmenter
from monai_segdiff.evaluation.readers.fitting import default_images
from monai_segdiff.metrics import dice_per_class


def test_learns_to_segment_unseen_patients(segmenter, real_set, reader):
    pairs = [reader(case) for case in real_set.splits["test"]]
    images, masks = torch.stack([p.image for p in pairs]), torch.stack([p.mask for p in pairs])
    dice = dict(zip(real_set.classes, dice_per_class(segmenter.predict(images), masks, 6).nanmean(0), strict=True))
    assert dice["body"] > 0.85
    assert dice["liver"] > 0.8


def test_training_is_reproducible_and_leaves_the_random_state_alone(real_set, reader, tmp_path):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    cases = real_set.splits["training"]
    one, two, other = (
        train_segmenter(cases, reader, 64, seed=seed, cache_dir=tmp_path / name, progress=False)
        for name, seed in (("a", 0), ("b", 0), ("c", 1))
    )
    assert torch.equal(torch.get_rng_state(), before)
    weights = [torch.cat([p.flatten() for p in s.state_dict().values()]) for s in (one, two, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_training_reads_each_image_once(real_set, tmp_path):
    read = []

    class Counting(PairReader):
        def __call__(self, case):
            read.append(case.id)
            return super().__call__(case)

    cases = real_set.splits["training"][:8]
    reader = Counting(real_set.classes, real_set.intensity_range, 2)
    train_segmenter(cases, reader, 64, cache_dir=tmp_path, progress=False)
    assert sorted(read) == sorted([cases[0].id, *(case.id for case in cases)])  # the first also for its size


def test_cache_is_used_for_the_same_data_and_settings_only(real_set, reader, tmp_path, monkeypatch):
    cases = real_set.splits["training"]
    first = train_segmenter(cases[:8], reader, 32, cache_dir=tmp_path, progress=False)
    train_segmenter(cases[:7], reader, 32, cache_dir=tmp_path, progress=False)
    narrow = PairReader(real_set.classes, (-100.0, 100.0), 2)
    train_segmenter(cases[:8], narrow, 32, cache_dir=tmp_path, progress=False)
    assert len(list(tmp_path.glob("*.pt"))) == 3

    def fail(*args):
        raise AssertionError("trained again")

    monkeypatch.setattr("monai_segdiff.evaluation.readers.train_segmenter.fit", fail)
    again = train_segmenter(cases[:8], reader, 32, cache_dir=tmp_path, progress=False)
    for name, value in first.state_dict().items():
        assert torch.equal(value, again.state_dict()[name])


def test_unwritable_cache_costs_a_warning_only(real_set, reader, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.warns(UserWarning, match="cannot keep a segmenter for the next run"):
        train_segmenter(real_set.splits["training"][:4], reader, 8, cache_dir=tmp_path / "file" / "x", progress=False)


def test_round_trip_through_a_file(segmenter, tmp_path):
    save_segmenter(segmenter, tmp_path / "s.pt")
    loaded = load_segmenter(tmp_path / "s.pt", segmenter.classes)
    images = torch.randn(2, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    assert torch.equal(loaded.logits(images), segmenter.logits(images))
    with pytest.raises(ValueError, match=r"was trained for body, lungs.*the data set has a, b"):
        load_segmenter(tmp_path / "s.pt", ["a", "b"])


@pytest.mark.parametrize("shape", [(30, 45), (17, 20, 9)])
def test_any_size_fits_in_2d_and_3d(shape):
    segmenter = TrainedSegmenter(["a", "b"], len(shape), levels=2)
    images = torch.zeros(2, 1, *shape)
    assert segmenter.predict(images).shape == (2, 1, *shape)
    assert segmenter.features(images).shape == (2, 64)


def test_features_are_the_bottleneck_s_means(segmenter):
    caught = []
    handle = segmenter._bottleneck().register_forward_hook(lambda _, __, output: caught.append(output))
    images = torch.randn(3, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    features = segmenter.features(images)
    handle.remove()
    assert caught[0].shape[2:] == (8, 8)
    assert torch.equal(features, caught[0].mean((2, 3)))


@pytest.mark.parametrize(("size", "levels"), [(32, 2), (64, 3), (96, 3), (128, 4), (256, 5), (512, 5)])
def test_levels_leave_a_small_bottleneck(size, levels):
    assert TrainedSegmenter.levels_for((size, size // 2)) == levels


def test_default_length_sees_about_as_many_pixels_at_every_size():
    assert default_images((64, 64)) == 16_000
    assert default_images((128, 128)) == 4000
    assert default_images((16, 16)) == 16_000
    assert default_images((128, 128, 128)) == 1000


def test_no_training_cases(reader, tmp_path):
    with pytest.raises(ValueError, match="needs real training cases"):
        train_segmenter([], reader, 8, cache_dir=tmp_path)


class Threshold(torch.nn.Module):
    """Reads class 1 where the image is positive."""

    def __init__(self, classes: int = 1) -> None:
        super().__init__()
        self.classes = classes

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([-x] + [x] * self.classes, 1)


def test_user_s_torchscript_segmenter(tmp_path):
    torch.jit.trace(Threshold(), torch.zeros(1, 1, 8, 8)).save(str(tmp_path / "threshold.pt"))
    segmenter = load_segmenter(tmp_path / "threshold.pt", ["bright"])
    images = torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    assert torch.equal(segmenter.predict(images), (images > 0).long())
    assert segmenter.name == "threshold.pt"
    other = load_segmenter(tmp_path / "threshold.pt", ["a", "b"])
    with pytest.raises(ValueError, match=r"gave scores of shape \(3, 2, 8, 8\).*one for each of a, b"):
        other.predict(images)


def test_missing_and_unreadable_files(tmp_path):
    with pytest.raises(FileNotFoundError, match="does not exist"):
        load_segmenter(tmp_path / "none.pt", ["a"])
    (tmp_path / "text.pt").write_text("not a network")
    with pytest.raises(ValueError, match=r"text\.pt is neither a TorchScript file"):
        load_segmenter(tmp_path / "text.pt", ["a"])


def damaged(file, change):
    content = bytearray(file.read_bytes())
    change(content)
    file.write_bytes(bytes(content))


@pytest.mark.parametrize("kind", ["our own", "TorchScript"])
def test_a_file_that_its_own_checksums_do_not_fit_is_refused(segmenter, tmp_path, kind):
    file = tmp_path / "s.pt"
    if kind == "our own":
        save_segmenter(segmenter, file)
        values = segmenter.network.model[0].conv.weight.detach().numpy().tobytes()
    else:
        module = torch.nn.Conv2d(1, 5, 3)
        torch.jit.trace(module, torch.zeros(1, 1, 8, 8)).save(str(file))
        values = module.weight.detach().numpy().tobytes()
    load_segmenter(file, segmenter.classes)
    at = file.read_bytes().index(values)
    damaged(file, lambda content: content.__setitem__(at, content[at] ^ 1))
    with pytest.raises(ValueError, match=r"s\.pt cannot be read as .*checksum"):
        load_segmenter(file, segmenter.classes)


@pytest.mark.parametrize(
    "change",
    [
        lambda content: content["state_dict"].update({None: torch.zeros(1)}),
        lambda content: content["state_dict"].popitem(),
        lambda content: next(iter(content["state_dict"].values())).fill_(float("nan")),
        lambda content: content["settings"].update(levels=10**9),
        lambda content: content["settings"].update(image_channels=10**9),
        lambda content: content["settings"].update(levles=2),
        lambda content: content.update(settings=None),
        lambda content: content.pop("state_dict"),
    ],
)
def test_a_segmenter_that_makes_no_network_is_named(segmenter, tmp_path, change):
    save_segmenter(segmenter, tmp_path / "s.pt")
    content = torch.load(tmp_path / "s.pt", weights_only=True)
    change(content)
    torch.save(content, tmp_path / "s.pt")
    with pytest.raises(
        ValueError, match=r"s\.pt cannot be read as a segmenter \(.*; give the file that evaluate wrote"
    ):
        load_segmenter(tmp_path / "s.pt", segmenter.classes)


def test_code_that_torchscript_packs_tightly_is_no_damage(tmp_path):
    class Long(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            for _ in range(400):
                x = x + 1.0
            return torch.cat([x, x], 1)

    torch.jit.trace(Long(), torch.zeros(1, 1, 8, 8)).save(str(tmp_path / "long.pt"))
    assert load_segmenter(tmp_path / "long.pt", ["bright"]).predict(torch.zeros(1, 1, 8, 8)).shape == (1, 1, 8, 8)
