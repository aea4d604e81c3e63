"""GNN-to-MLP on the CPF splits of four graphs (seeds 0 to 9) beside the published tables.

    MMKD_DATA=... python -m benchmarks.graph --json graph.json
    MMKD_DATA=... python -m benchmarks.graph --data cora citeseer --setting transductive --recipes gnn-to-mlp
    MMKD_DATA=... python -m benchmarks.graph --data cora --setting transductive --proofs
    MMKD_DATA=... python -m benchmarks.graph --recipes gnn-to-mlp --arms teacher distilled --fan-out 5

Accuracy in %, mean and population standard deviation over seeds, as the papers give them. Weights are chosen on
validation accuracy, settings on no score: GLNN's are those of its authors for each graph, those of KRD, FF-G2M and HGMD
are one for all. The run directories stay under `runs/benchmarks`.
"""

from __future__ import annotations

import numpy as np

from benchmarks.rows import Row, arguments, show
from mmkd import recipes
from mmkd.evaluation.run import run

# GLNN's `train.conf.yaml`: learning rate, weight decay and dropout of the student.
STUDENT = {
    "cora": (0.01, 0.005, 0.6),
    "citeseer": (0.01, 0.001, 0.1),
    "a-photo": (0.005, 0.002, 0.3),
    "a-computer": (0.001, 0.002, 0.3),
}
BATCHES = {"cora": 4, "citeseer": 4, "a-photo": 14, "a-computer": 26}  # full ones of 512 in an epoch
# The arms of each recipe whose figures are wanted; a teacher, `alone` and GLNN stand in the first alone.
ARMS = {
    "gnn-to-mlp": {
        "teacher": "SAGE",
        "alone": "MLP",
        "distilled": "GLNN",
        "krd": "KRD",
        "ff-g2m": "FF-G2M",
        "hgmd-weight": "HGMD-weight",
        "hgmd-mixup": "HGMD-mixup",
        "pgkd": "PGKD",
        "infgrand-losses": "InfGraND without edges",
    },
    "nosmog": {"distilled": "NOSMOG (needs edges)"},
    "infgrand": {"distilled": "InfGraND (needs edges)"},
    "adagmlp": {"distilled": "AdaGMLP"},
}
# NOSMOG's `tran.conf.yaml` and `ind.conf.yaml`: positions, radius and weight of the similarity; learning rate, weight
# decay and dropout where they are not GLNN's.
NOSMOG = {
    ("transductive", "cora"): (64, 0.04, 0.1, {}),
    ("transductive", "citeseer"): (16, 0.045, 0.1, {}),
    ("transductive", "a-photo"): (64, 0.1, 1e-9, {"lr": 0.001, "weight_decay": 0.001, "dropout": 0.1}),
    ("transductive", "a-computer"): (64, 0.07, 1e-9, {"lr": 0.003, "weight_decay": 0.005, "dropout": 0.1}),
    ("production", "cora"): (64, 0.05, 0.1, {}),
    ("production", "citeseer"): (64, 0.05, 0.3, {}),
    ("production", "a-photo"): (32, 0.1, 1e-8, {"lr": 0.001, "weight_decay": 0.001, "dropout": 0.1}),
    ("production", "a-computer"): (64, 0.06, 1e-9, {"lr": 0.003, "weight_decay": 0.005, "dropout": 0.1}),
}
CONTROLS = ["hard-teacher", "shuffled-teacher", "self-training"]
GLNN, G2MLP, VQGRAPH = "Zhang et al. 2022, arXiv 2110.08727", "arXiv 2610.10520", "arXiv 2308.02117, table 1"
# (setting, graph): {(arm, part): (mean, sd or None, source)}
PUBLISHED: dict[tuple[str, str], dict[tuple[str, str], tuple[float, float | None, str]]] = {
    ("transductive", "cora"): {
        ("nosmog", "test"): (83.04, 1.26, VQGRAPH),
        ("teacher", "test"): (80.52, 1.77, GLNN),
        ("alone", "test"): (59.22, 1.31, GLNN),
        ("distilled", "test"): (80.54, 1.35, GLNN),
        ("krd", "test"): (82.27, 1.31, G2MLP),
        ("ff-g2m", "test"): (82.38, 1.41, G2MLP),
    },
    ("transductive", "citeseer"): {
        ("nosmog", "test"): (73.78, 1.54, VQGRAPH),
        ("teacher", "test"): (70.33, 1.97, GLNN),
        ("alone", "test"): (59.61, 2.88, GLNN),
        ("distilled", "test"): (71.77, 2.01, GLNN),
        ("krd", "test"): (72.84, 1.70, G2MLP),
        ("ff-g2m", "test"): (72.85, 1.59, G2MLP),
    },
    ("transductive", "a-photo"): {
        ("nosmog", "test"): (93.36, 0.69, VQGRAPH),
        ("teacher", "test"): (90.90, 0.84, GLNN),
        ("alone", "test"): (78.77, 1.74, GLNN),
        ("distilled", "test"): (92.11, 1.08, GLNN),
        ("krd", "test"): (91.95, 1.44, G2MLP),
        ("ff-g2m", "test"): (92.51, 0.56, G2MLP),
    },
    ("transductive", "a-computer"): {
        ("nosmog", "test"): (84.04, 1.01, VQGRAPH),
        ("teacher", "test"): (82.97, 2.16, GLNN),
        ("alone", "test"): (67.80, 1.06, GLNN),
        ("distilled", "test"): (83.03, 1.87, GLNN),
        ("krd", "test"): (82.87, 0.87, G2MLP),
        ("ff-g2m", "test"): (83.67, 1.04, G2MLP),
    },
    ("production", "cora"): {
        ("teacher", "ind"): (81.33, 2.19, GLNN),
        ("teacher", "tran"): (78.78, 1.92, GLNN),
        ("alone", "ind"): (59.09, 2.96, GLNN),
        ("alone", "tran"): (58.95, 1.66, GLNN),
        ("distilled", "ind"): (73.82, 1.93, GLNN),
        ("distilled", "tran"): (79.39, 1.64, GLNN),
        ("krd", "ind"): (70.26, None, G2MLP),
        ("krd", "tran"): (77.11, None, G2MLP),
        ("ff-g2m", "ind"): (72.02, None, G2MLP),
        ("ff-g2m", "tran"): (80.01, None, G2MLP),
    },
    ("production", "citeseer"): {
        ("teacher", "ind"): (69.75, 3.59, GLNN),
        ("teacher", "tran"): (68.04, 3.34, GLNN),
        ("alone", "ind"): (60.06, 5.00, GLNN),
        ("alone", "tran"): (59.75, 2.48, GLNN),
        ("distilled", "ind"): (69.25, 2.25, GLNN),
        ("distilled", "tran"): (69.28, 3.12, GLNN),
    },
    ("production", "a-photo"): {
        ("teacher", "ind"): (91.50, 0.79, GLNN),
        ("teacher", "tran"): (90.80, 0.77, GLNN),
        ("alone", "ind"): (79.44, 1.72, GLNN),
        ("alone", "tran"): (79.20, 1.64, GLNN),
        ("distilled", "ind"): (91.18, 0.81, GLNN),
        ("distilled", "tran"): (92.68, 0.56, GLNN),
    },
    ("production", "a-computer"): {
        ("teacher", "ind"): (82.08, 1.79, GLNN),
        ("teacher", "tran"): (82.15, 1.55, GLNN),
        ("alone", "ind"): (67.84, 1.78, GLNN),
        ("alone", "tran"): (67.27, 1.36, GLNN),
        ("distilled", "ind"): (80.92, 1.36, GLNN),
        ("distilled", "tran"): (82.63, 1.40, GLNN),
    },
}


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--data", nargs="+", choices=STUDENT, default=list(STUDENT))
    parser.add_argument("--setting", nargs="+", choices=("transductive", "production"), default=None)
    parser.add_argument("--recipes", nargs="+", choices=ARMS, default=list(ARMS))
    parser.add_argument("--arms", nargs="+", help="those wanted: distilled, krd, ...; by default all")
    parser.add_argument(
        "--fan-out", type=int, help="neighbours that the SAGE teacher draws in training; GLNN's code: 5"
    )
    parser.add_argument("--proofs", action="store_true", help="print every method's proof table with controls instead")
    options = parser.parse_args()
    if options.proofs and options.fan_out:
        parser.error("--fan-out is not for --proofs")
    rows = []
    for setting in options.setting or ("transductive", "production"):
        for graph in options.data:
            for recipe in options.recipes:
                wanted = {arm: name for arm, name in ARMS[recipe].items() if arm in (options.arms or ARMS[recipe])}
                if not wanted:
                    continue
                if options.proofs:
                    rows += prove(recipe, graph, setting, wanted, options.seeds, options.jobs)
                else:
                    rows += measure(recipe, graph, setting, wanted, options.seeds, options.jobs, options.fan_out)
    show(rows, options.json)


