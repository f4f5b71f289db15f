#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Checks that the folders of src/ keep to their layers:
#   - a folder includes only itself and the folders before it in the list below;
#     imap/ does not see net/, cache/ and fs/ do not see session/
#   - libfuse stays in fs/ops*.c, fs/mount.c (and fuse_opt.h in settings.c), lmdb.h in cache/,
#     OpenSSL in net/tls.c, and the mapping of faults to errno in fs/errno.c
#
# Usage: layers.sh [SOURCE-DIRECTORY]. Without an argument the checks are also tried on trees
# made up to break each rule.
set -u
LC_ALL=C
export LC_ALL

LAYERS='base net imap session cache mail fs'

# complain FILE:LINE:TEXT WHY
broken() {
	printf '%s\n' "$1" | while IFS= read -r hit; do
		[ -n "$hit" ] && printf 'FAIL: %s: %s\n' "$2" "$hit"
	done
	[ -n "$1" ] && status=1
}

# Lines with an #include of $1 (an extended regular expression) in the given files.
includes() {
	pattern=$1
	shift
	[ $# -gt 0 ] || return 0
	grep -nHE "^[[:space:]]*#[[:space:]]*include[[:space:]]*[<\"]($pattern)" "$@" /dev/null
}

# All C files of src but the named ones.
files_but() {
	find . -type f \( -name '*.c' -o -name '*.h' \) | sed 's|^\./||' | sort |
		grep -vxE "$1"
}

may_include() {
	case "$1:$2" in
	imap:net | cache:session | fs:session) return 1 ;;
	esac
	for layer in $LAYERS; do
		[ "$layer" = "$2" ] && return 0
		[ "$layer" = "$1" ] && return 1
	done
	return 1
}

