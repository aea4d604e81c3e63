"""A data card as Croissant: JSON-LD that search engines and loaders of data sets read.

Croissant 1.1 of MLCommons (Akhtar et al. 2024, arXiv 2403.19546) with its vocabulary for responsible use, made from the
card alone. The card's files are the distribution; its table of fields and its splits are record sets with their
records inside, so units, rates and group rules can be read without any file. Nothing is imported but the card.
"""

from __future__ import annotations

import mimetypes
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from mmkd.data.cards import Card
from mmkd.files import sha256_of

NAME = "croissant.json"
"""The file that stands beside data written by `mmkd data make`."""

_CR = "http://mlcommons.org/croissant"
_TERMS = """arrayShape citeAs column containedIn equivalentProperty extract field fileObject fileProperty fileSet format
includes isArray isLiveDataset jsonPath key md5 parentField path recordSet references regex repeated replace
samplingRate separator source subField transform"""
_CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "sc": "https://schema.org/",
    "cr": f"{_CR}/",
    "rai": f"{_CR}/RAI/",
    "dct": "http://purl.org/dc/terms/",
    "conformsTo": "dct:conformsTo",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "description": {"@container": "@language"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "name": {"@container": "@language"},
    **{term: f"cr:{term}" for term in _TERMS.split()},
}
_LICENCES = {  # the Hub's identifier: SPDX's
    "apache-2.0": "Apache-2.0",
    "bsd-3-clause": "BSD-3-Clause",
    "cc0-1.0": "CC0-1.0",
    "gpl-3.0": "GPL-3.0-only",
    "mit": "MIT",
    "odbl": "ODbL-1.0",
}
_ENCODINGS = {".npz": "application/zip", ".npy": "application/octet-stream", ".toml": "application/toml"}
_THEMES = {  # property of the vocabulary for responsible use: heading of the card
    "dataUseCases": "Motivations and intentions",
    "dataCollection": "Provenance",
    "personalSensitiveInformation": "Human and other sensitive attributes",
    "dataPreprocessingProtocol": "Transformations",
    "dataAnnotationProtocol": "Annotations and labelling",
    "dataReleaseMaintenancePlan": "Access, retention and licence",
}


def croissant(card: Card, folder: Path | None = None, files: Sequence[Path] = ()) -> dict[str, Any]:
    """The card as a Croissant document, ready for `json.dumps`.

    Arguments:
        card: of the data set.
        folder: where the data was written, and the document will stand; None: the card's own files are described.
        files: what was written there.
    """
    if folder is None:
        distribution = [_file(file.path, file.url or file.path, file.sha256, file.bytes) for file in card.files]
    else:
        places = ((path, path.relative_to(folder).as_posix()) for path in files)
        distribution = [_file(place, place, sha256_of(path), path.stat().st_size) for path, place in places]
    known = {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": [f"{_CR}/1.1", f"{_CR}/RAI/1.0"],
        "name": card.name,
        "alternateName": card.pretty_name,
        "description": _section(card, "Dataset overview"),
        "version": card.version,
        "license": _licence(card.license) or card.licence,
        "conditionsOfAccess": card.licence,
        "url": card.url,
        "citeAs": card.citation,
        "keywords": [*card.tags, *card.task_categories],
        "size": card.size,
        "distribution": distribution,
        "recordSet": [_fields(card), _splits(card)],
        "rai:dataLimitations": card.leakage,
        **{f"rai:{name}": _section(card, heading) for name, heading in _THEMES.items()},
    }
    return {key: value for key, value in known.items() if value not in (None, [])}


def _section(card: Card, heading: str) -> str:
    """A section with one line for each paragraph."""
    return re.sub(r"(?<!\n)\n(?!\n)", " ", card.section(heading))


def _file(name: str, address: str, sha256: str, size: int) -> dict[str, Any]:
    return {
        "@type": "cr:FileObject",
        "@id": name,
        "name": name.rpartition("/")[2],
        "contentUrl": address,
        "contentSize": f"{size} B",
        "encodingFormat": _encoding(name),
        "sha256": sha256,
    }


def _encoding(name: str) -> str:
    kind, packed = mimetypes.guess_type(name)
    if packed:
        return f"application/{packed}"
    return _ENCODINGS.get(Path(name).suffix) or kind or "application/octet-stream"


def _licence(identifier: str) -> str:
    """SPDX's address of a licence; empty for one that has none."""
    name = _LICENCES.get(identifier) or (identifier.upper() if identifier.startswith("cc-") else "")
    return f"https://spdx.org/licenses/{name}.html" if name else ""


def _fields(card: Card) -> dict[str, Any]:
    kinds = {"name": "Text", "description": "Text", "sensor": "Text", "unit": "Text", "rate": "Float", "dtype": "Text"}
    rows = [{**{name: getattr(field, name) for name in kinds}, "shape": _shape(field.shape)} for field in card.fields]
    said = "One record for each field of a row: what it holds, what recorded it, its unit, its samples per second, its"
    said += " type, and its sizes in a row, of which -1 varies."
    return _record_set("fields", said, {**kinds, "shape": "Text"}, rows)


def _shape(sizes: Iterable[int | None] | None) -> str | None:
    return None if sizes is None else ",".join("-1" if size is None else str(size) for size in sizes)


def _splits(card: Card) -> dict[str, Any]:
    said = "One record for each way of splitting: its rule, and what never straddles training, validation and test."
    rows = [split.model_dump() for split in card.splits]
    return _record_set("splits", said, dict.fromkeys(("name", "rule", "group"), "Text"), rows)


def _record_set(name: str, said: str, kinds: dict[str, str], rows: list[dict[str, Any]]) -> dict[str, Any]:
    """A record set that holds its records."""
    return {
        "@type": "cr:RecordSet",
        "@id": name,
        "name": name,
        "description": said,
        "key": {"@id": f"{name}/name"},
        "field": [
            {"@type": "cr:Field", "@id": f"{name}/{field}", "name": field, "dataType": f"sc:{kind}"}
            for field, kind in kinds.items()
        ],
        "data": [{f"{name}/{field}": row[field] for field in kinds} for row in rows],
    }
