"""Sources: where knowledge comes from."""

from mmkd.sources.base import Call, Knowledge, Source

__all__ = ["Call", "Knowledge", "Source"]
