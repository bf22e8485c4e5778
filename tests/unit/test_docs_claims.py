"""Tests of README and docs: links lead somewhere, commands parse, and settings, files and quoted messages exist."""

import argparse
import contextlib
import io
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from benchmarks import house
from cluster.cli.main import build_parser
from cluster.config.load import apply_override, build_config
from cluster.config.schema import Config

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), ROOT / "benchmarks" / "README.md"],
    key=lambda page: str(page.relative_to(ROOT)),
)


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def text(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def anchor(heading: str) -> str:
    """Return the anchor of a heading on GitHub."""
    plain = re.sub(r"[`*]|\[([^]]*)\]\([^)]*\)", r"\1", heading.strip().lower())
    return re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page: Path) -> None:
    dead = []
    for target in re.findall(r"\]\(([^)\s]+)\)", text(page)):
        if target.startswith(("http://", "https://")):
            continue
        file, _, part = target.partition("#")
        path = (page.parent / file).resolve() if file else page
        headings = (
            re.findall(r"^#+ (.*)$", text(path), re.M) if path.suffix == ".md" and path.is_file() else []
        )
        if not path.exists() or (part and part not in {anchor(heading) for heading in headings}):
            dead.append(target)
    assert not dead


def commands(page: Path) -> Iterator[str]:
    """Yield the `videossr ...` commands in the code blocks of a page, without comments."""
    for block in re.findall(r"```(?:sh|bash)\n(.*?)```", text(page).replace("\\\n", " "), re.S):
        for line in block.splitlines():
            line = line.split(" #")[0].split(" -- ")[-1].strip()
            if line.startswith("videossr ") and "..." not in line:
                yield line


def parser_of(words: list[str]) -> argparse.ArgumentParser:
    """Return the parser of the sub-command that `words` begin with."""
    parser = build_parser()
    for word in words:
        choices = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
        if not choices:
            break
        assert word in choices[0].choices, f"no such command: {' '.join(words)}"
        parser = choices[0].choices[word]
    return parser


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_commands_in_blocks_parse(page: Path) -> None:
    wrong = []
    for command in commands(page):
        said = io.StringIO()
        try:
            with contextlib.redirect_stderr(said):
                _, rest = build_parser().parse_known_args(shlex.split(command)[1:])
        except SystemExit:
            wrong.append(f"{command}: {said.getvalue().strip().splitlines()[-1]}")
            continue
        wrong += [f"{command}: {word}" for word in rest if "=" not in word or word.startswith("-")]
    assert not wrong


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_commands_in_the_text_exist_and_accept_their_options(page: Path) -> None:
    for code in re.findall(r"`videossr ((?:[a-z]+ ?)+[^`]*)`", text(page)):
        if code.startswith("needs "):  # an error message of the installer
            continue
        words = code.split()
        options = {option for action in parser_of(words)._actions for option in action.option_strings}
        assert not {word for word in words if word.startswith("--")} - options, code


def known(dotted: str) -> bool:
    """Return whether a setting or a section of settings has this dotted name."""
    model: Any = Config
    for part in dotted.removesuffix(".*").split("."):
        fields = getattr(model, "model_fields", None)
        if fields is None:
            return True  # rollout.vllm_args and the like accept any key
        if part not in fields:
            return False
        annotation = fields[part].annotation
        options = (annotation, *getattr(annotation, "__args__", ()))
        model = next((option for option in options if hasattr(option, "model_fields")), None)
    return True


def is_module(dotted: str) -> bool:
    """Return whether `dotted` names one of our modules or something in one."""
    parts = dotted.split(".")
    return any((ROOT / "/".join(parts[:n])).with_suffix(".py").is_file() for n in range(1, len(parts) + 1))


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_settings_in_the_docs_exist(page: Path) -> None:
    sections = "|".join(
        name for name, field in Config.model_fields.items() if field.annotation not in (str, int)
    )
    named = set(re.findall(rf"`((?:{sections})(?:\.[a-z_]+)+)[`:=]", text(page)))
    of_the_worked_example = {each for each in named if each.startswith("data.backwards.")}
    assert not {each for each in named - of_the_worked_example if not known(each) and not is_module(each)}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_files_in_the_docs_exist(page: Path) -> None:
    folders = "|".join(path.name for path in ROOT.iterdir() if path.is_dir())
    named = set(re.findall(rf"`((?:{folders})/[\w./-]+)`", text(page)))
    made_by_the_reader = {"pretext/tasks/backwards.py"}
    made_by_a_run = {each for each in named if each.startswith("runs/")}
    assert not {each for each in named - made_by_the_reader - made_by_a_run if not (ROOT / each).exists()}


def test_the_forms_of_a_prompts_data_in_the_design_exist_in_the_files_named() -> None:
    page = text(ROOT / "docs" / "design.md")
    table = page.split("## From a video file to a gradient")[1].split("\n## ")[0]
    rows = [line.split("|")[1:-1] for line in table.splitlines() if re.match(r"\| \d+ \|", line)]
    product = {
        path.name: text(path) for package in house.packages(ROOT) for path in house.modules(ROOT / package)
    }
    classes = {name for code in product.values() for name in re.findall(r"^class (\w+)", code, re.M)}
    assert [int(number) for number, *_ in rows] == list(range(1, len(rows) + 1))
    assert len(rows) <= 19
    for _, forms, _, files in rows:
        aliases = {"Frames"}  # a numpy array
        assert set(re.findall(r"`(\w+)`", forms)) - aliases <= classes
        assert {Path(file).name for file in re.findall(r"`([\w/.]+\.py)`", files)} <= set(product)


def source() -> str:
    """Return the product's source text, with adjacent string literals joined."""
    files = [
        path for path in ROOT.rglob("*") if path.suffix in (".py", ".sh", ".js") and ".venv" not in path.parts
    ]
    ours = "\n".join(
        text(path) for path in files if "tests" not in path.parts and "node_modules" not in path.parts
    )
    return re.sub(r'"\s*\n\s*f?"', "", ours)


def test_messages_quoted_in_troubleshooting_exist() -> None:
    page, product = text(ROOT / "docs" / "troubleshooting.md"), source()
    rows = [line.split("|")[1] for line in page.splitlines() if line.startswith("| ") and "|---" not in line]
    quoted = [code for symptom in rows for code in re.findall(r"`([^`]+)`", symptom)]
    assert len(quoted) > 20
    of_others = {"operator torchvision::nms does not exist"}
    missing = [
        part.strip(" ()")
        for code in quoted
        if code not in of_others and not code.startswith(("/", "--", "VIDEOSSR_"))
        for part in re.split(r"\.\.\.", code)
        if part.strip(" ()") and not appears(part.strip(" ()"), product)
    ]
    assert not missing


def appears(words: str, product: str) -> bool:
    """Return whether the product's source contains the words, or they name a setting."""
    return words in product or known(words.split(":")[0].split("=")[0])


def test_overrides_in_the_docs_are_valid() -> None:
    """Each `key=value` that follows a configuration in a command of the docs must be valid for it."""
    tried = 0
    for page in PAGES:
        for command in commands(page):
            words = shlex.split(command)
            configs = [word for word in words if word.startswith("configs/")]
            overrides = [word for word in words if re.fullmatch(r"[a-z_]+(\.[a-z_]+)*=.*", word)]
            if not configs or not overrides:
                continue
            tree = yaml.safe_load((ROOT / configs[0]).read_text())
            for override in overrides:
                if not override.startswith(("data.videos=", "data.dataset=", "runs_dir=", "bucket=")):
                    apply_override(tree, override)
            build_config(tree)
            tried += 1
    assert tried