def settings(recipe: str, graph: str, setting: str) -> list[str]:
    """The changes that make a recipe the published one for a graph."""
    rate, decay, dropout = STUDENT[graph]
    own = {"lr": rate, "weight_decay": decay, "dropout": dropout}
    changes = [
        f"dataset.use=graph/{graph}",
        f"dataset.setting={setting}",
        "evaluation.budget=published",
        "evaluation.latency=false",
    ]
    if recipe == "nosmog":
        positions, radius, similarity, other = NOSMOG[setting, graph]
        own |= other
        changes += [
            f"dataset.positions={positions}",
            f"methods.0.radius={radius}",
            f"methods.0.similarity={similarity}",
        ]
    if recipe in ("gnn-to-mlp", "nosmog"):  # 200 epochs, as the authors have them
        changes += [f"training.steps={200 * BATCHES[graph]}", f"training.evaluate_every={BATCHES[graph]}"]
        changes += [f"training.{key}={own[key]}" for key in ("lr", "weight_decay")]
    return [*changes, f"student.dropout={own['dropout']}"]


def measure(
    recipe: str, graph: str, setting: str, wanted: dict[str, str], seeds: int, jobs: int, fan_out: int | None
) -> list[Row]:
    """The rows of one recipe on one graph in one setting, for the wanted arms."""
    changes = [*settings(recipe, graph, setting), "evaluation.controls=[]"]
    directory = f"runs/benchmarks/{recipe}-{graph}-{setting}"
    if recipe != "gnn-to-mlp":
        changes.append("arms={}")  # ablations
    elif left := [arm for arm in ARMS[recipe] if arm not in (*wanted, "teacher", "alone", "distilled")]:
        changes += [f"arms.{arm}=" for arm in left]
        directory += f"-{'-'.join(wanted)}"
    if fan_out:
        changes.append(f"sources.teacher.model.fan_out={fan_out}")
        directory += f"-fan-out-{fan_out}"
    done = run(f"graph/{recipe}", changes, seeds=seeds, jobs=jobs, directory=directory)
    rows = []
    for arm, name in wanted.items():
        found = done.result["arms"][arm]
        for part in ("test",) if setting == "transductive" else ("tran", "ind"):
            scores = found["per_seed"] if part == "test" else found["parts"][part]["per_seed"]
            values = 100 * np.array(scores)
            published = PUBLISHED[setting, graph]
            mean, sd, source = published.get((arm if recipe == "gnn-to-mlp" else recipe, part), (None, None, ""))
            reference = ""
            if mean is not None:
                near = "" if sd is None else f", {'' if abs(values.mean() - mean) <= sd else 'NOT '}within 1 sd"
                reference = f"{mean:.2f}" + ("" if sd is None else f"±{sd:.2f}") + near
            where = "" if part == "test" else f", {part}"
            text = f"{values.mean():.2f}±{values.std():.2f}"
            rows.append(Row(f"{graph} {setting}, {name}{where}", text, "%", reference, source))
    return rows


