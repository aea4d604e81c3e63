"""The registry: what is installed, by name, without importing any of it.

A component is an entry point in a group `mmkd.<kind>` of an installed distribution, the core's own included. Listing
reads the metadata of distributions and nothing else; `load` is the one place in mmkd that imports a component. Whatever
is wrong with one distribution stays with it: it is named in `problems()` or in the error of `get`, and all others work.

Rules of names: the core's are bare (`mlp`), a plugin's carry its family (`graph/glnn`), and two plugins that offer one
name are told apart as `distribution:family/name`. `MMKD_PLUGINS=none`, or a comma-separated list of distributions,
leaves plugins out.

The scan is kept for the life of the process; after a change of `sys.path` or of what is installed, call `refresh()`.
"""

from __future__ import annotations

import importlib
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from importlib import metadata
from typing import TYPE_CHECKING

from mmkd.errors import RegistryError

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

KINDS = ("datasets", "models", "tasks", "adapters", "methods", "sources", "schemes", "readers", "recipes")
CORE = "mmkd"
SELECTION = "MMKD_PLUGINS"
UNKNOWN_VERSION = "unknown"

_NAME = re.compile(r"[\w.-]+(/[\w.-]+)*")
_TARGET = re.compile(r"(?P<module>\w+(?:\.\w+)*):(?P<attribute>\w+(?:\.\w+)*)")
_RECIPE = re.compile(r"(?P<module>\w+(?:\.\w+)*):(?P<attribute>\w[\w-]*)")
_EXTRAS = re.compile(r"\s*\[[^\]]*\]$")  # `module:attribute [extra]`: allowed by the packaging standard, of no use here


@dataclass(frozen=True, order=True)
class Entry:
    """One registered component, as its distribution's metadata declares it.

    Arguments:
        kind: one of `KINDS`.
        name: `mlp` (core) or `graph/glnn` (plugin).
        target: `module:attribute`; for recipes `package:stem`, the file `<package>/<stem>.toml`.
        distribution: who provides it, normalised (PEP 503).
        version: of that distribution.
    """

    kind: str
    name: str
    target: str
    distribution: str
    version: str


def entries(kind: str | None = None) -> list[Entry]:
    """Every component that is offered, or those of one kind, sorted. Imports nothing."""
    if kind is None:
        return list(_selected().entries)
    _check_kind(kind)
    return [entry for entry in _selected().entries if entry.kind == kind]


def distributions() -> dict[str, str]:
    """Distributions whose components are offered, with their versions; the core's first. Imports nothing."""
    found = {entry.distribution: entry.version for entry in _selected().entries}
    return dict(sorted(found.items(), key=lambda item: (item[0] != CORE, item)))


def problems() -> list[str]:
    """What the scan found wrong: one line each, naming the distribution."""
    return [line for _, line in _selected().problems]


def refresh() -> None:
    """Forget what was scanned: the next call looks again."""
    importlib.invalidate_caches()  # the path finder keeps directory listings of its own
    _installed.cache_clear()
    _select.cache_clear()


def find(kind: str, name: str) -> Entry:
    """The one component of that name.

    Arguments:
        kind: one of `KINDS`.
        name: `mlp`, `graph/glnn`, or `mmkd-graph:graph/glnn` to say whose.

    Raises:
        RegistryError: the kind or name is unknown, or two distributions offer it.
    """
    _check_kind(kind)
    owner, _, bare = name.rpartition(":")
    owner = normalise(owner)
    scan = _selected()
    found = [e for e in scan.entries if (e.kind, e.name) == (kind, bare) and owner in ("", e.distribution)]
    if len(found) == 1:
        return found[0]
    if found:
        owners = " and ".join(entry.distribution for entry in found)
        spellings = " or ".join(f"`{entry.distribution}:{bare}`" for entry in found)
        raise RegistryError(f"{_one(kind)} `{bare}` is offered by {owners}", f"write {spellings}")
    raise _unknown(kind, owner, bare, scan)


def get(kind: str, name: str) -> object:
    """Import and return a component: `load(find(kind, name))`."""
    return load(find(kind, name))


