"""Pages that mkdocs makes at build time, from what is installed and from the notebooks; none of them is a file here.

`catalogue/`: tables of all components and recipes, and every data card. `reference/cli.md`: the commands' own help.
`tutorials/`: the notebooks with the outputs that they hold; nothing is executed.
"""

from __future__ import annotations

import base64
import importlib
import inspect
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from mmkd import recipes, registry
from mmkd.cli.main import COMMANDS
from mmkd.cli.main import _mmkd as entrance
from mmkd.data.cards import Card, card_of

ROOT = Path(__file__).parent.parent
NOTEBOOKS = ROOT / "notebooks"
TUTORIALS, CATALOGUE = "Tutorials", "Components"
FURTHER = ("tasks", "schemes", "readers")
OWN = ("mmkd", "mmkd-graph", "mmkd-crossmodal", "mmkd-medical", "mmkd-symbolic")
ACCESS = {
    "embedded": "installed with the package",
    "generated": "made on the spot",
    "download": "`mmkd data get`",
    "manual": "brought by you",
    "own": "your own file",
}
ABOUT = {
    "methods": "How knowledge is transferred. A method is named in `[[methods]]`; several add up. The column *at "
    "inference* says what a student needs when it is used: mostly its own fields, and nothing of the teacher's.",
    "adapters": "From a student's feature to the teacher's space; chosen by the two layouts, or named by the recipe. "
    "They are trained with the student and do not ship with it. `mmkd explain RECIPE` shows which are in use.",
    "models": "Networks and estimators for teachers and students. `inputs` binds parameters of `forward` to fields.",
    "sources": "Where knowledge comes from: the tables `[sources.NAME]` of a recipe.",
}

Pages = dict[str, str | bytes]


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put the notebooks into the navigation."""
    for section in config.nav or ():
        if TUTORIALS in section:
            section[TUTORIALS] = ["tutorials/index.md", *(f"tutorials/{path.stem}.md" for path in notebooks())]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages."""
    for place, content in pages().items():
        files.append(File.generated(config, place, content=content))
    return files


def pages() -> Pages:
    """All generated pages by their place in `docs/`."""
    made: Pages = {"reference/cli.md": command_line(), "tutorials/index.md": tutorials()}
    for path in notebooks():
        made |= rendered(path)
    for kind in ("methods", "adapters", "models", "sources"):
        made[f"catalogue/{kind}.md"] = components(kind)
    made["catalogue/others.md"] = others()
    made |= datasets()
    return made | all_recipes()


# --- Markdown --------------------------------------------------------------------------------------------------------


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; line breaks and bars inside a cell are made harmless."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(_cell(text) for text in line) + " |" for line in lines) + "\n"


def _cell(text: str) -> str:
    return " ".join(str(text).split()).replace("|", "\\|").replace("<", "&lt;")


def _anchor(name: str) -> str:
    return name.replace("/", "-").replace(".", "-")


def _first(text: str | None) -> str:
    """The first paragraph of a docstring, which may begin with its own name."""
    return re.sub(r"^`[\w/.-]+`:\s*", "", (text or "").strip().split("\n\n")[0])


# --- components ------------------------------------------------------------------------------------------------------


def entries(kind: str) -> list[registry.Entry]:
    """Our own components of a kind: what else is installed where the site is built stays out of it."""
    return [entry for entry in registry.entries(kind) if entry.distribution in OWN]


def components(kind: str) -> str:
    """The page of one kind: a table, and below it the settings of each component."""
    tables = {"methods": _methods, "adapters": _adapters, "models": _models, "sources": _sources}
    found = [(entry, registry.load(entry)) for entry in entries(kind)]
    head, rows = tables[kind](found)
    return f"# {kind.capitalize()}\n\n{ABOUT[kind]}\n\n{table(head, rows)}\n{_details(kind, found)}"


Found = list[tuple[registry.Entry, Any]]
Rows = tuple[list[str], list[list[str]]]


def _link(entry: registry.Entry) -> str:
    return f"[`{entry.name}`](#{_anchor(entry.name)})"


