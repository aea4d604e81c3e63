"""How often a recipe says "better" where there is nothing to gain: its verdicts over many generated worlds.

    python -m benchmarks.null RECIPE --worlds 100 --set training.steps=100 --json null.json

The recipe's data set must be a generator with the keywords `world`, the seed of what it generates, and `setting`; here
the setting is "null", in which what the teacher sees besides says nothing of the label given the student's input.
A world is one study: `--seeds` seeds of `distilled` and of what it is compared with, and the verdict between them.
Compared with `alone` (the default) a teacher may help for other reasons than what it sees besides: it answers on
unlabelled rows, or is the better network. `--against restricted-teacher` asks for the privileged sensor alone.
Finished worlds stay in `--directory`, so that a study that was cut off goes on where it stopped.
"""

from __future__ import annotations

from pathlib import Path

from scipy.stats import binomtest

from benchmarks.rows import Row, arguments, show
from mmkd.errors import TrainingError
from mmkd.evaluation.run import run

GATE = "the teacher learnt nothing, so the run stopped"
VERDICTS = ("better", "worse", "no difference beyond the margin", "inconclusive", "none", GATE)
WANTED = "at most 5 %"


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("recipe")
    parser.add_argument("--worlds", type=int, default=100)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--against", default="alone", help="alone, or a control of the recipe")
    parser.add_argument("--set", dest="changes", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--directory", type=Path, default=Path("runs/benchmarks/null"))
    options = parser.parse_args()
    found = dict.fromkeys(VERDICTS, 0)
    for world in range(options.worlds):
        controls = [] if options.against == "alone" else [options.against]
        changes = [
            f"evaluation.controls={controls}",
            "evaluation.latency=false",
            "arms={}",
            *options.changes,
            "dataset.setting=null",
            f"dataset.world={world}",
        ]
        directory = options.directory / options.recipe.replace("/", "-") / str(world)
        try:
            done = run(options.recipe, changes, seeds=options.seeds, jobs=options.jobs, directory=directory)
        except TrainingError as error:
            verdict = GATE
            print(error.cause)
        else:
            compared = done.result["comparisons" if options.against == "alone" else "attribution"]
            pair = ("distilled", options.against)
            (verdict,) = (c["verdict"] for c in compared if (c["candidate"], c["baseline"]) == pair)
        found[verdict] += 1
        print(f"world {world}: {verdict}", flush=True)
    rows = [
        Row(
            f"{options.recipe}, null setting, against {options.against}: '{verdict}'",
            count,
            f"of {options.worlds} worlds",
        )
        for verdict, count in found.items()
    ]
    interval = binomtest(found["better"], options.worlds).proportion_ci(method="exact")
    share = f"{found['better'] / options.worlds:.1%} [{interval.low:.1%}, {interval.high:.1%}]"
    show([*rows, Row("share of 'better', 95 % interval", share, "", WANTED)], options.json)


if __name__ == "__main__":
    main()
