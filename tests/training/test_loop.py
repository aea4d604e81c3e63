"""The loop: what is trained and what is not, in which order, by which draws, and that a cut is not to be seen."""

from __future__ import annotations

import json
import math
from dataclasses import asdict

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional as F

from mmkd import recipes
from mmkd.binding import Bound, bind
from mmkd.data import Dataset, Field, Split, View
from mmkd.errors import ConfigError, StorageError, TrainingError
from mmkd.evaluation.arms import Plan
from mmkd.evaluation.experiment import Experiment
from mmkd.evaluation.job import Job
from mmkd.methods.base import Method
from mmkd.methods.fitnets import FitNets
from mmkd.methods.soft_targets import SoftTargets
from mmkd.schemes.base import Ramp, Stage, Update
from mmkd.sources.base import Knowledge
from mmkd.sources.live import Live
from mmkd.tasks.classification import Classification
from mmkd.training.checkpoints import Checkpoints
from mmkd.training.loop import Trainer
from mmkd.training.optimisers import learning_rate
from mmkd.training.order import Order
from mmkd.training.randomness import forked
from mmkd.training.settings import Training
from mmkd.training.step import Step, StepCall, evaluating

ROWS = 40
FIELDS = {"x": Field((4,)), "label": Field((), "int64", target=True, classes=("a", "b", "c"))}


class Stop(BaseException):
    """Thrown into a training, where a person would press Ctrl-C."""


class Data(Dataset):
    """All training rows are labelled, and listed in no order."""

    def __init__(self):
        label = torch.arange(ROWS) % 3
        x = torch.randn(ROWS, 4, generator=torch.Generator().manual_seed(0)) + label[:, None]
        super().__init__(FIELDS, {"x": x, "label": label})

    def split(self, seed):
        rows = torch.randperm(ROWS, generator=torch.Generator().manual_seed(seed))
        return Split(rows[:20], rows[:0], rows[20:30], {"test": rows[30:]})


class Net(nn.Module):
    def __init__(self, hidden):
        super().__init__()
        self.hint = nn.Sequential(nn.Linear(4, hidden), nn.BatchNorm1d(hidden), nn.ReLU())
        self.dropout = nn.Dropout(0.4)
        self.last = nn.Linear(hidden, 3)
        self.taps, self.layouts = {"hint": "hint"}, {"hint": "vector"}

    def forward(self, x):
        return self.last(self.dropout(self.hint(x)))


class Anchors(Method):
    """Draws targets: once, and again in each epoch; as methods do that perturb or sample."""

    def prepare(self, view, sources):
        return {"anchor": torch.rand(len(view.dataset), 3)}

    def refresh(self, epoch, view, sources, student):
        return {"moving": torch.rand(len(view.dataset), 3) + epoch}

    def forward(self, student, sources, batch):
        return {"pull": F.mse_loss(student.logits, batch["anchor"] + batch["moving"])}


class Edges(Method):
    """A gather of so many rows that threads share out its gradient."""

    def forward(self, student, sources, batch):
        generator = torch.Generator().manual_seed(0)
        rows = torch.randint(0, len(batch.index), (20_000,), generator=generator)
        return {"edges": (student.features["hint"][rows] * torch.randn(20_000, 1, generator=generator)).square().mean()}


def bound(hidden, seed=0):
    with forked(seed, "student-init", hidden):
        net = Net(hidden)
    return Bound(net, bind(Net.forward, FIELDS))


def a_view(labelled=ROWS):
    return View(Data(), torch.arange(ROWS), torch.arange(labelled))


def lesson(view, *, methods=("soft-targets", "fitnets"), weights=None):
    """A student of 6 and a frozen teacher of 9 hidden units, and the update that joins them."""
    student, teacher = bound(6), Live(Knowledge(view.dataset, [bound(9)]))
    batch = view.batch(view.rows[:2])
    specs = student.measure(batch), {"teacher": teacher.measure(batch)}
    kinds = {"soft-targets": SoftTargets, "fitnets": FitNets, "anchors": Anchors, "edges": Edges}
    with forked(0, "adapter"):
        built = {name: kinds[name](*specs) for name in methods}
    return student, teacher, Update(["student"], Classification(FIELDS), 1.0, built, weights, {"teacher": teacher})


