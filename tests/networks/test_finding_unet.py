"""FindingUNet: prompts by cross-attention, the text encoder's hook, what is no prompt."""

from __future__ import annotations

import pytest
import torch
from monai.data import MetaTensor
from monai.networks.nets import DiffusionModelUNet
from torch import nn

from monai_segdiff.diffusion import EDM
from monai_segdiff.networks import FindingEmbedding, FindingUNet
from monai_segdiff.transforms import EncodeFindings

from .rivals import with_drawn_weights

OPTIONS = {
    "channels": (8, 8),
    "attention_levels": (False, True),
    "num_res_blocks": 1,
    "norm_num_groups": 4,
    "num_head_channels": 8,
}


def small(spatial_dims: int = 2, **changes) -> FindingUNet:
    arguments = {"num_findings": 3, "context_dim": 6, **OPTIONS, **changes}
    return with_drawn_weights(FindingUNet(spatial_dims, 2, 2, **arguments), std=0.2).eval()


def inputs(batch: int = 2, spatial: tuple[int, ...] = (8, 8)) -> tuple[torch.Tensor, torch.Tensor]:
    x = torch.randn(batch, 2, *spatial, generator=torch.Generator().manual_seed(1))
    return x, torch.linspace(-1.5, 1.1, batch)


PROMPTS = torch.tensor([[2.0, 4.0, 0.0], [1.0, 0.0, 0.0]])


@pytest.mark.parametrize("spatial", [(8, 12), (4, 8, 6)])
def test_equals_monais_network_on_the_embedded_prompt(spatial: tuple) -> None:
    network = small(len(spatial))
    plain = DiffusionModelUNet(
        len(spatial), in_channels=2, out_channels=2, with_conditioning=True, cross_attention_dim=6, **OPTIONS
    ).eval()
    plain.load_state_dict(network.unet.state_dict())
    x, timesteps = inputs(spatial=spatial)
    result = network(x, timesteps, condition=PROMPTS)
    context = network.text_encoder.embedding.weight[PROMPTS.long()]
    assert result.shape == x.shape
    assert result.std() > 1e-3
    assert torch.equal(result, plain(x, timesteps, context=context))


def test_says_what_it_takes_and_gives() -> None:
    network = small()
    assert (network.in_channels, network.out_channels, network.size_multiple) == (2, 2, 2)
    assert isinstance(network.text_encoder, FindingEmbedding)
    assert network.text_encoder.embedding.weight.shape == (5, 6), "unknown, nothing found, and 3 findings"


def test_every_token_changes_the_answer_to_its_own_image_alone() -> None:
    network = small()
    x, timesteps = inputs()
    with torch.no_grad():
        answers = [network(x, timesteps, condition=torch.tensor([[token], [1]])) for token in range(5)]
    for first in range(5):
        for second in range(first):
            assert float((answers[first][0] - answers[second][0]).abs().max()) > 1e-4
            assert torch.equal(answers[first][1], answers[second][1])


def test_the_order_of_the_findings_does_not_matter_but_which_they_are_does() -> None:
    network, (x, timesteps) = small(), inputs(1)
    answers = [network(x, timesteps, condition=torch.tensor([order])) for order in ([2, 3, 0], [3, 2, 0], [0, 3, 2])]
    torch.testing.assert_close(answers[1], answers[0])
    torch.testing.assert_close(answers[2], answers[0])
    assert not torch.allclose(network(x, timesteps, condition=torch.tensor([[2, 4, 0]])), answers[0], atol=1e-4)


def test_zeros_beside_a_finding_count_and_zeros_alone_say_the_same_however_many() -> None:
    network, (x, timesteps) = small(), inputs()
    one, many = (network(x, timesteps, condition=torch.tensor([[2, *[0] * extra]] * 2)) for extra in (0, 3))
    assert not torch.allclose(one, many, atol=1e-4)
    null = network(x, timesteps)
    for length in (1, 4):
        torch.testing.assert_close(network(x, timesteps, condition=torch.zeros(2, length)), null)
    empty = network(x, timesteps, condition=EncodeFindings(["a", "b", "c"]).empty_condition.expand(2, -1))
    assert not torch.allclose(empty, null, atol=1e-4), "nothing found is not unknown"


def test_the_prompt_gets_in_where_no_level_has_attention() -> None:
    network, (x, timesteps) = small(attention_levels=(False, False)), inputs()
    with torch.no_grad():
        answers = [network(x, timesteps, condition=torch.full((2, 1), token)) for token in (2, 3)]
    assert float((answers[0] - answers[1]).abs().max()) > 1e-4


def test_whole_numbers_of_any_type_are_ids() -> None:
    network, (x, timesteps) = small(), inputs()
    expected = network(x, timesteps, condition=PROMPTS)
    for tokens in (PROMPTS.double(), PROMPTS.long(), PROMPTS.to(torch.uint8), MetaTensor(PROMPTS), PROMPTS.bfloat16()):
        result = network(MetaTensor(x), timesteps, condition=tokens)
        assert type(result) is torch.Tensor
        assert torch.equal(result, expected)


def test_gradients_reach_the_tokens_that_occur() -> None:
    network, (x, timesteps) = small(), inputs()
    network(x, timesteps, condition=PROMPTS).square().sum().backward()
    reached = network.text_encoder.embedding.weight.grad.abs().sum(dim=1) > 0
    assert reached.tolist() == [True, True, True, False, True]


