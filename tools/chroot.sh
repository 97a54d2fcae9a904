#!/bin/bash
# chroot.sh make MAJOR: a small Debian with that PostgreSQL, kept between runs; what one
# that is there lacks is added.
# chroot.sh run MAJOR COMMAND ...: runs a command inside, in a copy of the tree.
# chroot.sh lend MAJOR OLDER: puts the programs of an older major there as well, as its
# own chroot has them, with what is installed for them.
#
# They lie in ES_CACHE (default /var/tmp/eventsource-pg), some 2 GB each;
# deleting them is safe.
set -euo pipefail
. "$(dirname "$0")/common.sh"

cache=${ES_CACHE:-/var/tmp/eventsource-pg}
mirror=${ES_DEBIAN_MIRROR:-http://deb.debian.org/debian}

# The Debian suites to find a major in, in the order to try them.
suites_of() {
	case $1 in
		15) echo bookworm ;;
		17) echo trixie ;;
		18) echo forky sid ;;
		*) die "in which Debian suite is PostgreSQL $1?" ;;
	esac
}

# What is built and tested with, besides the server itself.
packages_of() {
	echo "gcc libc6-dev make postgresql-server-dev-$1 postgresql-$1-pgtap libipc-run-perl" \
		"postgresql-$1-wal2json python3-jsonschema python3-aiosmtpd libpq-dev libcurl4-openssl-dev libfaketime"
}

# Those of them that a chroot does not have.
missing_packages() {
	local package
	for package in $(packages_of "$1"); do
		compgen -G "$2/var/lib/dpkg/info/$package.list" >/dev/null ||
			compgen -G "$2/var/lib/dpkg/info/$package:*.list" >/dev/null || echo "$package"
	done
}

add_packages() {
	local major=$1 dir=$2 missing
	missing=$(missing_packages "$major" "$dir" | tr '\n' ' ')
	[ -n "$missing" ] || return 0
	echo "adding to $dir: $missing"
	quietly "$cache/apt.log" in_chroot "$dir" / env DEBIAN_FRONTEND=noninteractive sh -c "
		apt-get update && apt-get install -y --no-install-recommends $missing
		apt-get clean" || true
	missing=$(missing_packages "$major" "$dir" | tr '\n' ' ')
	[ -z "$missing" ] || die "could not add to $dir: $missing"
}

make_chroot() {
	local major=$1 dir=$cache/$1 suite
	if [ -e "$dir/.eventsource-ready" ]; then
		add_packages "$major" "$dir"
		return
	fi
	if ! command -v debootstrap >/dev/null && ! [ -x /usr/sbin/debootstrap ]; then
		as_root apt-get -qq update
		as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends \
			debootstrap debian-archive-keyring </dev/null >/dev/null
	fi
	as_root mkdir -p "$cache"
	for suite in $(suites_of "$major"); do
		as_root rm -rf "$dir"
		echo "making a Debian $suite with PostgreSQL $major in $dir"
		if bootstrap "$suite" "$dir" && install_server "$major" "$dir"; then
			as_root touch "$dir/.eventsource-ready"
			return
		fi
	done
	die "no PostgreSQL $major could be had from: $(suites_of "$major")"
}

# debootstrap knows a suite by a script of its name; all newer ones work as sid.
bootstrap() {
	local script=/usr/share/debootstrap/scripts/$1
	[ -e "$script" ] || script=/usr/share/debootstrap/scripts/sid
	quietly "$cache/debootstrap.log" debootstrap --variant=minbase "$1" "$2" "$mirror" "$script"
}

