import pytest

from pretrain import config, methods
from runtime.command_line import UserError
from runtime.limits import LIMITS
from runtime.settings import RECIPES, flat


def settings_of(name: str, *pairs: str, recipe: str = "demo") -> config.TrainConfig:
    return config.resolve(name, recipe, list(pairs))


@pytest.mark.parametrize("name", methods.available())
def test_every_number_has_its_limits_and_every_recipe_keeps_them(name):
    for recipe in RECIPES.glob("*.yaml"):
        settings = settings_of(name, recipe=recipe.stem)
    values = flat(settings)
    numbers = {key for key, value in values.items() if type(value) in (int, float)}
    assert numbers <= LIMITS.keys()
    assert not any(type(values[key]) in (str, bool) for key in values.keys() & LIMITS.keys())


def test_there_is_no_limit_to_what_is_no_setting():
    known = {key for name in methods.available() for key in flat(settings_of(name))}
    assert LIMITS.keys() <= known


@pytest.mark.parametrize(
    "name, pair, message",
    [
        ("matrix_ssl", "method.order=0", "method.order must be at least 1, got 0"),
        ("matrix_ssl", "method.ridge=-1", "method.ridge must be 0 or more, got -1.0"),
        ("matrix_ssl", "method.gamma=nan", "method.gamma must be 0 or more, got nan"),
        ("matrix_ssl", "method.gamma=inf", "method.gamma must be 0 or more, got inf"),
        ("matrix_ssl", "seed=-1", "seed must be 0 or more"),
        ("matrix_ssl", "epochs=0", "epochs must be at least 1"),
        ("matrix_ssl", "optim.lr=-1", "optim.lr must be 0 or more"),
        ("matrix_ssl", "views.size=0", "views.size must be at least 1"),
        ("matrix_ssl", "data.workers=-1", "data.workers must be 0 or more"),
        ("mec", "method.distortion=0", "method.distortion must be above 0"),
        ("mec", "method.warmup_share=2", "method.warmup_share must be from 0 to 1"),
        ("byol", "method.teacher_momentum=2", "method.teacher_momentum must be from 0 to 1"),
        ("byol", "method.output_width=-3", "method.output_width must be at least 1"),
        ("moco_v2", "method.queue_size=-8", "method.queue_size must be 0 or more"),
        ("moco_v2", "method.layers=0", "method.layers must be at least 1"),
        ("swav", "method.prototypes=0", "method.prototypes must be at least 1"),
        ("simclr", "method.temperature=0", "method.temperature must be above 0, got 0.0"),
    ],
)
def test_a_number_that_cannot_be_is_named_with_its_limit(name, pair, message):
    with pytest.raises(UserError, match=message):
        settings_of(name, pair)


def test_all_of_them_are_named_at_once():
    with pytest.raises(
        UserError, match="the command line: seed must .* got -1; optim.momentum must be from 0 to below 1, got 1.0"
    ):
        settings_of("mec", "seed=-1", "optim.momentum=1")


def test_what_may_be_none_or_nothing_may():
    settings_of("matrix_ssl", "method.order=none", "method.gamma=0")
    settings_of("moco_v2", "method.teacher_momentum_end=none")


def test_a_run_is_refused_before_its_folder_is_made(refused, tmp_path):
    arguments = ["--method", "swav", "--out", str(tmp_path / "run"), "data.root=/nowhere", "method.queue_size=-8"]
    assert "method.queue_size must be 0 or more, got -8" in refused("pretrain/train.py", *arguments)
    assert not (tmp_path / "run").exists()
