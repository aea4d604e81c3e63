"""Names that the data sets share."""

SEQUENCES = ("flair", "t1", "t1ce", "t2")
CLASSES = ("background", "core", "oedema", "enhancing")
"""Core: necrotic and non-enhancing tumour; enhancing: the rim that takes up contrast agent."""
WHOLE = ("background", "tumour")
