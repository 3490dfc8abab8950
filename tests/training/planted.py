"""Activations whose features are known."""

import torch
from torch.nn import functional as F


def planted(vectors=6000, seed=0):
    """Sums of two of 12 known directions in 8 dimensions, far from the origin and large."""
    generator = torch.Generator().manual_seed(seed)
    directions = F.normalize(torch.randn(12, 8, generator=generator), dim=1)
    chosen = torch.rand(vectors, 12, generator=generator).topk(2).indices
    strength = 1 + torch.rand(vectors, 2, generator=generator)
    codes = torch.zeros(vectors, 12).scatter(1, chosen, strength)
    return 20 * (codes @ directions) + 5.0, directions