# postgresql-common may fail to configure without a running system around it;
# the programs are what is needed, and they are looked for afterwards.
install_server() {
	local major=$1 dir=$2
	as_root mkdir -p "$dir/etc/postgresql-common/createcluster.d"
	echo 'create_main_cluster = false' |
		as_root tee "$dir/etc/postgresql-common/createcluster.d/no-main-cluster.conf" >/dev/null
	printf '#!/bin/sh\nexit 101\n' | as_root tee "$dir/usr/sbin/policy-rc.d" >/dev/null
	as_root chmod 755 "$dir/usr/sbin/policy-rc.d"
	# The mirror may be a snapshot whose Release has expired.
	echo 'Acquire::Check-Valid-Until "false";' |
		as_root tee "$dir/etc/apt/apt.conf.d/90snapshot" >/dev/null

	quietly "$cache/apt.log" in_chroot "$dir" / env DEBIAN_FRONTEND=noninteractive sh -c "
		apt-get update && apt-get install -y --no-install-recommends postgresql-$major $(packages_of "$major")
		apt-get clean" || true
	[ -x "$dir/usr/lib/postgresql/$major/bin/postgres" ] &&
		[ -f "$dir/usr/lib/postgresql/$major/lib/pgxs/src/makefiles/pgxs.mk" ] &&
		[ -f "$dir/usr/share/postgresql/$major/extension/pgtap.control" ] &&
		[ -z "$(missing_packages "$major" "$dir")" ]
}

quietly() {
	local log=$1
	shift
	as_root touch "$log"
	if ! "$@" </dev/null 2>&1 | as_root tee "$log" >/dev/null; then
		tail -n 20 "$log" >&2
		return 1
	fi
}

# in_chroot DIR FOLDER COMMAND ...: mounts and processes of the command end with
# it, since it has a namespace of its own for both.
in_chroot() {
	local dir=$1 folder=$2
	shift 2
	# shellcheck disable=SC2016
	as_root unshare --mount --pid --fork --kill-child sh -c '
		dir=$1 folder=$2
		shift 2
		mount -t proc proc "$dir/proc"
		mkdir -p "$dir/dev/shm" && mount -t tmpfs tmpfs "$dir/dev/shm"
		exec chroot "$dir" sh -c "cd \"\$1\" && shift && exec \"\$@\"" sh "$folder" "$@"
	' sh "$dir" "$folder" "$@"
}

run() {
	local dir=$cache/$1 copy=/eventsource.$$
	shift
	# shellcheck disable=SC2064
	trap "as_root rm -rf '$dir$copy'" EXIT
	as_root mkdir "$dir$copy"
	tar -C "$ROOT" --exclude=./.git --exclude='*.o' --exclude='*.bc' --exclude='*.d' --exclude='*.so' \
		--exclude=./.build_flags -cf - . | as_root tar -C "$dir$copy" -xf -
	in_chroot "$dir" "$copy" "$@"
}

# Without just-in-time compilation, whose library is larger than all the rest. Older
# programs find a newer libc at home; of other libraries those come along whose names the
# newer Debian does not know, and so can get in nobody's way.
lend() {
	local from=$cache/$2 to=$cache/$1 path name known
	for path in "/usr/lib/postgresql/$2" "/usr/share/postgresql/$2"; do
		as_root rm -rf "$to$path"
		as_root mkdir -p "$to$path"
		tar -C "$from$path" --exclude=./lib/bitcode --exclude='./lib/llvmjit*' --exclude=./lib/pgxs -cf - . |
			as_root tar -C "$to$path" -xf -
	done
	known=$(in_chroot "$to" / ldconfig -p)
	# shellcheck disable=SC2016
	in_chroot "$from" / sh -c 'ldd "$1/postgres" "$1/pg_dump" "$1/psql"' sh "/usr/lib/postgresql/$2/bin" |
		sed -n 's/^[[:blank:]]*\([^ ]*\) => \(\/[^ ]*\) .*/\1 \2/p' | sort -u |
		while read -r name path; do
			[[ $known == *"	$name ("* ]] || as_root cp -L "$from$path" "$to/usr/local/lib/$name"
		done
	in_chroot "$to" / ldconfig
}

export PATH=$PATH:/usr/sbin:/sbin
command=${1:?make, run or lend} major=${2:?major}
shift 2
case $command in
	make) make_chroot "$major" ;;
	run) run "$major" "$@" ;;
	lend) lend "$major" "${1:?older major}" ;;
	*) die "unknown command $command" ;;
esac
