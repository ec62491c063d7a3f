# Sourced by tests/arm/run and tests/arm/wheels: the cross-compiler, an arm64 Debian root, and its Python under qemu.
#
#   install_tools        gcc for aarch64, qemu, mmdebstrap: those that are missing
#   make_arm_root        .cache/arm/root: Debian's arm64 Python, numpy and pytest, only unpacked (170 MB, made once)
#   cross COMMAND…       runs a build that believes it is on aarch64
#   emulated CPU         prints the words that start the root's Python on a core of that kind
#
# Needs $root (the repository) and $python (the Python that builds).
work=$root/.cache/arm
suite=bookworm # its Python is 3.11
version=3.11
packages=python3-minimal,python$version-minimal,libpython$version-stdlib,libpython$version-dev,python3-numpy
packages+=,python3-pytest,python3-pytest-timeout,python3-hypothesis,python3-pip-whl,libstdc++6
mkdir -p "$work"

install_tools() {
    local missing=()
    command -v aarch64-linux-gnu-gcc >/dev/null || missing+=(gcc-aarch64-linux-gnu libc6-dev-arm64-cross)
    command -v qemu-aarch64-static >/dev/null || missing+=(qemu-user-static)
    command -v mmdebstrap >/dev/null || missing+=(mmdebstrap arch-test)
    [ ${#missing[@]} = 0 ] && return
    echo "$0: installing ${missing[*]} with apt-get"
    { apt-get update -qq && apt-get install -y --no-install-recommends "${missing[@]}"; } >"$work/apt.log" 2>&1 ||
        { tail -5 "$work/apt.log"; echo "$0: run as root, or install these yourself" >&2; exit 1; }
}

make_arm_root() {
    [ -e "$work/root/.made-$packages" ] && return
    echo "$0: fetching an arm64 $suite root with $packages"
    rm -rf "$work/root"
    mmdebstrap --quiet --arch=arm64 --variant=extract --include=$packages $suite "$work/root"
    touch "$work/root/.made-$packages"
}

cross() {
    mkdir -p "$work/sysconfig"
    cp "$work/root/usr/lib/python$version/_sysconfigdata__aarch64-linux-gnu.py" "$work/sysconfig/"
    CC=aarch64-linux-gnu-gcc LDSHARED="aarch64-linux-gnu-gcc -shared" \
        CFLAGS="-I$work/root/usr/include/python$version -idirafter $work/root/usr/include" \
        _PYTHON_HOST_PLATFORM=linux-aarch64 _PYTHON_SYSCONFIGDATA_NAME=_sysconfigdata__aarch64-linux-gnu \
        PYTHONPATH=$work/sysconfig "$@"
}

emulated() {
    local libraries=$work/root/usr/lib/aarch64-linux-gnu
    # Packages are only unpacked: their scripts, which link the chosen BLAS, have not run.
    echo "qemu-aarch64-static -cpu $1 -L $work/root -E PYTHONHOME=$work/root/usr -E PYTHONDONTWRITEBYTECODE=1" \
        "-E LD_LIBRARY_PATH=$libraries/blas:$libraries/lapack $work/root/usr/bin/python$version"
}
