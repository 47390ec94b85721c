"""The commands that make each row again."""

import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from analysis.report_page.jobs import JobState
from analysis.report_page.markup import MOST_ROWS, Section, details, escape, first_of, paragraph
from analysis.report_page.runs_folder import RunsFolder
from runtime.results import DamagedResult, NoResult, Record, Result, read_result
from runtime.settings import flat

SETTINGS_ONLY = (
    "Made from the settings in each folder, because no job record is there; add --data where a data set is not "
    "at its usual place."
)
SUBMITTED = "As they were run, from the folder that they were submitted from."


def section(folder: RunsFolder, states: Sequence[JobState]) -> Section:
    """Per row the recorded commands in their order; where none was recorded, what the row's files say."""
    recorded: dict[str, list[str]] = {}
    for state in states:
        if state.command:
            recorded.setdefault(state.job.row or "of all rows", []).append(state.command)
    note, count = SUBMITTED, len(recorded)
    if not recorded:
        note, count = SETTINGS_ONLY, len(folder.rows)
        for row in folder.rows[:MOST_ROWS]:
            if lines := [shlex.join(words) for words in by_settings(folder, row)]:
                recorded[row.name] = lines
    if not recorded:
        body = paragraph("No folder says which command filled it.", "notice")
        return Section(id="commands", title="Commands", body=body)
    body = paragraph(note, "note")
    for name, lines in list(recorded.items())[:MOST_ROWS]:
        listing = "".join(f"<pre><code>{escape(line)}</code></pre>\n" for line in lines)
        body += details(f"{name}: {len(lines)} command{'s' if len(lines) > 1 else ''}", listing)
    return Section(id="commands", title="Commands", body=body + first_of(MOST_ROWS, count, "rows"))


def by_settings(folder: RunsFolder, row: Path) -> list[list[str]]:
    """The commands of one row, from config.yaml, conversion.json and result.json."""
    name, commands = folder.name(row), []
    path = row / "pretrain" / "config.yaml"
    config = folder.yaml(path)
    with folder.expected(path):
        if {"method", "recipe", "settings"} <= config.keys():
            settings = [
                f"{key}={'none' if value is None else value}" for key, value in flat(config["settings"]).items()
            ]
            words = ["--method", config["method"], "--recipe", config["recipe"], "--out", f"{name}/pretrain", *settings]
            commands.append(["python", "pretrain/train.py", *map(str, words)])
    if "conversion.json" in folder.listing(row / "convert").files:
        files = [f"{name}/pretrain/backbone.pth", f"{name}/convert/backbone.pkl"]
        commands.append(["python", "transfer/convert.py", *files])
    for leaf in folder.leaves(row):
        path = leaf / "result.json"
        try:
            result = read_result(path)
        except NoResult:
            continue
        except DamagedResult as error:
            folder.fault(path, str(error))
            continue
        with folder.expected(path):
            if words := of_result(name, leaf.relative_to(row).as_posix(), result):
                commands.append(["python", *words])
    return commands


def of_result(row: str, leaf: str, result: Result) -> list[str]:
    """The command behind one result.json; none for measures of features, whose images it does not know."""
    if not result.records or result.records[0].task == "representation":
        return []
    record, content = result.records[0], result.context
    random, protocol = record.method == "random", record.protocol
    kind = protocol.partition("-")[0]
    words = ["--benchmark", record.benchmark, "--out", f"{row}/{leaf}", "--seed", str(record.seed)]
    if record.task == "language":
        return of_answers(row, leaf, record, content)
    if record.task != "classification":
        weights = "random" if random else f"{row}/convert/backbone.pkl"
        scale = ["--scale", str(content["scale"])] if content.get("scale", 1) > 1 else []
        pairs = [str(word) for pair in content.get("changed_from_protocol", {}).items() for word in pair]
        return ["transfer/train.py", "--protocol", protocol, "--weights", weights, *words, *scale, *pairs]
    words = ["--weights", "random" if random else f"{row}/pretrain/backbone.pth", *words]
    options = {"linear": of_linear, "finetune": of_linear, "semi": of_semi, "knn": of_neighbours}.get(kind)
    return [f"transfer/{kind}.py", *options(content, protocol, words, f"{row}/{leaf}")] if options else []


def of_answers(row: str, leaf: str, record: Record, content: dict) -> list[str]:
    """The command behind a language model's answers; none for a model from elsewhere whose result does not name it."""
    model, prompt = f"{row}/language", []
    if not record.recipe:  # a model of transformers, no run of the suite
        if "model" not in content:
            return []
        model, prompt = str(content["model"]), ["--prompt", str(content.get("prompt", "metamath"))]
    words = ["--model", model, *prompt, "--benchmark", record.benchmark, "--questions", str(record.n)]
    return ["language/evaluate.py", *words, "--out", f"{row}/{leaf}"]


def of_linear(content: dict, protocol: str, words: list[str], out: str) -> list[str]:
    """The words of the command behind a result of a classifier; ``words`` are those that are known already."""
    named = ["--protocol", protocol.removesuffix("-cached"), *words]
    return [*named, *(["--cached-features"] if protocol.endswith("-cached") else []), *changed(content)]


def of_semi(content: dict, protocol: str, words: list[str], out: str) -> list[str]:
    """With the list of its images, where it was given one."""
    named, _, percent = protocol.removesuffix("pct").rpartition("-")
    given = ["--list", f"{out}/list.txt"] if "file" in content.get("labelled", {}) else []
    return ["--protocol", named, "--fraction", percent, *words, *given, *changed(content)]


def of_neighbours(content: dict, protocol: str, words: list[str], out: str) -> list[str]:
    """The words of the command behind a result of nearest neighbours."""
    settings = content.get("settings", {})
    options: dict[str, Any] = {
        key: settings[key] for key in ("size", "resize", "crops", "precision", "bn_statistics") if settings.get(key)
    }
    if rules := settings.get("voting"):
        options["k"] = ",".join(str(k) for k, _ in rules)
        options["temperature"] = ",".join(str(T) for _, T in rules)
    for key, value in options.items():
        words = [*words, f"--{key.replace('_', '-')}", str(value)]
    return words


def changed(content: dict) -> list[str]:
    """KEY=VALUE of what differs from the protocol."""
    pairs = content.get("changed_from_protocol", {})
    return [f"{key}={value if isinstance(value, str) else json.dumps(value)}" for key, value in pairs.items()]
