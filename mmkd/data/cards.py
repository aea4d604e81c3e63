"""Data cards: what a data set is, where it comes from, and what one may do with it.

A card is a Markdown file: YAML front matter, checked against `Card`, and prose under `HEADINGS`. It stands in
`data_cards/` at the top of the source tree and, in a wheel, in `data_cards/` of the package that registers the data
set; its file name is the last part of the data set's name (`graph/cora` -> `cora.md`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from mmkd import registry
from mmkd.errors import DataError

HEADINGS = ("What it is", "Fields", "Splits", "Leakage", "Licence")
FOLDER = "data_cards"

_Text = Annotated[str, StringConstraints(min_length=1, strip_whitespace=True)]


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class CardFile(_Strict):
    """One file: its place below the data root (or in the package that embeds it), where it comes from, its content."""

    path: _Text
    bytes: int = Field(gt=0)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    url: _Text | None = None


class CardField(_Strict):
    """One field or sensor. `unit` and `rate` (in Hz) are null where a quantity has none, and never left out."""

    name: _Text
    description: _Text
    unit: _Text | None
    rate: float | None


class CardSplit(_Strict):
    """One way of splitting. `group` is what never straddles parts (subject, patient, drive); null: single rows."""

    name: _Text
    rule: _Text
    group: _Text | None


class Card(_Strict):
    """The front matter of a data card.

    Arguments:
        name: the registered name.
        licence: SPDX expression, or the terms in words where there is none.
        source: publisher and version.
        size: rows and whatever else says how large it is.
        access: `embedded` in an installed package, fetched by `download`, `generated` by code of the package, or
            `manual`: brought by the user from the publisher, who has no stable address for it.
        files: every file that is read, with its sha256; none where it is generated.
        fields: what one row holds, and what ties rows.
        splits: all that the data set offers.
        leakage: each way in which test information may reach training; "none known" is an entry too.
        commercial_use: True only where the terms of every part clearly allow it.
        body: the prose below the front matter.
    """

    name: _Text
    licence: _Text
    source: _Text
    size: _Text
    access: Literal["embedded", "download", "generated", "manual"]
    files: list[CardFile]
    fields: list[CardField] = Field(min_length=1)
    splits: list[CardSplit] = Field(min_length=1)
    leakage: list[_Text] = Field(min_length=1)
    commercial_use: bool
    body: str

    @model_validator(mode="after")
    def _files_fit_the_access(self) -> Card:
        if bool(self.files) == (self.access == "generated"):
            raise ValueError(f"access is `{self.access}`, so `files` must {'' if self.files else 'not '}be empty")
        if self.access == "download" and any(file.url is None for file in self.files):
            raise ValueError("access is `download`, so each file needs a url")
        return self


def parse(text: str, where: str = "data card") -> Card:
    """Read and check a card.

    Arguments:
        text: the whole file.
        where: what errors call it.

    Raises:
        DataError: no front matter, no YAML, a missing, unknown or wrong key, or a missing or empty heading.
    """
    import yaml

    parts = re.fullmatch(r"---\n(.*?)\n---\n(.*)", text.replace("\r\n", "\n"), re.DOTALL)
    if parts is None:
        raise DataError(f"{where} has no front matter", "begin it with YAML between two lines `---`")
    try:
        front = yaml.safe_load(parts[1])
    except yaml.YAMLError as error:
        raise DataError(f"{where}: its front matter is no YAML ({' '.join(str(error).split())})") from error
    if not isinstance(front, dict):
        raise DataError(f"{where}: its front matter holds no keys")
    try:
        card = Card.model_validate({**front, "body": parts[2].strip()})
    except ValidationError as error:
        raise DataError(f"{where}: {_complaint(error)}", f"keys: {', '.join(_keys())}") from error
    for heading in HEADINGS:
        if not re.search(rf"^## {heading}[ \t]*\n+(?!#)\S", card.body, re.MULTILINE):
            raise DataError(f"{where}: heading `## {heading}` is missing, or nothing stands below it")
    return card


def card_of(name: str) -> Card:
    """The checked card of a registered data set. Imports no plugin.

    Raises:
        RegistryError: no data set of that name.
        DataError: it has no card, or a card that does not pass.
    """
    return parse(card_text(name), f"data card of {name}")


def card_text(name: str) -> str:
    """The card of a registered data set as it was written. Raises like `card_of`, but does not check the card."""
    entry = registry.find("datasets", name)
    stem = entry.name.rpartition("/")[2]
    for folder in _folders(re.split("[.:]", entry.target)[0]):
        file = folder / f"{stem}.md"
        if file.is_file() and f"\nname: {entry.name}\n" in (text := file.read_text(encoding="utf-8")):
            return text
    owner = f"{entry.distribution} {entry.version}"
    raise DataError(f"data set {entry.name} of {owner} has no data card {FOLDER}/{stem}.md")


def _folders(package: str) -> Iterator[Path]:
    """Where cards of a package may stand: inside it, else in the source tree that it is installed from."""
    spec = find_spec(package)  # finding a top-level package does not run it
    for location in map(Path, (spec and spec.submodule_search_locations) or ()):
        yield location / FOLDER
        if location.parent.name not in ("site-packages", "dist-packages"):
            yield from (parent / FOLDER for parent in location.parents if (parent / "pyproject.toml").is_file())


def _complaint(error: ValidationError) -> str:
    first = error.errors()[0]
    key = ".".join(map(str, first["loc"]))
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    return f"{key}: {first['msg']}{more}" if key else f"{first['msg']}{more}"


def _keys() -> list[Any]:
    return [key for key in Card.model_fields if key != "body"]
