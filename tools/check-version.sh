#!/bin/bash
# check-version.sh: META.json is JSON and names the version of the control file.
set -euo pipefail
. "$(dirname "$0")/common.sh"
cd "$ROOT"

control=$(sed -n "s/^default_version *= *'\(.*\)'/\1/p" eventsource.control)
meta=$(perl -MJSON::PP -0777 -ne '
	my $meta = decode_json($_);
	print join "\n", $meta->{version}, $meta->{provides}{eventsource}{version}' META.json)
for version in $meta; do
	[ "$version" = "$control" ] || die "META.json says $version, the control file $control"
done
