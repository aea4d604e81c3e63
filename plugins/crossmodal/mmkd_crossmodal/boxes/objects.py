"""Which boxes of a batch a method looks at, and where they lie in the picture."""

from __future__ import annotations

from jaxtyping import Bool, Float
from torch import Tensor, cat

from mmkd.data.views import Batch


def objects(
    batch: Batch, taught: Float[Tensor, "B K 8"], *, target: str, present: str, threshold: float
) -> tuple[Float[Tensor, "B N 7"], Bool[Tensor, "B N"]]:
    """The true boxes of labelled rows, and of others those that the teacher scores at `threshold` or above.

    Returns:
        Boxes and which of them count; what stands elsewhere may be NaN.
    """
    labelled = batch.labelled[:, None]
    own, found = batch[present] & labelled, (taught[..., 7] >= threshold) & ~labelled
    return cat([batch[target], taught[..., :7].to(batch[target])], 1), cat([own, found], 1)
