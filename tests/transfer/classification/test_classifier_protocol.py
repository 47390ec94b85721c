import pytest

from runtime.command_line import UserError
from transfer.classification import classifier, classifier_protocol
from transfer.classification.classifier_protocol import FOLDER, available, load


def test_every_protocol_names_its_source_and_what_to_expect():
    names = available("linear") + available("semi") + available("finetune")
    assert {"linear-matrix-ssl", "linear-simsiam", "linear-moco", "linear-vicreg", "linear-demo", "semi-demo"} <= {
        *names
    }
    for name in names:
        text = (FOLDER / f"{name}.yaml").read_text(encoding="utf-8")
        assert text.startswith("# ") and "\n# Source: " in text and "\n# Expected: " in text, name
        assert classifier_protocol.version(name) >= 1
        for fraction in (1, 10) if name.startswith("semi") else (None,):
            settings, changed = load(name, [], fraction=fraction)
            assert settings.frozen == name.startswith("linear") and changed == {}


def test_the_papers_linear_protocol_is_the_papers():
    """arXiv 2305.17326, appendix B: LARS, batch 4096, base rate 0.03, so 0.03 x 4096 / 256 = 0.48; 100 epochs; no
    weight decay. Half of the epochs done is half of the rate."""
    settings, _ = load("linear-matrix-ssl", [])
    assert classifier.peak(settings.lr, settings) == pytest.approx(0.48)
    assert (settings.epochs, settings.optimizer, settings.weight_decay, settings.batch_norm) == (100, "lars", 0.0, True)
    assert classifier.factor(0, settings) == 1.0 and classifier.factor(50, settings) == pytest.approx(0.5)
    assert not load("linear-matrix-ssl", ["batch_norm=false"])[0].batch_norm


def test_the_docs_tables_say_what_the_yaml_files_say():
    rows = {}
    page = (FOLDER.parent.parent / "docs/probes.md").read_text(encoding="utf-8")
    for line in page.partition("## The demo's backbone")[0].splitlines():
        if line.startswith(("| `linear-", "| `semi-", "| `finetune-")):
            name, *cells = [cell.strip(" `") for cell in line.strip("|").split("|")]
            rows[name] = cells
    assert sorted(rows) == sorted(available("linear") + available("semi") + available("finetune"))
    for name in available("finetune"):
        settings, _ = load(name, [])
        *numbers, rate, decay, drop, pooling = (rows[name][at] for at in (0, 1, 2, 3, 4, 5))
        assert [int(number) for number in numbers] == [
            settings.epochs,
            settings.batch_size,
        ] and pooling == settings.pooling
        assert float(rate.split("= ")[-1]) == pytest.approx(classifier.peak(settings.lr, settings))
        assert [float(decay), float(drop)] == [settings.layer_decay, settings.drop_path]
    for name in available("linear"):
        settings, _ = load(name, [])
        optimizer, rate, batch, epochs, falls, decay, norm = rows[name]
        assert optimizer.lower() == settings.optimizer and norm.startswith("yes") == settings.batch_norm
        assert float(rate.split("= ")[-1]) == pytest.approx(classifier.peak(settings.lr, settings))
        assert [int(batch), int(epochs), float(decay)] == [settings.batch_size, settings.epochs, settings.weight_decay]
        assert falls == "cosine" if settings.schedule == "cosine" else falls == "x 0.1 at 60, 80"
    for name in available("semi"):
        for fraction, cell in zip((1, 10), rows[name][2:4], strict=True):
            settings, _ = load(name, [], fraction=fraction)
            rates = [classifier.peak(rate, settings) for rate in (settings.lr_backbone, settings.lr)]
            assert [float(rate) for rate in cell.split("/")] == pytest.approx(rates)
            assert str(settings.epochs) in rows[name][0] and int(rows[name][1]) == settings.batch_size


def test_moco_drops_its_rate_of_30_twice():
    settings, _ = load("linear-moco", [])
    rates = [classifier.peak(settings.lr, settings) * classifier.factor(e, settings) for e in (0, 59, 60, 79, 80, 99)]
    assert rates == pytest.approx([30, 30, 3, 3, 0.3, 0.3])


def test_a_fraction_has_its_own_rates():
    one, ten = (load("semi-vicreg", [], fraction=fraction)[0] for fraction in (1, 10))
    assert (one.lr_backbone, one.lr, ten.lr_backbone, ten.lr) == (0.03, 0.08, 0.01, 0.1)
    assert load("semi-simclr", [], fraction=10)[0].epochs == 30


def test_what_differs_from_the_protocol_is_known():
    settings, changed = load("linear-vicreg", ["lr=1", "milestones=[1,2]", "epochs=100", "workers=7", "precision=bf16"])
    assert changed == {
        "lr": 1.0,
        "milestones": [1, 2],
        "precision": "bf16",
    }  # epochs is the protocol's, workers incidental
    assert (settings.lr, settings.workers) == (1.0, 7)


@pytest.mark.parametrize(
    ("pair", "message"),
    [
        ("rate=1", "the command line: unknown setting 'rate'; known: epochs, batch_size"),
        ("lr=fast", "lr must be a finite number, got 'fast'"),
        ("epochs=1.5", "epochs must be a whole number, got '1.5'"),
        ("batch_norm=1", "batch_norm must be true or false, got '1'"),
        ("milestones=[a]", "milestones must be a whole number, got 'a'"),
        ("optimizer=adam", "optimizer must be one of sgd, nesterov, lars, got 'adam'"),
        ("schedule=linear", "schedule must be one of cosine, steps, constant, got 'linear'"),
        ("precision=fp16", "precision must be one of fp32, bf16, auto, got 'fp16'"),
        ("epochs=0", "epochs must be at least 1, got 0"),
        ("batch_size=1", "batch_size must be at least 2, got 1"),
        ("lr=0", "lr must be above 0"),
        ("lr_backbone=-1", "line: lr_backbone must be 0 or more"),
        ("workers=-2", r"line: workers must be -1 \(by the cores\), 0 or more"),
        ("min_scale=2", "line: min_scale must be above 0, at most 1"),
        ("momentum=1", "momentum must be from 0 to below 1"),
        (
            "warmup_epochs=100",
            r"warmup_epochs=100 goes with schedule=cosine, got steps\nwarmup_epochs=100 must be below epochs=100",
        ),
        ("interpolation=nearest", "interpolation must be one of bilinear, bicubic"),
        ("resize=100", "resize=100 must not be below size=224"),
        ("data.root=x", "unknown setting 'data'"),
    ],
)
def test_settings_that_cannot_be_are_one_line(pair, message):
    with pytest.raises(UserError, match=message):
        load("linear-moco", [pair])


def test_every_setting_at_fault_is_named_at_once():
    with pytest.raises(UserError) as raised:
        load("linear-moco", ["lr=0", "workers=-2", "epochs=2"])
    assert [fault.split()[3] for fault in raised.value.faults] == ["lr", "workers"]
    with pytest.raises(UserError, match="nesterov needs a momentum above 0"):
        load("linear-moco", ["optimizer=nesterov", "momentum=0"])


def test_a_fraction_nobody_gave_rates_for_is_refused():
    with pytest.raises(UserError, match="unknown fraction of semi-vicreg '5'; known: 1, 10"):
        classifier_protocol.load("semi-vicreg", [], fraction=5)
