"""A cell is found by any spelling a table has, and answers with every record behind it."""

import pytest

from analysis.results_table.explain import cell_address, explain, find_cells
from runtime.command_line import UserError


@pytest.fixture
def made(tables, record, printed):
    records = [record(value=40.0 + seed, seed=seed) for seed in range(2)]
    records += [record(value=41.5, protocol="moco-c4-2x"), record(value=35.0, task="segm"), record("random", 26.0)]
    return tables(records, [printed("byol", 37.9), printed("matrix_ssl", 41.0, protocol="moco-c4-2x")])


def asked(made, words) -> list[str]:
    return [line for place in find_cells(made, words) for line in explain(*place)]


@pytest.mark.parametrize(
    "words",
    [
        "matrix_ssl/moco-c4-1x/bbox/AP",
        "matrix_ssl/demo/8ep/coco_2017/moco-c4-1x/bbox/AP",
        "Matrix-SSL/moco-c4-1x/box AP",
        "coco_2017-moco-c4-1x / MATRIX-SSL / box / ap",
    ],
)
def test_every_spelling_of_a_cell_finds_it(made, words):
    assert asked(made, words) == [
        "matrix_ssl/demo/8ep/coco_2017/moco-c4-1x/bbox/AP: 40.5 ± 0.7 (n = 2)",
        "  seed 0: 40.0000 on 5000 images, in runs/matrix_ssl-seed0/result.json",
        "    commit abc123, weights sha256 sha-matrix_ssl-0",
        "    protocol version 1; deviations from its settings: none",
        "  seed 1: 41.0000 on 5000 images, in runs/matrix_ssl-seed1/result.json",
        "    commit abc123, weights sha256 sha-matrix_ssl-1",
        "    protocol version 1; deviations from its settings: none",
    ]


def test_a_row_from_scratch_has_no_weights(made):
    assert asked(made, "random/bbox/AP")[2] == "    commit abc123, weights sha256 none (random)"


def test_a_published_cell_answers_with_its_source_and_caveat(made):
    line, behind = asked(made, "byol/AP")
    assert line == "byol/200ep/published in Table 5/coco_2017/moco-c4-1x/bbox/AP: 37.9 (n not published)"
    assert behind == "  37.9: Table 5 (rate searched)"


def test_a_measured_cell_comes_before_a_published_one_unless_that_is_asked_for(made):
    assert asked(made, "matrix_ssl/moco-c4-2x/AP")[0].startswith("matrix_ssl/demo/8ep/coco_2017")
    assert asked(made, "matrix_ssl/moco-c4-2x/published")[0].startswith("matrix_ssl/200ep/published in Table 5")


def test_several_cells_are_all_explained(made):
    assert len([line for line in asked(made, "matrix_ssl/AP") if not line.startswith(" ")]) == 3


def test_the_address_of_a_cell_whose_names_have_slashes_finds_it(tables, record):
    made = tables([record(recipe="mine/a", variant="lr=1/3"), record("byol")])
    place = made[0], next(row for row in made[0].rows if row.variant), made[0].columns[0]
    assert find_cells(made, cell_address(*place)) == [place]


def test_an_unknown_cell_is_answered_with_near_ones(made):
    with pytest.raises(UserError, match="no cell is called 'matrix_sll/moco-c4-1x/bbox/AP'; similar: matrix_ssl/demo"):
        find_cells(made, "matrix_sll/moco-c4-1x/bbox/AP")
    with pytest.raises(UserError, match="similar: "):
        find_cells(made, "nothing/like/this")


def test_no_cell_at_all_asks_for_more(made):
    with pytest.raises(UserError, match="names 4 cells, at most 12 are shown; among them: "):
        find_cells(made, "/")


def test_no_two_cells_share_an_address(tables, record, printed):
    networks = [record("random", 20.0 + k, backbone=name) for k, name in enumerate(("resnet50", "resnet101"))]
    made = tables([record(), *networks], [printed("byol", 37.9), printed("byol", 38.0, source="Table 2")])
    places = [(table, row, column) for table in made for row, column in table.cells]
    assert len({cell_address(*place) for place in places}) == len(places)
    assert asked(made, "random/resnet101")[0].startswith("random/resnet101/coco_2017/moco-c4-1x/bbox/AP: 21.0")
    assert asked(made, "random/resnet50")[0].startswith("random/coco_2017/moco-c4-1x/bbox/AP: 20.0")
