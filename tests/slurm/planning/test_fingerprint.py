"""A job is the same job while its command, the code it can reach and its inputs are the same."""

import ast

import pytest

from runtime import job_records
from runtime.job_records import Done
from slurm.planning import fingerprint, reuse


@pytest.fixture
def code(tmp_path, monkeypatch):
    """A checkout of three files: a stage, what it imports, and a method that its words can name."""
    (tmp_path / "pretrain" / "methods").mkdir(parents=True)
    (tmp_path / "pretrain" / "stage.py").write_text("from pretrain import helper\n\n\ndef main():\n    pass\n")
    (tmp_path / "pretrain" / "helper.py").write_text('"""Helps."""\n\nSTEP = 1\n')
    (tmp_path / "pretrain" / "methods" / "simclr.py").write_text("SIZE = 1\n")
    (tmp_path / "pretrain" / "methods" / "byol.py").write_text("SIZE = 1\n")
    monkeypatch.setattr(fingerprint, "ROOT", tmp_path)

    def forget():
        for cached in (fingerprint.read, fingerprint.choices, fingerprint.hash_of, fingerprint.paths_of):
            cached.cache_clear()

    def code_of(*argv):
        forget()
        return fingerprint.code_of("pretrain.stage", argv)

    yield tmp_path / "pretrain", code_of
    forget()


def test_what_a_module_imports_is_its_code_and_a_comment_is_not(code):
    folder, code_of = code
    before = code_of()
    (folder / "helper.py").write_text('"""Helps a lot."""\n\n# why not\nSTEP  =  1\n')
    assert code_of() == before
    (folder / "helper.py").write_text('"""Helps."""\n\nSTEP = 2\n')
    assert code_of() != before


def test_imports_are_found_however_they_are_written():
    text = "import a.b, c as d  # e\nfrom f import g as h, i\n"
    text += "def k():\n    from l.m import (  # n\n        o,  # p\n        q,\n    )\n"
    found = set(fingerprint.imported(ast.parse(text)))
    assert found == {"a.b", "c", "f", "f.g", "f.i", "l.m", "l.m.o", "l.m.q"}


def test_a_method_is_the_code_of_the_job_that_names_it_alone(code):
    folder, code_of = code
    simclr, byol = code_of("--method", "simclr"), code_of("--method", "byol")
    (folder / "methods" / "byol.py").write_text("SIZE = 2\n")
    assert code_of("--method", "simclr") == simclr and code_of("--method", "byol") != byol


def test_the_real_stages_reach_their_own_files():
    names = {path.name for path in reached("pretrain.train", "mec", "demo")}
    assert {"train.py", "mec.py", "demo.yaml", "views.py"} <= names and "graph.py" not in names
    names = {path.name for path in reached("transfer.train", "demo-fpn")}
    assert {"demo-fpn.yaml", "_demo.yaml", "trainer.py"} <= names


def reached(module, *words):
    return fingerprint.reached(module, fingerprint.named(words))


DEBUG = ("--cluster", "debug")


def test_finished_work_of_other_code_is_kept_and_named_and_redo_makes_it_again(suite, capsys, monkeypatch):
    assert suite.main(*DEBUG) == 0
    monkeypatch.setattr(reuse, "code_of", lambda module, argv: "other")
    capsys.readouterr()
    assert suite.main(*DEBUG) == 0
    assert "5 finished jobs were made by other code" in capsys.readouterr().err
    assert suite.calls("random-seed0/train") == 1
    assert suite.main(*DEBUG, "--redo") == 0
    assert suite.calls("random-seed0/train") == 1, "in a new folder"
    old = list((suite.folder / "runs.old" / "random-seed0").glob("train~*/calls.txt"))
    assert len(old) == 1, "the earlier work is kept beside the runs folder"
    capsys.readouterr()
    assert suite.main(*DEBUG) == 0
    assert "other code" not in capsys.readouterr().err


def test_what_was_made_from_an_input_that_was_made_again_is_made_again(suite):
    assert suite.main(*DEBUG) == 0
    (suite.folder / "runs/random-seed0/train/out.txt").unlink()
    assert suite.main(*DEBUG, "--stage", "train", "train.deaf=1") == 0, "only what comes first, with other settings"
    assert suite.main(*DEBUG, "train.deaf=1") == 0
    assert suite.calls("random-seed0/probe") == 2, "its command is the same, its input is not"


def test_a_recipe_of_ones_own_is_part_of_the_job_and_its_comments_are_not(tmp_path):
    recipe = tmp_path / "mine.yaml"
    argv = ["--recipe", str(recipe), "views.size=32"]
    assert reuse.settings_in(argv) == {}
    recipe.write_text("epochs: 2\n")
    before = reuse.settings_in(argv)
    recipe.write_text("# two will do\nepochs:  2\n")
    assert reuse.settings_in(argv) == before
    recipe.write_text("epochs: 3\n")
    assert reuse.settings_in(argv).keys() == {str(recipe)} and reuse.settings_in(argv) != before


def test_the_record_of_a_job_says_what_it_was(suite):
    assert suite.main(*DEBUG) == 0
    train = job_records.read(suite.runs / "jobs/random-seed0/train", Done)
    probe = job_records.read(suite.runs / "jobs/random-seed0/probe", Done)
    assert probe.inputs == {"runs/random-seed0/train/out.txt": train.key} and train.commit