def _methods(found: Found) -> Rows:
    rows = [[_link(e), _first(c.__doc__), c.citation, c.at_inference or "the student's fields"] for e, c in found]
    return ["method", "what it does", "source", "at inference"], rows


def _adapters(found: Found) -> Rows:
    rows = [
        [_link(e), str(c.source), str(c.target), "yes" if c.automatic else "where named", _first(inspect.getdoc(c))]
        for e, c in found
    ]
    return ["adapter", "from", "to", "chosen by itself", "what it does"], rows


def _models(found: Found) -> Rows:
    rows = [[_link(e), _first(c.__doc__), ", ".join(_reads(c)) or "what the recipe binds"] for e, c in found]
    return ["model", "what it is", "`forward` reads"], rows


def _reads(model: Any) -> list[str]:
    """Required parameters of `forward`: the fields that a model reads unless a recipe binds it otherwise."""
    if not hasattr(model, "forward"):
        return []
    parameters = list(inspect.signature(model.forward).parameters.values())[1:]
    named = [p for p in parameters if p.default is p.empty and p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    return [f"`{p.name}`" for p in named]


def _sources(found: Found) -> Rows:
    return ["source", "what it is"], [[_link(e), _first(c.__doc__)] for e, c in found]


def others() -> str:
    """Tasks, schemes and readers."""
    text = "# Tasks, schemes, readers\n"
    for kind in FURTHER:
        found = [(entry, registry.load(entry)) for entry in entries(kind)]
        rows = [
            [_link(e) if kind != "readers" else f"`{e.name}`", _first(inspect.getdoc(c)), e.distribution]
            for e, c in found
        ]
        text += f"\n## {kind.capitalize()}\n\n{table([kind.removesuffix('s'), 'what it is', 'distribution'], rows)}"
        if kind != "readers":
            text += _details(kind, found)
    return text


def _details(kind: str, found: Found) -> str:
    """Settings of each component, as `mmkd show KIND NAME` prints them."""
    from mmkd.components import configuration

    text = "\n"
    for entry, component in found:
        text += f"### `{entry.name}` {{ #{_anchor(entry.name)} }}\n\n"
        text += f"Of `{entry.distribution}`; `mmkd show {kind} {entry.name}`.\n\n"
        fields = configuration(component).model_fields
        rows = [
            [f"`{key}`", f"`{_type(field.annotation)}`", "required" if field.is_required() else f"`{field.default!r}`"]
            for key, field in fields.items()
        ]
        text += (table(["setting", "type", "default"], rows) if rows else "No settings.\n") + "\n"
    return text


def _type(annotation: Any) -> str:
    text = (
        annotation.__name__ if isinstance(annotation, type) and not hasattr(annotation, "__args__") else str(annotation)
    )
    return re.sub(r"\b(typing|mmkd(\.\w+)*|collections\.abc)\.", "", text).replace("NoneType", "None")


# --- data sets -------------------------------------------------------------------------------------------------------


def datasets() -> Pages:
    """The table of data sets, and a page for each card."""
    rows, made = [], {}
    for entry in entries("datasets"):
        card = card_of(entry.name)
        place = f"catalogue/data/{_anchor(entry.name)}.md"
        made[place] = _card_page(card, entry)
        rows.append([f"[`{entry.name}`](data/{_anchor(entry.name)}.md)", card.size, ACCESS[card.access], card.licence])
    intro = (
        "Each name leads to the data card: source, licence, fields with units, splits, and how test data could leak."
    )
    head = ["data set", "size", "how you come by it", "licence"]
    return {"catalogue/datasets.md": f"# Data sets\n\n{intro}\n\n{table(head, rows)}", **made}


def _card_page(card: Card, entry: registry.Entry) -> str:
    facts = [["size", card.size], ["source", card.source], ["licence", card.licence], ["access", ACCESS[card.access]]]
    facts += [["commercial use", "allowed" if card.commercial_use else "not clearly allowed"]]
    fields = [
        [f"`{f.name}`", f.description, f.sensor or "", f.unit or "", f"{f.rate:g} Hz" if f.rate else ""]
        for f in card.fields
    ]
    splits = [[f"`{s.name}`", s.rule, s.group or "single rows"] for s in card.splits]
    files = [
        [f"`{f.path}`", f"{f.bytes:,}", f"`{f.sha256[:16]}...`", f"<{f.url}>" if f.url else ""] for f in card.files
    ]
    text = f"# {entry.name}\n\n{table(['', ''], facts)}\n## Fields and sensors\n\n"
    text += table(["field", "what it is", "sensor", "unit", "rate"], fields)
    text += "\n## Ways of splitting\n\n" + table(["split", "rule", "never straddles parts"], splits)
    text += "\n## Ways for test data to leak\n\n" + "".join(f"- {line}\n" for line in card.leakage)
    if files:
        text += "\n## Files\n\n" + table(["file", "bytes", "sha256", "from"], files).replace("&lt;http", "<http")
    return text + "\n" + re.sub(r"\A# .*\n+", "", card.body) + "\n"  # the page has its title already


# --- recipes ---------------------------------------------------------------------------------------------------------


def all_recipes() -> Pages:
    """The table of recipes, and a page for each."""
    rows, made = [], {}
    for entry in entries("recipes"):
        recipe, text = recipes.load(entry.name)
        place = f"recipes/{_anchor(entry.name)}.md"
        title = text.splitlines()[0].lstrip("# ")
        student = _bound(recipe.student)
        teachers = "; ".join(f"{name}: {_source(source)}" for name, source in recipe.sources.items())
        methods = ", ".join(f"`{method.use}`" for method in recipe.methods)
        rows.append([f"[`{entry.name}`]({place})", f"`{recipe.dataset.use}`", teachers, student, methods])
        about = table(["", ""], [[key, _code(key, value)] for key, value in recipe.about.items()])
        made[f"catalogue/{place}"] = f"# {entry.name}\n\n{title}\n\n{about}\n```toml\n{text.strip()}\n```\n"
    intro = (
        "A recipe names components and their settings; `mmkd run NAME` runs it. Each page holds the paper, where the "
        "settings come from, what to expect, and the whole recipe."
    )
    head = ["recipe", "data set", "who teaches, and what it reads", "student, and what it reads", "methods"]
    return {"catalogue/recipes.md": f"# Recipes\n\n{intro}\n\n{table(head, rows)}", **made}


def _code(key: str, value: str) -> str:
    return f"`{value}`" if key == "command" else value


def _bound(model: Any) -> str:
    """A model with the fields that it is bound to."""
    bound = [
        " + ".join(f"`{f}`" for f in (fields if isinstance(fields, list) else [fields]))
        for fields in (model.inputs or {}).values()
    ]
    reads = bound or _reads(registry.get("models", model.use))
    return f"`{model.use}`" + (f" ({', '.join(reads)})" if reads else "")


def _source(source: Any) -> str:
    return ", ".join(_bound(model) for model in source.all_models) or f"`{source.use}`"


# --- the command line ------------------------------------------------------------------------------------------------


def command_line() -> str:
    """Each command's own help."""
    text = "# Command line\n\nWhat `--help` prints. Exit codes and `--json`: [in a script](../how-to/scripts.md).\n"
    text += f"\n## mmkd\n\n```text\n{_help(entrance, 'mmkd')}\n```\n"
    for name in COMMANDS:
        command = importlib.import_module(f"mmkd.cli.{name}").command
        text += f"\n## mmkd {name} {{ #{name} }}\n\n```text\n{_help(command, f'mmkd {name}')}\n```\n"
        for below, inner in getattr(command, "commands", {}).items():
            text += f"\n### mmkd {name} {below}\n\n```text\n{_help(inner, f'mmkd {name} {below}')}\n```\n"
    return text


def _help(command: click.Command, name: str) -> str:
    return click.Context(command, info_name=name, terminal_width=88, max_content_width=88).get_help()


# --- notebooks -------------------------------------------------------------------------------------------------------


def notebooks() -> list[Path]:
    return sorted(NOTEBOOKS.glob("[0-9]*.ipynb"))


def tutorials() -> str:
    """The list of tutorials, with the first paragraph of each."""
    text = (
        "# Tutorials\n\nEach is a notebook of `notebooks/`, with the outputs of its last execution. All run offline.\n"
    )
    for path in notebooks():
        title, lead = _opening(_cells(path))
        text += f"\n**[{title}]({path.stem}.md)**\n\n{lead}\n"
    return text if notebooks() else f"{text}\nNone is installed here.\n"


def _cells(path: Path) -> list[dict[str, Any]]:
    cells: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return cells


def _text(lines: str | Sequence[str]) -> str:
    return lines if isinstance(lines, str) else "".join(lines)


def _opening(cells: Sequence[Mapping[str, Any]]) -> tuple[str, str]:
    """Title and first paragraph of a notebook."""
    prose = "\n\n".join(_text(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    title = re.search(r"^# (.+)$", prose, re.MULTILINE)
    paragraphs = [part for part in prose.split("\n\n") if part.strip() and not part.lstrip().startswith("#")]
    return title[1].strip() if title else "Untitled", paragraphs[0] if paragraphs else ""


def rendered(path: Path) -> Pages:
    """A notebook as a Markdown page and its pictures."""
    cells, made, text, heading = _cells(path), {}, "", path.stem
    for number, cell in enumerate(cells):
        source = _text(cell["source"]).strip()
        if cell["cell_type"] == "markdown":
            headings = re.findall(r"^#+ (.+)$", source, re.MULTILINE)
            heading = headings[-1] if headings else heading
            text += f"{_without_tex(source)}\n\n"
        elif cell["cell_type"] == "code" and source:
            text += _fenced(source, "python")
            for place, output in enumerate(cell.get("outputs", [])):
                for kind, content in _shown(output):
                    if kind == "image/png":
                        picture = f"{path.stem}/{number:02}-{place}.png"
                        made[f"tutorials/{picture}"] = base64.b64decode(content)
                        text += f"![{_alt(heading)}]({picture})\n\n"
                    else:
                        text += content
    link = f"The notebook itself is `notebooks/{path.name}`; the figures are those of its last execution.\n\n"
    first, rest = text.split("\n", 1) if text.startswith("# ") else (f"# {path.stem}", text)
    return {f"tutorials/{path.stem}.md": f"{first}\n\n{link}{rest}", **made}


def _without_tex(text: str) -> str:
    """Formulas as code: the site loads no script that sets TeX."""
    signs = {r"\log": "log", r"\sum": "Σ", r"\,": " ", r"\cdot": "·", r"\times": "×", "{": "", "}": ""}

    def plain(match: re.Match[str]) -> str:
        formula = match[1]
        for tex, sign in signs.items():
            formula = formula.replace(tex, sign)
        return f"`{formula.strip()}`"

    return re.sub(r"\$\$?([^$`\n]+)\$\$?", plain, text)


def _alt(heading: str) -> str:
    return "Picture: " + re.sub(r"[\[\]`*]", "", heading)


def _shown(output: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The richest form of an output that a page can show without scripts."""
    if output["output_type"] == "stream":
        yield "text", _fenced(_plain(_text(output["text"])), "text", "output")
        return
    data = output.get("data", {})
    if "image/png" in data:
        yield "image/png", _text(data["image/png"])
    elif "text/html" in data and "<script" not in _text(data["text/html"]):
        html = re.sub(r"\n\s*\n", "\n", _text(data["text/html"])).strip()  # an empty line would end the HTML block
        yield "text", f'<div class="output" markdown="0">\n{html}\n</div>\n\n'
    elif "text/plain" in data:
        yield "text", _fenced(_plain(_text(data["text/plain"])), "text", "output")


def _plain(text: str) -> str:
    """Without colours, and of a line that was rewritten in place only what it said last."""
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)
    return "\n".join(line.split("\r")[-1] for line in text.replace("\r\n", "\n").splitlines()).strip("\n")


def _fenced(text: str, language: str, kind: str = "") -> str:
    fence = "`" * max([3, *(len(run) + 1 for run in re.findall(r"`{3,}", text))])
    head = f"{{ .{language} .{kind} }}" if kind else language
    return f"{fence} {head}\n{text}\n{fence}\n\n" if text.strip() else ""
