"""What a run is called in a picture."""

from pretrain import methods


def title_of(method: str, variant: str) -> str:
    """``simsiam``, ``wide`` -> ``SimSiam (wide)``."""
    name = methods.title(method) if method in methods.available() else method
    return f"{name} ({variant})" if variant else name
