"""Data cards: what a data set is, where it comes from, and what one may do with it.

A card is a Markdown file: YAML front matter, checked against `Card`, and prose under `HEADINGS`. It stands in
`data_cards/` at the top of the source tree and, in a wheel, in `data_cards/` of the package that registers the data
set; its file name is the last part of the data set's name (`graph/cora` -> `cora.md`).

The keys `pretty_name`, `license`, `task_categories`, `size_categories` and `tags` are the Hugging Face Hub's, so that a
card can stand there as it is; the others say what research on several sensors asks for besides.
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

HEADINGS = (
    "Dataset overview",
    "Example of data points",
    "Motivations and intentions",
    "Provenance",
    "Human and other sensitive attributes",
    "Transformations",
    "Annotations and labelling",
    "Sampling and splits",
    "Leakage and limitations",
    "Known applications and benchmarks",
    "Access, retention and licence",
)
"""Every card's headings, in this order: the themes of Google's Data Cards (Pushkarna, Zaldivar and Kjartansson 2022,
arXiv 2204.01075) that a data set for distillation has something to say about. Splits stand with sampling, and leakage
takes the place of its reflections on data, because these two decide what a score means."""
FOLDER = "data_cards"

License = Literal[
    "apache-2.0",
    "bsd-3-clause",
    "cc0-1.0",
    "cc-by-3.0",
    "cc-by-4.0",
    "cc-by-sa-4.0",
    "cc-by-nc-4.0",
    "cc-by-nc-sa-3.0",
    "cc-by-nc-sa-4.0",
    "gpl-3.0",
    "mit",
    "odbl",
    "other",
    "unknown",
]
"""The Hub's identifiers of licences that data sets have; `unknown` where nobody stated one, `other` for all else."""
DType = Literal["bool", "uint8", "int8", "int16", "int32", "int64", "float16", "float32", "float64", "text"]

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
    """One field. What a quantity has not is null, and never left out.

    Arguments:
        name: of the field.
        description: what it holds.
        sensor: what recorded it, or the part of a generator that plays it; null for labels and what is derived.
        unit: physical unit.
        rate: samples per second.
        dtype: type of a value, by torch's name.
        shape: sizes of one row (of the whole value where it ties or is shared by rows), null for one that varies;
            null in all where the field is a dict of several.
    """

    name: _Text
    description: _Text
    sensor: _Text | None
    unit: _Text | None
    rate: float | None
    dtype: DType
    shape: list[int | None] | None


class CardSplit(_Strict):
    """One way of splitting. `group` is what never straddles parts (subject, patient, drive); null: single rows."""

    name: _Text
    rule: _Text
    group: _Text | None


class Card(_Strict):
    """The front matter of a data card.

    Arguments:
        name: the registered name.
        pretty_name: a title for people.
        license: the Hub's identifier, for machines and in its spelling.
        licence: SPDX expression, or the terms in words where there is none.
        source: publisher and version.
        url: the publisher's page; null where there is none.
        citation: whom to name; null where there is nobody.
        version: of the data, as published or as this project counts it.
        size: rows and whatever else says how large it is.
        size_categories: the same in rows, by the Hub's classes.
        task_categories: what it is for, by the Hub's names.
        tags: words to find it by.
        access: `embedded` in an installed package, fetched by `download`, `generated` by code of the package,
            `manual`: brought by the user from the publisher, who has no stable address for it, or `own`: a reader of a
            format, for files of the user's own.
        files: every file that is read, with its sha256; none where it is generated or the user's own.
        fields: what one row holds, and what ties rows.
        splits: all that the data set offers.
        leakage: each way in which test information may reach training; "none known" is an entry too.
        commercial_use: True only where the terms of every part clearly allow it.
        body: the prose below the front matter.
    """

    name: _Text
    pretty_name: _Text
    license: License
    licence: _Text
    source: _Text
    url: _Text | None
    citation: _Text | None
    version: str = Field(pattern=r"^\d+(\.\d+)*$")
    size: _Text
    size_categories: list[Literal["n<1K", "1K<n<10K", "10K<n<100K", "100K<n<1M", "1M<n<10M"]] = Field(min_length=1)
    task_categories: list[_Text] = Field(min_length=1)
    tags: list[_Text] = Field(min_length=1)
    access: Literal["embedded", "download", "generated", "manual", "own"]
    files: list[CardFile]
    fields: list[CardField] = Field(min_length=1)
    splits: list[CardSplit] = Field(min_length=1)
    leakage: list[_Text] = Field(min_length=1)
    commercial_use: bool
    body: str

    @model_validator(mode="after")
    def _files_fit_the_access(self) -> Card:
        if bool(self.files) == (self.access in ("generated", "own")):
            raise ValueError(f"access is `{self.access}`, so `files` must {'' if self.files else 'not '}be empty")
        if self.access == "download" and any(file.url is None for file in self.files):
            raise ValueError("access is `download`, so each file needs a url")
        return self

    def section(self, heading: str) -> str:
        """The text below one of `HEADINGS`, without the heading."""
        return _sections(self.body)[heading]


def parse(text: str, where: str = "data card") -> Card:
    """Read and check a card.

    Arguments:
        text: the whole file.
        where: what errors call it.

    Raises:
        DataError: no front matter, no YAML, a missing, unknown or wrong key, or headings other than `HEADINGS`.
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
    sections = _sections(card.body)
    for heading in HEADINGS:
        if not sections.get(heading):
            raise DataError(f"{where}: heading `## {heading}` is missing, or nothing stands below it")
    if list(sections) != list(HEADINGS):
        odd = next((name for name in sections if name not in HEADINGS), None)
        said = f"heading `## {odd}` is not known" if odd else "its headings stand in another order"
        raise DataError(f"{where}: {said}", f"headings: {', '.join(HEADINGS)}")
    return card


def _sections(body: str) -> dict[str, str]:
    """Text by heading of the second level, in their order."""
    parts = re.split(r"^## (.+?)[ \t]*$", body, flags=re.MULTILINE)
    return {name: text.strip() for name, text in zip(parts[1::2], parts[2::2], strict=True)}


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
