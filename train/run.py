"""Train what a recipe asks for: the process that `pairsmith train` starts, and with whose end all memory is free again.

    python -m train.run RECIPE [--set A.B=C] [--plan] [--json]

    check, read, plan  ->  train, from the last checkpoint where there is one  ->  save  ->  manifest

`accelerate launch -m train.run RECIPE` and torchrun start several of them, of which the first writes. Exit codes as everywhere:
0 done, 2 the user must change something, 130 interrupted, to be gone on with by the same command.
"""

import argparse
import gc
import os
import sys
import warnings
from collections.abc import Sequence
from contextlib import nullcontext, redirect_stdout, suppress
from pathlib import Path
from typing import Any

import orjson
from rich.console import Console

from pipeline.errors import PairsmithError, RecipeError
from pipeline.runs import explained, json_text, write_text
from pipeline.settings import Anything
from train import base
from train.asked import Asked, ask, label, made_of
from train.average import learn_mean
from train.card import card
from train.learn import Learned, is_first, learn
from train.lengths import fit
from train.output import Output, only_weights
from train.plots import html_page
from train.settings import check_train_recipe, read_train_recipe
from train.watch import read_log


def train(raw: Anything) -> Anything:
    """Train, or go on, or find that it is done; the summary. Raises PairsmithError with one sentence."""
    asked = ask(raw)
    output = Output(asked.recipe.folder)
    with output.locked() if is_first() else nullcontext():
        made = made_of(asked)
        if is_first():
            output.begin(raw, made)
        done = output.manifest()
        manifest = {**done, "unchanged": True} if done else _train(asked, output, made)
        return _afterwards(asked, output, manifest)


def _train(asked: Asked, output: Output, made: Anything) -> Anything:
    if (sentence := asked.plan.refuse()) is not None:
        raise RecipeError(sentence)
    if is_first():
        write_text(output.path / "plan.json", json_text(asked.plan.as_json()))
    fitting = fit(asked.data, asked.recipe, asked.tokenizer, asked.fields.get("max_length"))
    learned = (learn_mean if asked.recipe.adapter.average > 1 else learn)(asked, fitting, output)
    data = fitting.data
    manifest: Anything = {
        "name": asked.recipe.name,
        "method": asked.recipe.method,
        "mode": asked.recipe.mode,
        **made,
        **learned.figures,
        "rows": {"train": len(data.train), "test": len(data.test)},
        "dropped": data.dropped,
        "cut": fitting.cut,
        "split": data.split,
        "result": output.result(asked.recipe).name,
        "merged": None,
        "pushed": None,
        "unchanged": False,
    }
    _save(asked, output, learned, manifest, made)
    return manifest


def _save(asked: Asked, output: Output, learned: Learned, manifest: Anything, made: Anything) -> None:
    place = output.result(asked.recipe)
    half = place.with_name(f".{place.name}.making")
    with explained(output.path):
        learned.trainer.save_model(str(half))
        if not is_first():
            return
        only_weights(half, label(asked.recipe.model.path))
        text = card(asked.recipe, manifest, asked.fields, made)
        write_text(half / "README.md", text)
        output.replace(half, place)
        write_text(output.path / "README.md", text)
        output.write_table()
        sentences = [f"{manifest['steps']} steps in {manifest['seconds']:.0f} s.", *([manifest["stopped"]] if manifest["stopped"] else [])]
        write_text(output.path / "plots.html", html_page(asked.recipe.name, read_log(output.log), sentences))
        output.finish(manifest)


