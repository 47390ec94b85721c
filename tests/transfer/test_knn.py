import json

import pytest
import torch
from PIL import Image

from pretrain import backbones
from pretrain.backbones import resnet
from pretrain.checkpoints import checkpoint
from runtime import results
from runtime.command_line import UserError
from transfer import knn, linear, semi
from transfer.backbones import frozen
from transfer.classification import batches, knn_run, labelled_images
from transfer.classification.crops import CentreCrops

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def arguments(scenes):
    data = ["--data", str(scenes / "classification"), "--benchmark", "scenes"]
    return [*data, "--size", "32", "--resize", "32", "--workers", "0"]


def test_result_of_a_backbone_and_of_the_untrained_network(arguments, tmp_path):
    config = {"backbone": {"stem": "imagenet"}}
    about = {"method": "matrix_ssl", "recipe": "demo", "variant": "gamma=0.3", "epochs": 3, "seed": 0, "commit": "x"}
    path = tmp_path / "backbone.pth"
    checkpoint.export_backbone(path, backbones.untrained(seed=5), about={**about, "config": config})
    knn.main([*arguments, "--weights", str(path), "--out", str(tmp_path / "a")])
    knn.main(
        [*arguments, "--weights", "random", "--seed", "5", "--out", str(tmp_path / "b"), "--bn-statistics", "initial"]
    )
    trained, random = (results.read(tmp_path / name / "result.json") for name in "ab")
    first = trained[0]
    assert (first.method, first.epochs, first.variant, first.n) == ("matrix_ssl", 3, "gamma=0.3", 12)
    # 24 training images: k = 200 is left out. Eight classes: there is a top-5.
    assert [(record.protocol, record.metric) for record in trained] == [("knn-20", "top1"), ("knn-20", "top5")]
    assert (random[0].method, random[0].epochs, random[0].weights_sha256) == ("random", 0, "")
    assert [r.value for r in trained] == [r.value for r in random]  # the same weights came by two roads


def test_a_cifar_stem_sees_whole_images_of_32_pixels(scenes, tmp_path):
    about = {"method": "simsiam", "recipe": "x", "epochs": 3, "seed": 0, "commit": "x"}
    path, network = tmp_path / "backbone.pth", resnet.resnet(stem="cifar")
    checkpoint.export_backbone(path, network, about={**about, "config": {"backbone": {"stem": "cifar"}}})
    data = ["--data", str(scenes / "classification"), "--benchmark", "scenes", "--workers", "0"]
    knn.main([*data, "--weights", str(path), "--out", str(tmp_path / "a")])
    settings = results.context(tmp_path / "a" / "result.json")["settings"]
    assert (settings["size"], settings["resize"]) == (32, 32)
    assert knn_run.crop_sizes(None, None, stem="imagenet") == (224, 256)
    with pytest.raises(UserError, match="--resize 100 must not be below --size 224"):
        knn_run.crop_sizes(None, 100, stem="imagenet")


def exported(path, name: str, **changed) -> str:
    """A file of an untrained network; ``changed`` are tensors that hold one value."""
    network = backbones.untrained(name, seed=0, side=32)
    for key, value in changed.items():
        network.state_dict()[key.replace("__", ".")].fill_(value)
    about = {"method": "mae", "recipe": "x", "epochs": 3, "seed": 0, "commit": "x"}
    checkpoint.export_backbone(path, network, about={**about, "config": {"backbone": {"name": name}}})
    return str(path)


@pytest.mark.parametrize("command", [knn, linear, semi])
def test_a_size_that_the_network_of_a_file_does_not_take_is_one_line(command, scenes, tmp_path):
    call = ["--weights", exported(tmp_path / "vit.pth", "vit_mini_patch8"), "--out", str(tmp_path / "out")]
    call += ["--benchmark", "scenes", "--data", str(scenes)]
    call += {
        knn: ["--size", "30", "--resize", "32"],
        linear: ["--protocol", "linear-demo", "size=30", "resize=32"],
        semi: ["--protocol", "semi-demo", "--fraction", "10", "size=30", "resize=32"],
    }[command]
    with pytest.raises(UserError, match=r"vit.pth does not take images of 30 pixels .*; give another size"):
        command.main(call)
    assert not (tmp_path / "out").exists()


