#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Installs the Debian packages that building and testing need, when some are missing. Says what it will install.
packages="gcc g++ make libc6-dev pkg-config libblis-dev libsqlite3-dev libxxhash-dev libyaml-dev libedit-dev python3 python3-numpy binutils wamerican"
command -v dpkg-query >/dev/null 2>&1 || { echo "Not a Debian system; these are needed: $packages"; exit 0; }
missing=
for package in $packages; do
    [ "$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing="$missing $package"
done
[ -z "$missing" ] && exit 0
as_root=
if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null 2>&1 || { echo "Missing packages, and neither root nor sudo to install them:$missing"; exit 1; }
    as_root=sudo
fi
echo "Installing Debian packages:$missing"
$as_root apt-get update -q || exit 1
$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $missing
