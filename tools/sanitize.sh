#!/bin/bash
# sanitize.sh [FILE ...]: tests, by default those of the JSON Schema validator and its
# fuzzer, with AddressSanitizer and UndefinedBehaviorSanitizer in the extension. The
# server is the ordinary one, started with the sanitizer's runtime before all else.
#
# Installs what it has built: run tools/test.sh or "make install" afterwards.
set -euo pipefail
. "$(dirname "$0")/common.sh"
cd "$ROOT"

runtime=$(gcc -print-file-name=libasan.so)
[ -f "$runtime" ] || die "gcc has no libasan.so here"
[ $# -gt 0 ] || set -- test/sql/json_schema*.sql test/fuzz/json_schema
PG_CONFIG=$(find_pg_config) || die "no PostgreSQL server found"

dir=$(make_work_dir sanitize)
trap 'rm -rf "$dir"' EXIT
trap 'exit 130' INT TERM
copy_tree "$dir/tree"

# The runtime sets itself up at the first malloc(), and calls gettext there. When that
# malloc() is gettext's own, as in libgpg-error's constructor, its lock is let go twice,
# and the next who wants it waits forever. So somebody allocates before all others.
printf '%s\n' '#include <stdlib.h>' \
	'__attribute__((constructor)) static void begin(void) { void *volatile p = malloc(1); free(p); }' |
	gcc -shared -fPIC -Wl,-z,initfirst -o "$dir/first.so" -x c -

# Only the server may have the runtime: nothing that starts it. Leaks are not looked
# for, since memory contexts hold what they hold until the process ends.
cat >"$dir/postgres" <<-END
	#!/bin/sh
	export LD_PRELOAD="$(realpath "$runtime") $dir/first.so"
	export ASAN_OPTIONS=detect_leaks=0:detect_stack_use_after_return=0:abort_on_error=1:disable_coredump=1
	export UBSAN_OPTIONS=print_stacktrace=1
	exec "$("$PG_CONFIG" --bindir)/postgres" -c max_stack_depth=6MB "\$@"
END
chmod 755 "$dir/postgres"

export PG_CONFIG ES_POSTGRES=$dir/postgres ES_MAKE_FLAGS=with_llvm=no
export ES_PARTS='regress fuzz' ES_FUZZ_COUNT=${ES_FUZZ_COUNT:-20000}
ES_CFLAGS='-O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all'
export ES_CFLAGS="$ES_CFLAGS -include $dir/tree/tools/guard.h"
"$dir/tree/tools/test.sh" "$@"