def train(
    student, update, view, *, stages=None, validate=None, directory=None, progress=None, better=True, seed=3, **settings
):
    """Train it, and give the trainer; `fitted` is in it."""
    chosen = Training(**{"steps": 6, "batch_size": 8, "evaluate_every": 2, **settings})
    stages = stages or [Stage({"student": update})]
    trainer = Trainer(
        {"student": student},
        stages,
        view,
        chosen,
        seed=seed,
        validate=validate,
        directory=directory,
        progress=progress,
        higher_is_better=better,
    )
    trainer.run()
    return trainer


def weights_of(module):
    return {name: value.detach().clone() for name, value in module.state_dict().items()}


def assert_equal(one, other):
    assert one.keys() == other.keys()
    assert [name for name in one if not one[name].equal(other[name])] == []


# --- pairing ----------------------------------------------------------------------------------------------------------


def experiment_of(weight=0.0):
    """Where distillation has no weight, nothing but chance could tell it from learning alone."""
    methods = [
        {"use": "soft-targets", "weight": weight},
        {"use": "fitnets", "student_role": "penultimate", "weight": weight},
    ]
    recipe, _ = recipes.load(
        {
            "dataset": {"use": "fake/data"},
            "task": {"use": "classification"},
            "methods": methods,
            "student": {"use": "mlp", "hidden": 6, "dropout": 0.5},
            "sources": {"teacher": {"model": {"use": "mlp", "hidden": 9, "dropout": 0.5}, "cache": False}},
            "training": {"steps": 8, "batch_size": 8, "lr": 0.01, "select": "last", "checkpoint_seconds": 60.0},
            "evaluation": {"latency": False},
        }
    )
    experiment = Experiment(recipe)
    experiment.dataset = Data()
    return experiment


def arm(plan, directory, *, weight=0.0, seed=0):
    """Weights of one arm of one seed."""
    job = Job(experiment_of(weight), plan, seed, directory)
    assert job.run()["status"] == "done"
    return load_file(job.directory / "weights.safetensors")


ALONE, DISTILLED = Plan("alone", distil=False, labelled_only=True), Plan("distilled")


def test_arms_are_paired(tmp_path):
    """Start, order and dropout draws are the same to the bit, however much else the other arm builds and runs."""
    alone = arm(ALONE, tmp_path / "one")
    assert_equal(alone, arm(DISTILLED, tmp_path / "one"))
    for name, other in (("seed", {"seed": 1}), ("weight", {"weight": 1.0})):
        changed = arm(DISTILLED, tmp_path / name, **other)
        assert not all(alone[part].equal(changed[part]) for part in alone), name


def test_adapters_start_alike_whatever_was_drawn_before():
    def adapter(seed):
        torch.manual_seed(next(drawn))
        experiment, view = experiment_of(), a_view()
        student = experiment.model(experiment.recipe.student, 0, "student-init")
        teacher = experiment.model(experiment.recipe.sources["teacher"].model, 0, "teacher")
        mine, theirs = (model.measure(view.batch(view.rows[:2])) for model in (student, teacher))
        methods, _ = experiment.methods(experiment.recipe, mine, {"teacher": theirs}, seed)
        return weights_of(methods["fitnets"])

    drawn = iter(range(3))
    first = adapter(0)
    assert first
    assert_equal(adapter(0), first)
    other = adapter(1)
    assert not any(first[name].equal(other[name]) for name in first)


def test_the_loop_gives_the_global_random_stream_back():
    student, _, update = lesson(view := a_view())
    torch.manual_seed(11)
    expected = torch.rand(4)
    torch.manual_seed(11)
    train(student, update, view)
    assert torch.equal(torch.rand(4), expected)


