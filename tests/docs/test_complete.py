"""Every setting, route, error code and metric is in the docs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from amcl_serve.cli import COMMANDS
from amcl_serve.commands.options import default_text, is_secret
from amcl_serve.errors import AmclError
from amcl_serve.http.app import create_app
from amcl_serve.http.metrics import Metrics
from amcl_serve.settings import Settings
from tests.app.server import ROOT

DOCS = ROOT / "docs"
API = (DOCS / "api.md").read_text()
OPERATIONS = (DOCS / "operations.md").read_text()


def errors(root: type[AmclError] = AmclError) -> Iterator[type[AmclError]]:
    yield root
    for child in root.__subclasses__():
        yield from errors(child)


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_has_a_row_with_flag_and_variable(name: str) -> None:
    flag = "" if is_secret(Settings.model_fields[name]) else f"`--{name.replace('_', '-')}` "
    assert f"| {flag}| `AMCL_{name.upper()}` |" in OPERATIONS


def test_no_row_names_a_setting_that_is_gone() -> None:
    rows = re.findall(r"^\| (?:`--[a-z-]+` )?\| `AMCL_([A-Z_]+)` \|", OPERATIONS, re.MULTILINE)
    assert {row.lower() for row in rows} == set(Settings.model_fields)


def test_the_documented_defaults_are_the_defaults() -> None:
    for name, default in re.findall(r"^\| `--([a-z-]+)` \| `[A-Z_]+` \| ([^ |]+) \|", OPERATIONS, re.MULTILINE):
        field = Settings.model_fields[name.replace("-", "_")]
        assert float_or_text(default) == float_or_text(default_text(field).lower()), name


def source_config(name: str = "simclr") -> dict[str, str]:
    from training.config import describe
    from training.config.recipes import recipe

    return {key: value for key, value, _ in describe(recipe(name))}


def training_section(title: str) -> str:
    return (DOCS / "training.md").read_text().partition(f"## {title}")[2].partition("\n## ")[0]


def float_or_text(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def test_every_route_is_documented(tmp_path: Path) -> None:
    app = create_app(Settings(data_dir=tmp_path))
    documented = set()
    for line in re.findall(r"^\|.*", API, re.MULTILINE):
        for methods, path in re.findall(r"`((?:[A-Z]+`, `)*[A-Z]+) (/[^`]*)`", line):
            documented |= {(method, path) for method in methods.split("`, `")}
    served = {(method.upper(), path) for path, calls in app.openapi()["paths"].items() for method in calls}
    assert served <= documented
    assert documented - served <= {("GET", "/")}


@pytest.mark.parametrize("error", sorted(set(errors()), key=lambda error: error.code))
def test_every_error_code_is_documented(error: type[AmclError]) -> None:
    assert f"`{error.code}`" in API
    row = re.search(rf"^\| (\d+) \| `{error.code}` \|", API, re.MULTILINE)
    if row is not None:
        assert int(row[1]) == error.status


def test_every_metric_is_documented() -> None:
    for metric in Metrics().registry.collect():
        assert f"`{metric.name}" in OPERATIONS, metric.name


def test_every_command_is_documented() -> None:
    for command in COMMANDS:
        assert f"| `amcl-serve {command.__name__.rpartition('.')[2]}" in OPERATIONS


def test_the_recipes_defaults_are_those_documented() -> None:
    section = training_section("Keys used most")
    config = source_config()
    rows = re.findall(r"^\| (`[^|]+`) \| ([^|]+) \|", section, re.MULTILINE)
    assert len(rows) > 8
    for keys, defaults in rows:
        for key, default in zip(re.findall(r"`([^`]+)`", keys), defaults.split(","), strict=True):
            assert float_or_text(default.strip(" `")) == float_or_text(config[key]), key


def test_the_keys_that_not_all_recipes_have_are_those_documented() -> None:
    from training.config.recipes import RECIPES

    keys = [set(source_config(name)) for name in RECIPES]
    rows = re.findall(r"^\| (`[^|]+`) \|", training_section("Keys that not all methods have"), re.MULTILINE)
    named = [key for row in rows for key in re.findall(r"`([^`]+)`", row)]
    assert len(named) == len(set(named))
    assert set(named) == set.union(*keys) - set.intersection(*keys)
