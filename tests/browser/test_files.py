"""The page's files: every import exists, nothing comes from other hosts, and libraries are the released ones."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "dashboard" / "page"
NPM = Path(__file__).parent / "npm"
_IMPORT = re.compile(r'(?:from|import)\s*"(\.[^"]+)"')
_LATER = re.compile(r'=> import\("(\.[^"]+)"\)')
_TYPES_ONLY = "types.js"  # contains only types


def _modules() -> set[Path]:
    return {path for path in PAGE.rglob("*.js") if path.name != _TYPES_ONLY}


def _imports(module: Path, pattern: re.Pattern[str]) -> set[Path]:
    return {(module.parent / name).resolve() for name in pattern.findall(module.read_text(encoding="utf-8"))}


def test_each_import_exists_and_each_file_is_imported() -> None:
    imported = {PAGE / "app.js"}
    for module in _modules():
        for target in _imports(module, _IMPORT) | _imports(module, _LATER):
            assert target.is_file(), f"{module}: {target}"
            imported.add(target)
    assert imported == _modules()


def test_all_modules_of_the_list_are_preloaded() -> None:
    html = (PAGE / "index.html").read_text(encoding="utf-8")
    listed = set(re.findall(r'(?:modulepreload" href|script type="module" src)="([^"]+)"', html))
    needed, new = set(), {PAGE / "app.js"}
    while new:
        needed |= new
        new = {target for module in new for target in _imports(module, _IMPORT)} - needed
    assert listed == {str(path.relative_to(PAGE)) for path in needed}


def test_the_page_contains_nothing_that_the_content_policy_forbids() -> None:
    for path in [PAGE / "index.html", *(path for path in _modules() if "vendor" not in path.parts)]:
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"<style|\sstyle=|\son[a-z]+=\"|https?://(?!www\.w3\.org)|<script>", text), path


def test_files_are_short() -> None:
    for path in _modules():
        if "vendor" not in path.parts:
            assert len(path.read_text(encoding="utf-8").splitlines()) <= 300, path


def test_the_docs_use_every_picture_of_the_page() -> None:
    docs = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    text = "".join(path.read_text(encoding="utf-8") for path in docs)
    pictures = {path.name for path in (ROOT / "docs/screens").iterdir()}
    assert {name for name in pictures if f"screens/{name}" not in text} == set()


def _npm(*arguments: str) -> None:
    if shutil.which("npm") is None:
        pytest.skip("no npm here (Debian: apt-get install npm)")
    if not (NPM / "node_modules").is_dir():
        made = subprocess.run(
            ["npm", "ci", "--no-audit", "--no-fund"], cwd=NPM, capture_output=True, text=True
        )
        if made.returncode:
            pytest.skip(f"npm packages cannot be installed: {made.stderr[-300:]}")
    subprocess.run(["npm", "run", "--silent", *arguments], cwd=NPM, check=True)


def test_libraries_are_as_released(tmp_path: Path) -> None:
    _npm("vendor", "--", str(tmp_path))
    made = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    ours = {
        path.name: path.read_bytes()
        for path in (PAGE / "vendor").iterdir()
        if not path.name.endswith(".d.ts")
    }
    assert made == ours


def test_types_are_correct() -> None:
    _npm("check")


def test_the_layout_is_prettiers() -> None:
    _npm("layout")
