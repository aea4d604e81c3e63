"""Puts the data cards of this plugin, which stand in `data_cards/` at the top of the source tree, into its package."""

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class Cards(BuildHookInterface):
    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        folder = Path(self.root, "..", "..", "data_cards").resolve()
        # An editable install reads the tree's own cards; an unpacked sdist has them in the package already.
        if version == "editable" or not folder.is_dir():
            return
        package = self.metadata.name.replace("-", "_")
        for card in self.config["cards"]:
            build_data["force_include"][str(folder / f"{card}.md")] = f"{package}/data_cards/{card}.md"
