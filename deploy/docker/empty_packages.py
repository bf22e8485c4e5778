"""Make the packages that pyproject.toml names, empty, beside it: enough to install the project in editable mode.

An image installs the dependencies by it before the code is copied in, so that a change of the code leaves their layer
as it is.
"""

import sys
import tomllib
from pathlib import Path


def main(project: Path) -> None:
    settings = tomllib.loads(project.read_text(encoding="utf-8"))
    for package in settings["tool"]["setuptools"]["packages"]:
        folder = project.parent / package.replace(".", "/")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "__init__.py").touch()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
