"""The stages that read a backbone as it is, or its features: classification probes and measures of geometry."""

from pathlib import Path

from slurm.planning.preset import Plan
from slurm.planning.rows import RANDOM, Row
from slurm.planning.stage import Work, options


def knn(plan: Plan, row: Row) -> list[Work]:
    """Classify labelled images by their nearest neighbours."""
    extra = options(plan.told("knn", row, without=["data"]))
    return [probe(plan, row, "knn", benchmark, f"knn-{benchmark}", extra=extra) for benchmark in plan.knn]


def linear(plan: Plan, row: Row) -> list[Work]:
    """Train a linear classifier on frozen features, once per protocol and benchmark."""
    told = plan.told("linear", row, without=["data"])
    extra = ["--cached-features"] if told.pop("cached-features", "false") == "true" else []
    extra += [f"{key}={value}" for key, value in told.items()]
    return [
        probe(plan, row, "linear", benchmark, f"{protocol}-{benchmark}", first=["--protocol", protocol], extra=extra)
        for protocol in plan.linear
        for benchmark in plan.labelled
    ]


def semi(plan: Plan, row: Row) -> list[Work]:
    """Fine-tune on a fraction of the labels, once per fraction and benchmark."""
    extra = [f"{key}={value}" for key, value in plan.told("semi", row, without=["data"]).items()]
    works = []
    for protocol, percent, benchmark in ((p, f, b) for p in plan.semi for f in plan.fractions for b in plan.labelled):
        first = ["--protocol", protocol, "--fraction", str(percent)]
        folder = f"semi-{percent}pct-{benchmark}"
        works.append(probe(plan, row, "semi", benchmark, folder, first=first, extra=extra))
    return works


def probe(
    plan: Plan, row: Row, stage: str, benchmark: str, folder: str, *, first: list[str] = (), extra: list[str]
) -> Work:
    """A command that takes a backbone and labelled images."""
    weights, inputs = weights_of(plan, row)
    root = plan.told(stage, row).get("data")
    embedded = benchmark == "scenes" and root is None
    folder = f"{row.folder(plan.recipe)}/{folder}"
    argv = [*first, "--weights", weights, "--benchmark", benchmark]
    argv += ["--data", root or str(plan.scenes / "classification")] if root or embedded else []
    argv += ["--out", str(plan.runs / folder), "--seed", str(row.seed), *extra]
    return Work(folder=folder, argv=argv, inputs=inputs + scenes_of(plan, embedded))


def features(plan: Plan, row: Row) -> list[Work]:
    """Extract the features of labelled images, once for every measure."""
    told = plan.told("features", row)
    weights, inputs = weights_of(plan, row)
    if told.get("layer") == "projector" and row.method != RANDOM:  # the hand-over file has no projector
        weights = str(backbone(plan, row).with_name("checkpoint.pth"))
    works = []
    for benchmark in plan.features:
        images, drawn = images_of(plan, benchmark, told)
        file = features_of(plan, row, benchmark)
        argv = ["--backbone", weights, *options(images | told), "--benchmark", benchmark]
        argv += ["--seed", str(row.seed), "--out", str(file)]
        folder = file.parent.relative_to(plan.runs).as_posix()
        works.append(Work(folder=folder, argv=argv, inputs=inputs + drawn))
    return works


def images_of(plan: Plan, benchmark: str, told: dict[str, str]) -> tuple[dict[str, str], tuple[Path, ...]]:
    """The option for the images of a benchmark where they are the drawn ones, and the file that says they are there."""
    embedded = benchmark == "scenes" and "images" not in told
    images = {"images": str(plan.scenes / "classification" / "val")} if embedded else {}
    return images, scenes_of(plan, embedded)


def effective_rank(plan: Plan, row: Row) -> list[Work]:
    """Measure how many directions the features use, within classes and between them."""
    return [measure(plan, row, "effective_rank", benchmark) for benchmark in plan.features]


def spectra(plan: Plan, row: Row) -> list[Work]:
    """Measure how the features' variance falls off; after the effective rank, which writes the same result.json."""
    works = []
    for benchmark in plan.features:
        before = plan.runs / row.folder(plan.recipe) / f"analysis-{benchmark}" / "effective_rank.json"
        works.append(measure(plan, row, "spectra", benchmark, after=(before,)))
    return works


def measure(plan: Plan, row: Row, stage: str, benchmark: str, *, after: tuple[Path, ...] = ()) -> Work:
    """A command that takes a file of features and adds to the result.json of ``analysis-<benchmark>``."""
    file = features_of(plan, row, benchmark)
    folder = f"{row.folder(plan.recipe)}/analysis-{benchmark}"
    argv = [str(file), "--out", str(plan.runs / folder), *options(plan.told(stage, row))]
    return Work(folder=folder, name=f"{folder}/{stage}", argv=argv, inputs=(file, *after))


def tsne(plan: Plan, row: Row) -> list[Work]:
    """Draw the features of every row of the first seed side by side."""
    told = plan.told("tsne")
    made = f"{told.get('method', 'tsne')}.json"
    works = []
    for benchmark in plan.features:
        files = tuple(features_of(plan, other, benchmark) for other in plan.rows if other.seed == plan.seeds[0])
        folder = f"results/tsne-{benchmark}"
        argv = [*map(str, files), "--out", str(plan.runs / folder), *options(told)]
        works.append(Work(folder=folder, argv=argv, inputs=files, outputs=(made,)))
    return works


def curves(plan: Plan, row: Row) -> list[Work]:
    """Measure every kept checkpoint of every row of the first seed, on the images that the features are of."""
    same = ("images", "format", "split", "size", "resize", "layer")
    told = {key: value for key, value in plan.told("features").items() if key in same} | plan.told("curves")
    rows = [other for other in plan.rows if other.seed == plan.seeds[0] and other.method != RANDOM]
    works = []
    for benchmark in plan.features:
        images, drawn = images_of(plan, benchmark, told)
        folder = f"results/curves-{benchmark}"
        argv = [str(plan.runs / other.folder(plan.recipe)) for other in rows]
        argv += [*options(images | told), "--out", str(plan.runs / folder)]
        inputs = tuple(backbone(plan, other) for other in rows) + drawn
        works.append(Work(folder=folder, argv=argv, inputs=inputs))
    return works


def weights_of(plan: Plan, row: Row) -> tuple[str, tuple[Path, ...]]:
    """The word for a row's backbone on a command line, and the file it stands for."""
    source = backbone(plan, row)
    return (RANDOM, ()) if row.method == RANDOM else (str(source), (source,))


def backbone(plan: Plan, row: Row) -> Path:
    return plan.runs / row.folder(plan.recipe) / "pretrain" / "backbone.pth"


def features_of(plan: Plan, row: Row, benchmark: str) -> Path:
    return plan.runs / row.folder(plan.recipe) / f"features-{benchmark}" / "features.safetensors"


def scenes_of(plan: Plan, embedded: bool) -> tuple[Path, ...]:
    return (plan.scenes / "scenes.json",) if embedded else ()
