"""kill -9 at any event of the file system: the same command ends as an undisturbed run, and leaves no strays."""


def test_pretraining(scenes, tmp_path, killed):
    out = tmp_path / "run"
    arguments = ["--method", "simsiam", "--recipe", "demo", "--out", str(out), f"data.root={scenes / 'unlabelled'}"]
    arguments += ["batch_size=16", "epochs=1", "views.size=32", "precision=fp32", "data.workers=0", "optim.name=sgd"]
    arguments += ["log.every=1", "log.checkpoint_every=1", "log.collapse_rank=0", "device=cpu"]
    arguments += ["method.projector_width=64", "method.predictor_width=32"]
    imports = ("pretrain.training_loop", "torch.utils.tensorboard")
    assert killed("pretrain.train", out, arguments, tries=3, imports=imports) >= 3
