import json

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from analysis import features
from analysis.extraction import extract, feature_file
from analysis.extraction.choice import choose
from analysis.extraction.images import Folder, Prepared
from pretrain import backbones
from pretrain.backbones import resnet
from pretrain.checkpoints import checkpoint
from pretrain.data import packing, views
from runtime.command_line import UserError
from transfer.backbones.frozen import Backbone
from transfer.classification.crops import CentreCrop


@pytest.fixture(scope="module")
def arguments(scenes):
    return ["--data", str(scenes / "classification/val"), "--size", "32", "--resize", "32", "--workers", "0"]


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    path = tmp_path_factory.mktemp("run") / "backbone.pth"
    config = {"backbone": {"stem": "imagenet"}, "views": {"recipe": "scenes", "min_scale": 0.4}}
    about = {"method": "mec", "recipe": "demo", "variant": "gamma=2", "epochs": 3, "seed": 5, "commit": "x"}
    checkpoint.export_backbone(path, backbones.untrained(seed=5), about={**about, "config": config})
    return str(path)


def test_the_file_holds_what_the_network_makes_of_each_image(arguments, exported, scenes, tmp_path):
    out = tmp_path / "f.safetensors"
    features.main([*arguments, "--weights", exported, "--out", str(out), "--benchmark", "scenes"])
    found = feature_file.read(out)
    images = Folder(scenes / "classification/val")
    assert found.h.shape == (12, 2048) and found.views is None
    assert found.names == images.names and found.y.tolist() == images.labels
    assert all(found.about["classes"][k] == name.split("/")[0] for k, name in zip(found.y, found.names, strict=True))
    pixels = torch.stack([Prepared(images, [7], CentreCrop(size=32, resize=32))[0][0]])
    with torch.no_grad():
        expected = backbones.untrained(seed=5).eval()(views.normalise(pixels))[0]
    assert torch.allclose(found.h[7].float(), expected, atol=1e-3)
    assert found.about["variant"] == "gamma=2" and len(found.about["weights_sha256"]) == 64
    assert found.title == "MEC (gamma=2)" and found.about["benchmark"] == "scenes"


@pytest.mark.slow
def test_views_are_a_function_of_seed_and_image(arguments, tmp_path):
    call = [*arguments, "--weights", "random", "--limit-per-class", "1", "--views", "3"]
    made = []
    for name, seed in (("a", "0"), ("b", "0"), ("c", "1")):
        out = tmp_path / f"{name}.safetensors"
        features.main([*call, "--out", str(out), "--sample-seed", seed])
        made.append(feature_file.read(out))
    a, b, c = made
    assert a.views.shape == (len(a.names), 3, 2048)
    assert torch.equal(a.views, b.views) and a.names == b.names
    assert not torch.allclose(a.views[:, 0], a.views[:, 1])
    assert c.names != a.names or not torch.equal(c.views, a.views)


def test_views_are_drawn_as_the_network_saw_them(scenes):
    stored = {"recipe": "scenes", "min_scale": 0.4, "interpolation": "bicubic", "size": 32}
    network = Backbone(network=torch.nn.Identity(), about={}, views=stored)
    image = Image.fromarray(Folder(scenes / "classification/val").pixels(7))
    drawn = extract.random_views(network, size=48, count=2, seed=5)(image, 7)
    config = views.ViewsConfig(recipe="scenes", min_scale=0.4, interpolation="bicubic", size=48)
    expected = views.Augment(views.random_views(config))(image, (5, 7, 0))
    assert torch.equal(drawn, torch.stack(expected))


def test_half_precision_stores_two_bytes_and_nearly_the_same(arguments, exported, tmp_path):
    found = {}
    for name, extra in (("full", []), ("half", ["--half"])):
        out = tmp_path / f"{name}.safetensors"
        features.main([*arguments, "--weights", exported, "--out", str(out), *extra])
        found[name] = feature_file.read(out).h
    assert torch.allclose(found["full"], found["half"], rtol=1e-3, atol=1e-3)
    assert (tmp_path / "half.safetensors").stat().st_size < 0.6 * (tmp_path / "full.safetensors").stat().st_size


