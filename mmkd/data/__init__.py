"""Data: fields, data sets, splits, views, loaders, cards, downloads."""

from mmkd.data.datasets import Dataset, LazyDataset, Split
from mmkd.data.fields import Field, OutputSpec
from mmkd.data.views import Batch, View

__all__ = ["Batch", "Dataset", "Field", "LazyDataset", "OutputSpec", "Split", "View"]
