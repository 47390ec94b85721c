"""Every family of protocols trains, evaluates and reports on a drawn data set of its own layout."""

import json

import pytest

from runtime import results
from runtime.command_line import UserError
from transfer import train

SMALL = {
    "SOLVER.IMS_PER_BATCH": 2,
    "SOLVER.MAX_ITER": 1,
    "SOLVER.STEPS": (),
    "INPUT.MIN_SIZE_TRAIN": (64,),
    "INPUT.MAX_SIZE_TRAIN": 64,
    "INPUT.MIN_SIZE_TEST": 64,
    "INPUT.MAX_SIZE_TEST": 64,
    "MODEL.RPN.POST_NMS_TOPK_TRAIN": 20,
    "MODEL.RPN.POST_NMS_TOPK_TEST": 5,
    "MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE": 4,
    "TEST.DETECTIONS_PER_IMAGE": 5,
    "TEST.PRECISE_BN.NUM_ITER": 1,
    "DATALOADER.NUM_WORKERS": 0,
    "TRANSFER.PICTURES": 1,
    "TRANSFER.TENSORBOARD": False,
}


FLAGS = {"densecl-fpn-1x": ("--amp", "on", "--checkpoint-activations")}


def small() -> list[str]:
    return [str(word) for pair in SMALL.items() for word in pair]


@pytest.mark.parametrize(
    ("protocol", "benchmark", "tasks", "metric"),
    [
        ("voc-24k", "voc_2007_2012", {"bbox"}, "voc-2007"),
        ("densecl-fpn-1x", "coco_2017_10pct", {"bbox", "segm"}, "coco"),
        ("keypoint-fpn-1x", "coco_2017_keypoints", {"bbox", "keypoints"}, "coco"),
        ("cityscapes-fpn", "cityscapes", {"segm"}, "cityscapes"),
        ("lvis-fpn-1x", "lvis_v1", {"bbox", "segm"}, "lvis"),
    ],
)
@pytest.mark.slow
def test_a_protocol_takes_an_iteration_and_reports_in_its_tasks(datasets, tmp_path, protocol, benchmark, tasks, metric):
    out = tmp_path / "out"
    words = f"--protocol {protocol} --benchmark {benchmark} --weights random --out {out} --seed 0".split()
    assert train.main([*words, *FLAGS.get(protocol, ()), *small()]) == 0
    records = results.read(out / "result.json")
    assert {record.task for record in records} == tasks
    assert {record.protocol for record in records} == {protocol}
    assert all("AP" in {r.metric for r in records if r.task == task} for task in tasks)
    context = json.loads((out / "result.json").read_text())
    assert (context["metric"], context["protocol_version"]) == (metric, 1)
    switched = (context["amp"], context["precision"], context["checkpoint_activations"])
    assert switched == ((True, "bfloat16", True) if protocol in FLAGS else (False, "float32", False))
    assert (out / "predictions.png").stat().st_size > 1000


@pytest.mark.parametrize(
    ("protocol", "benchmark", "message"),
    [
        ("voc-24k", "cityscapes", "cityscapes.* is scored on segm, which the protocol does not predict"),
        ("moco-c4-1x", "voc_2007_2012", "annotations without a mask; add MODEL.MASK_ON=False"),
        ("keypoint-fpn-1x", "coco_2017", "needs COCO's 17 keypoints in every category, found disk 0"),
    ],
)
def test_a_protocol_that_does_not_fit_the_data_is_refused_before_training(
    datasets, tmp_path, protocol, benchmark, message
):
    words = f"--protocol {protocol} --benchmark {benchmark} --weights random --out {tmp_path / 'out'}".split()
    with pytest.raises(UserError, match=message):
        train.main([*words, *small()])