def load(entry: Entry) -> object:
    """Import one component: the only place in mmkd that does.

    Returns:
        The class or function; for a recipe the `importlib.resources` Traversable of its TOML file.

    Raises:
        RegistryError: the component cannot be used, in whatever way it breaks; the original exception is the cause.
    """
    _check_contract(entry)
    module_name, _, attribute = entry.target.partition(":")
    try:
        found = _recipe(module_name, attribute) if entry.kind == "recipes" else _component(module_name, attribute)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a module may raise anything at import, SystemExit included
        raise _broken(entry, _one_line(error), _install_hint(error, module_name)) from error
    return found


def normalise(distribution: str) -> str:
    """A distribution's name as PEP 503 compares it: `MMKD_Graph` -> `mmkd-graph`."""
    return re.sub(r"[-_.]+", "-", distribution.strip()).lower()


# --- importing -------------------------------------------------------------------------------------------------------


def _component(module_name: str, attribute: str) -> object:
    found: object = importlib.import_module(module_name)
    for part in attribute.split("."):
        found = getattr(found, part)
    if not callable(found):
        raise TypeError(f"{module_name}:{attribute} is of type {type(found).__name__}, not a class or function")
    return found


def _recipe(package: str, stem: str) -> Traversable:
    from importlib.resources import files

    file = files(package) / f"{stem}.toml"
    if not file.is_file():
        raise FileNotFoundError(f"no file {stem}.toml in the package {package}")
    return file


def _check_contract(entry: Entry) -> None:
    """Raise if the component's distribution asks for another version of the core than the one installed."""
    installed = _installed()
    core = installed.versions.get(CORE, UNKNOWN_VERSION)
    lines = installed.requirements.get(entry.distribution, ())
    if entry.distribution == CORE or core == UNKNOWN_VERSION or not lines:
        return
    from packaging.requirements import InvalidRequirement, Requirement

    for line in lines:
        try:
            requirement = Requirement(line)
        except InvalidRequirement:
            raise _broken(entry, f"its requirement `{_one_line(line)}` cannot be read") from None
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        if not requirement.specifier.contains(core, prereleases=True):
            install = f"install an mmkd that it accepts (`pip install '{CORE}{requirement.specifier}'`), "
            raise _broken(entry, f"it needs mmkd {requirement.specifier}, and {core} is installed", install)


# --- errors ----------------------------------------------------------------------------------------------------------


def _broken(entry: Entry, why: str, first: str = "") -> RegistryError:
    owner = entry.distribution
    if owner == CORE:
        way_out = (
            f"{first}reinstall it (`pip install --force-reinstall --no-deps {CORE}`), or report this to its authors"
        )
    else:
        way_out = (
            f"{first}upgrade {owner} (`pip install -U {owner}`), remove it (`pip uninstall {owner}`), report this to"
            f" its authors, or leave it out with {SELECTION}=none (or a list of the plugins to keep)"
        )
    return RegistryError(f"{_one(entry.kind)} `{entry.name}` of {owner} {entry.version} cannot be used: {why}", way_out)


def _unknown(kind: str, owner: str, name: str, scan: _Scan) -> RegistryError:
    """The error for a name that nobody offers: why it is not there, or what was perhaps meant."""
    wanted = f"{owner}:{name}" if owner else name
    show_all = f"`mmkd list {kind}` shows all {kind}"
    for ignored in scan.ignored:
        if (ignored.kind, ignored.name) == (kind, name) and owner in ("", ignored.distribution):
            return RegistryError(f"no {_one(kind)} `{wanted}`: {ignored.reason}", ignored.way_out)
    offering = {entry.name: entry.distribution for entry in scan.entries if entry.kind == kind}
    elsewhere = [entry.kind for entry in scan.entries if entry.name == name and name not in offering]
    if elsewhere:
        return RegistryError(f"no {_one(kind)} `{wanted}`: that name is among the {' and '.join(elsewhere)}", show_all)
    if name in offering:
        close = [f"{offering[name]}:{name}"]
    else:
        close = [other for other in sorted(offering) if other.rpartition("/")[2] == name.rpartition("/")[2]]
        close += [other for other in _close(name, offering) if other not in close]
    hint = f"did you mean {' or '.join(f'`{other}`' for other in close[:3])}? " if close else ""
    return RegistryError(f"no {_one(kind)} `{wanted}` is installed", hint + show_all)


