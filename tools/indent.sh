#!/bin/bash
# indent.sh [--check]: indents src/ with PostgreSQL's own pgindent, taken from
# the Debian that PostgreSQL 18 is tested in; --check only shows what it would do.
set -euo pipefail
. "$(dirname "$0")/common.sh"

cache=${ES_CACHE:-/var/tmp/eventsource-pg}
cd "$ROOT"
mapfile -t files < <(find src -name '*.[ch]' | sort)
[ ${#files[@]} -gt 0 ] || exit 0

"$ROOT/tools/chroot.sh" make 18
# Our types are the words that are written like one.
types=$(cat "${files[@]}" | grep -owE "Es[A-Z][A-Za-z0-9]*" | sort -u | paste -sd " " - || true)
mode=()
[ "${1:-}" != --check ] || mode=(--check --diff)
"$ROOT/tools/chroot.sh" run 18 env PATH=/usr/lib/postgresql/18/bin:/usr/bin:/bin LC_ALL=C \
	pgindent --typedefs=/usr/share/postgresql/18/typedefs.list --list-of-typedefs="${types:-Es}" \
	"${mode[@]}" "${files[@]}"

if [ "${1:-}" != --check ]; then
	for file in "${files[@]}"; do
		cmp -s "$cache/18/eventsource/$file" "$file" || cat "$cache/18/eventsource/$file" >"$file"
	done
fi