def _extract(folder):
    import functools

    import torch

    from analysis.extraction import extract, images
    from pretrain.data import views

    prepared = images.Prepared(images.Folder(folder), [0, 3, 5, 6, 9], CentreCrop(size=32, resize=32))
    network = backbones.untrained(seed=5).eval()
    h, drawn = extract.extract(
        network,
        prepared,
        normalise=functools.partial(views.normalise),
        device=torch.device("cpu"),
        workers=0,
        half=False,
    )
    assert drawn is None
    return h


def test_two_processes_extract_what_one_does(scenes, ranks):
    """Five images in two shares: the second is filled up, and the filling goes again."""
    one = _extract(scenes / "classification/val")
    assert one.shape == (5, 2048)
    for h in ranks(2, _extract, scenes / "classification/val"):
        assert torch.allclose(one, h, atol=1e-4)


def test_projector_comes_from_the_checkpoint_by_its_stored_settings(arguments, tmp_path):
    from pretrain.methods import simsiam

    settings = {"stop_gradient": False, "projector_width": 48, "predictor_width": 16}
    torch.manual_seed(0)
    network = simsiam.Method(resnet.resnet(), simsiam.Config(**settings)).eval()
    config = {"backbone": {"stem": "imagenet"}, "views": {"recipe": "scenes", "min_scale": 0.4}, "method": settings}
    content = {"format": checkpoint.CHECKPOINT, "method": "simsiam", "recipe": "demo", "epochs": 2, "seed": 0}
    path = tmp_path / "checkpoint.pth"
    checkpoint.save(path, {**content, "config": config, "step": 17, "model": network.state_dict()})
    out = tmp_path / "f.safetensors"
    features.main([*arguments, "--weights", str(path), "--layer", "projector", "--out", str(out)])
    found = feature_file.read(out)
    assert found.h.shape == (12, 48) and found.about["step"] == 17 and found.about["layer"] == "projector"
    from transfer.backbones import frozen

    pixels = torch.randint(0, 256, (2, 3, 32, 32), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    loaded = frozen.load(path, "projector", unfinished=True)
    inputs = loaded.inputs(pixels)
    with torch.no_grad():
        assert torch.equal(loaded.network(inputs), network.projector(network.backbone(inputs)))


def test_done_already_and_other_features_in_the_place(arguments, tmp_path, capsys):
    out = ["--out", str(tmp_path / "f.safetensors")]
    call = [*arguments, "--weights", "random", "--limit-per-class", "1", *out]
    features.main(call)
    features.main(call)
    assert "done already" in capsys.readouterr().out
    for other in (["--half"], ["--crops", "torchvision"]):
        with pytest.raises(UserError, match=r"holds other features \(settings\)"):
            features.main([*call, *other])


def test_wrong_networks_and_sizes_are_one_line(arguments, exported, tmp_path):
    call = [*arguments, "--out", str(tmp_path / "f.safetensors")]
    with pytest.raises(UserError, match="unknown layer 'head'; known: backbone, embeddings, projector"):
        features.main([*call, "--weights", exported, "--layer", "head"])
    with pytest.raises(UserError, match="a backbone without its projector; give the checkpoint.pth"):
        features.main([*call, "--weights", exported, "--layer", "projector"])
    with pytest.raises(UserError, match="the untrained network has no projector"):
        features.main([*call, "--weights", "random", "--layer", "projector"])
    with pytest.raises(UserError, match="--resize 31 must not be below --size 32: the crop lies inside"):
        features.main([*call, "--weights", "random", "--resize", "31"])
    assert not (tmp_path / "f.safetensors").exists()


def draw(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(root / name)
    return root


def test_labels_from_folders_from_a_csv_or_none(tmp_path):
    root = draw(tmp_path / "tree", "dog/1.png", "cat/deep/2.png")
    packing.pack(root, tmp_path / "packed", shard_bytes=1000)
    for folder in (Folder(root), Folder(tmp_path / "packed")):
        assert folder.classes == ["cat", "dog"] and folder.labels == [0, 1] and folder.pixels(1).shape == (8, 8, 3)
    flat = draw(tmp_path / "flat", "1.png", "2.png", "sub/3.png")
    assert Folder(flat).classes == [] and Folder(flat).labels == [-1, -1, -1]
    (tmp_path / "labels.csv").write_text("name,class\n1.png,owl\n2.png,ant\nsub/3.png,owl\n")
    assert Folder(flat, tmp_path / "labels.csv").labels == [1, 0, 1]


def test_a_label_file_that_does_not_match_is_one_line(tmp_path):
    flat = draw(tmp_path / "flat", "1.png", "2.png")
    labels = tmp_path / "labels.csv"
    labels.write_text("1.png,owl\n7.png,ant\n")
    with pytest.raises(UserError, match=r"1 images without a label, 1 labels without an image \(2.png has no label\)"):
        Folder(flat, labels)
    for text, message in (
        ("1.png,owl\n2.png,ant\n1.png,ant\n", "line 3: 1.png has two classes, owl and ant; give one line"),
        ("1.png,owl\n2.png,\n", "line 2: 2.png has no class; give one line"),
    ):
        labels.write_text(text)
        with pytest.raises(UserError, match=message):
            Folder(flat, labels)
    labels.write_text("1.png;owl\n")
    with pytest.raises(UserError, match="line 1: expected name,class"):
        Folder(flat, labels)
    with pytest.raises(UserError, match="holds the splits train, val"):
        Folder(draw(tmp_path / "sets", "train/a/1.png", "val/a/2.png"))


def test_choice_takes_the_same_images_whatever_the_network(tmp_path):
    labels = [0] * 10 + [1] * 3
    chosen = choose(labels, 4, seed=0)
    assert [labels[i] for i in chosen] == [0] * 4 + [1] * 3 and chosen == choose(labels, 4, seed=0)
    assert chosen != choose(labels, 4, seed=1)


@pytest.mark.parametrize("workers", [0, 2])
def test_an_image_that_cannot_be_read_is_one_line_whoever_reads_it(tmp_path, workers):
    root = draw(tmp_path / "tree", "ant/1.png", "owl/2.png")
    (root / "owl/2.png").write_bytes((root / "owl/2.png").read_bytes()[:45])
    prepared = Prepared(Folder(root), [0, 1], CentreCrop(size=8, resize=8))
    with pytest.raises(UserError, match=r"owl/2\.png") as error:
        extract.extract(
            torch.nn.Identity(),
            prepared,
            normalise=torch.Tensor.float,
            device=torch.device("cpu"),
            workers=workers,
            half=False,
        )
    assert len(error.value.faults) == 1 and "Traceback" not in str(error.value)


def test_features_that_are_no_numbers_name_the_images(tmp_path):
    h = torch.ones(3, 2)
    h[1, 0] = float("nan")
    path = tmp_path / "f.safetensors"
    feature_file.write(path, h, labels=[0, 0, 1], names=["a.png", "b.png", "c.png"], views=None, about={})
    with pytest.raises(UserError, match=r"1 of 3 images are not finite \(b.png\)"):
        feature_file.read(path)


def test_other_files_are_one_line(tmp_path):
    with pytest.raises(UserError, match="no features at"):
        feature_file.read(tmp_path / "none.safetensors")
    (tmp_path / "bad.safetensors").write_bytes(b"broken")
    with pytest.raises(UserError, match="no feature file, or a damaged one"):
        feature_file.read(tmp_path / "bad.safetensors")
    save_file({"x": torch.ones(1)}, tmp_path / "other.safetensors", metadata={"about": json.dumps({})})
    with pytest.raises(UserError, match="holds no features"):
        feature_file.read(tmp_path / "other.safetensors")


def test_files_of_different_backbones_or_images_are_not_compared(tmp_path):
    made = []
    for name, sha, image in (("a", "1", "x.png"), ("b", "2", "x.png"), ("c", "1", "y.png")):
        path = tmp_path / f"{name}.safetensors"
        about = {"weights_sha256": sha}
        feature_file.write(path, torch.ones(1, 2), labels=[0], names=[image], views=None, about=about)
        made.append(feature_file.read(path))
    a, b, c = made
    with pytest.raises(UserError, match="features of different backbones"):
        feature_file.need_same(a, b, "weights_sha256")
    with pytest.raises(UserError, match="features of different images"):
        feature_file.need_same(a, c, "weights_sha256", "images_sha256")


def test_cifar_needs_its_archive(tmp_path):
    with pytest.raises(UserError, match="no complete cifar100"):
        features.main(
            ["--weights", "random", "--data", str(tmp_path), "--format", "cifar100", "--out", str(tmp_path / "f")]
        )