def test_features_that_are_not_finite_are_refused(arguments, tmp_path):
    path = exported(tmp_path / "backbone.pth", "resnet18", layer4__1__bn2__bias=float("nan"))
    with pytest.raises(UserError, match=r"backbone.pth gives 24 of 24 images features that are not finite, first cres"):
        knn.main([*arguments, "--weights", path, "--out", str(tmp_path / "out")])
    assert not (tmp_path / "out" / "result.json").exists()


def test_the_usual_resize_is_the_same_run_named_or_not(scenes, tmp_path, capsys):
    call = ["--benchmark", "scenes", "--data", str(scenes), "--workers", "0", "--weights", "random"]
    call += ["--network", "resnet18", "--size", "28", "--out", str(tmp_path)]
    knn.main(call)
    knn.main([*call, "--resize", "32"])
    assert capsys.readouterr().out.count("done already") == 1
    record = json.loads((tmp_path / "run.json").read_text())
    assert record["resize"] == 32
    (tmp_path / "run.json").write_text(json.dumps({**record, "resize": None}))  # as it was recorded before
    for more in ([], ["--resize", "32"]):
        knn.main([*call, *more])
        assert "done already" in capsys.readouterr().out
    with pytest.raises(UserError, match="another run: resize"):
        knn.main([*call, "--resize", "30"])


def test_untrained_network_gets_statistics_of_the_images(scenes):
    """After measuring, the first batch norm sees zero mean and unit variance on the very images it was measured on."""
    train, _ = labelled_images.load("scenes", scenes)
    crops, trunk = CentreCrops(train, size=32, resize=32), frozen.load("random")
    frozen.measure_statistics(trunk.network, crops, seed=0, device=torch.device("cpu"))
    seen = []
    trunk.network.bn1.register_forward_hook(lambda module, inputs, output: seen.append(output.clone()))
    batches.features(trunk, crops, device=torch.device("cpu"), workers=0)
    assert seen[0].mean((0, 2, 3)).abs().max() < 1e-3 and (seen[0].var((0, 2, 3)) - 1).abs().max() < 1e-2


def test_a_backbone_sees_the_input_it_was_trained_on(tmp_path):
    """SwAV's standard deviation of red is 0.228: a red of 255 becomes (1 - mean) / 0.228."""
    path, seen = (
        tmp_path / "backbone.pth",
        {"order": "RGB", "mean": [0.485, 0.456, 0.406], "std": [0.228, 0.224, 0.225]},
    )
    content = {"format": checkpoint.BACKBONE, "method": "swav", "recipe": "r", "epochs": 1, "input": seen}
    checkpoint.save(path, {**content, "state_dict": backbones.untrained(seed=0).state_dict()})
    red = frozen.load(str(path)).inputs(torch.full((1, 3, 1, 1), 255, dtype=torch.uint8))[0, 0].item()
    assert red == pytest.approx((1 - 0.485) / 0.228)
    checkpoint.save(path, {**content, "input": {**seen, "order": "BGR"}, "state_dict": {}})
    with pytest.raises(UserError, match="is not a ResNet"):
        frozen.load(str(path))


def _classify_as_a_rank(data: str):
    from runtime import distributed
    from transfer.backbones import frozen
    from transfer.classification import knn_run, labelled_images

    how = {"size": 32, "resize": 32, "crops": "cv2", "bn_statistics": "measured", "precision": "fp32"}
    how |= {"workers": 0, "seed": 0}
    halves, voting = labelled_images.load("scenes", data), [(20, 0.07), (5, 0.1)]
    return knn_run.classify(frozen.load("random"), halves, distributed.init("cpu"), voting=voting, **how)


def test_two_processes_find_what_one_finds(scenes, ranks):
    """Rules of two kinds, the untrained network with measured statistics: the same figures from every rank."""
    alone = _classify_as_a_rank(str(scenes))
    assert list(alone) == ["knn-20", "knn-5-T0.1"]
    assert all(found == alone for found in ranks(2, _classify_as_a_rank, str(scenes)))


