"""A camera taught by a LiDAR: the generator beside KITTI's statistics, the proof, and what bounds it.

    MMKD_DATA=... python -m benchmarks.driving --marginals       # generated roads and real ones side by side
    python -m benchmarks.driving embedded oracle both unidistill # the proof, a student with true depth, other teachers
    python -m benchmarks.driving labels-32 labels-128 harm night # gain against labels; what should take it away
    python -m benchmarks.null crossmodal/lidar-to-camera --worlds 8 --set training.steps=100   # nothing to gain
    MMKD_DATA=... python -m benchmarks.driving kitti             # one real street: figures, no verdict

AP over 40 recalls in %, mean and sample standard deviation over seeds. Finished arms stay under `--directory`.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmkd_crossmodal.driving.generate import generate_drive
from mmkd_crossmodal.files.kitti import Calibration, Frame, Labels, parse_labels
from mmkd_crossmodal.files.kitti_packed import read_drive
from numpy.typing import NDArray

from benchmarks.rows import Row, arguments, show
from mmkd import recipes
from mmkd.data.root import find
from mmkd.evaluation.run import run

Array = NDArray[Any]

MADE, REAL = "crossmodal/lidar-to-camera", "crossmodal/lidar-to-camera-kitti"
PLAIN = ["evaluation.controls=[]", "arms={}"]
ORACLE = (
    'arms.oracle={distil=false, student={use="crossmodal/centre-net", width=8, '
    'inputs={x="image", beside="true_depth"}}}'
)
UNI = 'arms.unidistill={methods=[{use="crossmodal/unidistill"}]}'
BOTH = 'sources.teacher.model={use="crossmodal/centre-net", width=8, inputs={x="image", beside="depth"}}'
# part: (recipe, changes, seeds)
STUDIES: dict[str, tuple[str, list[str], int]] = {
    "embedded": (MADE, [], 5),
    "oracle": (MADE, [*PLAIN[:1], ORACLE, "methods=[]"], 3),
    "unidistill": (MADE, [PLAIN[0], UNI], 3),
    "both": (MADE, [*PLAIN, BOTH], 3),
    "labels-32": (MADE, [*PLAIN, "dataset.labelled_drives=32"], 3),
    "labels-128": (MADE, [*PLAIN, "dataset.labelled_drives=128"], 3),
    "harm": (MADE, [*PLAIN, 'dataset.setting="harm"'], 3),
    "night": (MADE, [*PLAIN, "dataset.night=true"], 3),
    "miscalibrated": (MADE, [*PLAIN, "dataset.miscalibration=2.0"], 3),
    "kitti": (REAL, [], 3),
}
MEASURED = "28,742 cars of KITTI's labels"
DISTANCES = ((0, 10), (10, 20), (20, 30), (30, 50))
DRIVES = 60  # generated for the marginals, 3 frames each


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(STUDIES))
    parser.add_argument("--marginals", action="store_true", help="the generator beside KITTI's labels and one drive")
    parser.add_argument("--seeds", type=int, help="in place of a part's own number")
    parser.add_argument("--directory", type=Path, default=Path("runs/benchmarks/driving"))
    options = parser.parse_args()
    rows = marginals() if options.marginals else []
    for part in options.parts:
        rows += study(part, options.directory, options.seeds)
    if not rows:
        parser.error("name a part, or --marginals")
    show(rows, options.json)


def study(part: str, directory: Path, seeds: int | None) -> list[Row]:
    """A run: its proof table is printed, its arms become rows."""
    recipe, changes, count = STUDIES[part]
    table = recipes.resolve(recipes.load(recipe, changes)[0])
    done = run(table, seeds=seeds or count, directory=directory / part)
    print(f"\n== {part}\n{done.table()}\n")
    rows = []
    for name, arm in done.result["arms"].items():
        if arm["status"] != "done":
            continue
        for metric in (done.result["metric"]["name"], "ap_3d_50", "ap_bev_70", "depth error, %"):
            found, factor = arm["metrics"][metric], 1 if "%" in metric else 100
            spread = "" if found["sd"] is None else f"±{factor * found['sd']:.1f}"
            rows.append(Row(f"{part}, {name}: {metric}", f"{factor * found['mean']:.1f}{spread}", "%"))
    compared = [*done.result["comparisons"], *done.result["attribution"]]
    return rows + [Row(f"{part}, {c['candidate']} against {c['baseline']}", c["verdict"], "") for c in compared]


def marginals() -> list[Row]:
    """What the generator was fixed by, before any distilled run."""
    made = [frame for number in range(DRIVES) for frame in generate_drive(0, number, 3)]
    cars = [frame.labels.of(("Car",)) for frame in made]
    p2s = [frame.calibration.p2 for frame in made]
    real, real_p2s = labelled_frames()
    rows = layout(cars, real) + cues(cars, p2s, real, real_p2s)
    drive = read_drive(folder) if (folder := find("kitti_drive0005")) else []
    return rows + points(made, drive)


def labelled_frames() -> tuple[list[Labels], list[Array]]:
    """Cars and P2 of every frame of KITTI's object training set, from the archives of its text files; none without."""
    archives = [find(f"kitti_labels/object_{name}.tar.xz") for name in ("label_2", "calib")]
    if None in archives:
        return [], []
    texts: list[dict[str, str]] = []
    for archive in archives:
        with tarfile.open(archive) as held:
            files = [member for member in held.getmembers() if member.isfile()]
            read = ((Path(member.name).stem, held.extractfile(member)) for member in files)
            texts.append({name: io.TextIOWrapper(file, "ascii").read() for name, file in read if file is not None})
    labels, p2s = [], []
    for name in sorted(set(texts[0]) & set(texts[1])):
        lines = [(number, line.split()) for number, line in enumerate(texts[0][name].splitlines(), 1) if line]
        labels.append(parse_labels(Path(name), lines).of(("Car",)))
        line = next(line for line in texts[1][name].splitlines() if line.startswith("P2:"))
        p2s.append(np.array(line.split()[1:], float).reshape(3, 4))
    return labels, p2s


