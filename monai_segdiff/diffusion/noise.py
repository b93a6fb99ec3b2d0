"""Noise that belongs to a sample rather than to the batch in which the sample happens to be."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

import torch

__all__ = ["SampleNoise", "mix_seed"]


def mix_seed(*values: int) -> int:
    """Hash integers into one seed that is the same on every machine and in every process.

    Args:
        *values: integers of any size and sign, for example (seed, rank, iteration). Their order matters.

    Returns:
        An integer in [0, 2^63).

    Example:
        >>> mix_seed(0, 1) != mix_seed(1, 0)
        True
    """
    text = ",".join(str(int(value)) for value in values)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


class SampleNoise:
    """Gaussian draws that depend on (seed, sample index) alone: not on batch size, order, process or device.

    Each sample has its own random stream on the CPU. Successive calls go on in it, so the first call usually gives the
    starting noise of a run and the later ones the noise of its steps. The numbers are drawn in float32 and then
    converted, so that the noise is the same whatever the precision of the solver.

    Args:
        seed: the run's seed.
        indices: the index of each sample of the batch. Two samples with equal index get equal noise.

    Example:
        >>> alone = SampleNoise(0, [7])((1, 2), torch.zeros(()))
        >>> batch = SampleNoise(0, [3, 7])((2, 2), torch.zeros(()))
        >>> torch.equal(alone[0], batch[1])
        True
    """

    def __init__(self, seed: int, indices: Iterable[int] | torch.Tensor) -> None:
        # torch's CPU generator reads 32 bits of its seed. A hash of (seed, index) would give the same noise to two of
        # 100,000 samples more often than not; counting on from a hashed offset cannot within 2^32 samples of a run.
        offset = mix_seed(seed)
        self._generators = [torch.Generator().manual_seed((offset + int(index)) % 2**32) for index in indices]

    def __call__(self, shape: Sequence[int], like: torch.Tensor) -> torch.Tensor:
        """Draw the next standard normal numbers of every sample.

        Args:
            shape: (B, ...) with B the number of indices.
            like: a tensor whose dtype and device the result takes.

        Returns:
            Tensor of the given shape.

        Raises:
            ValueError: the batch is not as long as the list of indices.
        """
        if len(shape) == 0 or shape[0] != len(self._generators):
            raise ValueError(f"noise for {len(self._generators)} sample indices was asked for shape {tuple(shape)}")
        draws = torch.empty(tuple(shape), dtype=torch.float32, device="cpu")
        for row, generator in zip(draws, self._generators, strict=True):
            row.normal_(generator=generator)
        return draws.to(device=like.device, dtype=like.dtype)
