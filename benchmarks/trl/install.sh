#!/usr/bin/env bash
# Makes the environment of the comparison with TRL in $1 (default benchmarks/trl/.venv): pinned versions, CPU torch.
# Python 3.11 or newer; PYTHON names one.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cpu="$here/../../deploy/cpu"
venv=${1:-$here/.venv}
torch=$(sed -n 's/^torch==//p' "$cpu/requirements.in")+cpu

"${PYTHON:-python3}" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
  { echo "the comparison with TRL needs Python 3.11 or newer (PYTHON=/path/to/python)." >&2; exit 1; }
"${PYTHON:-python3}" -m venv --clear "$venv"
pip() { "$venv/bin/python" -m pip --disable-pip-version-check "$@" 2> >(grep -v 'is ignored: it is neither' >&2); }
# As in deploy/cpu/install.sh: the index that is configured here, else PyTorch's own; and torchvision's hook.
pip install -q --no-deps "torch==$torch" 2>/dev/null ||
  pip install -q --no-deps "torch==$torch" --index-url https://download.pytorch.org/whl/cpu
pip install -q --no-deps -r "$here/requirements.txt"
site=$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
cp "$cpu/torchvision_hook.py" "$site/_videossr_torchvision_hook.py"
echo "import _videossr_torchvision_hook" > "$site/videossr_torchvision_hook.pth"
touch "$venv/videossr-ready"
