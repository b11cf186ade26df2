"""The Inception Score: whether a classifier is sure of each image, and sees every class over all of them."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from undiffuse.errors import UndiffuseError
from undiffuse.evaluation.metrics.estimate import Estimate
from undiffuse.evaluation.metrics.validation import as_float64
from undiffuse.runtime.random_streams import generator


def inception_score(logits: Float[Tensor, "images classes"], splits: int = 10, seed: int = 0) -> Estimate:
    """exp E_x KL(p(y | x) || p(y)): from 1, where all images look alike, to the number of classes (higher is better).

    Mean and standard deviation over splits of the images, as Salimans et al. 2016 report it
    (https://arxiv.org/abs/1606.03498, section 4). Splits are drawn at random, since images often come sorted by class.
    The score sees no real data: it does not know of memorised images, of lost variety within a class, nor of classes
    that the data lacks, and it grows with the images in a split, for p(y) is estimated from them (Barratt & Sharma
    2018, https://arxiv.org/abs/1801.01973). Compare it at equal numbers of images and splits only.

    Args:
        logits: unnormalised log probabilities of classes.
        splits: number of parts of the images, 1 or more; the published numbers have 10 of 5,000.

    Raises:
        UndiffuseError: fewer images than splits, NaN or infinite values.
    """
    if splits < 1:
        raise UndiffuseError(f"The Inception Score takes 1 split or more, and {splits} were asked for")
    log_p = as_float64(logits, least=splits).log_softmax(dim=1)
    order = torch.randperm(len(log_p), generator=generator(seed, "inception-score")).to(log_p.device)
    scores = torch.stack([_score(part) for part in log_p[order].tensor_split(splits)])
    return Estimate(float(scores.mean()), float(scores.std(correction=0)))


def _score(log_p: Float[Tensor, "images classes"]) -> Float[Tensor, ""]:
    """exp 1/n sum_x sum_y p(y | x) (log p(y | x) - log p(y)),   p(y) = 1/n sum_x p(y | x)"""
    # The log of the mean through logsumexp: a class that nobody gives a probability above 1e-308 stays finite.
    log_marginal = log_p.logsumexp(dim=0) - math.log(len(log_p))
    return (log_p.exp() * (log_p - log_marginal)).sum(dim=1).mean().exp()