check() {
	status=0
	cd "$1" || return 1
	for from in $LAYERS; do
		[ -d "$from" ] || continue
		sources=$(find "$from" -type f \( -name '*.c' -o -name '*.h' \))
		for to in $LAYERS; do
			[ "$from" = "$to" ] && continue
			may_include "$from" "$to" && continue
			broken "$(includes "(\.\./)*$to/" $sources)" "$from/ must not include $to/"
		done
		# Files of src/ itself are above all layers; "../x.h" and <main.h> tricks included.
		tops=$(find . -maxdepth 1 -name '*.h' | sed 's|^\./||; s|\.h$||' | tr '\n' '|')
		[ -n "$tops" ] &&
			broken "$(includes "(\.\./)*(${tops%|})\.h" $sources | grep -v 'config\.h')" \
				"$from/ must not include headers of src/ itself"
	done
	for folder in */; do
		case " $LAYERS " in
		*" ${folder%/} "*) ;;
		*) [ -d "$folder" ] && broken "$folder" 'a folder that is no layer' ;;
		esac
	done

	broken "$(includes '(fuse3/|fuse/)?fuse(_lowlevel|_common|_kernel|_log)?\.h|cuse_lowlevel\.h' \
		$(files_but 'fs/(ops(-[a-z]+)?|mount)\.[ch]'))" 'libfuse outside fs/ops.c and fs/mount.c'
	broken "$(includes '(fuse3/|fuse/)?fuse_opt\.h' $(files_but 'fs/(ops|mount)\.c|settings\.[ch]'))" \
		'fuse_opt.h outside settings.c'
	broken "$(includes 'lmdb\.h' $(files_but 'cache/.*'))" 'lmdb.h outside cache/'
	broken "$(includes 'openssl/' $(files_but 'net/tls\.c'))" 'OpenSSL outside net/tls.c'

	# A fault kind and an errno constant on one line, or one below the other in a switch.
	for file in $(files_but 'fs/errno\.c'); do
		broken "$(awk '
			{ text = $0; sub(/\/\/.*/, "", text); gsub(/\/\*[^*]*\*\//, "", text)
			  if (comment && text ~ /\*\//) { sub(/^.*\*\//, "", text); comment = 0 }
			  else if (comment) next
			  if (text ~ /\/\*/) { sub(/\/\*.*/, "", text); comment = 1 } }
			text ~ /FAULT_[A-Z]+.*[^A-Z_a-z0-9]E[A-Z][A-Z0-9]+[^A-Z_a-z0-9(]/ &&
				text ~ /(return|\?|=|\{|case)/ && text !~ /errno/ {
				print FILENAME ":" FNR ":" $0 }
			text ~ /case[ \t]+FAULT_/ { last = FNR }
			text ~ /return[ \t]+-?E[A-Z][A-Z0-9]+[ \t]*;/ && last && FNR - last <= 3 && last != FNR {
				print FILENAME ":" FNR ":" $0 }
			text ~ /FAULT_[A-Z]+\][ \t]*=[ \t]*-?E[A-Z]/ { print FILENAME ":" FNR ":" $0 }
			' "$file" | sort -u)" 'faults are mapped to errno in fs/errno.c alone'
	done
	return $status
}

# violates NAME FILE TEXT: a tree with only that file must fail.
violates() {
	tree=$(mktemp -d) || exit 1
	mkdir -p "$tree/$(dirname "$2")"
	printf '%b\n' "$3" >"$tree/$2"
	if (check "$tree") >/dev/null 2>&1; then
		echo "FAIL: not noticed: $1"
		failed=1
	else
		echo "PASS: noticed: $1"
	fi
	rm -rf "$tree"
}

# allows NAME FILE TEXT: and this one must pass.
allows() {
	tree=$(mktemp -d) || exit 1
	mkdir -p "$tree/$(dirname "$2")"
	printf '%b\n' "$3" >"$tree/$2"
	if output=$( (check "$tree") 2>&1); then
		echo "PASS: allowed: $1"
	else
		echo "FAIL: not allowed: $1: $output"
		failed=1
	fi
	rm -rf "$tree"
}

self_test() {
	violates 'a layer that looks up' net/x.c '#include "mail/account.h"'
	violates 'a layer that looks up, by a relative path' base/x.h '# include "../fs/node.h"'
	violates 'imap/ that sees net/' imap/x.c '#include "net/stream.h"'
	violates 'cache/ that sees session/' cache/x.h '#include "session/conn.h"'
	violates 'fs/ that sees session/' fs/x.c '#include "session/pool.h"'
	violates 'a folder that is no layer' misc/x.c 'int x;'
	violates 'libfuse in another file' fs/tree.c '#include <fuse_lowlevel.h>'
	violates 'libfuse under another name' mail/x.c '#include <fuse3/fuse.h>'
	violates 'fuse_opt.h in another file' base/x.c '#include <fuse_opt.h>'
	violates 'lmdb.h outside cache/' mail/x.c '\t#include <lmdb.h>'
	violates 'OpenSSL outside net/tls.c' net/stream.c '#include <openssl/ssl.h>'
	violates 'an errno for a fault' mail/x.c 'int f(int k)\n{\n\treturn k == FAULT_GONE ? ENOENT : EIO;\n}'
	violates 'an errno in a switch' fs/ops.c '\tcase FAULT_GONE:\n\t\treturn ENOENT;'
	violates 'an errno in a table' fs/tree.c 'int t[] = {\n\t[FAULT_QUOTA] = EDQUOT,\n};'
	allows 'looking down' fs/x.c '#include "config.h"\n#include "mail/account.h"\n#include "base/log.h"'
	allows 'libfuse in its files' fs/ops.c '#include <fuse_lowlevel.h>'
	allows 'fuse_opt.h in settings.c' settings.c '#include <fuse_opt.h>'
	allows 'lmdb.h in cache/' cache/cache.c '#include <lmdb.h>'
	allows 'OpenSSL in net/tls.c' net/tls.c '#include <openssl/ssl.h>'
	allows 'the mapping in fs/errno.c' fs/errno.c '\tcase FAULT_GONE:\n\t\treturn ENOENT;'
	allows 'a fault made of an errno' net/stream.c '\tif (errno == ECONNREFUSED)\n\t\treturn fault_set(fault, FAULT_UNREACHABLE, "no");'
}

failed=0
if [ $# -gt 0 ]; then
	(check "$1") || failed=1
else
	top=${top_srcdir:-$(dirname "$0")/..}
	(check "$top/src") || failed=1
	self_test
fi
[ $failed -eq 0 ] && echo 'PASS: every folder keeps to its layer'
exit $failed
