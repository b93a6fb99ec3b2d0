"""XRealInferer: its two runs composed by hand, what each leaves alone, batches of mixed prompts."""

from __future__ import annotations

import pytest
import torch
from monai.engines import SupervisedEvaluator
from monai.engines.utils import PrepareBatchExtraInput
from monai.utils import CommonKeys
from networks.autoencoders import BlockAutoencoder, small_autoencoder

from monai_segdiff.diffusion import SAMPLERS, SampleNoise, mix_seed
from monai_segdiff.inferers import XRealInferer
from monai_segdiff.inferers.xreal_inputs import free_latents
from monai_segdiff.networks import FindingUNet, LatentSpace
from monai_segdiff.transforms import EncodeFindings

from .oracles import PromptNetwork, edm

FINDINGS = EncodeFindings(["opacity", "nodule"])
VALUES = [0.0, -0.2, 0.5, 0.3]  # means of the latents under: unknown, nothing found, opacity, nodule
SCALE = 0.25  # a latent is twice the pixel, so its mean is half of the pixels'


class Controller(torch.nn.Module):
    """Decodes a mask to an image, pixel by pixel."""

    def __init__(self) -> None:
        super().__init__()
        self.slope = torch.nn.Parameter(torch.tensor(0.4))

    def reconstruct(self, masks: torch.Tensor) -> torch.Tensor:
        assert not torch.is_autocast_enabled("cpu")
        return self.slope * masks + 0.1


def xreal(spatial_dims: int = 2, **options) -> XRealInferer:
    latent_space = LatentSpace(BlockAutoencoder(spatial_dims), SCALE)
    return XRealInferer(edm(), latent_space, Controller(), FINDINGS, **{"num_steps": 6, **options})


def network(spatial_dims: int = 2) -> PromptNetwork:
    return PromptNetwork(VALUES, std=0.1, out_channels=2**spatial_dims)


def masks(batch: int = 3, spatial: tuple[int, ...] = (8, 12)) -> torch.Tensor:
    """Organs of gray value 0 and 1 on -1, at other places in each sample."""
    values = torch.full((batch, 1, *spatial), -1.0)
    for sample in range(batch):
        values[sample, 0, 1:6, sample : sample + 5] = 0.0
        values[sample, 0, 4:6, 2:6] = 1.0
    return values


def boxes(batch: int = 3, spatial: tuple[int, ...] = (8, 12), first: int = 2) -> torch.Tensor:
    regions = torch.zeros(batch, 1, *spatial, dtype=torch.bool)
    regions[:, :, first : first + 4, 4:8] = True
    return regions


def means(values: torch.Tensor) -> torch.Tensor:
    """Mean over every block of 2 pixels a side."""
    return torch.nn.functional.avg_pool2d(values, 2)


def run_by_hand(seed, prompts, reference, region, window, restore, steps, weight, model, indices):
    """One run on latents, in which every formula is written out."""
    latent_space, parameterization = LatentSpace(BlockAutoencoder(), SCALE), edm()
    source, held = SampleNoise(seed, indices), SampleNoise(mix_seed(seed, 1), indices)
    grid, z = parameterization.sigmas(steps), latent_space.encode(reference)
    given, null = (parameterization.denoiser(model, p) for p in (prompts, torch.zeros_like(prompts)))

    def denoise(x, sigma):
        return given(x, sigma) if weight == 1 else null(x, sigma) + weight * (given(x, sigma) - null(x, sigma))

    def constrain(step, sigma, x):
        if not window[0] * steps <= step < window[1] * steps:
            return x
        noised = z + sigma * held(z.shape, x) if sigma else z
        mixed = region * x + (1 - region) * noised
        if sigma and restore:
            mixed = mixed + sigma * (1 - region**2 - (1 - region) ** 2).clamp(min=0).sqrt() * held(z.shape, x)
        return mixed

    with torch.no_grad():
        start = float(grid[0]) * source(z.shape, torch.zeros(()))
        return latent_space.decode(SAMPLERS["ddpm"](denoise, start, grid, noise=source, constrain=constrain))