def layout(made: Sequence[Labels], real: Sequence[Labels]) -> list[Row]:
    """Counts, sizes, occlusion, truncation and depth."""

    def said(labels: Sequence[Labels]) -> dict[str, float]:
        if not labels:
            return {}
        boxes = np.concatenate([frame.boxes for frame in labels])
        occlusion = np.concatenate([frame.occlusion for frame in labels])
        truncation = np.concatenate([frame.truncation for frame in labels])
        found = {"cars per frame": len(boxes) / len(labels)}
        for name, column in (("height", 3), ("width", 4), ("length", 5)):
            found[f"{name}, mean, m"] = boxes[:, column].mean()
            found[f"{name}, sd, m"] = boxes[:, column].std()
        for level in range(4):
            found[f"occlusion {level}, %"] = 100 * (occlusion == level).mean()
        found["truncated by more than 0.15, %"] = 100 * (truncation > 0.15).mean()
        for quantile in (0.05, 0.5, 0.95):
            found[f"depth, quantile {quantile}, m"] = np.quantile(boxes[:, 2], quantile)
        found["ground below the camera, mean, m"] = boxes[:, 1].mean()
        found["ground below the camera, sd, m"] = boxes[:, 1].std()
        return found

    theirs = said(real)
    return [_row(name, value, theirs.get(name), MEASURED) for name, value in said(made).items()]


def cues(
    made: Sequence[Labels], made_p2: Sequence[Array], real: Sequence[Labels], real_p2: Sequence[Array]
) -> list[Row]:
    """Errors of two monocular cues on cars that are not truncated: the class's mean height, and a flat ground."""

    def said(labels: Sequence[Labels], p2s: Iterable[Array]) -> dict[str, float]:
        if not labels:
            return {}
        rows = []
        for frame, p2 in zip(labels, p2s, strict=True):
            box, depth = frame.image_box, frame.boxes[:, 2]
            high = p2[1, 1] * 1.53 / np.maximum(box[:, 3] - box[:, 1], 1e-3)
            flat = p2[1, 1] * 1.65 / np.maximum(box[:, 3] - p2[1, 2], 1e-3)
            whole = frame.truncation < 0.05
            rows.append(np.stack([depth, np.abs(high - depth) / depth, np.abs(flat - depth) / depth], 1)[whole])
        table = np.concatenate(rows)
        found = {}
        for low, high in ((0, 15), (15, 30), (30, 50)):
            some = table[(table[:, 0] >= low) & (table[:, 0] < high)]
            for name, column in (("mean height", 1), ("flat ground", 2)):
                found[f"depth from {name}, {low} to {high} m: median error, %"] = 100 * np.median(some[:, column])
        return found

    theirs = said(real, real_p2)
    return [_row(name, value, theirs.get(name), MEASURED) for name, value in said(made, made_p2).items()]


def points(made: Sequence[Frame], drive: Sequence[Frame]) -> list[Row]:
    """Median number of points in a labelled box, by distance."""

    def said(frames: Sequence[Frame], kinds: tuple[str, ...]) -> dict[str, float]:
        counts = [count for frame in frames for count in points_in_boxes(frame, frame.labels.of(kinds))]
        table = np.array(counts).reshape(-1, 2)
        found = {}
        for low, high in DISTANCES:
            some = table[(table[:, 0] >= low) & (table[:, 0] < high), 1]
            if len(some):
                found[f"points in a box at {low} to {high} m, median"] = float(np.median(some))
        return found

    theirs = said(drive, ("Car", "Van", "Cyclist", "Pedestrian"))
    source = "KITTI drive 0005, all classes"
    return [_row(name, value, theirs.get(name), source) for name, value in said(made, ("Car",)).items()]


def points_in_boxes(frame: Frame, labels: Labels) -> list[tuple[float, int]]:
    """Distance and number of points of each labelled object."""
    calibration: Calibration = frame.calibration
    seen = calibration.to_camera(frame.points[:, :3].astype(np.float64))
    found = []
    for x, y, z, height, width, length, yaw in labels.boxes:
        apart = seen - [x, y, z]
        along = apart[:, 0] * np.cos(yaw) - apart[:, 2] * np.sin(yaw)
        across = apart[:, 0] * np.sin(yaw) + apart[:, 2] * np.cos(yaw)
        inside = (np.abs(along) < length / 2) & (np.abs(across) < width / 2)
        inside &= (apart[:, 1] < 0) & (apart[:, 1] > -height)
        found.append((float(np.hypot(x, z)), int(inside.sum())))
    return found


def _row(name: str, value: float, reference: float | None, source: str) -> Row:
    wanted = "" if reference is None else f"{reference:.3g}"
    return Row(f"generator: {name}", f"{value:.3g}", "", wanted, source if wanted else "")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
