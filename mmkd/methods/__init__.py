"""Published methods: tap roles + adapters + losses + their source; one file each."""

from mmkd.methods.base import Method

__all__ = ["Method"]