def test_a_steps_draws_do_not_depend_on_the_steps_before():
    """Three steps, and the last of three, drop the same units at the third."""
    seen = {}
    for name, steps in (("three", 3), ("more", 5)):
        student, _, update = lesson(view := a_view())
        masks = seen[name] = []
        drop = student.module.dropout
        drop.register_forward_hook(lambda part, _, kept, seen=masks: seen.append(kept == 0) if part.training else None)
        train(student, update, view, steps=steps, optimiser="sgd", lr=1e-12)
    assert len(seen["more"]) == 5
    assert all(a.equal(b) for a, b in zip(seen["three"], seen["more"], strict=False))
    assert not seen["more"][0].equal(seen["more"][1])


# --- selection --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("better", [True, False])
def test_early_stopping_keeps_the_best_weights(better):
    """Ties count as progress and keep the later weights; two validations without a better score end it."""
    student, _, update = lesson(view := a_view())
    scores = iter([0.1, 0.7, 0.7, 0.6, 0.65, 0.9])
    seen = []

    def validate():
        assert not torch.is_grad_enabled()
        seen.append((weights_of(student), [part.training for part in student.modules()]))
        return next(scores) * (1 if better else -1)

    trainer = train(student, update, view, steps=20, evaluate_every=2, patience=2, validate=validate, better=better)
    fitted = trainer.fitted
    assert [step for step, _ in fitted.history] == [2, 4, 6, 8, 10]
    assert (fitted.steps, fitted.best_step, abs(fitted.best_score), fitted.stopped) == (10, 6, 0.7, True)
    assert fitted.rows_seen == 10 * 8
    assert_equal(weights_of(student), seen[2][0])
    assert not any(any(modes) for _, modes in seen)
    assert all(part.training for part in student.modules())


def test_the_last_stage_alone_selects():
    """A stage that prepares, such as FitNets' hints, neither ends the training nor gives the weights."""
    student, _, update = lesson(view := a_view())
    stages = [Stage({"student": update}, share=0.6), Stage({"student": update}, data="labelled", share=0.4)]
    scores = iter([0.9, 0.8, 0.7, 0.1, 0.2])
    seen = []

    def validate():
        seen.append(weights_of(student))
        return next(scores)

    fitted = train(student, update, view, stages=stages, steps=10, validate=validate, patience=1).fitted
    assert [step for step, _ in fitted.history] == [2, 4, 6, 8, 10]
    assert (fitted.best_step, fitted.best_score, fitted.stopped) == (10, 0.2, False)
    assert_equal(weights_of(student), seen[-1])


def test_sources_are_told_of_every_step_once():
    student, teacher, update = lesson(view := a_view())
    told = []
    teacher.after_step = lambda models: told.append(sorted(models))
    second = Update(["student"], update.task, sources={"also": teacher})
    hook = [lambda models: told.append("hook")]
    train(student, update, view, stages=[Stage({"student": update, "again": second}, after_step=hook)], steps=3)
    assert told == [["student"], "hook"] * 3


def test_select_last_keeps_the_last():
    student, _, update = lesson(view := a_view())
    seen = []
    train(student, update, view, select="last", validate=lambda: seen.append(weights_of(student)) or -len(seen))
    assert len(seen) == 3
    assert_equal(weights_of(student), seen[-1])


def test_validation_comes_with_each_epoch_and_at_the_end_by_default():
    student, _, update = lesson(view := a_view())
    fitted = train(student, update, view, steps=12, evaluate_every=None, validate=lambda: 0.5).fitted
    assert [step for step, _ in fitted.history] == [5, 10, 12]


def test_evaluating_puts_every_parts_own_mode_back():
    net = Net(3)
    net.hint[1].eval()  # a user's frozen BatchNorm
    before = {name: part.training for name, part in net.named_modules()}
    with evaluating(net):
        assert not any(part.training for part in net.modules())
        assert not torch.is_grad_enabled()
    with pytest.raises(Stop), evaluating(net):
        raise Stop
    assert {name: part.training for name, part in net.named_modules()} == before
    assert torch.is_grad_enabled()


