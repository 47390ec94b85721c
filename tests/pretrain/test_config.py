import pytest
import torch

from pretrain import config, methods
from pretrain.data import views
from pretrain.optimisation import optimizers
from runtime.command_line import UserError
from runtime.settings import describe, flat


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


def test_a_method_that_a_recipe_misspells_is_not_passed_over(tmp_path):
    recipe = tmp_path / "mine.yaml"
    recipe.write_text("for: {matrix-ssl: {method: {gamma: 0.3}}}\n")
    with pytest.raises(UserError, match="unknown method under 'for' in .*mine.yaml: 'matrix-ssl'; .*matrix_ssl"):
        resolve(recipe=str(recipe))


@pytest.mark.parametrize(
    "pair, message",
    [
        ("optim.lrr=1", "unknown setting 'optim.lrr'; known: .*optim.lr,"),
        ("method.temperature=1", "unknown setting 'method.temperature'; known: .*method.gamma"),
        ("epochs=ten", "epochs must be a whole number, got 'ten'"),
        ("epochs=1.5", "epochs must be a whole number, got '1.5'"),
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
        text = describe(settings)
        assert all(f"  {key}\n" in text for key in flat(settings))


def epochs_of(name: str, recipe: str, share: str) -> float:
    settings = config.resolve(name, recipe, [])
    return getattr(settings.method, share) * settings.epochs


OF_ALL_METHODS = {path.stem for path in config.RECIPES.glob("*ep*.yaml") if "-vit-" not in path.stem}
OF_ALL_METHODS -= {"cifar10-1000ep-simclr"}


@pytest.mark.parametrize("recipe", sorted(OF_ALL_METHODS))
def test_what_a_source_counts_in_epochs_is_as_many_in_a_run_of_any_length(recipe):
    """MEC's warm-up of lambda_inv: 10 epochs. SwAV's fixed prototypes: 1; solo-learn's on CIFAR: 2, lightly's:
    none. SwAV's queue: from 15, on CIFAR from 50."""
    cifar = recipe.startswith("cifar")
    frozen = 0 if recipe == "cifar10-800ep" else 2 if cifar else 1
    assert epochs_of("mec", recipe, "warmup_share") == pytest.approx(10)
    assert epochs_of("swav", recipe, "freeze_share") == pytest.approx(frozen)
    if config.resolve("swav", recipe, []).method.queue_size:
        assert epochs_of("swav", recipe, "queue_from") == pytest.approx(50 if cifar else 15)


@pytest.mark.parametrize("recipe", ["cifar10-1000ep", "cifar100-1000ep"])
@pytest.mark.parametrize(
    "name, optimizer, peak, decay, min_scale, blur",
    [
        ("simclr", "larc", 0.4, 1e-4, 0.08, 0.5),
        ("moco_v2", "sgd", 0.3, 1e-4, 0.08, 0.5),
        ("byol", "larc", 1.0, 1e-5, 0.08, 0.0),
        ("swav", "larc", 0.6, 1e-6, 0.08, 0.5),
        ("simsiam", "sgd", 0.5, 1e-5, 0.08, 0.5),
        ("barlow_twins", "larc", 0.3, 1e-4, 0.08, 0.0),
        ("vicreg", "larc", 0.3, 1e-4, 0.2, 0.0),
    ],
)
def test_cifar_recipes_are_those_of_solo_learn(recipe, name, optimizer, peak, decay, min_scale, blur):
    """scripts/pretrain/cifar: LARS with eta 0.02 and a clip, biases and norms excluded; warm-up from 3e-5."""
    settings = config.resolve(name, recipe, [])
    optim, crops = settings.optim, views.random_views(settings.views)
    assert (optim.name, optim.weight_decay, optim.exclude_1d) == (optimizer, decay, optimizer == "larc")
    assert optimizers.peak_lr(optim, settings.batch_size) == pytest.approx(peak)
    assert (optim.trust, optim.warmup_epochs, optim.warmup_start, optim.final_lr) == (0.02, 10, 3e-5, 0)
    assert {view.scale[0] for view in crops} == {min_scale} and {view.blur_p for view in crops} == {blur}
    assert (settings.views.interpolation, settings.views.normalisation) == ("bicubic", recipe.split("-")[0])
    assert len(crops) == 2 and settings.backbone.stem == "cifar"


# Optimiser, peak rate, decay, smallest crop, normalisation, and what of the method the source changes.
BATCH_512 = {
    "simsiam": ("sgd", 0.06, 5e-4, 0.2, "cifar10", {"layers": 2, "projector_width": 2048, "predictor_width": 512}),
    "moco_v2": ("sgd", 0.06, 5e-4, 0.08, "cifar10-moco", {"queue_size": 4096, "temperature": 0.1, "layers": 1}),
    "simclr": ("sgd", 0.24, 5e-4, 0.08, "imagenet", {"temperature": 0.5, "projector_width": 512}),
    "byol": ("sgd", 0.24, 5e-4, 0.08, "imagenet", {"teacher_momentum": 0.99, "projector_width": 1024}),
    "swav": ("adamw", 0.004, 1e-6, 0.14, "imagenet", {"prototypes": 512, "queue_size": 0, "projector_width": 512}),
    "barlow_twins": ("sgd", 0.24, 5e-4, 0.08, "imagenet", {"layers": 2, "projector_width": 2048}),
}


@pytest.mark.parametrize("name", BATCH_512)
def test_cifar_recipe_at_batch_512_is_that_of_papers_notebooks_and_lightly(name):
    """SimSiam's appendix D; MoCo's notebook; lightly's benchmark: rates times batch / 128, ImageNet's normalisation."""
    settings = config.resolve(name, "cifar10-800ep", [])
    optim, crops = settings.optim, views.random_views(settings.views)
    peak = optimizers.peak_lr(optim, settings.batch_size)
    optimizer, rate, decay, min_scale, normalisation, changes = BATCH_512[name]
    assert (optim.name, optim.weight_decay, settings.views.normalisation) == (optimizer, decay, normalisation)
    assert peak == pytest.approx(rate) and (optim.warmup_epochs, optim.final_lr, optim.exclude_1d) == (0, 0, False)
    assert [(view.size, view.scale[0], view.blur_p, view.solarize_p) for view in crops] == [(32, min_scale, 0, 0)] * 2
    assert {view.jitter for view in crops} == {(0.4, 0.4, 0.4, 0.1)} and settings.backbone.stem == "cifar"
    assert (settings.epochs, settings.batch_size) == (800, 512)
    assert changes.items() <= flat(settings.method).items()


def test_cifar_recipe_of_simclr_is_that_of_its_appendix():
    """B.9: the ImageNet settings, but for half the jitter, no blur, T 0.5 and the rate, 1 x batch / 256."""
    settings = config.resolve("simclr", "cifar10-1000ep-simclr", [])
    optim, crops = settings.optim, views.random_views(settings.views)
    assert (settings.epochs, settings.batch_size, settings.backbone.stem) == (1000, 1024, "cifar")
    assert (optim.name, optim.weight_decay, optim.exclude_1d, optim.warmup_epochs) == ("lars", 1e-6, True, 10)
    assert optimizers.peak_lr(optim, settings.batch_size) == 4
    half = [(32, 0.08, 0, (0.4, 0.4, 0.4, 0.1))] * 2
    assert [(view.size, view.scale[0], view.blur_p, view.jitter) for view in crops] == half
    assert (settings.views.normalisation, settings.views.interpolation) == ("none", "bicubic")
    assert (settings.method.temperature, settings.method.head, settings.method.layers) == (0.5, "paper", 2)


def test_titles_come_from_the_files():
    assert methods.title("matrix_ssl") == "Matrix-SSL"


@pytest.mark.parametrize(
    "recipe, name, network, epochs, batch, peak",
    [
        ("imagenet-200ep", "mae", "vit_base_patch16", 200, 1024, 6e-4),  # as U-MAE's and M-MAE's papers compare it
        ("imagenet-200ep", "u_mae", "vit_base_patch16", 200, 1024, 6e-4),
        ("imagenet-200ep", "m_mae", "vit_base_patch16", 200, 1024, 6e-4),
        ("imagenet-200ep-vit-large", "m_mae", "vit_large_patch16", 200, 1024, 6e-4),
        ("imagenet-800ep", "mae", "vit_base_patch16", 800, 4096, 2.4e-3),
        ("imagenet-800ep-vit-large", "mae", "vit_large_patch16", 800, 4096, 2.4e-3),
        ("imagenet-800ep-vit-huge", "mae", "vit_huge_patch14", 800, 4096, 2.4e-3),
        ("imagenet-1600ep-vit-base", "mae", "vit_base_patch16", 1600, 4096, 2.4e-3),
        ("imagenet-1600ep-vit-large", "mae", "vit_large_patch16", 1600, 4096, 2.4e-3),
        ("imagenet-1600ep-vit-huge", "mae", "vit_huge_patch14", 1600, 4096, 2.4e-3),
    ],
)
def test_recipes_of_masked_auto_encoders_are_those_of_their_sources(recipe, name, network, epochs, batch, peak):
    """MAE's PRETRAIN.md; the released pretrain.sh of U-MAE and M-MAE; mu 1 for ViT-B and 3 for ViT-L (the paper)."""
    settings = config.resolve(name, recipe, [])
    config.check(name, settings)
    optim, method = settings.optim, settings.method
    assert (settings.backbone.name, settings.epochs, settings.batch_size) == (network, epochs, batch)
    assert optimizers.peak_lr(optim, batch) == pytest.approx(peak) and optim.warmup_epochs == 40
    assert optimizers.build(torch.nn.Linear(1, 1), optim).defaults["betas"] == (0.9, 0.95)
    assert (method.mask_ratio, method.normalised_target) == (0.75, True)
    assert (method.decoder_width, method.decoder_depth, method.decoder_heads) == (512, 8, 16)
    if name != "mae":
        assert (method.weight, method.variant) == (0.01, "written")
    if name == "m_mae":
        assert method.mu == (3 if network == "vit_large_patch16" else 1)