@pytest.mark.parametrize("restore", [False, True])
def test_equals_its_two_runs_composed_by_hand(restore):
    inputs, regions, indices = masks(), boxes(first=1), [5, 2, 11]
    inferer = xreal(seed=3, pathology_steps=5, guidance_weight=2.5, restore_level=restore)
    images = inferer(inputs, network(), indices, findings=["opacity", "nodule"], regions=regions)
    m = 0.2 + 0.8 * means((inputs > -1).float())
    blurred = 0.4 * inputs + 0.1
    empty, found = torch.tensor([[1.0, 0.0]]).expand(3, -1), torch.tensor([[2.0, 3.0]]).expand(3, -1)
    anatomy = run_by_hand(3, empty, blurred, 1 - m, (0, 0.5), restore, 6, 1, network(), indices)
    r = means(regions.float())
    assert set(r.flatten().tolist()) == {0.0, 0.5, 1.0}
    r = (2 * r).clamp(max=1)
    final = run_by_hand(mix_seed(3, -2), found, anatomy, r, (0, 1), restore, 5, 2.5, network(), indices)
    torch.testing.assert_close(inferer.anatomy, anatomy, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(images, final, atol=1e-4, rtol=1e-4)


def test_evaluations_are_one_a_step_for_the_anatomy_and_two_for_the_findings():
    model, inferer = network(), xreal(num_steps=10)
    inferer(masks(), model)
    assert inferer.evaluations == 10
    assert model.batch_sizes == [3] * 10
    inferer(masks(), model, findings=["opacity"], regions=boxes())
    assert inferer.evaluations == 10 + 2 * 10
    assert model.batch_sizes[10:] == [3] * 10 + [6] * 10
    for weight, steps, count in ((7.0, 4, 10 + 2 * 4), (1.0, 4, 10 + 4)):
        changed = xreal(num_steps=10, pathology_steps=steps, guidance_weight=weight)
        changed(masks(), model, findings=["opacity"], regions=boxes())
        assert changed.evaluations == count


def test_prompts_of_the_runs_are_nothing_found_then_the_findings_against_unknown():
    model = network()
    xreal(num_steps=2)(masks(1), model, findings=["nodule"], regions=boxes(1))
    assert [prompt.tolist() for prompt in model.prompts] == [[[1.0, 0.0]]] * 2 + [[[3.0, 0.0], [0.0, 0.0]]] * 2
    model = network()
    xreal(num_steps=2, anatomy_prompt=None)(masks(1), model, findings=[], regions=boxes(1))
    assert [prompt.tolist() for prompt in model.prompts] == [[[0.0, 0.0]]] * 2 + [[[1.0, 0.0], [0.0, 0.0]]] * 2


def test_the_controllers_image_is_held_inside_the_organs_for_the_window_of_the_run():
    inputs = masks()
    inside = (inputs > -1).expand(3, 1, 8, 12)
    whole_blocks = torch.nn.functional.interpolate((means(inside.float()) == 1).float(), scale_factor=2) == 1
    assert bool(whole_blocks.any())
    held = xreal(window=(0.0, 1.0), outside=0.0)(inputs, network())
    assert torch.equal(held[whole_blocks], (0.4 * inputs + 0.1)[whole_blocks])
    free = ~torch.nn.functional.interpolate((means(inside.float()) > 0).float(), scale_factor=2).bool()
    # Where nothing holds it, the image is what the network knows of the prompt [1, 0]: mean -0.1 of the latents.
    assert float(held[free].mean()) == pytest.approx(-0.2, abs=0.05)
    half = xreal(num_steps=40)(inputs, network())
    assert not torch.allclose(half[whole_blocks], (0.4 * inputs + 0.1)[whole_blocks], atol=0.05)
    assert float(half.mean()) == pytest.approx(-0.2, abs=0.05)


def test_outside_is_how_much_of_the_image_is_held_where_there_is_no_organ():
    inputs = torch.full((16, 1, 8, 8), -1.0)
    found = [
        float(xreal(window=(0.0, 1.0), outside=share, num_steps=12)(inputs, network()).mean())
        for share in (0.0, 0.3, 1.0)
    ]
    assert found[0] == pytest.approx(-0.2, abs=0.02)
    assert found[2] == pytest.approx(0.4 * -1 + 0.1, abs=1e-6)
    assert found[0] > found[1] + 0.02 > found[2] + 0.04


def test_the_findings_change_their_region_and_nothing_else():
    regions = boxes(first=1)  # its first and last rows share a block of 2 x 2 pixels with what is outside
    inferer = xreal(num_steps=30, guidance_weight=1.0)
    images = inferer(masks(), network(), findings=["opacity"], regions=regions)
    touched = torch.nn.functional.interpolate((means(regions.float()) > 0).float(), scale_factor=2) == 1
    within = torch.nn.functional.interpolate((means(regions.float()) >= 0.5).float(), scale_factor=2) == 1
    assert torch.equal(images[~touched], inferer.anatomy[~touched])
    assert float(images[within].mean()) == pytest.approx(2 * 0.25, abs=0.06), "opacity beside a 0 token"
    assert float(inferer.anatomy[within].mean()) == pytest.approx(-0.2, abs=0.06)


def test_a_latent_is_free_from_half_of_its_block_in_the_region():
    region = torch.zeros(1, 1, 4, 8)
    region[..., 0, 2] = region[..., :2, 4] = region[..., :, 6:] = 1  # of blocks of 2 x 2: a quarter, a half, all
    assert free_latents(region, (2, 4), [0]).tolist() == [[[[0.0, 0.5, 1.0, 1.0], [0.0, 0.0, 0.0, 1.0]]]]


def test_the_guided_findings_are_pushed_away_from_unknown():
    whole = torch.ones(1, 1, 8, 12)
    inferer = xreal(sampler="heun", num_steps=40, guidance_weight=3.0)
    images = inferer(masks(4), network(), findings=["opacity"], regions=whole)
    # 0 is the mean under the null prompt, so the guided one is 3 times that of the prompt.
    assert float(images.mean()) == pytest.approx(3 * 2 * 0.25, abs=0.05)


MIXED = [["opacity"], None, [], "nodule", ("opacity", "nodule")]


def test_a_sample_of_a_mixed_batch_is_what_it_is_alone():
    inputs, indices = masks(5), [3, 1, 4, 15, 9]
    regions = boxes(5, first=1).float()
    regions[3] = boxes(1, first=4)[0]
    regions[1] = 0.0
    inferer, model = xreal(), network()
    together = inferer(inputs, model, indices, findings=MIXED, regions=regions)
    anatomies = inferer.anatomy
    assert torch.equal(together[1], anatomies[1])
    for row in range(5):
        region = None if MIXED[row] is None else regions[row : row + 1]
        alone = inferer(inputs[row : row + 1], model, indices[row : row + 1], findings=[MIXED[row]], regions=region)
        assert torch.equal(alone[0], together[row])
        assert torch.equal(inferer.anatomy[0], anatomies[row])
    changed = [row for row in range(5) if not torch.equal(together[row], anatomies[row])]
    assert changed == [0, 2, 3, 4]


def test_encoded_findings_say_the_same_and_a_null_prompt_is_no_edit():
    inferer, regions = xreal(), boxes(5).float()
    regions[1] = 0
    by_name = inferer(masks(5), network(), range(5), findings=MIXED, regions=regions)
    tokens = torch.stack([FINDINGS(names) for names in MIXED])
    assert torch.equal(inferer(masks(5), network(), range(5), findings=tokens, regions=regions), by_name)


def test_one_region_serves_all_that_are_edited():
    inferer, region = xreal(), boxes(1)
    mixed = inferer(masks(3), network(), range(3), findings=[["opacity"], None, ["opacity"]], regions=region)
    each = boxes(3)
    each[1] = False
    own = inferer(masks(3), network(), range(3), findings=[["opacity"], None, ["opacity"]], regions=each)
    assert torch.equal(mixed, own)


def test_batches_without_findings_may_have_empty_regions():
    inferer = xreal()
    plain = inferer(masks(2), network(), range(2))
    with_empty = inferer(masks(2), network(), range(2), findings=[None, None], regions=torch.zeros(2, 1, 8, 12))
    assert torch.equal(plain, with_empty)
    assert torch.equal(plain, inferer.anatomy)
    assert inferer.evaluations == 6


def test_prompt_and_region_of_the_inferer_are_those_of_calls_without():
    given = xreal()(masks(), network(), range(3), findings=["nodule"], regions=boxes())
    fixed = xreal(prompt=["nodule"], region=boxes(1))
    assert torch.equal(fixed(masks(), network(), range(3)), given)
    other = fixed(masks(), network(), range(3), findings=["opacity"])
    assert torch.equal(other, xreal()(masks(), network(), range(3), findings=["opacity"], regions=boxes()))


def test_the_runs_have_noise_of_their_own():
    model = network()
    xreal(num_steps=2)(masks(1, (32, 32)), model, findings=["opacity"], regions=boxes(1, (32, 32)))
    starts = [model.seen[step][0].flatten() for step in (0, 2)]
    blended = SampleNoise(mix_seed(0, 1), [0])((1, 4, 16, 16), torch.zeros(())).flatten()
    apart = torch.corrcoef(torch.stack([*starts, blended])) - torch.eye(3)
    # 1024 draws: a correlation of 0.13 is one of 4 standard deviations.
    assert float(apart.abs().max()) < 0.13


def test_findings_do_not_change_the_anatomy():
    inferer = xreal()
    inferer(masks(), network(), range(3))
    plain = inferer.anatomy
    inferer(masks(), network(), range(3), findings=["opacity"], regions=boxes())
    assert torch.equal(inferer.anatomy, plain)


def test_seed_and_count_of_calls_decide_the_samples():
    inferer, inputs = xreal(), masks(1).repeat(2, 1, 1, 1)
    first, second = (inferer(inputs, network(), findings=["opacity"], regions=boxes(1)) for _ in range(2))
    again = xreal()(inputs.repeat(2, 1, 1, 1), network(), findings=["opacity"], regions=boxes(1))
    assert torch.equal(torch.cat([first, second]), again)
    assert not torch.allclose(first[0], first[1])
    other = xreal(seed=1)(inputs, network(), findings=["opacity"], regions=boxes(1))
    assert not torch.allclose(other, first)
    changed = xreal()
    changed.seed = 1
    assert torch.equal(changed(inputs, network(), findings=["opacity"], regions=boxes(1)), other)


def test_volumes_work_alike():
    spatial = (4, 8, 6)
    inputs = torch.full((2, 1, *spatial), -1.0)
    inputs[..., 2:6, :] = 0.5
    regions = torch.zeros(2, 1, *spatial)
    regions[:, :, :2, :4, 2:4] = 1
    inferer = xreal(3)
    images = inferer(inputs, network(3), findings=["opacity"], regions=regions)
    kept = regions == 0
    assert images.shape == (2, 1, *spatial)
    assert torch.equal(images[kept], inferer.anatomy[kept])
    assert not torch.isclose(images[~kept], inferer.anatomy[~kept]).any()


def test_networks_of_monai_run_and_do_not_feel_the_batch():
    torch.manual_seed(0)
    unet = FindingUNet(2, 3, 3, 2, channels=(8, 8), attention_levels=(False, True), num_res_blocks=1, norm_num_groups=4)
    torch.nn.init.normal_(unet.unet.out[-1].conv.weight, std=0.1)
    unet.train()
    inferer = XRealInferer(
        edm(), LatentSpace(small_autoencoder(), 0.5), small_autoencoder(), FINDINGS, num_steps=3, guidance_weight=2.0
    )
    inputs, regions = masks(2, (16, 16)), boxes(2, (16, 16))
    together = inferer(inputs, unet, [4, 8], findings=[["opacity"], ["nodule"]], regions=regions)
    alone = inferer(inputs[1:], unet, [8], findings=["nodule"], regions=regions[1:])
    assert together.shape == (2, 1, 16, 16)
    torch.testing.assert_close(alone[0], together[1], atol=1e-4, rtol=1e-4)
    assert unet.training, "the network is left in its own mode"
    assert not together.is_inference()


def test_autocast_is_for_the_diffusion_network_alone():
    images = xreal(amp_dtype="bfloat16")(masks(), network(), findings=["opacity"], regions=boxes())
    assert images.dtype == torch.float32


def test_a_stock_evaluator_passes_findings_and_regions_of_the_batch():
    batch = {
        CommonKeys.IMAGE: masks(),
        CommonKeys.LABEL: masks(),
        "findings": torch.stack([FINDINGS(names) for names in (["opacity"], None, [])]),
        "region": boxes() * torch.tensor([True, False, True]).reshape(3, 1, 1, 1),
    }
    evaluator = SupervisedEvaluator(
        torch.device("cpu"),
        [batch],
        network(),
        inferer=xreal(),
        prepare_batch=PrepareBatchExtraInput({"findings": "findings", "regions": "region"}),
        decollate=False,
    )
    evaluator.run()
    expected = xreal()(masks(), network(), findings=[["opacity"], None, []], regions=batch["region"])
    assert torch.equal(evaluator.state.output[CommonKeys.PRED], expected)


def test_the_empty_prompt_is_an_edit_and_none_is_not():
    inferer = xreal(num_steps=20)
    images = inferer(masks(), network(), range(3), findings=[], regions=boxes())
    assert not torch.equal(images, inferer.anatomy)
    assert inferer.evaluations == 60


LEVELS = {"levels": [0.0, 1.0]}


@pytest.mark.parametrize("value", [0.5, -0.8, float("nan")])
def test_gray_levels_that_were_not_trained_are_refused(value):
    inputs = masks()
    xreal(**LEVELS)(inputs + 1e-6, network())
    inputs[2, 0, 0, 0] = value
    with pytest.raises(ValueError, match="the mask of sample 2 holds"):
        xreal(**LEVELS)(inputs, network())


def test_the_message_names_the_levels():
    inputs = masks()
    inputs[1, 0, 0, :2] = torch.tensor([0.5, 0.25])
    with pytest.raises(ValueError, match=r"sample 1 holds the gray values 0\.25, 0\.5, but .* trained with -1, 0, 1\."):
        xreal(**LEVELS)(inputs, network())


@pytest.mark.parametrize(
    ("findings", "regions", "message"),
    [
        (["pneumonia"], boxes(), "unknown finding 'pneumonia': the findings are opacity, nodule"),
        ([None, ["opacity"], ["pneumonia"]], boxes(), "sample 2: unknown finding 'pneumonia'"),
        ([["opacity"], None], boxes(), "findings of 2 samples for a batch of 3"),
        (["opacity"], None, "sample 0 has findings, but no region"),
        ([None, ["opacity"], None], None, "sample 1 has findings, but no region"),
        ([], None, "sample 0 has findings, but no region"),
        (None, boxes(), "sample 0 has a region, but no findings"),
        (None, boxes(1), "sample 0 has a region, but no findings"),
        ([["opacity"], None, []], boxes(), "sample 1 has a region, but no findings"),
        (["opacity"], torch.zeros(3, 1, 8, 12), "the region of sample 0 is empty"),
        (["opacity"], torch.zeros(1, 1, 8, 12), "the region of sample 0 is empty"),
        ([None, ["opacity"], None], torch.zeros(3, 1, 8, 12), "the region of sample 1 is empty"),
        (["opacity"], boxes(3, (12, 8)), r"regions have shape \(3, 1, 12, 8\), but the masks \(3, 1, 8, 12\)"),
        (["opacity"], boxes(2), r"regions have shape \(2, 1, 8, 12\)"),
        (["opacity"], boxes()[:, 0], r"regions have shape \(3, 8, 12\)"),
        (["opacity"], 2.0 * boxes(), "the region of sample 0 has values outside 0"),
        (["opacity"], boxes().float() - 0.5, "the region of sample 0 has values outside 0"),
        (["opacity"], torch.full((1, 1, 8, 12), torch.nan), "the region of sample 0 has values outside 0"),
        (torch.tensor([[2.0, 0.0]] * 2), boxes(), r"must be \(3, 2\), got shape \(2, 2\)"),
        (torch.tensor([[2.0, 0.0], [4.0, 0.0], [2.0, 3.0]]), boxes(), r"findings of sample 1 are \[4.0, 0.0\]"),
        (torch.tensor([[2.0, 0.0], [2.5, 0.0], [2.0, 3.0]]), boxes(), "findings of sample 1"),
    ],
)
def test_bad_findings_and_regions_are_refused_before_anything_is_sampled(findings, regions, message):
    model = network()
    with pytest.raises(ValueError, match=message):
        xreal()(masks(), model, findings=findings, regions=regions)
    assert not model.seen


def test_masks_of_another_form_or_size_are_refused():
    for shape in ((3, 2, 8, 12), (3, 8, 12), (1, 1, 8)):
        with pytest.raises(ValueError, match=r"masks must be gray values, \(B, 1, \*spatial\)"):
            xreal()(torch.zeros(shape), network())
    with pytest.raises(ValueError, match=r"multiple of \(2, 2\).*got \(8, 9\)"):
        xreal()(torch.zeros(1, 1, 8, 9), network())
    with pytest.raises(ValueError, match="in_channels 8, but the autoencoder's latents need 4"):
        xreal()(masks(), network(3))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"outside": 1.2}, "outside must lie between 0"),
        ({"sampler": "euler"}, "unknown sampler"),
        ({"num_steps": 0}, "num_steps must be at least 1"),
        ({"pathology_steps": 0}, "num_steps must be at least 1"),
        ({"prompt": ["pneumonia"]}, "unknown finding 'pneumonia'"),
        ({"anatomy_prompt": ["pneumonia"]}, "unknown finding 'pneumonia'"),
        ({"null_prob": 0.0}, "null_prob above 0"),
        ({"amp_dtype": "int8"}, "amp_dtype"),
    ],
)
def test_bad_settings_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        xreal(**options)


