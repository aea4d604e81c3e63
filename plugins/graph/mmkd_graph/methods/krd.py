"""`graph/krd`: neighbours teach in proportion to how reliable they are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from pydantic import NonNegativeInt, PositiveFloat
from scipy.optimize import curve_fit
from torch import Tensor

from mmkd.data.views import Batch, View
from mmkd.layouts import Specs
from mmkd.methods.base import Method
from mmkd.signals import Signals
from mmkd_graph.methods.edges import all_rows, check_outputs, edge_divergence, edges_in, entropy, says, spread

BINS = 50
_CHANGE, _TEACHER = "krd/change", "krd/teacher"


class KRD(Method):
    """Knowledge-inspired reliable distillation, graph-free at inference.

    A node's knowledge is the less reliable, the more the entropy of the teacher's answer changes under noise on the
    features: `c(j) = |H(noisy) - H(clean)|` over its largest value (eq. 5, one draw of unit noise as in the code). Node
    i learns the teacher's answer on itself and on each neighbour j that is drawn with probability `1 - c(j)^a`: mean
    over those edges of `KL(p_t(j) || p_s(i))` at temperature T (eqs. 8 and 9). The exponent a follows, with momentum,
    the curve fitted to how often student and teacher agree among nodes of equal c (section 4.2). Until `warm_up` epochs
    have passed a node learns from itself alone. An epoch should be one batch of all rows.

    Arguments:
        student, sources: measured forms.
        source: who teaches; it is asked about noisy features too.
        output: the output that holds the logits.
        temperature: T; published between 0.8 and 1.2. The loss is not multiplied by T^2.
        warm_up: epochs without neighbours.
        momentum: of the exponent.
        noise: standard deviation of the noise.
        field: the features that the noise is added to.

    Raises:
        ConfigError: classes differ.
    """

    citation = "Wu et al. 2023, Quantifying the Knowledge in GNNs for Reliable Distillation into MLPs, arXiv 2306.05628"

    power: Tensor

    def __init__(
        self,
        student: Specs,
        sources: Mapping[str, Specs],
        /,
        *,
        source: str = "teacher",
        output: str = "logits",
        temperature: PositiveFloat = 1.0,
        warm_up: NonNegativeInt = 50,
        momentum: float = 0.99,
        noise: PositiveFloat = 1.0,
        field: str = "x",
    ) -> None:
        super().__init__(student, sources)
        check_outputs(student, sources, source, output, "graph/krd")
        self.source, self.output, self.temperature, self.field = source, output, temperature, field
        self.warm_up, self.momentum, self.noise = warm_up, momentum, noise
        self.register_buffer("power", torch.ones((), dtype=torch.float64))
        self.register_buffer("warm", torch.zeros((), dtype=torch.bool))

    def prepare(self, view: View, sources: Mapping[str, Any]) -> dict[str, Tensor]:
        """How much the teacher's entropy changes, and its decision, of every row."""
        batch, teacher = all_rows(view), sources[self.source]
        clean = teacher.signals(batch, None, None).outputs[self.output]
        features = batch[self.field]
        changed = batch.replace(**{self.field: features + self.noise * torch.randn_like(features)})
        noisy = teacher.signals(changed, None, None).outputs[self.output]
        change = (entropy(noisy.softmax(1)) - entropy(clean.softmax(1))).abs()
        largest = change.max().clamp(min=torch.finfo(change.dtype).tiny)
        return {_CHANGE: spread(change / largest, batch), _TEACHER: spread(clean.argmax(1), batch)}

    def refresh(self, epoch: int, view: View, sources: Mapping[str, Any], student: Any) -> dict[str, Tensor]:
        """Let the exponent follow how often student and teacher agree."""
        if epoch >= self.warm_up:
            batch = all_rows(view)
            agree = says(student, batch, self.output).argmax(1) == batch[_TEACHER]
            found = fitted_power(batch[_CHANGE].cpu().numpy(), agree.cpu().numpy(), float(self.power))
            self.power.mul_(self.momentum).add_((1 - self.momentum) * found)
            self.warm.fill_(True)
        return {}

    def forward(self, student: Signals, sources: Mapping[str, Signals], batch: Batch) -> dict[str, Tensor]:
        said = student.outputs[self.output].float() / self.temperature
        taught = (sources[self.source].outputs[self.output].float() / self.temperature).softmax(1)
        hears, heard = edges_in(batch, loops=True)
        reliable = 1 - batch[_CHANGE][heard].double() ** self.power
        kept = (hears == heard) | ((torch.rand_like(reliable) < reliable) & self.warm)
        return {"kl": edge_divergence(said, hears[kept], taught[heard[kept]])}


def fitted_power(change: np.ndarray, agree: np.ndarray, start: float) -> float:
    """The a for which `1 - c^a` comes closest to the rescaled share of agreement in each of `BINS` bins of c.

    Arguments:
        change: c of every node, in [0, 1].
        agree: whether student and teacher decide alike.
        start: of the search; returned where the shares do not differ, or nothing can be fitted.
    """
    total, edges = np.histogram(change, bins=BINS, range=(0, 1))
    share = np.histogram(change[agree], bins=BINS, range=(0, 1))[0] / np.maximum(total, 1)
    if share.max() == share.min():
        return start
    share = (share - share.min()) / (share.max() - share.min())
    middle = (edges[:-1] + edges[1:]) / 2
    try:
        (found,), _ = curve_fit(lambda c, a: 1 - c**a, middle, share, p0=[start], bounds=(0, np.inf))
    except RuntimeError:  # no convergence
        return start
    return float(found)