def prove(recipe: str, graph: str, setting: str, wanted: dict[str, str], seeds: int, jobs: int) -> list[Row]:
    """Every method as the run's own, beside what is left of it when the teacher's knowledge is taken away."""
    rows = []
    loaded, _ = recipes.load(f"graph/{recipe}", settings(recipe, graph, setting))
    table = loaded.model_dump(exclude_unset=True)
    arms = table.pop("arms", {})
    table["evaluation"]["controls"] = CONTROLS
    for arm, name in wanted.items():
        if arm in ("teacher", "alone"):
            continue
        parts = {key: value for key, value in arms.get(arm, {}).items() if key in ("methods", "training", "student")}
        directory = f"runs/benchmarks/proof-{recipe}-{arm}-{graph}-{setting}"
        done = run({**table, **parts}, seeds=seeds, jobs=jobs, directory=directory)
        print(f"{name}\n{done.table()}\n", flush=True)
        for candidate in ("alone", "distilled", *CONTROLS):
            found = done.result["arms"][candidate]
            if found["status"] == "done":
                values = 100 * np.array(found["per_seed"])
                rows.append(
                    Row(f"{graph} {setting}, {name}, {candidate}", f"{values.mean():.2f}±{values.std():.2f}", "%")
                )
    return rows


if __name__ == "__main__":
    main()