# --- learning rates ---------------------------------------------------------------------------------------------------


def test_learning_rates_are_functions_of_the_step():
    for kind in ("constant", "cosine", "linear"):
        chosen = Training(steps=110, lr=0.2, warmup=10, schedule=kind)
        rates = [learning_rate(chosen, step) for step in range(111)]
        assert rates == [learning_rate(chosen, step) for step in reversed(range(111))][::-1]
        assert rates[:10] == pytest.approx([0.2 * (step + 1) / 10 for step in range(10)])
        expected = {
            "constant": lambda done: 0.2,
            "cosine": lambda done: 0.1 * (1 + math.cos(math.pi * done)),
            "linear": lambda done: 0.2 * (1 - done),
        }[kind]
        assert rates[10:] == pytest.approx([expected(step / 100) for step in range(101)])
    assert learning_rate(Training(steps=5, lr=0.3, warmup=9), 0) == pytest.approx(0.3 / 9)


def test_the_rate_of_a_step_is_the_schedules(tmp_path):
    student, _, update = lesson(view := a_view())
    trainer = train(student, update, view, steps=9, warmup=3, schedule="cosine", log_every=1, directory=tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["lr"] for line in lines] == [learning_rate(trainer.settings, step) for step in range(9)]


def test_weights_of_losses_ramp():
    student, _, update = lesson(view := a_view(), weights={"fitnets": Ramp(start=0.0, end=2.0, steps=4)})
    student.eval()  # no dropout: the parts are the same at every step
    step = Step({"student": student}, {"student": update})
    for at, weight in ((0, 0.0), (1, 0.5), (4, 2.0), (9, 2.0)):
        losses = step(view.batch(view.rows), step=at)
        parts = losses["task"] + losses["soft-targets/kl"] + weight * losses["fitnets/hint"]
        assert torch.allclose(losses["loss"], parts)


# --- what is trained --------------------------------------------------------------------------------------------------


def test_adapters_are_trained_and_clipped_with_the_student():
    student, _, update = lesson(view := a_view(), weights={"fitnets": 50.0})
    parts = {"student": student, "adapter": update.methods["fitnets"]}
    before = {name: [p.detach().clone() for p in part.parameters()] for name, part in parts.items()}
    train(student, update, view, steps=1, optimiser="sgd", momentum=0.0, lr=1.0, clip_norm=0.01)
    now = {name: [p.detach() for p in part.parameters()] for name, part in parts.items()}
    moved = {
        name: sum(float((p - q).square().sum()) for p, q in zip(now[name], before[name], strict=True)) for name in parts
    }
    assert moved["adapter"] > 1e-6
    assert moved["student"] > 1e-6
    assert math.sqrt(sum(moved.values())) == pytest.approx(0.01, rel=1e-3)


def test_the_teacher_is_left_as_it_is():
    """Not its parameters, not its BatchNorm statistics, and not by a user who puts it into train mode."""
    student, teacher, update = lesson(view := a_view())
    before, said = weights_of(teacher.model), []

    def meddle(models):
        teacher.model.train()
        said.append(teacher.signals(view.batch(view.rows), None, None).logits)

    train(student, update, view, stages=[Stage({"student": update}, after_step=[meddle])], weight_decay=0.5)
    assert_equal(weights_of(teacher.model), before)
    assert all(p.grad is None and not p.requires_grad for p in teacher.model.parameters())
    assert len(said) == 6
    assert all(each.equal(said[0]) and not each.requires_grad for each in said)


