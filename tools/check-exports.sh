#!/bin/bash
# check-exports.sh: the library shows the server nothing but SQL entry points,
# background worker entries (eventsource_*_main), _PG_init and the magic.
set -euo pipefail
. "$(dirname "$0")/common.sh"

library=$ROOT/eventsource.so
[ -f "$library" ] || die "build first"
shown=$(nm -D --defined-only "$library" | awk '{ print $3 }')

bad=$(
	for symbol in $shown; do
		case $symbol in
			_PG_init | Pg_magic_func | pg_finfo_eventsource_* | eventsource_*_main) ;;
			eventsource_*) grep -qx "pg_finfo_$symbol" <<<"$shown" || echo "$symbol" ;;
			*) echo "$symbol" ;;
		esac
	done
)
if [ -n "$bad" ]; then
	echo "visible in the library, but no entry point:"
	echo "$bad"
	exit 1
fi
