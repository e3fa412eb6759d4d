# Functions that the scripts share. Source it; it changes to the top of the source tree.
# shellcheck shell=bash

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
top=$PWD
target=${CARGO_TARGET_DIR:-$top/target}
venvs=$top/target/venv

# Says what happens, on stderr: stdout belongs to results.
log() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }

# Says why the script cannot go on, and ends it.
die() {
    log "error: $*"
    exit 1
}

# usage_of SCRIPT: prints the comment at the head of the script, which is its help.
usage_of() { sed -n '2,/^[^#]/ s/^# \{0,1\}//p' "$1"; }

# under_lock COMMAND...: runs it while no other script on this tree sets anything up.
under_lock() {
    mkdir -p "$top/target"
    (
        flock 9
        "$@" 9>&-
    ) 9>"$top/target/setup.lock"
}

# as_root COMMAND...: runs it as root, directly or through sudo.
as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        die "needs root for: $*. Run it as root, or install sudo"
    fi
}

has_package() { dpkg-query -W -f '${db:Status-Status}\n' "$1" 2>/dev/null | grep -qx installed; }

install_missing() {
    local missing=() package
    for package in "$@"; do
        has_package "$package" || missing+=("$package")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    log "installing ${missing[*]}"
    as_root env DEBIAN_FRONTEND=noninteractive apt-get update -qq ||
        die "apt-get update failed: check the network and /etc/apt/sources.list"
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >&2 ||
        die "apt-get could not install ${missing[*]}: install them by hand and run this again"
}

# need_apt PACKAGE...: installs the Debian packages that are missing; asks nobody when none is.
need_apt() {
    command -v dpkg-query >/dev/null && command -v apt-get >/dev/null ||
        die "this is not a Debian or Ubuntu system: install the equivalents of '$*' by hand"
    local package
    for package in "$@"; do
        has_package "$package" || {
            under_lock install_missing "$@"
            return
        }
    done
}

# need_command COMMAND PACKAGE: installs the package when the command is not there.
need_command() { command -v "$1" >/dev/null || need_apt "$2"; }

need_cargo() {
    command -v cargo >/dev/null ||
        die "cargo is not installed: get Rust from https://rustup.rs, or install rustc and cargo 1.88 or later"
}

# build_programs: what jobs need, as users build it.
build_programs() {
    cargo build --release --quiet -p pmi -p pmi-ssh -p pmi-kvs-server
}

# link_prolog_statically: pmi-task-prolog is run once for each task of a Slurm step, and more than half of its time is the
# dynamic linker's. So where the C library can be linked statically, it is; call this after the build.
link_prolog_statically() {
    if echo 'int main(void) { return 0; }' | cc -x c -static -o /dev/null - 2>/dev/null; then
        cargo rustc --release --quiet -p pmi-bridge --bin pmi-task-prolog -- -C target-feature=+crt-static
    fi
}

# What a directory under target/venv was filled with, so that a changed pin is noticed.
is_complete() { [ "$(cat "$venvs/$1/.complete" 2>/dev/null)" = "${*:2}" ]; }

# A Python that every user of this machine may run: tests run programs as others. One that a user has installed may not be.
python_for_all() { if [ -x /usr/bin/python3 ]; then echo /usr/bin/python3; else echo python3; fi; }

# make_venv NAME PYTHON REQUIREMENT...
make_venv() {
    local venv=$venvs/$1
    ! is_complete "$@" || return 0
    log "installing ${*:3} from PyPI into ${venv#"$top"/}"
    "$2" -m venv --clear "$venv" || die "python3 cannot make a virtual environment: install python3-venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check "${@:3}" ||
        die "pip could not install ${*:3}: check the network, then run this again"
    echo "${*:2}" >"$venv/.complete"
}

need_venv_tools() {
    "$(python_for_all)" -c 'import ensurepip' 2>/dev/null || need_apt python3 python3-venv
}

# need_venv NAME REQUIREMENT...: a Python environment under target/venv with pinned packages in it.
need_venv() {
    need_venv_tools
    set -- "$1" "$(python_for_all)" "${@:2}"
    is_complete "$@" || under_lock make_venv "$@"
}

# The other implementations that tests and benchmarks run, pinned to what they were checked with.
need_mpich_venv() { need_venv mpich 'mpich==5.0.2' 'mpi4py==4.1.*'; }
need_intel_mpi_venv() { need_venv impi 'impi-rt==2021.18.*'; }