def test_no_teacher_key_in_the_steps_state(tmp_path):
    student, teacher, update = lesson(view := a_view())
    teacher.model.module.register_buffer("mark_of_the_teacher", torch.zeros(1))
    step = Step({"student": student}, {"student": update})
    names = {f"models.student.module.{name}" for name in student.module.state_dict()}
    adapter = {name for name in step.state_dict() if name.startswith("updates.student.methods.fitnets.adapter.")}
    assert set(step.state_dict()) == names | adapter
    assert adapter
    assert {id(p) for p in step.parameters()}.isdisjoint(id(p) for p in teacher.model.parameters())
    train(student, update, view, directory=tmp_path, checkpoint_seconds=0)
    tensors = Checkpoints(tmp_path / "checkpoints").latest().tensors()
    assert not [name for name in tensors if "teacher" in name or "source" in name]


def test_a_model_runs_once_per_batch_and_kind_of_gradient():
    student, view = bound(6), a_view()
    ran, call = [], StepCall({"student": student, "peer": bound(9)}, "student")
    student.module.register_forward_hook(lambda *_: ran.append(torch.is_grad_enabled()))
    batch = view.batch(view.rows[:4])
    assert call(batch) is call(batch, "student")
    assert call(batch).logits.requires_grad
    with torch.no_grad():
        assert call(batch) is call(batch)
        assert not call(batch).logits.requires_grad
    assert ran == [True, False]
    assert call(batch, "peer") is not call(batch)
    others = [call(batch.replace(x=batch["x"] + k)).logits for k in range(3)]  # ids of batches may be given again
    assert not others[0].equal(others[1])
    assert len(ran) == 5


def test_a_lesson_without_a_loss_is_an_error():
    student, _, _ = lesson(view := a_view())
    with pytest.raises(ConfigError, match="update 'student' has nothing to learn; give the task a weight"):
        train(student, Update(["student"], Classification(FIELDS), 0.0), view)


# --- what cannot go on ------------------------------------------------------------------------------------------------


class Poisoned(Classification):
    """A loss, or a gradient, that is no number where row 13 is in the batch."""

    what = "loss"

    def loss(self, signals, batch):
        if 13 not in batch.index.tolist():
            return super().loss(signals, batch)
        nothing = signals.logits.sum() * 0
        return nothing + math.nan if self.what == "loss" else super().loss(signals, batch) + nothing.abs().sqrt()


@pytest.mark.parametrize("what", ["loss", "gradient"])
@pytest.mark.parametrize("clip_norm", [None, 1.0])
def test_a_step_without_a_number_is_not_taken(tmp_path, what, clip_norm):
    view, settings = a_view(), {"steps": 30, "batch_size": 8, "clip_norm": clip_norm}
    order = Order(view.rows, view.labelled, Training(**settings), 3)
    fatal = next(step for step in range(5, 30) if 13 in order(step).tolist())
    task = Poisoned(FIELDS)
    task.what = what
    good = View(view.dataset, view.rows, view.labelled)

    def start():
        student, _, update = lesson(good, methods=("fitnets",))
        first, update.task = update.task, task
        return student, update, first

    student, update, plain = start()
    first_fatal = next(step for step in range(30) if 13 in order(step).tolist())
    with pytest.raises(TrainingError) as error:
        train(student, update, view, directory=tmp_path, checkpoint_seconds=0, **settings)
    rows = order(first_fatal).tolist()
    assert 13 in rows
    assert f"non-finite {what} at step {first_fatal} (task " in error.value.cause
    assert error.value.cause.endswith(f"rows {', '.join(map(str, rows))}")
    assert error.value.exit_code == 5
    assert first_fatal < fatal
    # The parameters are those of the step before, and so is the last checkpoint.
    again, other, _ = start()
    other.task = plain
    if first_fatal:
        train(again, other, view, **{**settings, "steps": first_fatal})
        kept = Checkpoints(tmp_path / "checkpoints").latest()
        assert kept.step == first_fatal
    for mine, expected in zip(student.parameters(), again.parameters(), strict=True):
        assert mine.equal(expected)
    for mine, expected in zip(update.parameters(), other.parameters(), strict=True):
        assert mine.equal(expected)


