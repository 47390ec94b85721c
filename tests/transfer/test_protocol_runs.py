"""Every family of protocols trains, evaluates and reports on a drawn data set of its own layout."""

import json

import pytest

from transfer import results, train

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
def test_a_protocol_takes_an_iteration_and_reports_in_its_tasks(datasets, tmp_path, protocol, benchmark, tasks, metric):
    out = tmp_path / "out"
    words = f"--protocol {protocol} --benchmark {benchmark} --weights random --out {out}".split()
    assert train.main([*words, *(str(word) for pair in SMALL.items() for word in pair)]) == 0
    records = results.read(out / "result.json")
    assert {record.task for record in records} == tasks
    assert {record.protocol for record in records} == {protocol}
    assert all("AP" in {r.metric for r in records if r.task == task} for task in tasks)
    context = json.loads((out / "result.json").read_text())
    assert (context["metric"], context["protocol_version"]) == (metric, 1)
    assert (out / "predictions.png").stat().st_size > 1000
