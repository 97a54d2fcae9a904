#!/bin/bash
# check-version.sh: META.json is JSON and names the versions of the control files.
set -euo pipefail
. "$(dirname "$0")/common.sh"
cd "$ROOT"

version_of() { sed -n "s/^default_version *= *'\(.*\)'/\1/p" "$1.control"; }

meta() { perl -MJSON::PP -0777 -ne 'my $meta = decode_json($_); print '"$1" META.json; }

[ "$(meta "\$meta->{version}")" = "$(version_of eventsource)" ] || die "META.json has another version than eventsource.control"
for control in *.control; do
	extension=${control%.control}
	said=$(meta "\$meta->{provides}{$extension}{version} // 'nothing'")
	[ "$said" = "$(version_of "$extension")" ] || die "META.json says $said of $extension, the control file $(version_of "$extension")"
done
