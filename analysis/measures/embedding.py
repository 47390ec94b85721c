"""Features as points of a plane, and how far to trust them."""

import numpy as np

from runtime.command_line import UserError

MOST_EXACT = 5000
"""Points up to which scikit-learn's t-SNE is used."""

NEIGHBOURS = 5
"""scikit-learn's default for trustworthiness."""


def embed(h: np.ndarray, method: str, *, seed: int) -> tuple[np.ndarray, str]:
    """Features (n, d) -> points (n, 2), and how they were made.

    Raises UserError for fewer points than t-SNE's perplexity of 30 can take, for points that are all equal, and where
    UMAP is not installed.
    """
    if len(h) <= 30:
        raise UserError(f"t-SNE at perplexity 30 needs more than 30 points, found {len(h)}; take more images")
    if (h == h[0]).all():
        raise UserError(f"all {len(h)} images have the same features (collapse); there is nothing to draw")
    if method == "umap":
        try:
            import umap  # pyright: ignore[reportMissingImports]
        except ImportError as error:
            raise UserError("UMAP is not installed; pip install umap-learn, or leave out --method umap") from error
        return umap.UMAP(random_state=seed, n_jobs=1).fit_transform(h), "UMAP, defaults"
    if len(h) <= MOST_EXACT:
        from sklearn.manifold import TSNE

        return TSNE(random_state=seed).fit_transform(h), "t-SNE, scikit-learn's defaults"
    import openTSNE
    from sklearn.decomposition import PCA

    reduced = PCA(50, svd_solver="full" if h.shape[1] <= 2048 else "randomized", random_state=seed).fit_transform(h)
    return np.asarray(openTSNE.TSNE(random_state=seed, n_jobs=-1).fit(reduced)), "PCA to 50, then openTSNE's defaults"


def turned(points: np.ndarray, towards: np.ndarray) -> np.ndarray:
    """Points (n, 2), centred, turned and mirrored to lie as close as possible to other points of the same images.

    A picture of t-SNE has no up and no left: without this, equal ones may look different.
    """
    points, towards = points - points.mean(0), towards - towards.mean(0)
    U, _, Vt = np.linalg.svd(points.T @ towards)
    return points @ U @ Vt


def trustworthiness(h: np.ndarray, points: np.ndarray, *, most: int = MOST_EXACT) -> float:
    """Trustworthiness of a picture at 5 neighbours, on at most ``most`` points: it takes their n x n distances.

    They are spread evenly over all points, which are sorted by class: the first ones would be of few classes.
    """
    from sklearn.manifold import trustworthiness

    some = np.linspace(0, len(h) - 1, min(most, len(h))).round().astype(int)
    return float(trustworthiness(h[some], points[some], n_neighbors=NEIGHBOURS))