def _check_kind(kind: str) -> None:
    if kind not in KINDS:
        close = _close(kind, KINDS)
        hint = f"did you mean `{close[0]}`? " if close else ""
        raise RegistryError(f"no kind of component `{kind}`", f"{hint}the kinds are {', '.join(KINDS)}")


def _close(name: str, names: Iterable[str]) -> list[str]:
    from difflib import get_close_matches

    return get_close_matches(name, sorted(names), n=3)


def _one(kind: str) -> str:
    return {"datasets": "data set"}.get(kind, kind.removesuffix("s"))


def _one_line(problem: object) -> str:
    try:
        text = " ".join(str(problem).split())
    except Exception:  # an exception class of a plugin may break in its own `__str__`
        text = ""
    if isinstance(problem, BaseException):
        text = f"{type(problem).__name__}: {text}".removesuffix(": ")
    return text if len(text) <= 300 else f"{text[:297]}..."


def _install_hint(error: BaseException, module_name: str) -> str:
    """For an import that fails because another package is absent."""
    missing = (error.name or "").partition(".")[0] if isinstance(error, ModuleNotFoundError) else ""
    if missing in ("", module_name.partition(".")[0]):
        return ""
    return f"install what provides the module `{missing}`, "


# --- scanning: metadata only -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Ignored:
    """A declared component that is not offered, and why."""

    kind: str
    name: str
    distribution: str
    reason: str
    way_out: str


@dataclass
class _Scan:
    entries: list[Entry] = field(default_factory=list)
    ignored: list[_Ignored] = field(default_factory=list)
    problems: list[tuple[str, str]] = field(default_factory=list)  # distribution, line
    versions: dict[str, str] = field(default_factory=dict)  # of every distribution that declares components
    requirements: dict[str, list[str]] = field(default_factory=dict)  # its Requires-Dist lines that name the core


def _selected() -> _Scan:
    return _select(os.environ.get(SELECTION, ""))


@cache
def _select(selection: str) -> _Scan:
    """What is installed, less the plugins that `MMKD_PLUGINS` leaves out."""
    installed = _installed()
    wanted = {normalise(name) for name in selection.split(",") if name.strip()}
    if not wanted:
        return installed
    plugins = sorted(set(installed.versions) - {CORE})
    left_out = set(plugins) - wanted
    kept = _Scan(
        entries=[entry for entry in installed.entries if entry.distribution not in left_out],
        ignored=list(installed.ignored),
        problems=[problem for problem in installed.problems if problem[0] not in left_out],
    )
    for name in sorted(wanted - {*plugins, CORE, "none"}):
        known = ", ".join(_close(name, plugins) or plugins)
        hint = f"the plugins installed are {known}" if known else "no plugin is installed"
        kept.problems.append((name, f"{SELECTION} names `{name}`, which offers no mmkd component; {hint}"))
    for entry in installed.entries:
        if entry.distribution in left_out:
            reason = f"{entry.distribution}, which offers it, is left out by {SELECTION}={selection}"
            way_out = f"add {entry.distribution} to {SELECTION}, or unset it"
            kept.ignored.append(_Ignored(entry.kind, entry.name, entry.distribution, reason, way_out))
    return kept


@cache
def _installed() -> _Scan:
    """Every distribution on `sys.path` that declares components. The first of a name wins, as it does for `import`."""
    scan = _Scan()
    seen: set[str] = set()
    others: dict[str, metadata.Distribution] = {}  # without components: they hide a later copy that has some
    for distribution in metadata.distributions():
        name = _folder_name(distribution)
        try:
            text = distribution.read_text("entry_points.txt") or ""
        except Exception as error:  # undecodable text, a failing disk, another finder's defect
            line = f"{name}: its entry_points.txt cannot be read ({_one_line(error)}); reinstall it"
            scan.problems.append((name, line))
            continue
        if "mmkd." not in text:
            others.setdefault(name, distribution)
            continue
        head = _Head(distribution)
        name = normalise(head.name) or name
        if name in seen or (name in others and _Head(others[name]).name):
            continue
        seen.add(name)
        if not head.name or head.version == UNKNOWN_VERSION:
            scan.problems.append((name, f"{name}: its metadata has no readable name and version; reinstall it"))
        _declare(scan, name, head, text)
    if CORE not in scan.versions:
        line = f"{CORE} itself is not installed, so its components are unknown; run `pip install -e .` in its folder"
        scan.problems.append((CORE, line))
    scan.entries.sort(key=lambda entry: (KINDS.index(entry.kind), entry))
    return scan


