#!/bin/bash
# check-layers.sh: includes run one way through the rooms of src/. A room may
# include itself and what stands to the right of it; what a lower room must call
# above it is registered with it at load.
set -euo pipefail
. "$(dirname "$0")/common.sh"
cd "$ROOT/src"

# The depth of a room; headers directly in src/ are the ground, .c files there
# the entry, which may include everything.
depth_of() {
	case $1 in
		analyze | capture | feed | trust | work) echo 5 ;;
		append) echo 4 ;;
		project) echo 3 ;;
		rules) echo 2 ;;
		log) echo 1 ;;
		*.h) echo 0 ;;
		*.c) echo 6 ;;
		*) echo "src/$1 is not a room this script knows" >&2 && echo 9 ;;
	esac
}

bad=0
while IFS=: read -r file include; do
	from=${file%%/*} to=${include%%/*}
	from_depth=$(depth_of "$from") to_depth=$(depth_of "$to")
	if [ "$from_depth" = 9 ] || [ "$to_depth" -gt "$from_depth" ] ||
		{ [ "$to_depth" = "$from_depth" ] && [ "$to" != "$from" ] && [ "$to_depth" = 5 ]; }; then
		echo "src/$file must not include $include"
		bad=1
	fi
done < <(
	find . -name '*.[ch]' | sed 's,^\./,,' | sort | while read -r file; do
		sed -n 's/^#include "\([^"]*\)".*/\1/p' "$file" | while read -r include; do
			# Ours are the ones that exist here; the rest is PostgreSQL's.
			if [ -f "$include" ]; then
				echo "$file:$include"
			elif [ -f "$(dirname "$file")/$include" ]; then
				echo "write includes from src/ on: $file, \"$include\"" >&2
				echo "$file:$(dirname "$file")/$include" | sed 's,/\./,/,'
			fi
		done
	done
)
exit $bad
