import pytest

from mmkd import registry
from mmkd.data.cards import HEADINGS, card_of, card_text, parse
from mmkd.errors import DataError, RegistryError

FRONT = {
    "name": "acme/set",
    "pretty_name": "A set",
    "license": "mit",
    "licence": "MIT",
    "source": "somewhere",
    "url": "null",
    "citation": "null",
    "version": "'1.0'",
    "size": "3 rows",
    "size_categories": "[n<1K]",
    "task_categories": "[tabular-classification]",
    "tags": "[force]",
    "access": "embedded",
    "files": "[{path: a.npz, bytes: 3, sha256: " + "a" * 64 + "}]",
    "fields": "[{name: x, description: force, sensor: gauge, unit: N, rate: 50, dtype: float32, shape: [3, null]}]",
    "splits": "[{name: seeded, rule: random, group: subject}]",
    "leakage": "[none known]",
    "commercial_use": "true",
}
BODY = "# Title\n" + "".join(f"\n## {heading}\n\nText.\n" for heading in HEADINGS)


def written(body=BODY, **changed):
    front = {key: value for key, value in {**FRONT, **changed}.items() if value is not None}
    return "---\n" + "".join(f"{key}: {value}\n" for key, value in front.items()) + "---\n" + body


def test_a_good_card():
    card = parse(written())
    assert (card.name, card.access, card.commercial_use) == ("acme/set", "embedded", True)
    assert (card.fields[0].unit, card.fields[0].rate) == ("N", 50)
    assert (card.fields[0].sensor, card.fields[0].shape) == ("gauge", [3, None])
    assert card.section("Provenance") == "Text."
    assert card.splits[0].group == "subject"
    assert card.files[0].url is None
    assert card.body.startswith("# Title")
    assert parse(written().replace("\n", "\r\n")).name == "acme/set"


def test_a_generator_has_no_files_and_a_manual_copy_has_some_without_address():
    assert parse(written(access="generated", files="[]")).files == []
    assert parse(written(access="own", files="[]")).files == []
    assert parse(written(access="manual")).files[0].url is None


@pytest.mark.parametrize("key", FRONT)
def test_missing_key(key):
    with pytest.raises(DataError, match=rf"card.md: {key}: Field required.*keys: name, pretty_name") as caught:
        parse(written(**{key: None}), "card.md")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changed", "complaint"),
    [
        ({"licence": "''"}, "licence"),
        ({"licence": "'  '"}, "licence"),
        ({"access": "copied"}, "access"),
        ({"commercial_use": "1"}, "commercial_use"),
        ({"leakage": "[]"}, "leakage"),
        ({"fields": "[]"}, "fields"),
        ({"splits": "[{name: a, rule: b}]"}, r"splits\.0\.group"),
        ({"fields": "[{name: x, description: y, sensor: null, unit: N, dtype: bool, shape: []}]"}, r"fields\.0\.rate"),
        ({"fields": "[{name: x, description: y, sensor: null, rate: 1, dtype: bool, shape: []}]"}, r"fields\.0\.unit"),
        ({"fields": "[{name: x, description: y, unit: N, rate: 1, dtype: bool, shape: []}]"}, r"fields\.0\.sensor"),
        ({"fields": FRONT["fields"].replace("float32", "real")}, r"fields\.0\.dtype"),
        ({"license": "MIT"}, "license"),
        ({"version": "1"}, "version"),
        ({"size_categories": "[small]"}, "size_categories"),
        ({"task_categories": "[]"}, "task_categories"),
        ({"files": "[{path: a, bytes: 3, sha256: abc}]"}, r"files\.0\.sha256"),
        ({"files": "[{path: a, sha256: " + "a" * 64 + "}]"}, r"files\.0\.bytes"),
        ({"access": "download"}, "url"),
        ({"access": "generated"}, "files"),
        ({"access": "own"}, "files"),
        ({"access": "manual", "files": "[]"}, "files"),
        ({"licens": "MIT"}, "licens: Extra"),
    ],
)
def test_wrong_key(changed, complaint):
    with pytest.raises(DataError, match=complaint):
        parse(written(**changed))