def _declare(scan: _Scan, distribution: str, head: _Head, text: str) -> None:
    """Add what one distribution declares, and say what is wrong with it."""
    label = f"{distribution} {head.version}"
    taken: set[tuple[str, str]] = set()
    for group, line in _lines(text):
        if not group.startswith("mmkd."):
            continue
        scan.versions[distribution] = head.version
        scan.requirements[distribution] = head.requires_core
        kind = group.removeprefix("mmkd.")
        name, _, target = (part.strip() for part in line.partition("="))
        target = _EXTRAS.sub("", target)
        fault = _fault(kind, name, target, distribution)
        if (kind, name) in taken and not fault:
            fault = f"declares the {_one(kind)} `{name}` twice", "the first is used"
        elif not fault:
            taken.add((kind, name))
            scan.entries.append(Entry(kind, name, target, distribution, head.version))
        if fault:
            scan.problems.append((distribution, f"{label} {fault[0]}; {fault[1]}"))
            scan.ignored.append(_Ignored(kind, name, distribution, f"{label} {fault[0]}", fault[1]))


def _fault(kind: str, name: str, target: str, distribution: str) -> tuple[str, str] | None:
    """What makes a declaration unusable, and the way out; None if nothing does."""
    if kind not in KINDS:
        return f"declares `{name}` in the group `mmkd.{kind}`", f"the groups are mmkd.{{{','.join(KINDS)}}}"
    what = f"declares the {_one(kind)} `{name}`"
    if not _NAME.fullmatch(name):
        return what, "a name has the form `family/name`, of letters, digits, `.`, `_` and `-`"
    if distribution != CORE and "/" not in name:
        return f"{what} without a family", f"bare names are the core's, so it is ignored: call it `family/{name}`"
    if not (_RECIPE if kind == "recipes" else _TARGET).fullmatch(target):
        form = "package:stem" if kind == "recipes" else "module:attribute"
        return f"{what} with the target `{_one_line(target)}`", f"a target has the form `{form}`"
    return None


def _lines(text: str) -> Iterator[tuple[str, str]]:
    """(group, line) of an `entry_points.txt`."""
    group = ""
    for line in map(str.strip, text.splitlines()):
        if line.startswith("[") and line.endswith("]"):
            group = line[1:-1].strip()
        elif line and not line.startswith(("#", ";")):
            yield group, line


class _Head:
    """The headers of a distribution's metadata that matter here. The standard parser, made for e-mail, is slow."""

    def __init__(self, distribution: metadata.Distribution) -> None:
        self.name = ""
        self.version = UNKNOWN_VERSION
        self.requires_core: list[str] = []
        try:
            text = distribution.read_text("METADATA") or distribution.read_text("PKG-INFO") or ""
        except Exception:  # the same as an absent file: the caller reports that there is no name
            text = ""
        for line in text.partition("\n\n")[0].splitlines():
            key, _, value = line.partition(":")
            key, value = key.lower(), value.strip()
            if key == "name":
                self.name = self.name or value
            elif key == "version":
                self.version = value or UNKNOWN_VERSION
            elif key == "requires-dist" and normalise(re.split(r"[^\w.-]", value, maxsplit=1)[0]) == CORE:
                self.requires_core.append(value)


def _folder_name(distribution: metadata.Distribution) -> str:
    """The name in `acme_x-1.0.dist-info`, for a distribution whose metadata says none or was not read."""
    folder = getattr(distribution, "_path", None)  # not public; a finder that has no folders gives the fallback
    stem = re.sub(r"\.(dist|egg)-info$", "", getattr(folder, "name", ""))
    return normalise(stem.partition("-")[0]) or "a distribution without a name"