def test_shares_cover_a_list_that_the_processes_do_not_divide(ranks):
    def shares_of_a_rank():
        import torch

        from runtime import distributed

        mine = torch.tensor(distributed.shard(7))
        return mine.tolist(), distributed.gather_shards(mine, 7).tolist()

    found = ranks(2, shares_of_a_rank)
    assert [mine for mine, _ in found] == [[0, 1, 2, 3], [4, 5, 6, 6]]
    assert all(whole == list(range(7)) for _, whole in found)


def test_done_already_another_run_in_the_folder_and_a_damaged_result(arguments, tmp_path, capsys):
    call = [*arguments, "--weights", "random", "--out", str(tmp_path)]
    knn.main(call)
    knn.main(call)
    assert "done already" in capsys.readouterr().out
    with pytest.raises(UserError, match=r"another run: voting \(there \[\[20, 0.07\]\], here \[\[5, 0.07\]\]\)"):
        knn.main([*call, "--k", "5"])
    assert json.loads((tmp_path / "result.json").read_text())["settings"]["voting"] == [[20, 0.07]]
    whole = results.read(tmp_path / "result.json")
    (tmp_path / "result.json").write_text("{}")
    knn.main(call)
    assert "it is made again" in capsys.readouterr().err and results.read(tmp_path / "result.json") == whole
    (tmp_path / "run.json").unlink()
    with pytest.raises(UserError, match="result.json of unknown origin"):
        knn.main(call)


def test_rules_that_vote(capsys):
    assert knn_run.voting_rules(knn.voting(None, None), 1000) == [(20, 0.07), (200, 0.1)]
    assert [knn_run.protocol_name(*rule) for rule in knn_run.VOTING] == ["knn-20", "knn-200-T0.1"]
    assert knn_run.voting_rules(knn.voting([20, 200], [0.07]), 1000) == [(20, 0.07), (200, 0.07)]
    assert knn_run.voting_rules(knn.voting(None, [0.07, 0.1]), 1000) == [(20, 0.07), (20, 0.1)]
    assert capsys.readouterr().err == ""
    assert knn_run.voting_rules(None, 100) == [(20, 0.07)]
    assert "100 training images; voting with k = 20 only" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--k 1,2,3 --temperature 0.1,0.2", "3 values of --k and 2 of --temperature do not pair up"),
        ("--k 0", "argument --k: expected whole numbers above 0 between commas, got '0'"),
        ("--k 20;200", "argument --k: expected whole numbers"),
        ("--temperature 0.0", "argument --temperature: expected numbers above 0"),
        ("--temperature nan", "argument --temperature: expected numbers above 0"),
        ("--bn-statistics stored", "stored does not go with --weights random"),
    ],
)
def test_options_that_cannot_be_are_refused_before_any_data_is_read(words, message):
    with pytest.raises(UserError, match=message):
        knn.parse(["--weights", "random", "--benchmark", "b", "--out", "o", *words.split()])


def test_wrong_input_is_one_line(arguments, tmp_path):
    call = [*arguments, "--weights", "random", "--out", str(tmp_path / "out")]
    with pytest.raises(UserError, match="between 1 and the 24 training images"):
        knn.main([*call, "--k", "25"])
    for split in ("train", "val"):
        for name in ("cat", "dog"):
            (tmp_path / split / name).mkdir(parents=True)
            Image.new("RGB", (8, 8)).save(tmp_path / split / name / "1.png")
    (tmp_path / "val/cat/1.png").write_bytes(b"broken")
    # In a worker process, whose exceptions arrive as tracebacks of many lines.
    line = ["--data", str(tmp_path), "--benchmark", "pets", "--k", "1", "--workers", "1"]
    with pytest.raises(UserError, match="^.*val: cat/1.png cannot be read; a labelled set must be whole$"):
        knn.main([*call, *line])


@pytest.mark.parametrize(
    "words, says",
    [
        ("--size 0", "--size must be at least 1, got 0"),
        ("--workers -2", "--workers must be at least -1, got -2"),
        ("--seed -1", "--seed must lie in 0"),
        ("--size 64 --resize 32", "--resize 32 must not be below --size 64"),
    ],
)
def test_sizes_workers_and_seeds_have_limits(words, says):
    with pytest.raises(UserError, match=says):
        knn.parse(f"--weights random --benchmark scenes --out x {words}".split())
