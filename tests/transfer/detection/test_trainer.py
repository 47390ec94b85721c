"""The suite's trainer against Detectron2's own on the same batches."""

import copy

import torch
from detectron2.engine import DefaultTrainer, SimpleTrainer, hooks
from detectron2.structures import PolygonMasks

from runtime.stopping import StopRequest
from transfer.datasets import benchmarks, validate_coco
from transfer.detection import run_config
from transfer.detection.hooks import SeedIteration
from transfer.detection.trainer import Trainer

ITERATIONS = 3


def protocol(scenes, out):
    """``demo-fpn`` in its warm-up, in float32, with polygons, on batches of two."""
    changed = {
        "SOLVER.IMS_PER_BATCH": 2,
        "SOLVER.MAX_ITER": ITERATIONS,
        "SOLVER.STEPS": (2,),
        "INPUT.MASK_FORMAT": "polygon",
        "TEST.PRECISE_BN.ENABLED": False,
        "TRANSFER.AUTO_PRECISION": False,
        "TRANSFER.CHANNELS_LAST": False,
    }
    cfg = run_config.load("demo-fpn", changed)
    paths = benchmarks.locate("scenes", root=str(scenes), paths=dict.fromkeys(benchmarks.PATHS))
    summary, _ = validate_coco.check_both(paths, images=False)
    run_config.resolve(cfg, paths, summary, out=out, seed=0, weights="", world_size=1, device="cpu")
    cfg.defrost()
    cfg.INPUT.MASK_FORMAT = "polygon"  # scenes come with run lengths
    cfg.freeze()
    return cfg


def with_polygons(records: list[dict]) -> None:
    """Makes each object two triangles in its box."""
    for entry in (entry for record in records for entry in record["annotations"]):
        x, y, width, height = entry["bbox"]
        right, bottom = x + width, y + height
        entry["segmentation"] = [[x, y, right, y, x, bottom], [right, bottom, x, bottom, right, y + height / 2]]


def in_detectron2(batch: list[dict]) -> list[dict]:
    """The batch with Detectron2's own masks."""
    for image in batch:
        image["instances"].gt_masks = PolygonMasks(image["instances"].gt_masks.polygons)
    return batch


def test_a_run_killed_before_its_first_checkpoint_begins_its_metrics_anew(scenes, tmp_path):
    (tmp_path / "metrics.json").write_text('{"iteration": 19, "total_loss": 9.0}\n')
    assert Trainer(protocol(scenes, tmp_path), evaluate=dict, stop=StopRequest()).resume() is False
    assert (tmp_path / "metrics.json").read_text() == ""


def test_it_trains_as_detectron2s_own_bit_for_bit(scenes, tmp_path):
    cfg = protocol(scenes, tmp_path)
    ours = Trainer(cfg, evaluate=dict, stop=StopRequest())
    with_polygons(ours.records)
    model = DefaultTrainer.build_model(cfg)
    model.load_state_dict(ours._trainer.model.state_dict())
    optimizer = DefaultTrainer.build_optimizer(cfg, model)
    batches = iter(ours.training_loader(seed=cfg.SEED, workers=0))
    plain = SimpleTrainer(model, [in_detectron2(copy.deepcopy(next(batches))) for _ in range(ITERATIONS)], optimizer)
    schedule = hooks.LRScheduler(optimizer, DefaultTrainer.build_lr_scheduler(cfg, optimizer))
    plain.register_hooks([SeedIteration(cfg.SEED), schedule])

    plain.train(0, ITERATIONS)
    ours.train()

    trained = ours._trainer.model.state_dict()
    assert all(torch.equal(value, trained[name]) for name, value in model.state_dict().items())
    told, expected = ours.storage.histories(), plain.storage.histories()
    timed = {"data_time", "rank_data_time"}
    assert {name: told[name].values() for name in expected.keys() - timed} == {
        name: history.values() for name, history in expected.items() if name not in timed
    }
