"""The `[training]` table of a recipe."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class Training(BaseModel):
    """Loop, optimiser and selection.

    Arguments:
        steps: optimiser steps, at most; the budget that every student arm shares.
        batch_size: rows per step over all processes.
        drop_last: leave out the last partial batch of an epoch.
        labelled_batch: labelled rows added to each batch, cycling, where labels are scarce among the training rows.
        optimiser: `adam`, `adamw` or `sgd`.
        lr: base learning rate.
        weight_decay: L2 penalty (`adam`, `sgd`) or decoupled decay (`adamw`).
        momentum: of `sgd`.
        schedule: course of the learning rate after `warmup` steps.
        warmup: steps of linear warm-up.
        clip_norm: largest gradient norm, adapters included; None for no limit.
        evaluate_every: steps between validations; None: once per epoch.
        patience: validations without a better score before training stops; None: never.
        select: keep the weights of the best validation (ties: the later one) or of the last step.
        precision: `auto` is bfloat16 on CUDA and float32 elsewhere.
        checkpoint_seconds: time between checkpoints.
        log_every: steps between lines of `metrics.jsonl`.
        workers: loader processes for data that is read lazily.
    """

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    steps: int = Field(1000, gt=0)
    batch_size: int = Field(64, gt=0)
    drop_last: bool = False
    labelled_batch: int = Field(0, ge=0)
    optimiser: Literal["adam", "adamw", "sgd"] = "adamw"
    lr: float = Field(1e-3, gt=0)
    weight_decay: float = Field(0.0, ge=0)
    momentum: float = Field(0.9, ge=0, lt=1)
    schedule: Literal["constant", "cosine", "linear"] = "constant"
    warmup: int = Field(0, ge=0)
    clip_norm: float | None = Field(None, gt=0)
    evaluate_every: int | None = Field(None, gt=0)
    patience: int | None = Field(None, gt=0)
    select: Literal["best", "last"] = "best"
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    checkpoint_seconds: float = Field(60.0, ge=0)
    log_every: int = Field(50, gt=0)
    workers: int = Field(0, ge=0)