def test_a_window_without_a_step_is_refused():
    with pytest.raises(ValueError, match="window must be"):
        xreal(window=(0.5, 0.2))(masks(), network())
    with pytest.raises(ValueError, match="no step of a run of 6"):
        xreal(window=(0.0, 0.01))(masks(), network())


class Words:
    """Prompts of sentences, a token a word."""

    length, num_tokens = 6, None
    null_condition = torch.zeros(6)

    def __init__(self) -> None:
        self.known: dict[str, int] = {}

    def __call__(self, names):
        sentence = " ".join([names] if isinstance(names, str) else names or ["<null>" if names is None else "normal"])
        ids = [] if names is None else [self.known.setdefault(word, 1 + len(self.known)) for word in sentence.split()]
        return torch.tensor([*ids, *[0] * (self.length - len(ids))], dtype=torch.float32)


def test_sentences_are_prompts_with_a_text_encoder_of_ones_own():
    """The images depend on the words and, as its reader has an order, on theirs."""
    torch.manual_seed(0)
    words = Words()
    reader = torch.nn.Sequential(torch.nn.Embedding(20, 8), torch.nn.Flatten(1), torch.nn.Linear(48, 8))
    reader.append(torch.nn.Unflatten(1, (1, 8)))
    model = FindingUNet(
        2, 4, 4, None, 8, reader, channels=(8, 8), num_res_blocks=1, attention_levels=(False, True), norm_num_groups=4
    )
    for weight in model.parameters():  # also those that begin at zero
        torch.nn.init.normal_(weight, std=0.2)
    space = LatentSpace(BlockAutoencoder(2), SCALE)
    inferer = XRealInferer(edm(), space, Controller(), words, num_steps=3)
    made = {
        sentence: inferer(masks(2, (8, 8)), model, [0, 1], findings=sentence, regions=boxes(2, (8, 8)))
        for sentence in ("mass left of heart", "heart left of mass", "mass left of heart ")
    }
    assert words.known.keys() == {"normal", "mass", "left", "of", "heart"}
    first, other, again = made.values()
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    for images in made.values():
        torch.testing.assert_close(images[..., :4], inferer.anatomy[..., :4], atol=1e-4, rtol=0)


def test_a_region_too_small_for_a_latent_is_told(recwarn):
    regions = boxes().float()
    regions[1] = 0.0
    regions[1, 0, 3, 5] = 1.0  # one of four pixels, which is a quarter
    xreal()(masks(), network(), findings=["opacity"], regions=regions)
    assert not [w for w in recwarn if "of a latent" in str(w.message)]
    regions[1, 0, 3, 5] = 0.9
    with pytest.warns(UserWarning, match=r"region of sample 1 takes at most 22% of the 2x2 pixels.*make it larger"):
        xreal()(masks(), network(), findings=["opacity"], regions=regions)
