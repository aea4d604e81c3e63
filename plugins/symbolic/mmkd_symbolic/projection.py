"""A distribution projected onto rules (Hu et al. 2016, Harnessing Deep Neural Networks with Logic Rules)."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor


def project(
    logits: Float[Tensor, "B classes"], truths: list[Float[Tensor, "B classes"]], *, strength: float
) -> Float[Tensor, "B classes"]:
    """Logarithm of q(y|x) ~ p(y|x) exp(-strength * sum over rules of (1 - r(x, y))), up to a constant per row.

    Arguments:
        logits: of p.
        truths: of each rule, in [0, 1]: how true it is where row x has class y; each counts once.
        strength: C times lambda of the paper.

    Source:
        Hu et al. 2016, arXiv 1603.06318, eq. 4. The published code adds the last rule twice; this does not.
    """
    broken = sum((1 - truth for truth in truths), start=logits.new_zeros(()))
    return logits.log_softmax(1) - strength * broken