class Reader(nn.Module):
    """A text encoder: it reads words in their order, and gives a vector for every two of them."""

    def __init__(self, words: int, width: int) -> None:
        super().__init__()
        self.words = nn.Embedding(words, width)
        self.pairs = nn.Conv1d(width, width, kernel_size=2, stride=2)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        assert tokens.dtype == torch.long
        return self.pairs(self.words(tokens).movedim(1, 2)).movedim(2, 1)


def test_a_text_encoder_of_ones_own_takes_the_place_of_the_embedding() -> None:
    network = small(num_findings=None, text_encoder=Reader(50, 6))
    x, timesteps = inputs()
    sentence = torch.tensor([[41, 7, 3, 12]] * 2)
    answer = network(x, timesteps, condition=sentence)
    torch.testing.assert_close(answer, network.unet(x, timesteps, context=network.text_encoder(sentence)))
    assert not torch.allclose(answer, network(x, timesteps, condition=sentence.flip(1)), atol=1e-4)
    assert any(name.startswith("text_encoder.words") for name in network.state_dict())


def test_a_text_encoder_and_prompt_learn_to_tell_two_images_apart() -> None:
    """A prompt that says which of two constant images is under the noise lets a network denoise what it cannot see."""
    torch.manual_seed(0)
    parameterization = EDM(sigma_data=0.5)
    network = FindingUNet(2, 1, 1, None, context_dim=8, text_encoder=Reader(9, 8), **OPTIONS)
    optimizer = torch.optim.Adam(network.parameters(), lr=5e-3)
    prompts = torch.tensor([[3, 5], [5, 3]]).repeat(4, 1)
    x0 = torch.tensor([-0.5, 0.5]).repeat(4).reshape(8, 1, 1, 1).expand(8, 1, 4, 4)
    sigma = torch.full((8,), 20.0, dtype=torch.float64)
    for _ in range(60):
        x, timesteps, target = parameterization.training_pair(x0, torch.randn_like(x0), sigma)
        loss = (network(x, timesteps, condition=prompts) - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        denoised = parameterization.denoiser(network.eval(), prompts)(20.0 * torch.randn(8, 1, 4, 4), sigma)
    assert (denoised.mean(dim=(1, 2, 3)) - x0[:, 0, 0, 0]).abs().max() < 0.25


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        (torch.tensor([[2.0, 0.0], [5.0, 0.0]]), r"sample 1 holds \[5.0, 0.0\].*whole numbers from 0 up to 4"),
        (torch.tensor([[-1, 0], [2, 0]]), "sample 0 holds"),
        (torch.tensor([[2.0, 0.0], [2.4, 0.0]]), "sample 1 holds"),
        (torch.tensor([[2.0, 0.0], [torch.nan, 0.0]]), "sample 1 holds"),
        (torch.zeros(3, 2), r"\(2, L\), got \(3, 2\)"),
        (torch.zeros(2, 0), r"\(2, L\), got \(2, 0\)"),
        (torch.zeros(2), r"\(2, L\), got \(2,\)"),
        (torch.zeros(2, 1, 8, 8), r"\(2, L\), got \(2, 1, 8, 8\)"),
    ],
)
def test_what_is_no_prompt_is_refused(condition: torch.Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small()(*inputs(), condition=condition)


def test_images_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="multiple of 2"):
        small()(torch.zeros(2, 2, 8, 9), torch.zeros(2), condition=PROMPTS)
    with pytest.raises(ValueError, match="takes 2D images"):
        small()(torch.zeros(2, 1, 8, 8), torch.zeros(2), condition=PROMPTS)


def test_text_encoders_of_another_width_are_refused() -> None:
    network = small(num_findings=None, text_encoder=Reader(50, 5))
    with pytest.raises(ValueError, match=r"\(B, tokens, 6\) for 2 prompts, but gave \(2, 2, 5\)"):
        network(*inputs(), condition=torch.zeros(2, 4))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cross_attention_dim": 8}, "cross_attention_dim must equal context_dim, 6"),
        ({"with_conditioning": False}, "with_conditioning cannot be off"),
        ({"num_findings": None}, "give num_findings, or a text encoder"),
        ({"num_findings": -1}, "must not be negative, got -1"),
    ],
)
def test_contradictions_are_refused(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small(**changes)


@pytest.mark.slow
def test_compiles_as_one_graph_and_exports_with_any_batch_size() -> None:
    network = small()
    x, timesteps = inputs()
    compiled = torch.compile(network, fullgraph=True, backend="aot_eager")
    with torch.inference_mode():
        torch.testing.assert_close(compiled(x, timesteps, condition=PROMPTS), network(x, timesteps, PROMPTS))
    batch = torch.export.Dim("batch", min=1, max=64)
    exported = torch.export.export(
        network,
        (torch.cat([x, x[:1]]), torch.zeros(3)),
        {"condition": torch.ones(3, 3)},
        dynamic_shapes={"x": {0: batch}, "timesteps": {0: batch}, "condition": {0: batch}},
    )
    torch.testing.assert_close(exported.module()(x, timesteps, condition=PROMPTS), network(x, timesteps, PROMPTS))
