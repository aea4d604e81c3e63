"""`symbolic/pmlb`: tables of the Penn Machine Learning Benchmarks; several have a rule that is known."""

from __future__ import annotations

from typing import Any

import numpy as np
from pydantic import PositiveInt

from mmkd.components import suggest
from mmkd.data.download import RemoteFile, fetch
from mmkd.errors import ConfigError
from mmkd_symbolic.datasets.base import Table
from mmkd_symbolic.datasets.pmlb_rules import RULES
from mmkd_symbolic.files.pmlb import encode, read_pmlb

_ADDRESS = "https://github.com/EpistasisLab/pmlb/raw/master/datasets"
SHA256 = {
    "adult": "fb8bc76eafa39558b6044907f23416faf99099cefb8afd06a2cf5afbdae1b506",
    "breast_w": "cad1a46f50ff7ff713e8abdff5837ebb28ddb9be5823c5fa35c85ee14400760b",
    "car_evaluation": "bd9d5214451c3b72e8a5ba4ae75a565d373d90a804659d0a5f4617fad3ac4cfd",
    "chess": "9ae5108706e2d98e5fe27f4bcbe1cc73183be680bb94257989b26da6522a729a",
    "corral": "175c5bf22679acece507605c0269159c2104ffe9ddcb68119ec8c8baf3010de3",
    "dermatology": "c8852ba546e92249debecd9a897cda3f94fd10872fa13c62eb14ab40e279166e",
    "heart_c": "8af8928bc3b2a791219b6f2d6e1b00da6c9244a47280bb901a38685a9065fb0c",
    "hepatitis": "87df1bbfb83b8204093ccd84ed18bb3695220c03aa4096f63a84cc5e136dbc0b",
    "lymphography": "9f61884125337eabb93744604be5a606879fa5fa9dd0ac882095bfcca4cfc25f",
    "monk1": "7486697a3be18ebaad546e5729db5d04326072cfa673436824aadc1b60b0fb7a",
    "monk2": "34fd665457403f66db49a4d012c59d7c387f99a35597c8f0f0e31d40ada255f8",
    "monk3": "085b4d7d6a1d69ddf52a093277b91b0d13dced7a37d98d281784b82eff42b2d9",
    "mushroom": "d8daa6822f14604f8567a5a8e5dfa93db6c383cf01aac01812c0ebdce3ab158a",
    "mux6": "5489616c6233c73567bbf7188ed54ef3e1f31653a3582eafc682f4a9f8e74bdf",
    "nursery": "5e56c09fc2c6a983c031879fe7de5fc945c44db2ca65f10fc5f5b6fc770489ff",
    "parity5+5": "3b201e85b9080716b4af02cbf662c8a73d190eba6eb1e75eac7d3d9e645ae893",
    "pima": "3820d79b9b44dac3d7a76ce5d507091bd4057f8e5dddd44c4d8bd0ae1d039206",
    "threeOf9": "1577e301436bbe13551966ddf2e6e9f5ace42bccfe60a1af387dc6700831fa8e",
    "tic_tac_toe": "d00d1522a06b5b67a0aea355c268ffe575e4a28651fa4fbf0e204705be3ce47b",
    "titanic": "491d45db3eb8ce30a838207b4f3eca02267c8a603c56358b7ff8babde9c40c0f",
    "vote": "854aedabba36d89fb2a79246592f2858d6905e7e75a1031128f67ed0c8a446a6",
    "xd6": "104e99890ea7e473e56d29c38452e79f173cbd5078cc30e1702eb45b42600585",
}


class PMLB(Table):
    """One table of PMLB; categorical columns are one-hot coded, see `mmkd_symbolic.files.pmlb`.

    `rules` holds the rule that made the last class, for tables where it is known.

    Arguments:
        table: its name, e.g. `monk1`.
        label_noise: share of wrong training labels.
        labels_per_class: labelled training rows of each class; None: all.
        most_rows: of a larger table so many rows are kept, the same for every seed.

    Raises:
        ConfigError: no table of that name.
        DataError: it is absent, or damaged.
    """

    name = "symbolic/pmlb"
    card = "pmlb"

    def __init__(
        self,
        *,
        table: str = "monk1",
        label_noise: float = 0.0,
        labels_per_class: PositiveInt | None = None,
        most_rows: PositiveInt | None = None,
    ) -> None:
        (path,) = fetch(self.files(table=table), self.name)
        read = read_pmlb(path)
        x, columns, domains = encode(read)
        values, label = np.unique(read.target, return_inverse=True)
        rows = np.arange(len(x))
        if most_rows is not None and len(x) > most_rows:
            rows = np.sort(np.random.default_rng(0).permutation(len(x))[:most_rows])
        super().__init__(
            x[rows],
            columns,
            label[rows].astype(np.int64),
            [f"{value:g}" for value in values],
            label_noise=label_noise,
            labels_per_class=labels_per_class,
            domains=domains,
        )
        self.rules = RULES.get(table, ())

    @classmethod
    def files(cls, *, table: str | None = None, **config: Any) -> tuple[RemoteFile, ...]:
        """The file of one table, or of all."""
        if table is not None and table not in SHA256:
            raise ConfigError(f"symbolic/pmlb has no table '{table}'", suggest(table, sorted(SHA256)))
        return tuple(
            RemoteFile(f"{_ADDRESS}/{name}/{name}.tsv.gz", sha256, f"pmlb_rules/{name}.tsv.gz")
            for name, sha256 in SHA256.items()
            if table in (None, name)
        )
