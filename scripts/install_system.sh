#!/bin/sh
# Brings the system packages that pip cannot: python3-venv, and the libraries of opencv (libGL, GLib) and MiniWorld
# (libGL, libGLU, libEGL and a driver, FreeType). Uses apt where it may, otherwise says what is missing. Always exits 0:
# training needs no OpenGL. Usage: install_system.sh [PYTHON]
PATH="$PATH:/usr/sbin:/sbin"
command -v ldconfig >/dev/null || exit 0 # not Linux

missing=""
need() { # need PACKAGE LIBRARY
    ldconfig -p | grep -q "$2" || missing="$missing $1"
}
"${1:-python3}" -c 'import ensurepip, venv' 2>/dev/null || missing="$missing python3-venv"
need libgl1 libGL.so.1
need libglu1-mesa libGLU.so.1
need libegl1 libEGL.so.1
need libglib2.0-0 libgthread-2.0.so.0
need libfreetype6 libfreetype.so.6
ls /usr/lib*/dri/*_dri.so /usr/lib/*/dri/*_dri.so 2>/dev/null | grep -q . || missing="$missing libgl1-mesa-dri"
[ -n "$missing" ] || exit 0

as_root=""
if command -v apt-get >/dev/null; then
    if [ "$(id -u)" = 0 ]; then
        as_root="env"
    elif sudo -n true 2>/dev/null; then
        as_root="sudo -n env"
    fi
fi
if [ -n "$as_root" ]; then
    echo "Installing$missing with apt." >&2
    $as_root apt-get -qq update >&2
    # On a fresh machine automatic updates may hold dpkg's lock for a while.
    $as_root DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=120 install --no-install-recommends \
        -y $missing </dev/null >&2 && exit 0
fi
echo "Please install, by Debian's names:$missing. Training runs without the libraries (lib...), pictures need them." >&2
exit 0