@pytest.mark.parametrize("text", ["", BODY, "---\nname: x\n", "---\n- a\n---\n" + BODY, "---\n{a: [\n---\n" + BODY])
def test_no_front_matter(text):
    with pytest.raises(DataError, match=r"card.md.*front matter") as caught:
        parse(text, "card.md")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("heading", HEADINGS)
def test_headings(heading):
    for written_there in ("", f"## {heading}\n\n"):
        body = BODY.replace(f"## {heading}\n\nText.\n", written_there)
        with pytest.raises(DataError, match=f"`## {heading}` is missing"):
            parse(written(body))


def test_no_other_headings_and_no_other_order():
    with pytest.raises(DataError, match="heading `## Notes` is not known; headings: Dataset overview, Example"):
        parse(written(BODY + "\n## Notes\n\nText.\n"))
    swapped = BODY.replace(f"## {HEADINGS[0]}\n", "## X\n").replace(f"## {HEADINGS[1]}\n", f"## {HEADINGS[0]}\n")
    with pytest.raises(DataError, match="its headings stand in another order"):
        parse(written(swapped.replace("## X\n", f"## {HEADINGS[1]}\n")))


def test_the_cards_agree_with_what_the_data_sets_declare():
    """Types and sizes of what can be built without files; a card leaves open what a setting may change."""
    for entry in registry.entries("datasets"):
        if not entry.distribution.startswith("mmkd-") or entry.name == "graph/large-blocks":  # which is large
            continue
        card = card_of(entry.name)
        if card.access not in ("generated", "embedded"):
            continue
        declared = registry.load(entry)().fields
        for field in card.fields:
            code = declared[field.name]
            where = f"{entry.name}, {field.name}"
            assert {code.dtype, *(part.dtype for part in (code.parts or {}).values())} == {field.dtype}, where
            assert (field.unit or "", field.rate) == (code.unit or field.unit or "", code.rate or field.rate), where
            if field.shape is not None:
                assert len(field.shape) == len(code.shape), where
                assert all(told in (None, size) for told, size in zip(field.shape, code.shape, strict=True)), where


@pytest.fixture
def installed(monkeypatch, tmp_path):
    """A function that installs `acme`, from a wheel or from a source tree, in which a card may stand."""

    def install(card_at=None, text=None, site="site-packages"):
        site_packages = tmp_path / "tree" / "lib" / site
        (site_packages / "acme").mkdir(parents=True)
        (site_packages / "acme" / "__init__.py").write_text("raise RuntimeError('a card needs no import')")
        info = site_packages / "acme-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text("[mmkd.datasets]\nacme/set = acme.sets.some:Set\n")
        (tmp_path / "tree" / "pyproject.toml").touch()
        if card_at is not None:
            (tmp_path / card_at).parent.mkdir(exist_ok=True)
            (tmp_path / card_at).write_text(text or written())
        monkeypatch.syspath_prepend(str(site_packages))
        registry.refresh()

    yield install
    monkeypatch.undo()
    registry.refresh()


def test_card_in_the_package(installed):
    installed("tree/lib/site-packages/acme/data_cards/set.md")
    assert card_of("acme/set").name == card_of("acme:acme/set").name == "acme/set"
    assert card_text("acme/set") == written()


def test_card_in_the_source_tree(installed):
    installed("tree/data_cards/set.md", site="src")
    assert card_of("acme/set").name == "acme/set"


def test_a_tree_around_an_environment_is_not_the_plugin_s(installed):
    installed("tree/data_cards/set.md")
    with pytest.raises(DataError, match=r"acme/set of acme 1.0 has no data card data_cards/set.md"):
        card_of("acme/set")


def test_another_data_set_s_card(installed):
    installed("tree/lib/site-packages/acme/data_cards/set.md", written(name="other/set"))
    with pytest.raises(DataError, match="no data card"):
        card_of("acme/set")


def test_broken_card(installed):
    installed("tree/lib/site-packages/acme/data_cards/set.md", written(access="copied"))
    with pytest.raises(DataError, match="data card of acme/set: access"):
        card_of("acme/set")


def test_unknown_data_set():
    with pytest.raises(RegistryError, match="acme/absent"):
        card_of("acme/absent")
