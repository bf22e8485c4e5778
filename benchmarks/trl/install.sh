#!/usr/bin/env bash
# Installs the environment for the comparison with TRL in $1 (default benchmarks/trl/.venv): pinned versions, CPU torch.
# Needs Python 3.11 or newer (python3 on PATH, or PYTHON).
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cpu="$here/../../deploy/cpu"
venv=${1:-$here/.venv}
torch=$(sed -n 's/^torch==//p' "$cpu/requirements.in")+cpu

"${PYTHON:-python3}" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
  { echo "The comparison with TRL needs Python 3.11 or newer. Set PYTHON=/path/to/python." >&2; exit 1; }
"${PYTHON:-python3}" -m venv --clear "$venv"
pip() { "$venv/bin/python" -m pip --disable-pip-version-check "$@" 2> >(grep -v 'is ignored: it is neither' >&2); }
# As in deploy/cpu/install.sh: try the configured index, then PyTorch's own; and install the torchvision hook.
pip install -q --no-deps "torch==$torch" 2>/dev/null ||
  pip install -q --no-deps "torch==$torch" --index-url https://download.pytorch.org/whl/cpu
pip install -q --no-deps -r "$here/requirements.txt"
site=$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
cp "$cpu/torchvision_hook.py" "$site/_videossr_torchvision_hook.py"
echo "import _videossr_torchvision_hook" > "$site/videossr_torchvision_hook.pth"
touch "$venv/videossr-ready"