# The wheel's other files need CUDA and fill half a gigabyte; the plugins need neither.
unpack_nvshmem_plugins() {
    local directory=$venvs/nvshmem
    ! is_complete nvshmem "$1" || return 0
    log "fetching $1 from PyPI for its bootstrap plugins"
    rm -rf "$directory"
    "$(python_for_all)" -m venv "$directory" || die "python3 cannot make a virtual environment: install python3-venv"
    "$directory/bin/pip" download --quiet --disable-pip-version-check --no-deps --only-binary :all: \
        --dest "$directory/wheel" "$1" || die "pip could not fetch $1: check the network, then run this again"
    "$directory/bin/python" -m zipfile -e "$directory"/wheel/*.whl "$directory/wheel"
    mv "$directory"/wheel/nvidia/nvshmem/lib/nvshmem_bootstrap_pmi{,2}.so.3 "$directory/lib"
    rm -r "$directory/wheel"
    echo "$1" >"$directory/.complete"
}

# need_nvshmem_plugins: NVSHMEM's bootstrap plugins for PMI-1 and PMI-2 in target/venv/nvshmem/lib.
need_nvshmem_plugins() {
    local requirement='nvidia-nvshmem-cu12==3.8.*'
    is_complete nvshmem "$requirement" && return 0
    need_venv_tools
    under_lock unpack_nvshmem_plugins "$requirement"
}

# mpi_of COMPILER: prints name and version of the MPI that a compiler wrapper compiles for, as its mpi.h has them.
mpi_of() {
    command -v "$1" >/dev/null || return 1
    "$1" -E -dM -include mpi.h -x c /dev/null 2>/dev/null | sed 's/"//g' | awk '
        $1 == "#define" { value[$2] = $3 }
        END {
            if ("OMPI_MAJOR_VERSION" in value)
                print "Open MPI " value["OMPI_MAJOR_VERSION"] "." value["OMPI_MINOR_VERSION"] "." \
                    value["OMPI_RELEASE_VERSION"]
            else if ("I_MPI_VERSION" in value) print "Intel MPI " value["I_MPI_VERSION"]
            else if ("MVAPICH2_VERSION" in value) print "MVAPICH " value["MVAPICH2_VERSION"]
            else if ("MPICH_VERSION" in value) print "MPICH " value["MPICH_VERSION"]
            else exit 1
        }'
}

# openmpi_major NAME: the major version in 'Open MPI 4.1.4'; nothing for others.
openmpi_major() { sed -n 's/^Open MPI \([0-9]*\).*/\1/p' <<<"$1"; }

# find_mpi PATTERN: sets mpi_cc to the first compiler wrapper whose MPI's name matches and which starts through PMI,
# and mpi_name to that MPI; in mpi_unusable is what was found and does not.
find_mpi() {
    local name
    mpi_unusable=
    for mpi_cc in mpicc mpicc.mpich mpicc.openmpi; do
        name=$(mpi_of "$mpi_cc") || continue
        # shellcheck disable=SC2053 # a pattern
        [[ $name == $1 ]] || continue
        if [ "$(openmpi_major "$name")" -ge 5 ] 2>/dev/null; then
            mpi_unusable=$name
        else
            mpi_name=$name
            return 0
        fi
    done
    return 1
}

can_install() {
    command -v dpkg-query >/dev/null && command -v apt-get >/dev/null &&
        { [ "$(id -u)" = 0 ] || command -v sudo >/dev/null; }
}

# need_any_mpi: whatever MPI the machine has that starts through PMI, as find_mpi sets it; MPICH where there is none.
need_any_mpi() {
    find_mpi '*' && return 0
    local pmix="starts through PMIx only, which this version does not speak"
    if [ -n "$mpi_unusable" ]; then
        can_install || die "$mpi_unusable $pmix, and nothing can be installed here:" \
            "install MPICH or Open MPI 4 and put its mpicc on PATH"
        log "$mpi_unusable $pmix: using MPICH"
    fi
    need_apt gcc libc6-dev mpich libmpich-dev
    find_mpi '*' || die "there is no mpicc that compiles: see what 'mpicc -show' and 'mpicc.mpich -show' say"
}

# need_openmpi: an Open MPI that starts through a PMI library, for the tests.
need_openmpi() {
    need_command cc gcc
    find_mpi 'Open MPI *' && return 0
    [ -n "$mpi_unusable" ] || need_apt gcc libc6-dev openmpi-bin libopenmpi-dev
    find_mpi 'Open MPI *' ||
        die "${mpi_unusable:-what is installed} is not Open MPI 4, which the tests need: put the mpicc of one on PATH"
}
