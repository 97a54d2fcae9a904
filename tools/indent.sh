#!/bin/bash
# indent.sh [--check] [FILE ...]: indents src/ and relay/, or those files in them, with
# PostgreSQL's own pgindent, taken from the Debian that PostgreSQL 18 is tested in;
# --check only shows what it would do.
set -euo pipefail
. "$(dirname "$0")/common.sh"

cd "$ROOT"
check=''
if [ "${1:-}" = --check ]; then
	check=yes
	shift
fi
mapfile -t all < <(find src relay -name '*.[ch]' | sort)
files=("$@")
[ $# -gt 0 ] || files=("${all[@]}")
[ ${#files[@]} -gt 0 ] || exit 0

"$ROOT/tools/chroot.sh" make 18
# Our types: what a typedef ends with, and the words that are written like one.
types=$({
	sed -nE 's/^\} *([A-Za-z0-9]+);.*/\1/p; s/^typedef [^(]* \*?([A-Za-z0-9]+);.*/\1/p' "${all[@]}"
	cat "${all[@]}" | grep -owE "Es[A-Z][A-Za-z0-9]*" || true
} | sort -u | paste -sd " " -)
pgindent="pgindent --typedefs=/usr/share/postgresql/18/typedefs.list --list-of-typedefs='${types:-Es}'"
in_18() {
	"$ROOT/tools/chroot.sh" run 18 env PATH=/usr/lib/postgresql/18/bin:/usr/bin:/bin LC_ALL=C sh -c "$@"
}

if [ -n "$check" ]; then
	in_18 "$pgindent --check --diff \"\$@\"" sh "${files[@]}"
	exit
fi

result=$(mktemp -d)
trap 'rm -rf "$result"' EXIT
in_18 "$pgindent \"\$@\" >&2 && tar -cf - src relay" sh "${files[@]}" | tar -C "$result" -xf -
for file in "${files[@]}"; do
	cmp -s "$result/$file" "$file" || cat "$result/$file" >"$file"
done