def _afterwards(asked: Asked, output: Output, manifest: Anything) -> Anything:
    """What may be asked for later, too: the merged model, and the upload."""
    if not is_first():
        return manifest
    recipe = asked.recipe
    if recipe.output.merge and manifest["merged"] is None:
        from train.merge import merge

        gc.collect()
        base.free_memory()
        with output.making(output.path / "merged") as half:
            rows = (asked.data.test or asked.data.train)[:8]
            manifest = {**manifest, "merged": merge(recipe, output.result(recipe), half, asked.tokenizer, rows, asked.device)}
            only_weights(half, label(recipe.model.path))
        output.finish(manifest)
    if recipe.output.push and manifest["pushed"] is None:
        from train.push import push_to_hub

        manifest = {**manifest, "pushed": push_to_hub(output.result(recipe), recipe.output.push, os.environ["HF_TOKEN"].strip())}
        output.finish(manifest)
    return manifest


def print_summary(console: Console, folder: Path, summary: Anything) -> None:
    """The end of a training on a terminal."""
    news = " (done already: nothing was trained)" if summary["unchanged"] else ""
    console.print(f"\n[bold]{summary['name']}[/]: {summary['method']} {summary['mode']}, {summary['steps']} steps{news}", highlight=False)
    for name, value in summary["metrics"].items():
        if not name.endswith(("_runtime", "_per_second")):
            console.print(f"  {name:<32} {value:.4g}", highlight=False)
    if summary["stopped"]:
        console.print(f"Stopped early: {summary['stopped']}", highlight=False)
    console.print(f"Weights   {folder / summary['result']}", highlight=False, soft_wrap=True)
    console.print(f"Card      {folder / 'README.md'}, plots.html, log.jsonl, samples.jsonl", highlight=False, soft_wrap=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """The process; its exit code."""
    options = _parser().parse_args(arguments)
    os.environ.update({"TQDM_DISABLE": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"})
    # Nobody asked that trainings be reported; and the thread that does reads the environment while accelerate rewrites it: a segfault.
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    # Before torch is imported. Threads that spin while they wait cost a busy machine its cores: three trainings on two of them made
    # 0.13 steps a second each, and 2.3 when waiting threads sleep; alone it is 8.3 instead of 9.5.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    warnings.simplefilter("ignore")
    code, said = 0, None
    try:
        # What libraries print must not stand among what we print.
        with explained(Path.cwd()), redirect_stdout(sys.stderr):
            base.quiet()
            said = _work(options)
    except PairsmithError as error:
        code, sentence = error.exit_code, " ".join(str(error).split())
    except KeyboardInterrupt:
        code, sentence = 130, "interrupted; run the same command again to go on from the last checkpoint"
    if is_first() and code:
        _say({"error": sentence}) if options.hand_back else sys.stderr.write(f"pairsmith: {sentence}\n")
    elif is_first() and said is not None:
        _say(said)
    return code


def _say(value: Anything) -> None:
    with suppress(BrokenPipeError):  # the flow that started us was killed
        sys.stdout.write(orjson.dumps(value, default=str).decode() + "\n")
        sys.stdout.flush()


def _work(options: argparse.Namespace) -> Anything | None:
    raw = read_train_recipe(options.recipe, options.set or [])
    machine = options.json or options.hand_back
    if options.plan:
        from train.plan.words import print_plan

        plan = ask(raw).plan
        if not options.json:
            print_plan(plan)
        return plan.as_json() if machine else None
    summary = train(raw)
    folder = check_train_recipe(raw).folder
    if is_first() and not machine:
        print_summary(Console(stderr=True), folder, summary)
    return {**summary, "folder": str(folder)} if machine else None


def _parser() -> Any:
    parser = argparse.ArgumentParser("python -m train.run", description="Train what a recipe asks for, or go on with it.")
    parser.add_argument("recipe", help="a YAML file, such as train/recipes/tiny.yaml")
    parser.add_argument("--set", action="append", metavar="A.B=C", help="change one value of the recipe; may be repeated")
    parser.add_argument("--plan", action="store_true", help="say what it would take, load no weights, train nothing")
    parser.add_argument("--json", action="store_true", help="print the summary as one JSON object; everything else goes to stderr")
    # For the flow: errors, too, as a JSON object on stdout, so that they are said once.
    parser.add_argument("--hand-back", action="store_true", help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    sys.exit(main())
