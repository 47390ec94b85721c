"""How a checkpoint format is described, and how a file is recognised by its description; no torch here.

Every tensor of a file has an address, ``container:name``: the keys that lead to its state dict, joined by slashes, and
its name there without the ``module.`` of a wrapper. ``state_dict:encoder_q.conv1.weight`` is MoCo's first convolution,
``teacher:backbone.bn1.bias`` one of DINO's; the container of a bare state dict is empty, as in ``:conv1.weight``.
A description names addresses by how they begin, several of them with ``|`` between.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pretrain import backbones
from transfer.checkpoints.families import RESNET, SIGNS

IMAGENET = {
    "order": "RGB",
    "pixel_mean": [123.675, 116.28, 103.53],
    "pixel_std": [58.395, 57.12, 57.375],
    "stride_in_1x1": False,
}
"""What a torchvision network expects, in Detectron2's terms: values in [0, 255], the stride in the 3x3 convolution."""

HALF = IMAGENET | {"pixel_mean": [127.5] * 3, "pixel_std": [127.5] * 3}
"""What BEiT's and Google's ViTs expect: values from -1 to 1."""

WRAPPERS = re.compile(
    r"^(module\.|_orig_mod\.|model\.)+|(?<=\.)(_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\."
)
"""What DistributedDataParallel, Lightning, averages and torch.compile put before every name, in any order."""

ROLES = {
    "online": ("online", "query", "backbone", "student", "trunk"),
    "teacher": ("teacher", "key", "momentum", "ema"),
}
"""What ``--encoder online`` and ``--encoder teacher`` mean in every format, whatever its authors call the two."""


@dataclass(frozen=True, kw_only=True)
class Format:
    """One way of storing a trunk."""

    name: str
    family: str = RESNET
    """Whose names ``rename`` gives: torchvision's for ResNets, timm's for ViTs and for all else that timm has."""
    trunks: dict[str, str]
    """The trunks such a file can hold, the one its authors evaluate first: name for --encoder -> addresses."""
    requires: tuple[str, ...] = ()
    """Addresses that are also there."""
    forbids: tuple[str, ...] = ()
    """Addresses that are not."""
    keys: tuple[str, ...] = ()
    """Keys of the file that are also there."""
    written_as: str = ""
    """How the file's own ``format`` begins; a file that names its format is recognised by nothing else."""
    dropped: tuple[tuple[str, str], ...] = ()
    """(reason, regular expression) of the names left behind. Names beside the trunk need no rule, those in it do."""
    rename: Callable[[str], str] = str
    """A trunk tensor's name here -> its family's."""
    reshape: Callable[[str, Any], Any] = lambda name, tensor: tensor
    """A tensor as it is here, by its family's name -> in its family's shape."""
    heads: Mapping[int, int] = field(default_factory=dict)
    """Width of a ViT -> its attention heads, of the widths for which everybody who writes such files has the same."""
    heads_of: Callable[[Mapping[str, Any]], int | None] = lambda tensors: None
    """The heads as the tensors (by the family's names, in their shapes here) show them, where they do."""
    input: dict | None = field(default_factory=lambda: IMAGENET)
    """What the authors' own code fed the network; None where files of this kind differ and do not say."""
    method: str | Callable[[set[str]], str] = ""
    """The method that such a file comes from, or how the addresses tell it."""
    epochs: tuple[str, int] = ("epoch", 0)
    """Key of the epoch, and what to add to it."""
    origin: Callable[[dict], dict] = lambda content: {}
    """What else the file tells of its origin."""
    source: str
    """Where the layout is written."""

    def trunks_in(self, addresses: set[str]) -> list[str]:
        """Which of ``trunks`` a file with these addresses holds."""
        return [name for name, places in self.trunks.items() if any(self.name_in(a, places) for a in addresses)]

    def encoder(self, name: str, candidates: list[str]) -> str:
        """The candidate that ``name`` means: itself, or the one in the role of ``online`` or ``teacher``."""
        if name in candidates:
            return name
        return next((one for one in ROLES.get(name, ()) if one in candidates), name)

    def name_in(self, address: str, places: str) -> str | None:
        """The family's name of the tensor at ``address`` if it is a trunk tensor of one of the ``places``."""
        rest = below(address, places)
        new = None if rest is None else self.rename(rest)
        return new if new and SIGNS[self.family].match(new) else None

    def recognises(self, content: dict, addresses: set[str]) -> bool:
        if self.written_as or "format" in content:
            named = bool(self.written_as) and str(content.get("format", "")).startswith(self.written_as)
            return named and family_of(content) == self.family
        return (
            all(any(begins(address, places) for address in addresses) for places in self.requires)
            and not any(begins(address, places) for places in self.forbids for address in addresses)
            and all(key in content for key in self.keys)
            and bool(self.trunks_in(addresses))
        )

    def recognised_by(self) -> str:
        """The description in words, for the documentation."""
        if self.written_as.startswith("("):
            return self.written_as.strip("()")
        if self.written_as:
            return f"its `format`, `{self.written_as}...`"
        words = [_words(next(iter(self.trunks.values())))]
        words += [f"with {_words(places)}" for places in self.requires]
        words += [f"without {_words(places)}" for places in self.forbids]
        words += [f"with the key {' and '.join(f'`{key}`' for key in self.keys)}"] if self.keys else []
        return ", ".join(words)


def family_of(content: Mapping) -> str:
    """The family of the network in a file of this suite, which names it; a ResNet in those from before."""
    name = at(content, "config/backbone/name") or at(content, "config/backbone.name") or ""
    return next((family.TITLE for family in backbones.families().values() if family.knows(str(name))), RESNET)


def _words(places: str) -> str:
    return " or ".join(f"`{place.removeprefix(':')}`" if place != ":" else "bare names" for place in places.split("|"))


def begins(address: str, places: str) -> bool:
    """Whether an address begins with one of ``places``, which bars part."""
    return any(address.startswith(place) for place in places.split("|"))


def below(address: str, places: str) -> str | None:
    """What follows the longest of ``places`` that the address begins with."""
    fitting = [place for place in places.split("|") if address.startswith(place)]
    return address[len(max(fitting, key=len)) :] if fitting else None


def address_of(container: str, name: str) -> str:
    """The address of a tensor: its container and its name."""
    return f"{container}:{WRAPPERS.sub('', name)}"


def at(content: Any, path: str):
    """The value under keys joined by slashes, or None."""
    for key in path.split("/"):
        content = content.get(key) if isinstance(content, Mapping) else None
    return content
