from __future__ import annotations

import argparse
import importlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import amcl_serve
from amcl_serve import cli
from tests.amcl_serve.commands.ports import free_port
from tests.amcl_serve.http.conftest import picture
from tests.fakes import HEAD_DIM, C, D, make_bundle


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main(["--version"])
    assert end.value.code == 0
    assert capsys.readouterr().out == f"amcl-serve {amcl_serve.__version__}\n"


@pytest.mark.parametrize("argv", [[], ["fly"], ["serve", "--colour"], ["embed"], ["embed", "a", "--outputs", "both"]])
def test_wrong_usage_is_2(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main(argv)
    assert end.value.code == 2
    assert "usage: amcl-serve" in capsys.readouterr().err


def test_flags_go_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    from amcl_serve.commands.options import settings_from

    monkeypatch.setenv("AMCL_PORT", "8111")
    monkeypatch.setenv("AMCL_MAX_ITEMS", "7")
    args = cli.build_parser().parse_args(["serve", "--port", "8222", "--precision", "fp16"])
    settings = settings_from(args)
    assert (settings.port, settings.max_items, settings.precision) == (8222, 7, "fp16")


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["serve", "--port", "99999"], r"--port \(AMCL_PORT\): .*65535.*'99999'"),
        (["serve", "--precision", "int4"], r"--precision \(AMCL_PRECISION\): .*'int8'"),
        (["serve", "--host", "no.such.host.invalid", "--port", "8099"], "no.such.host.invalid"),
        (["embed", "x.png", "--model", "/nowhere"], "/nowhere|bundle"),
        (["doctor", "--max-items", "0"], "--max-items"),
        (["embed", "x.png", "--require-provider", "cuda"], "CUDAExecutionProvider is not available"),
        (["embed", "x.png", "--provider", "NoSuchExecutionProvider"], "NoSuchExecutionProvider is not available"),
    ],
)
def test_wrong_values_are_one_line_and_1(argv: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(argv) == 1
    err = capsys.readouterr().err
    assert err.startswith("amcl-serve: error: ")
    assert err.count("\n") == 1
    assert re.search(said, err)


def test_models_are_given_by_repeated_flags_or_a_list_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    from amcl_serve.commands.options import settings_from

    parser = cli.build_parser()
    assert settings_from(parser.parse_args(["serve"])).model == ("default",)
    monkeypatch.setenv("AMCL_MODEL", "one, two")
    assert settings_from(parser.parse_args(["serve"])).model == ("one", "two")
    flags = ["--model", "a,b", "--model", "c"]
    assert settings_from(parser.parse_args(["serve", *flags])).model == ("a,b", "c")


def test_without_onnxruntime_the_error_says_what_to_install(capsys: pytest.CaptureFixture[str]) -> None:
    def missing(_: object) -> int:
        raise ModuleNotFoundError("No module named 'onnxruntime'", name="onnxruntime")

    assert cli.run_command(argparse.Namespace(run=missing)) == 1
    assert "amcl-serve[cpu]" in capsys.readouterr().err


def test_embed_prints_json_lines(tiny_bundle: Path, images: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["embed", *images, "--model", str(tiny_bundle), "--max-batch", "1"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["file"] for line in lines] == images
    assert np.shape([line["embedding"] for line in lines]) == (2, D)
    assert cli.main(["embed", *images, "--model", str(tiny_bundle), "--normalize"]) == 0
    unit = [json.loads(line)["embedding"] for line in capsys.readouterr().out.splitlines()]
    assert np.linalg.norm(unit, axis=1) == pytest.approx(1)
    raw = np.array([line["embedding"] for line in lines])
    assert np.allclose(unit, raw / np.linalg.norm(raw, axis=1, keepdims=True), atol=1e-6)


def test_embed_writes_an_array(tiny_bundle: Path, images: list[str], tmp_path: Path) -> None:
    out = tmp_path / "vectors.npy"
    assert cli.main(["embed", *images, "--model", str(tiny_bundle), "--out", str(out), "--outputs", "heads"]) == 0
    array = np.load(out, allow_pickle=False)
    assert (array.shape, array.dtype) == ((2, C, HEAD_DIM), np.float32)
    nowhere = tmp_path / "no" / "vectors.npy"
    assert cli.main(["embed", *images, "--model", str(tiny_bundle), "--out", str(nowhere)]) == 1


def test_embed_names_the_files_that_fail(
    tiny_bundle: Path, images: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("not an image")
    files = [images[0], str(text), str(tmp_path / "missing.png"), images[1]]
    assert cli.main(["embed", *files, "--model", str(tiny_bundle)]) == 1
    captured = capsys.readouterr()
    assert [json.loads(line)["file"] for line in captured.out.splitlines()] == images
    first, second = captured.err.splitlines()
    assert first.startswith(f"{text}: ")
    assert second == f"{tmp_path / 'missing.png'}: cannot be read: No such file or directory"


def test_embed_of_a_name_that_is_not_utf8(
    tiny_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / os.fsdecode(b"caf\xe9.png")
    file.write_bytes(picture(1))
    assert cli.main(["embed", str(file), "--model", str(tiny_bundle)]) == 0
    assert json.loads(capsys.readouterr().out)["file"] == f"{tmp_path}/caf\N{REPLACEMENT CHARACTER}.png"


def test_embedding_files_takes_no_web_server(tiny_bundle: Path, images: list[str]) -> None:
    code = (
        "import sys; from amcl_serve.cli import main; main(sys.argv[1:]);"
        "sys.exit(repr({'fastapi', 'starlette', 'uvicorn'} & set(sys.modules)))"
    )
    argv = [sys.executable, "-c", code, "embed", images[0], "--normalize", "--model", str(tiny_bundle)]
    run = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert run.stderr == "set()\n"


def test_similarity_prints_a_table_or_json(
    tiny_bundle: Path, images: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["similarity", images[0], images[0], "--model", str(tiny_bundle)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"verdict +same", lines[0])
    assert [line.split("  ")[0] for line in lines[1:5]] == ["probability", "score", "temperature", "feature cosine"]
    assert len([line for line in lines if re.fullmatch(r"head \d +1\.0000   temperature 0\.\d{4}", line)]) == C
    assert cli.main(["similarity", *images, "--json", "--model", str(tiny_bundle)]) == 0
    scores = json.loads(capsys.readouterr().out)
    assert len(scores["head_similarity"]) == len(scores["temperature"]) == C
    assert scores["score"] < 0.999


def test_similarity_of_an_uncalibrated_standard_model(
    images: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make_bundle(tmp_path / "standard", adaptive=False, calibrated=False)
    assert cli.main(["similarity", *images, "--model", str(folder)]) == 0
    text = capsys.readouterr().out
    assert "no calibration" in text
    assert "probability" not in text
    assert not re.search("^temperature", text, re.MULTILINE)


def test_a_model_without_heads(images: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = ["--model", str(make_bundle(tmp_path / "headless", heads=False))]
    assert cli.main(["embed", *images, *model]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert np.shape([line["embedding"] for line in lines]) == (2, D)
    assert cli.main(["similarity", *images, *model]) == 0
    table = [line.split("  ")[0] for line in capsys.readouterr().out.splitlines()]
    assert table == ["verdict", "probability", "score", "feature cosine"]
    assert cli.main(["similarity", *images, "--json", *model]) == 0
    scores = json.loads(capsys.readouterr().out)
    assert scores["head_similarity"] is scores["temperature"] is scores["uncertainty"] is None
    for out in ([], ["--out", str(tmp_path / "vectors.npy")]):
        assert cli.main(["embed", *images, "--outputs", "heads", *out, *model]) == 1
        assert capsys.readouterr().err == "amcl-serve: error: the model tiny has no heads: ask for its features\n"
    port = ["--data-dir", str(tmp_path / "data"), "--port", str(free_port())]
    cli.main(["doctor", *model, *port])
    assert re.search("^ok +model +tiny, fp32 on CPU.*as on the card$", capsys.readouterr().out, re.MULTILINE)


def test_similarity_of_a_bad_file_names_it(
    tiny_bundle: Path, images: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["similarity", images[0], "missing.png", "--model", str(tiny_bundle)]) == 1
    assert capsys.readouterr().err == "amcl-serve: error: missing.png: cannot be read: No such file or directory\n"


def test_doctor_shows_no_key(
    tiny_bundle: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AMCL_API_KEY", "a-key-that-nobody-sees")
    cli.main(["doctor", "--model", str(tiny_bundle), "--data-dir", str(tmp_path), "--port", str(free_port())])
    cli.main(["doctor", "--port", "none"])
    said = "".join(capfd.readouterr())
    assert "not 'none'" in said
    assert "nobody-sees" not in said


def test_every_command_module_has_the_two_functions() -> None:
    for command in cli.COMMANDS:
        module = importlib.import_module(command.__name__)
        assert callable(module.add_parser)
        assert callable(module.run)
