"""`amcl-serve similarity`: how alike two image files are, in this process."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from amcl_serve.commands.options import MODEL, add_settings, settings_from
from amcl_serve.errors import AmclError, BadRequest

if TYPE_CHECKING:
    from amcl_serve.model.pair_scorer import PairScores

    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]


def add_parser(subparsers: Subparsers) -> None:
    """Add `similarity`."""
    parser = subparsers.add_parser(
        "similarity",
        help="score a pair of image files, without a server",
        description="Score a pair of image files in this process: verdict, probability, score and each head's view.",
    )
    parser.add_argument("a", type=Path, metavar="A", help="an image")
    parser.add_argument("b", type=Path, metavar="B", help="another image")
    parser.add_argument(
        "--json", action="store_true", help="print the pair's scores as JSON, as POST /similarity has them"
    )
    add_settings(parser, MODEL)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Score and print."""
    settings = settings_from(args)
    import orjson

    from amcl_serve.commands.bulk.local import embed_files
    from amcl_serve.engine.submissions import Embedded, stack
    from amcl_serve.hosting.opening import load_model

    model = load_model(settings)
    found = []
    for file, item in zip((args.a, args.b), embed_files(model, (args.a, args.b), settings), strict=True):
        if isinstance(item, AmclError):
            raise BadRequest(f"{file}: {item.detail}")
        found.append(item)
    assert all(isinstance(item, Embedded) for item in found)
    scores = first_pair(model.scorer.score(stack(found[:1]), stack(found[1:])))
    if args.json:
        print(orjson.dumps(scores, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_INDENT_2).decode())
    else:
        print(table(scores))
    return 0


def first_pair(scores: PairScores) -> dict[str, Any]:
    """The first pair's scores as Python values and lists, None where the model has none."""
    return {name: None if (column := getattr(scores, name)) is None else column[0].tolist() for name in vars(scores)}


def table(scores: dict[str, Any]) -> str:
    """One pair's scores for a reader."""
    lines = [
        ("verdict", {True: "same", False: "different", None: "none: the model has no calibration"}[scores["same"]])
    ]
    names = {
        "probability": "probability",
        "score": "score",
        "uncertainty": "temperature",
        "feature_similarity": "feature cosine",
    }
    lines += [(shown, f"{scores[name]:.4f}") for name, shown in names.items() if scores[name] is not None]
    heads = zip(scores["head_similarity"] or (), scores["temperature"] or (), strict=True)
    lines += [
        (f"head {number}", f"{cosine:.4f}   temperature {temperature:.4f}")
        for number, (cosine, temperature) in enumerate(heads, 1)
    ]
    return "\n".join(f"{name:<15} {value}" for name, value in lines)
