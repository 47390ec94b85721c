"""The commands that make each row again."""

import json
import shlex
from collections.abc import Sequence

from analysis.report_page.jobs import Job
from analysis.report_page.markup import Section, details, escape, paragraph
from analysis.report_page.runs_folder import RunsFolder, leaves
from runtime.settings import flat

SETTINGS_ONLY = (
    "These are told by the settings in each folder, for no job record is there; add --data where a data set does not "
    "lie at its usual place."
)


def commands(folder: RunsFolder, jobs: Sequence[Job]) -> Section:
    """Per row the recorded commands in their order; where none was recorded, what the row's files tell."""
    recorded: dict[str, list[str]] = {}
    for job in jobs:
        if job.command:
            recorded.setdefault(job.row or "of all rows", []).append(job.command)
    note = "As they were run, from the folder that they were submitted from."
    if not recorded:
        recorded = {row.name: [shlex.join(words) for words in by_settings(folder, row)] for row in folder.rows}
        note = SETTINGS_ONLY
    recorded = {row: lines for row, lines in recorded.items() if lines}
    if not recorded:
        body = paragraph("No folder says which command filled it.", "notice")
        return Section(id="commands", title="Commands", body=body)
    body = paragraph(note, "note")
    for row, lines in recorded.items():
        listing = "".join(f"<pre><code>{escape(line)}</code></pre>\n" for line in lines)
        body += details(f"{row}: {len(lines)} command{'s' if len(lines) > 1 else ''}", listing)
    return Section(id="commands", title="Commands", body=body)


def by_settings(folder: RunsFolder, row) -> list[list[str]]:
    """The commands of one row, from config.yaml, conversion.json, run.json and result.json."""
    here, made = folder.name(row), []
    config = folder.yaml(row / "pretrain" / "config.yaml")
    if {"method", "recipe", "settings"} <= config.keys():
        pairs = [f"{key}={'none' if value is None else value}" for key, value in flat(config["settings"]).items()]
        words = ["--method", config["method"], "--recipe", config["recipe"], "--out", f"{here}/pretrain", *pairs]
        made.append(["python", "pretrain/train.py", *map(str, words)])
    if (row / "convert" / "conversion.json").exists():
        made.append(["python", "transfer/convert.py", f"{here}/pretrain/backbone.pth", f"{here}/convert/backbone.pkl"])
    for leaf in leaves(row):
        content = folder.json(leaf / "result.json") if (leaf / "result.json").exists() else {}
        if words := of_result(here, leaf.relative_to(row).as_posix(), content):
            made.append(["python", *words])
    return made


def of_result(row: str, leaf: str, content: dict) -> list[str]:
    """The command behind one result.json; none for measures of features, whose images it does not know."""
    record = (content.get("records") or [{}])[0]
    if not {"task", "method", "protocol", "benchmark", "seed"} <= record.keys() or record["task"] == "representation":
        return []
    random, benchmark, protocol = record["method"] == "random", record["benchmark"], record["protocol"]
    kind = protocol.partition("-")[0]
    words = ["--benchmark", benchmark, "--out", f"{row}/{leaf}", "--seed", str(record["seed"])]
    if record["task"] != "classification":
        weights = "random" if random else f"{row}/convert/backbone.pkl"
        scale = ["--scale", str(content["scale"])] if content.get("scale", 1) > 1 else []
        pairs = [str(word) for pair in content.get("changed_from_protocol", {}).items() for word in pair]
        return ["transfer/train.py", "--protocol", protocol, "--weights", weights, *words, *scale, *pairs]
    words = ["--weights", "random" if random else f"{row}/pretrain/backbone.pth", *words]
    told = {"linear": of_linear, "semi": of_semi, "knn": of_neighbours}.get(kind)
    return [f"transfer/{kind}.py", *told(content, protocol, words, f"{row}/{leaf}")] if told else []


def of_linear(content: dict, protocol: str, words: list[str], out: str) -> list[str]:
    named = ["--protocol", protocol.removesuffix("-cached"), *words]
    return [*named, *(["--cached-features"] if protocol.endswith("-cached") else []), *changed(content)]


def of_semi(content: dict, protocol: str, words: list[str], out: str) -> list[str]:
    """With the list of its images, where it was given one."""
    named, _, percent = protocol.removesuffix("pct").rpartition("-")
    given = ["--list", f"{out}/list.txt"] if "file" in content.get("labelled", {}) else []
    return ["--protocol", named, "--fraction", percent, *words, *given, *changed(content)]


def of_neighbours(content: dict, protocol: str, words: list[str], out: str) -> list[str]:
    settings = content.get("settings", {})
    told = {key: settings[key] for key in ("size", "resize", "precision", "bn_statistics") if settings.get(key)}
    if rules := settings.get("voting"):
        told |= {"k": ",".join(str(k) for k, _ in rules), "temperature": ",".join(str(T) for _, T in rules)}
    return [*words, *(word for key, value in told.items() for word in (f"--{key.replace('_', '-')}", str(value)))]


def changed(content: dict) -> list[str]:
    """KEY=VALUE of what differs from the protocol."""
    pairs = content.get("changed_from_protocol", {})
    return [f"{key}={value if isinstance(value, str) else json.dumps(value)}" for key, value in pairs.items()]
