import dataclasses
from collections import Counter

import pytest

from runtime.command_line import UserError
from transfer.classification import label_subset
from transfer.classification.labelled_images import Images


def images_of(**counts: int) -> Images:
    """``images_of(cat=3)``: cat/cat_0.jpg, cat/cat_1.jpg, ..."""
    names = [f"{name}/{name}_{number}.jpg" for name, count in counts.items() for number in range(count)]
    labels = [label for label, count in enumerate(counts.values()) for _ in range(count)]
    numbers = list(range(len(names)))
    return Images(source=None, numbers=numbers, names=names, labels=labels, classes=list(counts), where="pets/train")


def test_a_draw_takes_the_share_of_every_class():
    """ImageNet's classes hold 732 to 1300 images: 1 percent is 7 to 13 of each."""
    images = images_of(small=732, usual=1300, odd=1249)
    for percent, expected in ((1, [7, 13, 12]), (10, [73, 130, 125])):
        chosen = label_subset.draw(images, percent=percent, seed=0)
        assert chosen == sorted(set(chosen))
        assert [Counter(images.labels[i] for i in chosen)[label] for label in range(3)] == expected


def test_a_draw_is_a_function_of_the_seed_and_smaller_ones_lie_in_larger_ones():
    images = images_of(cat=300, dog=500)
    one, ten = (label_subset.draw(images, percent=percent, seed=3) for percent in (1, 10))
    assert one == label_subset.draw(images, percent=1, seed=3) == [98, 161, 162, 399, 400, 487, 614, 726]
    assert set(one) < set(ten) and one != label_subset.draw(images, percent=1, seed=4)


def test_a_draw_of_one_class_does_not_depend_on_the_others():
    cats = [i for i in label_subset.draw(images_of(cat=300, dog=500), percent=10, seed=0) if i < 300]
    assert cats == [i for i in label_subset.draw(images_of(cat=300, dog=90), percent=10, seed=0) if i < 300]


def test_a_class_without_an_image_is_refused():
    with pytest.raises(UserError, match="1 percent of the 49 images of class 'dog' is not one image"):
        label_subset.draw(images_of(cat=300, dog=49), percent=1, seed=0)


def test_a_drawn_list_given_back_is_the_same_subset(tmp_path):
    images = images_of(cat=300, dog=500)
    part = images.subset(label_subset.draw(images, percent=10, seed=0))
    label_subset.write(part, tmp_path / "list.txt")
    again = images.subset(label_subset.listed(images, tmp_path / "list.txt", percent=10))
    assert again.names == part.names and again.fingerprint() == part.fingerprint()


def test_lists_name_files_with_or_without_their_folder(tmp_path):
    images, path = images_of(cat=100, dog=100), tmp_path / "list.txt"
    path.write_text("dog_7.jpg\ncat/cat_3.jpg\n\n")  # SimCLR's lists hold n01440764_10026.JPEG
    assert label_subset.listed(images, path, percent=1) == [3, 107]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("cat_1.jpg dog_1.jpg cow_1.jpg", "1 of 3 images not in pets/train, first cow_1.jpg"),
        ("cat_1.jpg cat_1.jpg dog_1.jpg", "names an image twice"),
        ("cat_1.jpg cat_2.jpg", "leaves class 'dog' without an image"),
        ("cat_1.jpg dog_1.jpg cat_2.jpg dog_2.jpg cat_3.jpg", "holds 2.5 percent of the images, --fraction says 1"),
        ("", "leaves class 'cat' without an image"),
    ],
)
def test_lists_that_cannot_be_are_one_line(tmp_path, lines, message):
    (tmp_path / "list.txt").write_text("\n".join(lines.split()))
    with pytest.raises(UserError, match=message):
        label_subset.listed(images_of(cat=100, dog=100), tmp_path / "list.txt", percent=1)


def test_a_bare_name_that_fits_two_classes_is_refused(tmp_path):
    images = dataclasses.replace(images_of(a=1, b=1), names=["a/000.jpg", "b/000.jpg"])
    (tmp_path / "list.txt").write_text("000.jpg\n")
    with pytest.raises(UserError, match="000.jpg is the name of several images of pets/train; write CLASS/FILE"):
        label_subset.listed(images, tmp_path / "list.txt", percent=100)
    with pytest.raises(UserError, match="nothing.txt does not exist"):
        label_subset.listed(images, tmp_path / "nothing.txt", percent=1)
