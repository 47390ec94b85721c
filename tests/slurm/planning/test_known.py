"""What is read from the text of the commands is what the commands themselves know."""

import argparse
import importlib

import pytest

from runtime.provenance import ROOT
from runtime.settings import flat
from slurm.planning import known
from slurm.planning.stages import STAGES

OPTIONS = sorted({stage.module for name, stage in STAGES.items() if name not in ("pretrain", "linear", "semi")})


class Made(Exception):
    """Carries the parser of a command out of it."""


@pytest.mark.parametrize("module", OPTIONS)
def test_the_options_of_a_command_are_those_of_its_parser(module, monkeypatch):
    def parse(parser, *_, **__):
        raise Made(parser)

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parse)
    monkeypatch.setattr(argparse.ArgumentParser, "parse_intermixed_args", parse)
    with pytest.raises(Made) as made:
        importlib.import_module(module).main([])
    real = {
        name.removeprefix("--"): action.type if action.type in (int, float) else str
        for action in made.value.args[0]._actions
        for name in action.option_strings
        if name.startswith("--") and action.nargs != 0
    }
    assert known.options(module) == real


@pytest.mark.parametrize("module", ["no_such_module", "no.such.module"])
def test_a_module_that_is_not_there_knows_nothing(module):
    assert known.options(module) == {}


def test_the_settings_of_a_probe_are_those_of_its_protocols():
    from transfer.classification import classifier_protocol

    read = known.settings_class(ROOT / "transfer/classification/classifier_protocol.py", "Settings")
    assert flat(read()) == flat(classifier_protocol.Settings())


def test_the_settings_of_a_detector_are_those_of_detectron2_and_ours():
    from transfer.detection import protocol

    assert known.detection_settings() == protocol.flatten(protocol.default_config()).keys()
