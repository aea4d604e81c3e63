"""Component signature = configuration.

Positional-only parameters are what the engine measures; keyword-only ones are configuration, validated strictly against
their annotations. Wherever a component is expected inside another, a nested `{ use = "name", ... }` table stands:

    def __init__(self, student: Specs, sources: Mapping[str, Specs], /, *, inner: Use.methods, weight: float = 1.0)

`inner` then is a `Factory`: the configuration is checked already, and `inner(student, sources)` builds the component.
A model that the engine shall bind to fields, build and train (a scheme's second student) is annotated `Model` instead.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Mapping
from functools import cache
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model
from pydantic_core import PydanticUndefined, core_schema

from mmkd import registry
from mmkd.errors import ConfigError, RegistryError


class Factory:
    """A component whose configuration is settled and which waits for what the engine measures.

    Arguments:
        kind: registry kind, e.g. `methods`.
        table: `{ use = "name", ... }` as given; the other keys are configuration.
        reserved: keys of the table that belong to the engine and not to the component, e.g. `weight`.
        where: how errors call the table, e.g. `methods[0]`.

    Raises `RegistryError` for unknown or broken components, `ConfigError` for unknown keys and wrong types.
    """

    def __init__(
        self, kind: str, table: Mapping[str, Any], *, reserved: frozenset[str] = frozenset(), where: str = ""
    ) -> None:
        if not isinstance(table, Mapping) or not isinstance(table.get("use"), str):
            raise ConfigError(
                f"{where or kind}: expected a table with `use`", f'e.g. {{ use = "name" }}; see `mmkd list {kind}`'
            )
        self.kind, self.use, self.where = kind, str(table["use"]), where or kind
        self.component: Any = registry.get(kind, self.use)
        given = {key: value for key, value in table.items() if key != "use" and key not in reserved}
        self.config = validate(configuration(self.component), given, self.where, self.use)

    def __call__(self, *measured: Any) -> Any:
        """Build the component from what was measured."""
        return self.component(*measured, **self.config)

    def resolved(self) -> dict[str, Any]:
        """The complete table, defaults included: JSON and TOML can hold it, and it builds the same component."""
        config = {key: plain(value, f"{self.where}.{key}") for key, value in self.config.items() if value is not None}
        return {"use": self.use, **config}

    def __repr__(self) -> str:
        return f"Factory({self.kind}: {self.resolved()})"


class _Kind:
    """Annotation that turns a nested `{ use = ... }` table into a `Factory` of one kind."""

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def __get_pydantic_core_schema__(self, _source: Any, _handler: Any) -> core_schema.CoreSchema:
        return core_schema.no_info_plain_validator_function(self._build)

    def _build(self, value: Any) -> Factory:
        return value if isinstance(value, Factory) else Factory(self.kind, value)


class Use:
    """`Use.methods`: annotation of a keyword-only parameter that takes a nested component of that kind."""

    adapters = Annotated[Factory, _Kind("adapters")]
    methods = Annotated[Factory, _Kind("methods")]
    models = Annotated[Factory, _Kind("models")]
    sources = Annotated[Factory, _Kind("sources")]
    tasks = Annotated[Factory, _Kind("tasks")]


class Component(BaseModel):
    """A `{ use = "name", ... }` table: the fields below belong to the engine, all other keys to the component."""

    model_config = ConfigDict(strict=True, extra="allow", frozen=True, protected_namespaces=())

    use: str

    def factory(self, kind: str, where: str) -> Factory:
        """Look the component up and check its configuration."""
        return Factory(kind, {"use": self.use, **(self.model_extra or {})}, where=where)

    def resolved(self, kind: str, where: str) -> dict[str, Any]:
        """The complete table, defaults included."""
        own = {name: getattr(self, name) for name in type(self).model_fields}
        filled = {name: plain(value, f"{where}.{name}") for name, value in own.items() if value is not None}
        return {**filled, **self.factory(kind, where).resolved()}


class Model(Component):
    """A model that the engine builds: `inputs` binds forward's parameters to fields, `taps` and `layouts` name and
    declare its features."""

    inputs: dict[str, str | list[str]] | None = None
    taps: dict[str, str] = Field(default_factory=dict)
    layouts: dict[str, str] = Field(default_factory=dict)


def plain(value: Any, where: str = "") -> Any:
    """JSON form of a configuration value; nested components become their complete tables."""
    if isinstance(value, Factory):
        return value.resolved()
    if isinstance(value, Model):
        return value.resolved("models", where or "model")
    if isinstance(value, BaseModel):
        return {key: plain(inner, f"{where}.{key}") for key, inner in value if inner is not None}
    if isinstance(value, Mapping):
        return {key: plain(inner, f"{where}.{key}") for key, inner in value.items() if inner is not None}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(inner, f"{where}.{place}") for place, inner in enumerate(value)]
    return value


@cache
def configuration(component: Callable[..., Any]) -> type[BaseModel]:
    """The pydantic model of a component's keyword-only parameters; strict, unknown keys forbidden."""
    try:
        annotated = inspect.getattr_static(component, "__init__") if isinstance(component, type) else component
        hints = typing.get_type_hints(annotated, include_extras=True)
    except NameError as error:
        raise RegistryError(
            f"{component.__qualname__}: its annotations cannot be read ({error})",
            "import the annotated types at module level, not under TYPE_CHECKING",
        ) from error
    fields: dict[str, Any] = {}
    for parameter in inspect.signature(component).parameters.values():
        if parameter.kind is parameter.KEYWORD_ONLY:
            default = PydanticUndefined if parameter.default is parameter.empty else parameter.default
            fields[parameter.name] = (hints.get(parameter.name, Any), default)
    config = ConfigDict(strict=True, extra="forbid", arbitrary_types_allowed=True, protected_namespaces=())
    return create_model(f"{component.__name__}Config", __config__=config, **fields)


def validate(model: type[BaseModel], given: Mapping[str, Any], where: str, use: str = "") -> dict[str, Any]:
    """Check a table against a model. Raises `ConfigError` with one line that names the first wrong key."""
    try:
        checked = model.model_validate(_tuples_from_lists(model, given))
    except ValidationError as error:
        raise config_error(error, where, use, sorted(model.model_fields)) from error
    return {name: getattr(checked, name) for name in model.model_fields}


def _tuples_from_lists(model: type[BaseModel], given: Mapping[str, Any]) -> dict[str, Any]:
    """TOML has no tuples: a list stands where a tuple is annotated, and a strict check would refuse it."""
    return {
        key: tuple(value)
        if isinstance(value, list)
        and key in model.model_fields
        and typing.get_origin(model.model_fields[key].annotation) is tuple
        else value
        for key, value in given.items()
    }


def config_error(error: ValidationError, where: str, use: str, known: list[str]) -> ConfigError:
    """One readable line from pydantic's first complaint."""
    first = error.errors()[0]
    key = ".".join([where, *map(str, first["loc"])]).strip(".")
    name = f" of '{use}'" if use else ""
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    if first["type"] == "extra_forbidden":
        return ConfigError(f"unknown key '{key}'{name}{more}", suggest(str(first["loc"][-1]), known))
    if first["type"] == "missing":
        return ConfigError(f"missing key '{key}'{name}{more}", "give it a value")
    return ConfigError(f"'{key}'{name}: {first['msg']}, got {first['input']!r}{more}")


def suggest(name: str, known: list[str]) -> str:
    """`did you mean ...; known: ...`."""
    import difflib

    near = difflib.get_close_matches(name, known, 1)
    listing = f"known: {', '.join(known) or 'none'}"
    return f"did you mean '{near[0]}'? {listing}" if near else listing
