#!/bin/sh
# Makes configure and the Makefile.in files from their sources.
set -e
cd "$(dirname "$0")"
for tool in autoconf automake; do
	command -v $tool >/dev/null || {
		echo "autogen.sh: $tool is missing; on Debian: contrib/install-deps" >&2
		exit 1
	}
done
exec autoreconf --install --force --warnings=all,no-obsolete
