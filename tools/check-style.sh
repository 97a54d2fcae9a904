#!/bin/bash
# check-style.sh: the rules that need no formatter (tools/indent.sh is the other
# half): line length, size of files and functions, a banner in each file, nothing
# left to do, no trailing blanks.
set -euo pipefail
. "$(dirname "$0")/common.sh"
cd "$ROOT"

max_columns=110 max_sql_columns=150 max_file=600 max_function=80
bad=0

complain() {
	echo "$*"
	bad=1
}

while read -r file; do
	expand -t 4 "$file" | awk -v file="$file" -v max=$max_columns '
		# A message is one string, so that it can be searched for.
		length($0) > max && $0 !~ /"/ { print file ":" NR ": longer than " max " columns"; bad = 1 }
		END { exit bad }' || bad=1
	[ "$(wc -l <"$file")" -le $max_file ] || complain "$file: more than $max_file lines, split it"
	head -n 1 "$file" | grep -q '^/\*' || complain "$file: opens with no word on what it owns"
	# pgindent puts the braces of a function, and of nothing else, alone at column 1.
	awk -v file="$file" -v max=$max_function '
		/^[A-Za-z_].*\(/ { name = $0; sub(/\(.*/, "", name) }
		/^{$/ { start = NR }
		/^}$/ && NR - start > max {
			print file ":" start ": " name " has " NR - start " lines, more than " max
			bad = 1
		}
		END { exit bad }' "$file" || bad=1
done < <(find src relay -name '*.[ch]' 2>/dev/null | sort)

while read -r file; do
	grep -nHE '[[:blank:]]$' "$file" && bad=1
	grep -nHwE 'TODO|FIXME|XXX' "$file" && bad=1
done < <(find src relay sql/core sql/crm bench examples tools test Makefile .ci -name node_modules -prune -o -type f \
	\( -name '*.[ch]' -o -name '*.sql' -o -name '*.p[lm]' -o -name '*.spec' -o -name Makefile -o -path '.ci/*' -o -name '*.mjs' \) -print \
	2>/dev/null | sort)

while read -r file; do
	expand -t 4 "$file" | awk -v file="$file" -v max=$max_sql_columns '
		# A text is one string, so that it can be searched for; it stands on a line of its own.
		length($0) > max && $0 !~ /^ *E?\047([^\047]|\047\047)*\047[,;)]*$/ { print file ":" NR ": longer than " max " columns"; bad = 1 }
		END { exit bad }' || bad=1
done < <(find sql/core sql/crm -name '*.sql' | sort)

# A name that begins with - is an option to every command.
git ls-files 2>/dev/null | grep -E '(^|/)-' && complain "names that begin with -"

# Another guard, or a mistyped name, refuses with the same SQLSTATE: a test says by what.
grep -nE "throws_ok\(.*', NULL," test/sql/crm_*.sql && complain "a refusal without its guard or message: pg_temp.refused() of test/own_database.sql"

if command -v shellcheck >/dev/null; then
	{ find tools bench test .ci -type f \( -name '*.sh' -o -path .ci/run \) -print0 2>/dev/null || true; } |
		xargs -0 shellcheck -x -P tools || bad=1
fi
exit $bad
