import pytest

from pretrain import config, methods
from pretrain.command_line import UserError


def resolve(*pairs, recipe="imagenet-100ep"):
    return config.resolve("matrix_ssl", recipe, list(pairs))


def test_released_recipe_of_matrix_ssl():
    """The flags of the released code's README command; the learning rate is the base rate at batch 256."""
    settings = resolve()
    assert (settings.epochs, settings.batch_size, settings.views.recipe) == (100, 1024, "asymmetric")
    assert (settings.optim.name, settings.optim.lr, settings.optim.weight_decay) == ("sgd", 0.5, 1e-5)
    assert (settings.optim.momentum, settings.optim.warmup_epochs) == (0.9, 10)
    method = settings.method
    assert (method.variant, method.gamma, method.ridge, method.target_scale) == ("released", 1.0, 1.0, 1.0)
    assert (method.order, method.projector_width, method.predictor_width) == (4, 2048, 512)
    assert method.teacher_momentum == 0.996


def test_command_line_wins_over_recipe_file_wins_over_defaults(tmp_path):
    recipe = tmp_path / "mine.yaml"
    recipe.write_text("epochs: 7\noptim: {lr: 0.1}\nfor: {matrix_ssl: {method: {gamma: 0.3}}}\n")
    settings = resolve("optim.lr=1e-2", recipe=str(recipe))
    assert (settings.epochs, settings.optim.lr, settings.method.gamma) == (7, 0.01, 0.3)
    assert settings.batch_size == 1024


@pytest.mark.parametrize(
    "pair, message",
    [
        ("optim.lrr=1", "unknown setting 'optim.lrr'; known: .*optim.lr,"),
        ("method.temperature=1", "unknown setting 'method.temperature'; known: .*method.gamma"),
        ("epochs=ten", "epochs must be int, got 'ten'"),
        ("epochs=1.5", "epochs must be int, got 1.5"),
        ("optim=fast", "optim is a group of settings"),
        ("epochs", "KEY=VALUE, got 'epochs'"),
    ],
)
def test_wrong_settings_are_named(pair, message):
    with pytest.raises(UserError, match=message):
        resolve(pair)


def test_unknown_recipe_lists_the_known():
    with pytest.raises(UserError, match="unknown recipe 'nope'; known: .*imagenet-100ep"):
        resolve(recipe="nope")


def test_every_recipe_fits_every_method_and_every_setting_has_its_sentence():
    for name in methods.available():
        for recipe in config.RECIPES.glob("*.yaml"):
            settings = config.resolve(name, recipe.stem, [])
        text = config.describe(settings)
        assert all(f"  {key}\n" in text for key in config.flat(settings))


def test_titles_come_from_the_files():
    assert methods.title("matrix_ssl") == "Matrix-SSL"
