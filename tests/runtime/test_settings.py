"""Settings from texts and files: each value by the type of its field, and all that does not fit named at once."""

import subprocess
import sys
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as budget
from hypothesis import strategies as st

from pretrain import config, methods
from runtime.command_line import UserError, error_lines
from runtime.settings import ABOVE_0, AT_LEAST_1, choice, flat, load_dataclass, parse_pairs, updated


@dataclass(frozen=True, kw_only=True)
class Inner:
    path: str = ""
    rates: list[float] = field(default_factory=list, metadata=ABOVE_0)


@dataclass(frozen=True, kw_only=True)
class Outer:
    name: str
    steps: int = field(default=1, metadata=AT_LEAST_1)
    rate: float | None = field(default=0.5, metadata=ABOVE_0)
    fast: bool = False
    kind: str = field(default="a", metadata=choice("a", "b"))
    inner: Inner = field(default_factory=Inner)
    groups: dict[str, Inner] = field(default_factory=dict)


DEFAULT = Outer(name="")


@pytest.mark.parametrize(
    "pair, value",
    [
        ("name=/data/a #1", "/data/a #1"),
        ("name=007", "007"),
        ("name=1:30", "1:30"),
        ("name=null", "null"),
        ("name=a=b", "a=b"),
        ("name=", ""),
        ("name='quoted'", "'quoted'"),
        ("inner.path=[x", "[x"),
        ("steps=007", 7),
        ("rate=1e-5", 1e-5),
        ("rate=none", None),
        ("fast=True", True),
        ("fast=off", False),
        ("inner.rates=[1, 2.5]", [1.0, 2.5]),
        ("inner.rates=1,2.5", [1.0, 2.5]),
    ],
)
def test_the_type_of_a_setting_decides_how_its_text_is_read(pair, value):
    key = pair.partition("=")[0]
    assert flat(updated(DEFAULT, parse_pairs([pair]), "here"))[key] == value


@pytest.mark.parametrize("step", ["1:30", "1_0", "1.5", "0x10", "", "0", "9223372036854775808", "9" * 5000])
@pytest.mark.parametrize("pair", ["fast=1", "kind=c", "rate=1_0", "rate=nan", "rate=inf", "inner=x", "rate.x=1"])
def test_every_text_that_is_no_value_is_a_fault_of_its_own(step, pair):
    with pytest.raises(UserError) as error:
        updated(DEFAULT, parse_pairs([f"steps={step}", pair, "name=fine"]), "here")
    assert len(error.value.faults) == 2
    assert all(len(line) <= 300 for line in error_lines(error.value))


def test_a_file_is_a_dataclass_or_all_its_faults(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text("name: a\ngroups: {x: {path: p, rates: [1, 2]}}\nrate: 1e-3\n")
    assert load_dataclass(path, Outer) == Outer(name="a", rate=1e-3, groups={"x": Inner(path="p", rates=[1.0, 2.0])})
    path.write_text("steps: 0\nrate: fast\nkind: 7\ninner: {path: 7, rates: [0]}\ngroups: {1: {paht: x}}\nnmae: a\n")
    with pytest.raises(UserError) as error:
        load_dataclass(path, Outer)
    told = "\n".join(error.value.faults)
    for words in (
        "steps must be at least 1, got 0",
        "rate must be a finite number, got 'fast'",
        "kind must be a text, got 7; put it in quotes",
        "inner.path must be a text, got 7",
        "inner.rates must be above 0, got 0.0",
        "groups: the name 1 is no text",
        "unknown setting 'groups.1.paht'; known: groups.1.path, groups.1.rates",
        "unknown setting 'nmae'; known: name, steps",
        "name is not given",
    ):
        assert words in told
    assert len(error.value.faults) == 9 and all(fault.startswith(f"{path}: ") for fault in error.value.faults)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.dates(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5) | st.integers(), inner, max_size=3),
    max_leaves=6,
)
NAMES = st.sampled_from(["epochs", "batch_size", "variant", "optim", "data", "views", "method", "log", "device", "x"])
OTHERS = st.sampled_from(["lr", "root", "size", "name", "every", "gamma", "order", "workers", "recipe"])


@budget(derandomize=True, max_examples=150, deadline=None)
@given(values=st.dictionaries(NAMES, VALUES | st.dictionaries(OTHERS, VALUES, max_size=3), max_size=4) | VALUES)
def test_whatever_a_recipe_holds_it_is_settings_or_short_lines(values):
    try:
        settled = updated(config.defaults("matrix_ssl"), values, "mine.yaml")
    except UserError as error:
        assert all(len(line) <= 300 for line in error_lines(error))
    else:
        types = {key: type(value) for key, value in flat(config.defaults("matrix_ssl")).items()}
        assert all(type(value) in (types[key], type(None)) for key, value in flat(settled).items())


@budget(derandomize=True, max_examples=150, deadline=None)
@given(pairs=st.lists(st.text(max_size=12) | st.builds("{}.{}={}".format, NAMES, OTHERS, st.text(max_size=6))))
def test_whatever_is_typed_it_is_settings_or_short_lines(pairs):
    try:
        updated(config.defaults("matrix_ssl"), parse_pairs(pairs), "the command line")
    except UserError as error:
        assert all(len(line) <= 300 for line in error_lines(error))


def test_settings_need_no_torch():
    names = [f"pretrain.methods.settings.{name}" for name in methods.available()]
    code = f"import sys, pretrain.config, pretrain.train, {', '.join(names)}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(config.__file__).parent.parent).returncode == 0


@pytest.mark.parametrize("name", methods.available())
def test_every_number_has_a_limit_and_every_recipe_keeps_them(name):
    for recipe in config.RECIPES.glob("*.yaml"):
        config.resolve(name, recipe.stem, [])

    def check(settings):
        for f in fields(settings):
            value = getattr(settings, f.name)
            if is_dataclass(value):
                check(value)
            assert type(value) not in (int, float) or "limit" in f.metadata, f.name

    check(config.defaults(name))
