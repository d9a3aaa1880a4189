"""`python -m training.pretrain`: unlabelled images in, a run folder with a checkpoint out. The command line."""

from __future__ import annotations

import argparse
import io
import os
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

from training import config as configs
from training import machine
from training.config import Config, recipes
from training.machine import distributed
from training.run import checkpoint, weights
from training.run.trainer import RunFailed, Trainer

# What a resumed run may have different: it bends no step.
_MAY_CHANGE = {
    "train.max_steps",
    "train.checkpoint_every",
    "train.keep",
    "train.log_every",
    "train.log_to",
    "train.threads",  # as many as one of several processes had is too few for one alone; it changes the rounding
    "train.collapse_patience",
    "data.spec",  # the same images elsewhere; the fingerprint is checked
    "data.eval_spec",
    "data.workers",
    "data.resident",
    "data.cache",
    "data.cache_gib",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; the exit code: 0 done, 1 failed, 2 wrong usage, 130 or 143 stopped by a signal.

    In a distributed run all processes fail alike and the first says why.
    """
    args = _parse(argv)
    with distributed.joined():
        try:
            with distributed.together(ValueError):
                config, out, state, source = _resolve(args)
            trainer = Trainer(config, out, state, source)
        except ValueError as error:
            return _failed(error, 2)
        with machine.stop_on_signals() as stop:
            try:
                return trainer.train(stop)
            except RunFailed as error:
                return _failed(error, 1)
            except KeyboardInterrupt:
                return 130
            finally:
                trainer.reporter.close()


def _failed(error: Exception, code: int) -> int:
    if distributed.rank() == 0:
        print(f"error: {error}", file=sys.stderr)
    return code


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """argparse says what is wrong, or --help, as soon as it sees it: all processes see the same, the first says it."""
    others = None if os.environ.get("RANK", "0") == "0" else io.StringIO()
    with redirect_stdout(others or sys.stdout), redirect_stderr(others or sys.stderr):
        return _parser(sys.argv[1:] if argv is None else argv).parse_intermixed_args(argv)


def _resolve(
    args: argparse.Namespace,
) -> tuple[Config, Path, Mapping[str, Any] | None, weights.Source | None]:
    """(config, run folder, state to go on from, weights to begin from) of the command line; ValueError for the user."""
    words = list(args.words)
    name = words.pop(0) if words and "=" not in words[0] else None
    words += [f"data.spec={args.data}"] if args.data else []
    words += [f"data.eval_spec={args.eval}"] if args.eval else []
    words += [f"data.cache={args.cache}"] if args.cache else []
    if args.resume:
        if args.out is None:
            raise ValueError("--resume needs --out, the run folder to go on with")
        if args.init is not None:
            raise ValueError("--init begins a run and --resume goes on with one: leave one of them out")
        state = checkpoint.load(args.out)
        saved = configs.from_dict(state["config"])
        config = configs.validate(configs.override(saved, words))
        old, new = configs.flatten(saved), configs.flatten(config)
        bent = [key for key in old if old[key] != new[key] and key not in _MAY_CHANGE]
        bent += ["the recipe"] if name not in (None, saved.recipe) else []
        bent += ["--adaptive"] if args.adaptive and saved.temperature.kind != "adaptive" else []
        if bent:
            raise ValueError(f"{', '.join(bent)} cannot change on --resume; leave it out, or start a new run")
        return config, args.out if args.out.is_dir() else args.out.parent, state, None
    config = recipes.recipe(name or "simclr")
    config = configs.override(recipes.adaptive(config) if args.adaptive else config, words)
    if config.train.init or config.train.init_hash:
        raise ValueError("train.init and train.init_hash are set by --init FILE")
    if not config.data.spec:
        raise ValueError("--data is missing: the images, such as folder:PATH; --help lists the kinds")
    out = args.out or Path("runs") / f"{config.recipe}-{time.strftime('%Y%m%d-%H%M%S')}"
    if (out / checkpoint.FILE).exists():
        raise ValueError(f"{out} holds a run already; give --resume to go on with it, or another --out")
    config = weights.normalised_as_published(configs.validate(config), {word.partition("=")[0] for word in words})
    source = None if args.init is None else weights.read(args.init)
    return config if source is None else weights.recorded(config, source), out, None, source


def _parser(argv: Sequence[str]) -> argparse.ArgumentParser:
    shown = recipes.recipe(next((word for word in argv if word in recipes.RECIPES), "simclr"))
    shown = recipes.adaptive(shown) if "--adaptive" in argv else shown
    keys = "\n".join(f"  {f'{key}={value}':42s} {text}" for key, value, text in configs.describe(shown))
    parser = argparse.ArgumentParser(
        prog="python -m training.pretrain",
        usage="%(prog)s [RECIPE] [--adaptive] --data SPEC [--eval SPEC] [--out DIR] [--cache DIR] "
        "[--init SOURCE | --resume] [KEY=VALUE ...]",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Pre-train a backbone on unlabelled images, standard or adaptive (AMCL).",
        epilog=f"""keys, with the values of {shown.recipe} (python -m training.pretrain RECIPE --help shows another's):
{keys}

data:
  folder:PATH     any tree of images; for --eval the folders' names are the labels, where there are any, and train/
                  and test/ (or val/) below PATH are kept apart; without them every other image is the bank and the
                  rest query it
  tar:PATTERN     shards in WebDataset's layout, such as train-*.tar, for data larger than memory
  cifar10:PATH    torchvision's, like cifar100:PATH and stl10:PATH; downloaded where the network allows

a run folder holds:
  config.json     the configuration it ran with        checkpoint.pt   the latest state, replaced atomically
  metrics.jsonl   numbers, one JSON object a line      tensorboard/    the same for TensorBoard
  backbone.safetensors   the backbone's weights alone, by the names of torchvision's or timm's network
  cache/          reduced photographs, unless --cache names a folder for them; may be deleted

examples:
  python -m training.pretrain simclr --adaptive --data folder:photos --out runs/photos
  python -m training.pretrain --data cifar10:data --eval cifar10:data data.image_size=32 backbone.stem=cifar
  python -m training.pretrain lgp --data 'tar:photos-*.tar' backbone.width=384 backbone.attention_heads=6
  python -m training.pretrain --data folder:photos --init resnet18.pth backbone.stem=imagenet data.image_size=224
  torchrun --nproc-per-node=2 -m training.pretrain moco --adaptive --data folder:photos
  python -m training.pretrain --resume --out runs/photos train.max_steps=5000

Ctrl-C or SIGTERM saves a checkpoint and stops; --resume goes on with the very next step.""",
    )
    names = ", ".join(recipes.RECIPES)
    parser.add_argument("words", nargs="*", metavar="RECIPE or KEY=VALUE", help=f"RECIPE is one of: {names} (simclr)")
    parser.add_argument("--adaptive", action="store_true", help="preset: three heads and adaptive temperatures")
    parser.add_argument("--data", metavar="SPEC", help="the images to learn from; no labels are used")
    parser.add_argument("--eval", metavar="SPEC", help="images kept apart to judge the run by, labelled or not")
    parser.add_argument("--out", metavar="DIR", type=Path, help="the run folder (default: runs/RECIPE-DATE-TIME)")
    parser.add_argument(
        "--cache", metavar="DIR", help="a folder for reduced photographs that runs share (default: in the run's folder)"
    )
    parser.add_argument(
        "--init",
        metavar="SOURCE",
        type=Path,
        help="weights to begin from: a run folder, a checkpoint, or a state dict of torchvision's or timm's "
        "(.pth, .safetensors)",
    )
    parser.add_argument("--resume", action="store_true", help="go on with the run in --out, or with a checkpoint of it")
    return parser


if __name__ == "__main__":
    sys.exit(main())
