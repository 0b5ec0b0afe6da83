#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# A staged install: programs are built against it with pkg-config, shared and static, and run; then it is taken away again.
. "$(dirname "$0")/count.sh"
MAKE=${MAKE:-make}
need pkg-config
need readelf

abi=$(sed -n 's/^#define RG_ABI //p' include/recurrentgemma/version.h)
is_sanitized "$BUILD/librecurrentgemma.so.$abi" && skip "programs built without a sanitizer cannot load a library built with one"

# A prefix with a libdir of its own, as distributions have them; nothing may be written but under DESTDIR.
stage=$folder/stage
prefix=/opt/recurrent
libdir=$prefix/lib/here
folders="BUILD=$BUILD DESTDIR=$stage prefix=$prefix exec_prefix=$prefix bindir=$prefix/bin libdir=$libdir includedir=$prefix/include \
    datarootdir=$prefix/share datadir=$prefix/share docdir=$prefix/share/doc/librecurrentgemma"
has_demo=0
[ -f "$BUILD/demo.rgm" ] && has_demo=1
make_here() { "$MAKE" --no-print-directory "$@" $folders; }

touch "$folder/before"
check "make install" make_here install
[ "$n_failed" -eq 0 ] || finish
find "$prefix" -newer "$folder/before" >"$folder/outside" 2>/dev/null
check_empty "nothing is installed outside of DESTDIR" "$folder/outside"