# --- resume -----------------------------------------------------------------------------------------------------------


def cut_at(step):
    """A progress callback that ends the training in that step, before its checkpoint."""

    def progress(now, steps, losses):
        if now == step:
            raise Stop

    return progress


def course(directory, cut=None, stages=1, **settings):
    """A training with all that has a state; cut in a step, or run to the end. Gives all that came out of it."""
    view = a_view(labelled=12)
    student, _, update = lesson(view, methods=("soft-targets", "fitnets", "anchors"), weights={"anchors": 0.1})
    plan = [Stage({"student": update})]
    if stages == 2:
        plan = [
            Stage({"student": update}, data="labelled", share=0.4),
            Stage(
                {
                    "student": Update(
                        ["student"], update.task, sources=update.sources, methods={"anchors": update.methods["anchors"]}
                    )
                },
                share=0.6,
            ),
        ]
    chosen = {
        "steps": 12,
        "batch_size": 8,
        "labelled_batch": 4,
        "lr": 0.02,
        "weight_decay": 0.01,
        "evaluate_every": 3,
        "schedule": "cosine",
        "warmup": 2,
        "clip_norm": 2.0,
        "log_every": 1,
        "checkpoint_seconds": 60.0 if cut is None else 0.0,
        **settings,
    }
    held = view.batch(view.rows)

    def validate():
        return float(-F.cross_entropy(student(held).logits, view.dataset.samples["label"]))

    trainer = train(
        student,
        update,
        view,
        stages=plan,
        directory=directory,
        validate=validate,
        progress=None if cut is None else cut_at(cut),
        **chosen,
    )
    fitted = {name: value for name, value in asdict(trainer.fitted).items() if name != "seconds"}
    learnt = weights_of(trainer.steps[-1])  # an earlier stage's adapters are done with, and a resume leaves them out
    return learnt, fitted, (directory / "metrics.jsonl").read_text()


def assert_same_course(one, other):
    assert_equal(one[0], other[0])
    assert one[1] == other[1]
    assert one[2] == other[2]


@pytest.mark.parametrize("optimiser", ["sgd", "adam", "adamw"])
def test_a_resumed_training_is_bit_equal(tmp_path, optimiser):
    whole = course(tmp_path / "whole", optimiser=optimiser)
    assert len(whole[1]["history"]) == 4
    for number, cuts in enumerate([(1,), (4,), (5, 6), (3, 10)]):  # an epoch has 5 steps: before, at and after its end
        for cut in cuts:
            with pytest.raises(Stop):
                course(tmp_path / str(number), cut, optimiser=optimiser)
            assert Checkpoints(tmp_path / str(number) / "checkpoints").latest().step == cut
        assert_same_course(course(tmp_path / str(number), optimiser=optimiser), whole)


def test_the_selected_weights_survive_a_cut(tmp_path):
    """The best step lies before the cut, and patience runs out after it."""
    settings = {"lr": 3.0, "optimiser": "sgd", "patience": 3, "steps": 40, "evaluate_every": 1, "schedule": "constant"}
    whole = course(tmp_path / "whole", **settings)
    assert whole[1]["stopped"]
    best, steps = whole[1]["best_step"], whole[1]["steps"]
    assert best < steps - 1
    with pytest.raises(Stop):
        course(tmp_path / "cut", steps - 1, **settings)
    assert_same_course(course(tmp_path / "cut", **settings), whole)


@pytest.mark.parametrize("cut", [3, 5, 9])
def test_stages_are_resumed_where_they_were_cut(tmp_path, cut):
    whole = course(tmp_path / "whole", stages=2)
    with pytest.raises(Stop):
        course(tmp_path / "cut", cut, stages=2)
    state = Checkpoints(tmp_path / "cut" / "checkpoints").latest()
    assert state.state()["stage"] == (0 if cut <= 5 else 1)  # no checkpoint stands at the border itself
    assert_same_course(course(tmp_path / "cut", stages=2), whole)


