"""Measure the structure of the source tree: room sizes, imports between rooms, file and function lengths.

    python -m benchmarks.house                 # this checkout
    python -m benchmarks.house --root ../old   # another one, to compare

A room is a package, or a folder inside one; what stands in a room are its modules and folders. An arrow is an import
from one room of a package to another of the same package, counted once per importing file.
`tests/unit/test_layering.py` holds the limits.
"""

import argparse
import ast
from collections.abc import Iterator
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from statistics import median

ROOT = Path(__file__).parents[1]
NOT_ROOMS = {"__pycache__", "page"}  # `page` holds no Python


@dataclass(frozen=True)
class Function:
    """One function or method, with its length in lines, from `def` to the last line."""

    name: str
    lines: int


def packages(root: Path) -> list[str]:
    """Return the product's packages in `root`, sorted by name."""
    found = (path.parent.name for path in root.glob("*/__init__.py"))
    return sorted(set(found) - {"tests", "benchmarks"})


def modules(folder: Path) -> list[Path]:
    """Return every Python file below `folder`, sorted."""
    return sorted(path for path in folder.rglob("*.py") if "__pycache__" not in path.parts)


def rooms(root: Path) -> dict[str, int]:
    """Return the number of modules and folders in each room, by its path relative to `root`."""
    found = {}
    for package in packages(root):
        folders = [root / package, *(p for p in (root / package).rglob("*") if p.is_dir())]
        for folder in folders:
            if not any(folder.glob("*.py")) or NOT_ROOMS & set(folder.parts):
                continue
            things = [p for p in folder.iterdir() if p.suffix == ".py" and p.name != "__init__.py"]
            things += [p for p in folder.iterdir() if p.is_dir() and p.name != "__pycache__"]
            found[str(folder.relative_to(root))] = len(things)
    return found


def imported_modules(tree: ast.AST) -> Iterator[str]:
    """Yield the dotted names that the code imports, also inside functions; not those for type checkers alone."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif not (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"):
            yield from imported_modules(node)


def arrows(root: Path, room: str) -> set[tuple[str, str, str]]:
    """Return (importing file, its part, imported part) for every import between the parts of a room.

    Args:
        room: folder relative to `root`; its parts are the modules and folders directly in it.
    """
    folder, dotted = root / room, room.split("/")
    parts = {path.stem for path in folder.glob("*.py")} - {"__init__"}
    parts |= {path.name for path in folder.iterdir() if (path / "__init__.py").exists()}
    found = set()
    for path in modules(folder):
        here = path.relative_to(folder).parts[0].removesuffix(".py")
        for name in imported_modules(ast.parse(path.read_text(encoding="utf-8"))):
            *inside, there = name.split(".")[: len(dotted) + 1]
            if inside == dotted and there in parts - {here} and here in parts:
                found.add((str(path.relative_to(root)), here, there))
    return found


def circle(root: Path, room: str) -> list[str]:
    """Return a circle of parts of a room that import each other, or an empty list."""
    graph: dict[str, set[str]] = {}
    for _, here, there in arrows(root, room):
        graph.setdefault(here, set()).add(there)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return [str(part) for part in error.args[1]]
    return []


def functions(path: Path) -> Iterator[Function]:
    """Yield every function and method of a file."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            yield Function(node.name, node.end_lineno - node.lineno + 1)


def repeated_classes(root: Path) -> dict[str, list[str]]:
    """Return the class names that several files of the product define, with those files."""
    places: dict[str, list[str]] = {}
    for package in packages(root):
        for path in modules(root / package):
            for node in ast.parse(path.read_text(encoding="utf-8")).body:
                if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                    places.setdefault(node.name, []).append(str(path.relative_to(root)))
    return {name: files for name, files in sorted(places.items()) if len(files) > 1}


def main() -> None:
    """Print the measures of a checkout."""
    parser = argparse.ArgumentParser(description="Measure the structure of a source tree.")
    parser.add_argument("--root", type=Path, default=ROOT, help="the checkout to measure; default: this one")
    root = parser.parse_args().root
    print(f"{'package':<12} {'files':>5} {'lines':>6} {'largest room':>30} {'arrows':>6}  circle")
    sizes = rooms(root)
    files, lengths = [], []
    for package in packages(root):
        mine = modules(root / package)
        files += [(len(path.read_text(encoding="utf-8").splitlines()), path) for path in mine]
        lengths += [
            (each.lines, f"{path.relative_to(root)}:{each.name}") for path in mine for each in functions(path)
        ]
        own = {room: size for room, size in sizes.items() if room.split("/")[0] == package}
        largest = max(own, key=lambda room: own[room])
        lines = sum(len(path.read_text(encoding="utf-8").splitlines()) for path in mine)
        print(
            f"{package:<12} {len(mine):>5} {lines:>6} {f'{largest} ({own[largest]})':>30} "
            f"{len(arrows(root, package)):>6}  {' -> '.join(circle(root, package)) or '-'}"
        )
    longest_file, longest_function = max(files), max(lengths)
    print(f"\nfiles      {len(files)}, median {median(n for n, _ in files):.0f} lines, "
          f"longest {longest_file[0]} ({longest_file[1].relative_to(root)})")  # fmt: skip
    print(f"functions  {len(lengths)}, median {median(n for n, _ in lengths):.0f} lines, "
          f"longest {longest_function[0]} ({longest_function[1]})")  # fmt: skip
    print(f"class names in several files: {', '.join(repeated_classes(root)) or 'none'}")


if __name__ == "__main__":
    main()
