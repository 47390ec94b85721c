import numpy as np
import pytest
import torch
from PIL import Image

from pretrain.data import datasets, views, walk
from runtime.command_line import UserError


def sampler(**changes):
    settings = {"batch_size": 4, "total_steps": 7, "seed": 0} | changes
    return datasets.StepSampler(10, **settings)


def test_order_from_any_step_is_the_tail_of_the_order_from_the_start():
    whole = list(sampler())
    for start in range(7):
        assert list(sampler(start=start)) == whole[start:]


def test_an_epoch_is_a_permutation_and_the_next_epoch_another():
    epochs = {}
    for batch in sampler(total_steps=4):
        for epoch, index in batch:
            epochs.setdefault(epoch, []).append(index)
    assert all(len(set(order)) == len(order) == 8 for order in epochs.values())
    assert epochs[0] != epochs[1]


def test_shares_of_two_ranks_concatenate_to_the_global_batch(monkeypatch):
    whole = list(sampler())
    monkeypatch.setattr(datasets.distributed, "world_size", lambda: 2)
    shares = []
    for rank in range(2):
        monkeypatch.setattr(datasets.distributed, "rank", lambda rank=rank: rank)
        shares.append(list(sampler()))
    assert [a + b for a, b in zip(*shares, strict=True)] == whole


def gradient_image() -> Image.Image:
    return Image.fromarray(np.arange(48 * 48 * 3, dtype=np.uint32).astype(np.uint8).reshape(48, 48, 3))


def test_views_are_a_function_of_image_and_key():
    augment = views.Augment(views.random_views(views.ViewsConfig(size=32)))
    first, again, other = (augment(gradient_image(), key) for key in ((0, 0, 1), (0, 0, 1), (0, 0, 2)))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0], other[0]) and not torch.equal(first[0], first[1])
    assert first[0].shape == (3, 32, 32) and first[0].dtype == torch.uint8


def test_asymmetric_recipe_is_the_released_one():
    one, two = views.random_views(views.ViewsConfig())
    assert (one.blur_p, one.solarize_p, two.blur_p, two.solarize_p) == (1.0, 0.0, 0.1, 0.2)
    for view in (one, two):
        assert view.jitter == (0.4, 0.4, 0.2, 0.1) and (view.jitter_p, view.grayscale_p) == (0.8, 0.2)
        assert view.scale == (0.2, 1.0) and view.blur_sigma == (0.1, 2.0)


def test_normalise_maps_the_mean_to_zero_and_one_deviation_to_one():
    pixel = torch.tensor([0.485, 0.456, 0.406]).mul(255).round().to(torch.uint8).view(1, 3, 1, 1)
    assert views.normalise(pixel).abs().max() < 0.02
    assert torch.allclose(views.normalise(pixel + 57)[0, 1], views.normalise(pixel)[0, 1] + 57 / 255 / 0.224)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_normalised_views_are_those_of_the_formula_to_the_last_bit(layout):
    """(x / 255 - mean) / std in float32, laid out as the network wants it, whatever the layout of the bytes."""
    pixels = torch.arange(256, dtype=torch.uint8).repeat(6).view(2, 3, 16, 16)
    kept = pixels.clone().contiguous(memory_format=layout)
    found = views.normalise(kept)
    mean, std = views.NORMALISATIONS["imagenet"]
    expected = [(pixels[:, k].float() / 255 - mean[k]) / std[k] for k in range(3)]
    assert torch.equal(found, torch.stack(expected, 1)) and torch.equal(kept, pixels)
    assert found.is_contiguous(memory_format=torch.channels_last)


def test_unreadable_image_is_named_and_the_next_one_stands_in(tmp_path):
    gradient_image().save(tmp_path / "a.png")
    (tmp_path / "b.jpg").write_bytes(b"\xff\xd8\xff not a picture")
    gradient_image().save(tmp_path / "c.png")
    augment = views.Augment(views.random_views(views.ViewsConfig(recipe="symmetric", size=32)))
    dataset = datasets.ViewsDataset(datasets.ImageFolder(tmp_path), augment, seed=0)
    _, _, unreadable = dataset[(0, 1)]
    assert unreadable == ["b.jpg"]
    assert dataset[(0, 0)][2] == []


def test_classes_are_the_folders_below_the_root(tmp_path):
    for name in ("dog/1.png", "cat/2.png", "cat/more/3.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        gradient_image().save(tmp_path / name)
    folder = datasets.ImageFolder(tmp_path)
    assert folder.classes == ["cat", "dog"] and folder.labels.tolist() == [0, 0, 1]
    gradient_image().save(tmp_path / "stray.png")
    assert datasets.ImageFolder(tmp_path).classes == []


def test_small_views_are_drawn_like_the_first_one():
    large = views.random_views(views.ViewsConfig(recipe="simclr", small=3, interpolation="bicubic"))
    assert [view.size for view in large] == [224, 224, 96, 96, 96]
    assert large[2].scale == (0.05, 0.14) and large[2].jitter == large[0].jitter
    assert large[2].blur_sigma == large[0].blur_sigma == (0.1, 2.0)  # released SwAV code: one blur for both sizes
    augment = views.Augment(views.random_views(views.ViewsConfig(size=32, small=2, small_size=16)))
    assert [view.shape[-1] for view in augment(gradient_image(), (0, 0, 1))] == [32, 32, 16, 16]


def test_the_blur_shrinks_with_the_view_for_drawn_scenes_alone():
    """solo-learn blurs CIFAR's 32 pixels by up to 2, as others do 224."""
    sigmas = {
        name: {view.blur_sigma for view in views.random_views(views.ViewsConfig(recipe=name, size=32))}
        for name in views.RECIPES
    }
    assert sigmas.pop("scenes") == {(0.1, 2 / 7)}
    assert all(sigma == {(0.1, 2.0)} for sigma in sigmas.values())


@pytest.mark.parametrize("content", [None, "notes.txt"])
def test_no_folder_and_no_image_are_errors(tmp_path, content):
    root = tmp_path / "images"
    if content:
        root.mkdir()
        (root / content).write_text("no picture")
    with pytest.raises(UserError, match="no image below" if content else "no folder of images"):
        walk.image_paths(root)


def test_cifar_that_is_not_there_is_one_line(tmp_path):
    with pytest.raises(UserError, match="no complete cifar100 at .*cifar-100-python"):
        datasets.Cifar(tmp_path, "cifar100")