def test_a_checkpoint_of_another_model_is_refused(tmp_path):
    with pytest.raises(Stop):
        course(tmp_path, 2)
    student, update = bound(5), Update(["student"], Classification(FIELDS))
    with pytest.raises(StorageError, match="is of another model or recipe; start in a new run directory"):
        train(student, update, a_view(), directory=tmp_path)


# --- order ------------------------------------------------------------------------------------------------------------


def order_of(rows=11, labelled=4, seed=0, **settings):
    return Order(torch.arange(100, 100 + rows), torch.arange(100, 100 + labelled), Training(**settings), seed)


@pytest.mark.parametrize("rows", [1, 7, 8, 9, 24, 25])
@pytest.mark.parametrize("drop_last", [False, True])
def test_an_epoch_covers_all_rows_once(rows, drop_last):
    order = order_of(rows, batch_size=8, drop_last=drop_last)
    size = min(rows, 8)
    full, rest = divmod(rows, size)
    assert order.steps_per_epoch == full + (rest > 0 and not drop_last)
    for epoch in range(3):
        first = epoch * order.steps_per_epoch
        steps = [order(first + place) for place in range(order.steps_per_epoch)]
        assert {order.epoch(first), order.epoch(first + len(steps) - 1)} == {epoch}
        seen = torch.cat(steps).tolist()
        assert len(set(seen)) == len(seen) == (full * size if drop_last else rows)
        assert set(seen) <= set(range(100, 100 + rows))
        assert [len(step) for step in steps] == [size] * full + [rest] * (rest > 0 and not drop_last)


def test_the_order_is_a_function_of_seed_and_step():
    steps = range(12)
    forwards = [order(step).tolist() for order in [order_of(labelled_batch=3, batch_size=4)] for step in steps]
    jumping = order_of(labelled_batch=3, batch_size=4)
    assert [jumping(step).tolist() for step in reversed(steps)][::-1] == forwards
    assert [order_of(labelled_batch=3, batch_size=4)(step).tolist() for step in steps] == forwards
    assert [order_of(labelled_batch=3, batch_size=4, seed=1)(step).tolist() for step in steps] != forwards
    rows = [step[:-3] for step in forwards]  # the labelled ones that are added left out
    assert len({str(rows[first : first + 3]) for first in (0, 3, 6)}) == 3  # an epoch has three steps


def test_labelled_rows_are_added_and_go_round():
    order = order_of(rows=9, labelled=4, batch_size=3, labelled_batch=3)
    added = [order(step) for step in range(8)]
    assert all(len(each) == 3 + 3 for each in added)
    drawn = torch.cat([each[3:] for each in added]).tolist()
    rounds = [drawn[first : first + 4] for first in range(0, 24, 4)]
    assert all(sorted(each) == [100, 101, 102, 103] for each in rounds)
    assert len({tuple(each) for each in rounds}) > 1
    assert len(order_of(labelled=2, batch_size=3, labelled_batch=8)(0)) == 3 + 2  # no row twice in a batch
    assert len(order_of(labelled=0, batch_size=3, labelled_batch=8)(0)) == 3


def test_a_batch_larger_than_the_data_holds_all_of_it():
    for drop_last in (False, True):
        order = order_of(rows=5, batch_size=64, drop_last=drop_last)
        assert order.steps_per_epoch == 1
        assert sorted(order(3).tolist()) == [100, 101, 102, 103, 104]
    with pytest.raises(ConfigError, match="no training rows"):
        order_of(rows=0)


# --- threads ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def four_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


def test_threads_do_not_race(four_threads):
    """Which thread adds first must not be seen in the gradient of a gather."""

    def trained():
        view = a_view()
        student, _, update = lesson(view, methods=("edges",))
        train(student, update, view)
        return weights_of(student)

    first = trained()
    for _ in range(4):
        assert_equal(trained(), first)
