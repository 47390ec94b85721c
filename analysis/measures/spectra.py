"""What the field reads off the spectrum of a representation, and off two views of each image, all at once."""

import torch
from torch import Tensor

from analysis.measures import geometry, view_measures
from pretrain.losses.class_ranks import spectrum


def of_features(h: Tensor, y: Tensor | None) -> tuple[dict, Tensor, dict]:
    """Measures that need one row per image; the eigenvalues, descending; and the range of the slope's fit."""
    eigenvalues = spectrum(h).flip(0)
    values: dict = {"rankme": geometry.rankme(h), "kl-uniform": geometry.kl_to_uniform(h)}
    values["uniformity"] = geometry.uniformity(h)
    context = {}
    if (found := geometry.alpha(eigenvalues)) is not None:
        values["alpha"], context["alpha_r2"], context["alpha_range"] = found
    if y is not None:
        values |= {"nc1": geometry.nc1(h, y), "etf-distance": geometry.etf_distance(h, y)}
    return {name: float(value) for name, value in values.items()}, eigenvalues, context


def of_views(views: Tensor) -> tuple[dict[str, float], dict[str, int]]:
    """Measures of V >= 2 views of each image (n, V, d), and of how many images each is; pairs are the first two views.

    The matrices are of images spread evenly over all: the first ones would be of few classes.
    """
    first, second, n = views[:, 0], views[:, 1], len(views)
    some = torch.linspace(0, n - 1, min(n, view_measures.MOST_FOR_MATRICES)).round().long()
    gram1, gram2 = (view_measures.gram(view[some]) for view in (first, second))
    values = {
        "alignment": (view_measures.alignment(first, second), n),
        "lidar": (view_measures.lidar(views), n),
        "mutual-information": (view_measures.matrix_mutual_information(gram1, gram2), len(some)),
        "joint-entropy": (view_measures.matrix_joint_entropy(gram1, gram2), len(some)),
    }
    return {name: float(value) for name, (value, _) in values.items()}, {name: of for name, (_, of) in values.items()}


def limited_by_n(values: dict, fitted: list[int] | None, n: int, views: Tensor | None) -> dict[str, str]:
    """Measure -> why the number of images decides it more than the representation does."""
    limits = {}
    if values["rankme"] > 0.5 * n:
        limits["rankme"] = f"{values['rankme']:.1f} is close to its bound of {n} images: it reads off n"
    if fitted and fitted[1] == n - 1:
        limits["alpha"] = f"is fitted up to rank {n - 1}, the last that {n} images have: there n bends the spectrum"
    if views is not None:
        images, V, d = views.shape
        if images * (V - 1) < d:
            limits["lidar"] = (
                f"is of {images} x {V - 1} differences of views, which do not fill {d} features: its ridge decides "
                f"and not the views; take more images or views"
            )
        elif values["lidar"] > 0.5 * (images - 1):
            limits["lidar"] = f"{values['lidar']:.1f} is close to its bound of {images - 1}: it reads off n"
    return limits
