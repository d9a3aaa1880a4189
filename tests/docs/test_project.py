"""The project's own files: pinned requirements, Dockerfile, Makefile."""

from __future__ import annotations

import json
import re
import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.app.server import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
FILES = ("serve.txt", "gpu.txt", "dev.txt", "bench-serving.txt", "bench-stores.txt", "clients.txt")
EXTRAS = PROJECT["optional-dependencies"]
STUBBED = ("wandb", "mlflow")  # tests replace them
NEEDED = {
    "serve.txt": [*PROJECT["dependencies"], *EXTRAS["cpu"], *EXTRAS["demo"], *EXTRAS["evaluation"]],
    "gpu.txt": [*PROJECT["dependencies"], *EXTRAS["gpu"], *EXTRAS["demo"], *EXTRAS["evaluation"]],
    "dev.txt": [
        *PROJECT["dependencies"],
        *(line for name, lines in EXTRAS.items() if name not in ("gpu", *STUBBED) for line in lines),
    ],
    "bench-serving.txt": [*PROJECT["dependencies"], *EXTRAS["cpu"]],
    "bench-stores.txt": [
        *PROJECT["dependencies"],
        *EXTRAS["cpu"],
        *("chromadb", "lancedb", "milvus-lite", "pymilvus", "qdrant-client"),
    ],
    "clients.txt": ["langchain-community", "mteb"],
}
DOCKERFILE = (ROOT / "Dockerfile").read_text()


def pins(name: str) -> dict[str, Requirement]:
    lines = (ROOT / "requirements" / name).read_text().splitlines()
    found = [Requirement(line) for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(pin.name): pin for pin in found}


def version(pin: Requirement) -> str:
    (only,) = pin.specifier
    assert only.operator == "==", pin
    return only.version


@pytest.mark.parametrize("name", FILES)
def test_every_line_is_an_exact_pin_without_a_host(name: str) -> None:
    for pin in pins(name).values():
        assert pin.url is None
        assert "*" not in version(pin)
    text = (ROOT / "requirements" / name).read_text()
    assert "://" not in text
    assert not re.search(r"^\s*-", text, re.MULTILINE)


@pytest.mark.parametrize("name", FILES)
def test_what_the_project_needs_is_pinned_within_its_range(name: str) -> None:
    pinned = pins(name)
    for line in NEEDED[name]:
        wanted = Requirement(line)
        assert canonicalize_name(wanted.name) in pinned, f"{wanted.name} is not in {name}"
        pin = pinned[canonicalize_name(wanted.name)]
        assert wanted.specifier.contains(version(pin)), f"{name}: {pin} is not {wanted}"


@pytest.mark.parametrize("name", ["serve.txt", "gpu.txt"])
def test_serving_has_no_torch(name: str) -> None:
    assert not {"torch", "torchvision"} & set(pins(name))


def test_the_servers_are_compared_on_what_ours_is_installed_with() -> None:
    served, compared = pins("serve.txt"), pins("bench-serving.txt")
    assert {name: version(served[name]) for name in served.keys() & compared.keys()} == {
        name: version(compared[name]) for name in served.keys() & compared.keys()
    }


def test_the_clients_environment_repeats_nothing_that_the_development_environment_has() -> None:
    developed, added = pins("dev.txt"), pins("clients.txt")
    assert all(version(developed[name]) != version(added[name]) for name in developed.keys() & added.keys())
    assert "torch" not in added


def test_one_onnxruntime_each() -> None:
    runtimes = {"onnxruntime", "onnxruntime-gpu"}
    assert runtimes & set(pins("serve.txt")) == {"onnxruntime"}
    assert runtimes & set(pins("gpu.txt")) == {"onnxruntime-gpu"}
    assert runtimes & set(pins("dev.txt")) == {"onnxruntime"}


def stages() -> dict[str, list[str]]:
    """The Dockerfile's instructions by stage, in order, continued lines joined."""
    found: dict[str, list[str]] = {}
    for line in DOCKERFILE.replace("\\\n", " ").splitlines():
        if start := re.match(r"FROM \S+ AS (\S+)$", line):
            found[start[1]] = [line]
        elif found and line.strip() and not line.startswith("#"):
            found[list(found)[-1]].append(line)
    return found


def test_the_images_run_as_a_user_with_a_health_check_and_without_torch() -> None:
    found = stages()
    assert list(found)[-1] == "cpu"  # what `docker build .` makes
    for target, requirements in (("cpu", "serve.txt"), ("gpu", "gpu.txt")):
        assert found[target][0] == f"FROM base AS {target}"
        assert found[target][-1] == "USER amcl"
        assert any(f"requirements/{requirements}" in line for line in found[f"build-{target}"])
    base = "\n".join(found["base"])
    assert "useradd --uid 10001" in base
    assert "EXPOSE 8000" in base
    assert "VOLUME /data" in base
    assert "AMCL_HOST=0.0.0.0" in base
    assert "torch" not in re.sub(r"#.*", "", DOCKERFILE).lower()


def test_the_health_check_asks_readyz() -> None:
    (line,) = (line for line in stages()["base"] if line.startswith("HEALTHCHECK"))
    program, flag, code = json.loads(line[line.index("[") :])
    assert (program, flag) == ("python", "-c")
    assert "/readyz" in code
    compile(code, "HEALTHCHECK", "exec")


def test_what_the_dockerfile_copies_is_not_ignored() -> None:
    kept = re.findall(r"^!(.+)$", (ROOT / ".dockerignore").read_text(), re.MULTILINE)
    assert all((ROOT / name).exists() for name in kept)
    packages = {"amcl_serve", "app", "export", "training"}
    assert packages | {"requirements", "pyproject.toml", PROJECT["readme"], *PROJECT["license-files"]} <= set(kept)


def test_ci_runs_tests_and_checks() -> None:
    run = ROOT / ".ci" / "run"
    assert run.stat().st_mode & 0o111
    assert "set -euo pipefail" in run.read_text()
    assert {"make test", "make check"} <= set(run.read_text().splitlines())
