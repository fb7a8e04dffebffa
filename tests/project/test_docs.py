"""The pages: commands exist, links lead to pages, examples follow the wire contract, and every page is reachable."""

from __future__ import annotations

import json
import re
import tomllib
from collections import Counter
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from typer.main import get_command

from schemas.__main__ import FOLDER
from worker.cli import app
from worker.records import Item, Partition, Record, Task
from worker.training import config
from worker.wire.decode import Limits, decode

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md")])
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_MAX_CODE_COLUMNS = 80


def page_id(page: Path) -> str:
    """Return the name of a page in reports."""
    return str(page.relative_to(ROOT))


def read_code(page: Path) -> str:
    """Return the code of a page: blocks, with continued lines joined, and code in sentences."""
    text = page.read_text().replace("\\\n", " ")
    blocks = [block for _, block in _BLOCK.findall(text)]
    return "\n".join([*blocks, *re.findall(r"`([^`\n]+)`", _BLOCK.sub("", text))])


def find_anchors(page: Path) -> set[str]:
    """Return the anchors of the headings of a page, as GitHub and the site build them."""
    headings = re.findall(r"^#+ (.+)$", _BLOCK.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def read_example(page: Path, name: str) -> Any:
    """Return the JSON example with this name."""
    found = re.search(rf"<!-- example: {name} -->\n```json\n(.*?)```", page.read_text(), re.DOTALL)
    assert found is not None
    return json.loads(found[1])


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_every_command_of_a_page_exists(page: Path) -> None:
    """Each `gist-stream …` names a command and its options, each `make …` a target."""
    for line in re.findall(r"(?:^|[\s;&|(])gist-stream ([a-z][^#|;&\n]*)", read_code(page)):
        command: Any = get_command(app)
        words = line.split()
        while words and hasattr(command, "commands"):
            # `train` without a command means `train run`.
            name = "run" if command.name == "train" and words[0] not in command.commands else words.pop(0)
            assert name in command.commands, f"gist-stream {line}"
            command = command.get_command(None, name)
        known = {option for parameter in command.params for option in parameter.opts}
        used = {word.partition("=")[0] for word in words if word.startswith("--")}
        assert used <= known | {"--help"}, f"gist-stream {line}"
    for target in re.findall(r"(?:^|[\s;&|(])make ([a-z][a-z-]*)", read_code(page), re.MULTILINE):
        assert target in TARGETS, f"make {target}"


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_every_link_leads_to_a_file_and_a_heading(page: Path) -> None:
    """A link without a host names an existing file, and its anchor a heading of that page."""
    for target, anchor in re.findall(r"\]\(([^)#\s]*)(?:#([^)]*))?\)", _BLOCK.sub("", page.read_text())):
        if "://" in target:
            continue
        path = page.parent / target if target else page
        assert path.exists(), target
        if anchor and path.suffix == ".md":
            assert anchor in find_anchors(path), f"{target}#{anchor}"


@pytest.mark.parametrize("page", [page for page in PAGES if page.is_relative_to(DOCS)], ids=page_id)
def test_pages_of_the_site_link_to_pages_of_the_site(page: Path) -> None:
    """The site contains only `docs/`, so a link out of this folder would be dead."""
    for target in re.findall(r"\]\(([^)#\s]+)", _BLOCK.sub("", page.read_text())):
        assert "://" in target or (page.parent / target).resolve().is_relative_to(DOCS), target


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_code_fits_its_column(page: Path) -> None:
    """Code on a page has at most 80 columns, so that neither GitHub nor the site cuts it."""
    wide = [line for _, block in _BLOCK.findall(page.read_text()) for line in block.splitlines() if len(line) > _MAX_CODE_COLUMNS]
    assert wide == []


def test_folders_of_pages_are_small() -> None:
    """A folder of `docs/` has at most 15 files."""
    counts = Counter(path.parent for path in DOCS.rglob("*") if path.is_file())
    assert {folder: count for folder, count in counts.items() if count > 15} == {}


def test_every_page_is_in_the_navigation_and_reachable_from_the_index() -> None:
    """The navigation of the site and the links from docs/index.md lead to every page."""
    pages = {str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md")}
    navigation = tomllib.loads((ROOT / "zensical.toml").read_text())["project"]["nav"]
    assert set(re.findall(r"'([\w/-]+\.md)'", str(navigation))) == pages
    reached, to_read = set[str](), ["index.md"]
    while to_read:
        name = to_read.pop()
        reached.add(name)
        for target in re.findall(r"\]\(([\w/.-]+\.md)", (DOCS / name).read_text()):
            linked = str((DOCS / name).parent.joinpath(target).resolve().relative_to(DOCS))
            if linked not in reached:
                to_read.append(linked)
    assert reached == pages


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_paths_of_the_repository_exist(page: Path) -> None:
    """A path that begins with a folder of the repository, or on the page of the architecture with one of `worker/`, exists."""
    roots = [ROOT, ROOT / "worker"] if page.name == "architecture.md" else [ROOT]
    folders = {path.name for root in roots for path in root.iterdir() if path.is_dir()} - {"models", ".data"}
    for path in re.findall(r"`([\w.-]+/[\w./-]*)`", page.read_text()):
        if path.split("/")[0] in folders:
            assert any((root / path).exists() for root in roots), path


def test_front_page_is_short_and_loads_nothing_from_other_hosts() -> None:
    """The README has at most 150 lines, and its pictures are small files of the repository without links to fonts."""
    readme = (ROOT / "README.md").read_text()
    assert len(readme.splitlines()) <= 150
    pictures = re.findall(r"!\[[^\]]*\]\(([^)]+)\)", readme)
    assert pictures
    for picture in pictures:
        if picture.endswith(".png"):
            assert (ROOT / picture).stat().st_size <= 200_000
            continue
        assert "url(" not in (ROOT / picture).read_text().replace("url(#", "")


def test_page_of_patches_lists_every_patch() -> None:
    """The table of docs/decisions/aiokafka.md names each module of `worker/broker/patches`, and no other."""
    listed = re.findall(r"^\| `(\w+)` \|", (DOCS / "decisions" / "aiokafka.md").read_text(), re.MULTILINE)
    modules = (ROOT / "worker" / "broker" / "patches").glob("*.py")
    assert sorted(listed) == sorted(module.stem for module in modules if module.stem != "__init__")


@pytest.mark.parametrize("name", ["request", "embedding", "labels", "entities", "dead_letter"])
def test_examples_of_the_wire_contract_follow_the_schemas(name: str) -> None:
    """The schema of version 1 accepts the example of each kind of record."""
    schema = json.loads((FOLDER / f"{name}.schema.json").read_text())
    jsonschema.validate(read_example(DOCS / "use" / "wire-contract.md", name), schema)


@pytest.mark.parametrize(
    ("name", "content_type"), [("request", b"application/json"), ("cloudevent", b"application/cloudevents+json")]
)
def test_examples_of_input_records_are_decoded(name: str, content_type: bytes) -> None:
    """The worker reads the id and the text of each example of an input record."""
    value = json.dumps(read_example(DOCS / "use" / "wire-contract.md", name)).encode()
    record = Record(Partition("tickets", 0), 7, None, value, (("content-type", content_type),))
    item = decode(record, limits=Limits(), tasks=frozenset(Task))
    assert isinstance(item, Item)
    assert item.id == "ticket-17"
    assert item.text.startswith("Great: Anna Schmidt")


def test_example_of_a_training_file_is_accepted(tmp_path: Path) -> None:
    """Every key of the file on the page of training exists and has an allowed value."""
    page = (DOCS / "models" / "training.md").read_text()
    file = tmp_path / "run.toml"
    file.write_text(next(block for language, block in _BLOCK.findall(page) if language == "toml"))
    assert config.read(file).heads[0].name == "topic"
