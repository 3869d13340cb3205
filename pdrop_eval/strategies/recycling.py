"""SparseVLM's recycling: pruned tokens become a few, by density peaks. Pure tensor operations."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor


class Clusters(NamedTuple):
    """What m candidates become.

    Attributes:
        tokens: [c, d], by the centres' falling score.
        centres: [c] which candidates they are.
        assignment: [m] the cluster of each candidate.
    """

    tokens: Tensor
    centres: Tensor
    assignment: Tensor


def candidate_count(pruned: int, share: float) -> int:
    """Return how many of the pruned tokens are candidates: int(share·p) + 1, all at most."""
    return min(pruned, int(share * pruned) + 1) if pruned > 0 else 0


def cluster_count(pruned: int, share: float, divisor: int) -> int:
    """Return how many tokens are made of the pruned ones: int(candidates / divisor) + 1, all at most."""
    candidates = candidate_count(pruned, share)
    return min(candidates, candidates // divisor + 1) if candidates else 0


def clustered(tokens: Tensor, clusters: int, noise: Tensor | None = None) -> Clusters:
    """Cluster candidates and sum each cluster up.

    Distances are Euclidean over sqrt(d). A candidate's density is exp(-mean of the squares of its smallest
    distances), as many as there are clusters, its own 0 among them. Its separation is the smallest distance
    to a denser candidate; of the densest, and of those as dense, the largest distance of all. Centres are
    those with the largest product of both, of equal ones those that torch.topk names first, as officially:
    with two clusters the densest two are each other's neighbours, and as dense. Every candidate goes to the
    nearest centre.

    Args:
        tokens: [m, d], by falling score.
        clusters: c, at most m.
        noise: [m] added to the densities, so that none are equal; None: nothing is.
    """
    import torch

    points = tokens.float()
    # Without products of matrices: they would round the small distances that the choice hangs on.
    mode = "donot_use_mm_for_euclid_dist"
    distance = torch.cdist(points, points, compute_mode=mode) / points.shape[1] ** 0.5
    density = (-distance.topk(clusters, largest=False).values.square().mean(-1)).exp()
    if noise is not None:
        density = density + noise
    denser = density[None] > density[:, None]
    separation = torch.where(denser, distance, distance.max()).amin(1)
    centres = (separation * density).topk(clusters).indices
    assignment = distance[centres].argmin(0)
    assignment[centres] = torch.arange(clusters, device=points.device)
    total = points.new_zeros(clusters, points.shape[1]).index_add(0, assignment, points)
    number = assignment.bincount(minlength=clusters)[:, None]
    return Clusters((total / (number + 1e-6)).to(tokens.dtype), centres, assignment)