# What there should be, name by name, with its mode.
{
    for header in $(cd include && ls recurrentgemma.h recurrentgemma/*.h); do echo "644 include/$header"; done
    echo "644 lib/here/librecurrentgemma.a"
    echo "755 lib/here/librecurrentgemma.so.$abi"
    echo "777 lib/here/librecurrentgemma.so"
    echo "644 lib/here/pkgconfig/recurrentgemma.pc"
    echo "755 bin/recurrentgemma"
    [ "$has_demo" -eq 0 ] || echo "644 share/librecurrentgemma/demo.rgm"
    for page in README.md CHANGELOG.md LICENSE; do echo "644 share/doc/librecurrentgemma/$page"; done
} | sort >"$folder/expected"
(cd "$stage" && find . ! -type d -printf '%m %p\n') | sed "s,\./${prefix#/}/,," | sort >"$folder/installed"
diff "$folder/expected" "$folder/installed" >"$folder/difference"
check_empty "exactly these files are installed" "$folder/difference"
grep -rlF "$folder" "$stage" >"$folder/leaks"
check_empty "no installed file mentions DESTDIR" "$folder/leaks"
readlink "$stage$libdir/librecurrentgemma.so" | grep -vx "librecurrentgemma.so.$abi" >"$folder/link"
check_empty "the link of the linker is relative" "$folder/link"

# pkg-config as a cross build uses it: found in the stage alone, with its folders put before every path.
export PKG_CONFIG_SYSROOT_DIR="$stage" PKG_CONFIG_LIBDIR="$stage$libdir/pkgconfig" PKG_CONFIG_PATH=
version=$(sed -nE 's/^#define RG_VERSION_(MAJOR|MINOR|PATCH) //p' include/recurrentgemma/version.h | paste -sd.)
check "pkg-config finds version $version" pkg-config --exact-version="$version" recurrentgemma
grep -E "^(libdir|includedir)=" "$stage$libdir/pkgconfig/recurrentgemma.pc" | grep -vE '=\$\{prefix\}/' >"$folder/fixed"
check_empty "paths in the .pc file are relative to its prefix" "$folder/fixed"
shared_flags=$(pkg-config --cflags --libs recurrentgemma)
# The archive itself, since a linker that finds both prefers the shared library.
static_flags=$(pkg-config --cflags --libs --static recurrentgemma | sed 's/-lrecurrentgemma/-l:librecurrentgemma.a/')
case "$shared_flags" in *-lblis* | *-lxxhash*) failed "programs with the shared library are not linked to its own libraries" ;; *) passed ;; esac

whole_flags=$(pkg-config --cflags --libs --static recurrentgemma)
missing=
for library in $(pkg-config --libs-only-l --static recurrentgemma | sed 's/-lrecurrentgemma//; s/-l//g'); do
    case $("$CC" -print-file-name="lib$library.a") in /*) ;; *) missing="$missing lib$library.a" ;; esac
done

model=$PWD/tests/data/golden/griffin-rra
cp tests/abi/installed.c "$folder/installed.c"
cat examples/greedy.c >"$folder/greedy.c"
cd "$folder" || exit 1 # so that no header or library of the source tree is found
for program in installed greedy; do
    check "$program.c compiles and links with the shared library" "$CC" -std=c11 "$program.c" $shared_flags -o "$program-shared"
    check "$program.c compiles and links with the static library" "$CC" -std=c11 "$program.c" $static_flags -o "$program-static"
done
if [ -z "$missing" ]; then
    check "installed.c links with nothing but archives" "$CC" -std=c11 -static installed.c $whole_flags -o installed-whole
    check "and runs" ./installed-whole "$model"
    readelf -dW installed-whole | grep NEEDED >dynamic
    check_empty "and needs no shared library" dynamic
else
    echo "not linked with nothing but archives, since there is no$missing"
fi
readelf -dW installed-shared >dynamic
check "a program needs the library by its soname" grep -F "[librecurrentgemma.so.$abi]" dynamic
readelf -dW installed-static | grep recurrentgemma >dynamic
check_empty "a program with the static library needs none" dynamic

export LD_LIBRARY_PATH="$stage$libdir${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
check "the program runs with the shared library" ./installed-shared "$model"
check "the program runs with the static library" ./installed-static "$model"
if "$stage$prefix/bin/recurrentgemma" inspect "$model" >said 2>&1; then passed; else failed "the installed command runs" said; fi
check "examples/greedy.c runs with the shared library" ./greedy-shared "$model" 12 2 5 9
cp said with-shared
check "examples/greedy.c runs with the static library" ./greedy-static "$model" 12 2 5 9
cp said with-static
check "and writes the same" cmp with-shared with-static
check "which is token ids" grep -xE '[0-9]+( [0-9]+)+' with-shared

# The demo is where DESTDIR put it, and not yet where the library was told to look.
data=$stage$prefix/share/librecurrentgemma
if [ "$has_demo" -eq 1 ]; then
    for kind in shared static; do
        check "the demo is found in a folder that the host names, $kind" "./installed-$kind" demo "$data"
        if "./installed-$kind" demo >demo-said 2>&1; then failed "without it there is none, $kind"; else passed; fi
        check "and it is said where it was looked for, $kind" grep -F "there is no demo.rgm in $prefix/share/librecurrentgemma" demo-said
    done
    mkdir alone && cp "$stage$prefix/bin/recurrentgemma" alone
    if (cd alone && env -i ./recurrentgemma generate demo -p "It is" -n 5) >demo-said 2>&1; then passed; else failed "the command works alone in an empty folder" demo-said; fi
    check "and writes something" test -s demo-said
fi
cd "$OLDPWD" || exit 1

echo "of another package" >"$stage$prefix/include/other.h"
check "make uninstall" make_here uninstall
find "$stage" ! -type d ! -name other.h >"$folder/left"
check_empty "uninstall leaves no file" "$folder/left"
check "uninstall leaves other packages' files" test -f "$stage$prefix/include/other.h"
find "$stage" -type d \( -name recurrentgemma -o -name librecurrentgemma \) >"$folder/left"
check_empty "uninstall leaves no folder of its own" "$folder/left"
check "uninstalling twice is no error" make_here uninstall

# Where it is installed for good, the library finds the demo by itself, and so does a program that it is a part of.
if [ "$has_demo" -eq 1 ]; then
    own=$folder/own
    check "make install to where it stays" "$MAKE" --no-print-directory install BUILD="$BUILD" DESTDIR= prefix="$own" exec_prefix="$own" bindir="$own/bin" libdir="$own/lib" \
        includedir="$own/include" datarootdir="$own/share" datadir="$own/share" docdir="$own/share/doc/librecurrentgemma"
    check "the shared library finds the demo" env LD_LIBRARY_PATH="$own/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}" "$folder/installed-shared" demo
    flags=$(env PKG_CONFIG_SYSROOT_DIR= PKG_CONFIG_LIBDIR="$own/lib/pkgconfig" pkg-config --cflags --libs --static recurrentgemma | sed 's/-lrecurrentgemma/-l:librecurrentgemma.a/')
    check "installed.c links with what stays" "$CC" -std=c11 tests/abi/installed.c $flags -o "$folder/installed-static"
    check "the static library finds the demo" "$folder/installed-static" demo
    rm "$own/share/librecurrentgemma/demo.rgm"
    if "$folder/installed-static" demo >"$folder/said" 2>&1; then failed "a demo that was taken away is not found"; else passed; fi
fi

# PREFIX is the other way to write prefix. Nothing is run, so any folders will do.
env -u MAKEFLAGS -u MAKEOVERRIDES -u prefix "$MAKE" -n uninstall PREFIX=/p DESTDIR=/d >"$folder/upper"
env -u MAKEFLAGS -u MAKEOVERRIDES -u PREFIX "$MAKE" -n uninstall prefix=/p DESTDIR=/d >"$folder/lower"
diff "$folder/upper" "$folder/lower" >"$folder/difference"
check_empty "PREFIX and prefix mean the same" "$folder/difference"
finish
