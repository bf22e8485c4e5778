"""Create the top-level packages that pyproject.toml names, empty, next to it: enough for an editable install.

An image installs the dependencies this way before it copies the code, so that a change of the code leaves the large
layer of dependencies unchanged.
"""

import sys
import tomllib
from pathlib import Path


def main(project: Path) -> None:
    """Create a folder with an empty `__init__.py` for each pattern of packages, e.g. `store*`."""
    settings = tomllib.loads(project.read_text(encoding="utf-8"))
    for pattern in settings["tool"]["setuptools"]["packages"]["find"]["include"]:
        folder = project.parent / pattern.rstrip("*")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "__init__.py").touch()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
