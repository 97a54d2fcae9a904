# 045_personal.pl: personal fields through dump and restore, another encoding and a
# crash; what is committed to, computed by another program; what was changed is found.

use strict;
use warnings;

use Digest::SHA qw(sha256 hmac_sha256);
use EventLog;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_server('personal');
my $tmp = $PostgreSQL::Test::Utils::tmp_check;
my $verify = 'SELECT * FROM eventsource.verify_chain()';

$node->safe_psql('log', <<'SQL');
SELECT eventsource.register_event_type('joined',
	pii => '{"email": "hash", "address.street": "redact", "tags.*": "null", "n": "null", "ok": "null", "deep": "null"}');
SELECT eventsource.append('person-1', 'joined', '{"email": "ann@example.com", "plan": "gold", "address": {"street": "Elm 5"},
	"tags": ["x", 1.50], "n": -2.0, "ok": true, "deep": {"bb": [], "a": null}}', idempotency_key => 'once');
SELECT eventsource.correct_event(2, '{"email": "anna@example.com", "plan": "gold"}', 'typo', 'agent:joe');
SELECT count(eventsource.append('person-' || i, 'joined', jsonb_build_object('email', i || '@example.com', 'plan', i))) FROM generate_series(2, 300) i;
CREATE TABLE person (id text PRIMARY KEY, email text);
SELECT eventsource.create_projection('person', '{person}', '{"joined": "email = event.data->>''email''"}');
SQL

# ---- what is committed to ----

# A field: HMAC(salt, 0x10, length and bytes of its path, its value as the chain writes JSON).
sub field { my ($salt, $path, $json) = @_; return hmac_sha256("\x10" . pack('N/a*', $path) . $json, $salt) }
my %json = (
	'address.street' => '"' . pack('N/a*', 'Elm 5'),
	'deep' => '{' . pack('N', 2) . pack('N/a*', 'a') . 'n' . pack('N/a*', 'bb') . '[' . pack('N', 0),
	'email' => '"' . pack('N/a*', 'ann@example.com'),
	'n' => '#' . pack('N/a*', '-2.0'),
	'ok' => 't',
	'tags.0' => '"' . pack('N/a*', 'x'),
	'tags.1' => '#' . pack('N/a*', '1.50'));
my @salts = unpack('(a32)*', pack('H*', $node->safe_psql('log', q{SELECT encode(salts, 'hex') FROM eventsource.vault WHERE position = 2})));
my @paths = sort keys %json;
is(scalar @salts, scalar @paths, 'each field has a salt');
my $commitment = sha256("\x11" . pack('N', scalar @paths) . join('', map { field($salts[$_], $paths[$_], $json{ $paths[$_] }) } 0 .. $#paths));
is($node->safe_psql('log', q{SELECT encode(substring(extra FROM 9), 'hex') FROM eventsource.event WHERE position = 2}),
	unpack('H*', $commitment), 'the event commits to its fields as is documented');

# ---- a crash ----

my $events = "SELECT md5(string_agg(e::text, E'\\n' ORDER BY position)) FROM eventsource.events e";
my $before = $node->safe_psql('log', $events);
$node->stop('immediate');
$node->start;
is($node->safe_psql('log', $events), $before, 'a crash: all is there');
is($node->safe_psql('log', $verify), '', 'and verifies');

# ---- dump and restore ----

my $dump = "$tmp/personal.sql";
$node->command_ok([ 'pg_dump', '-f', $dump, $node->connstr('log') ], 'dump');

sub restore
{
	my ($db, $file) = @_;
	$node->safe_psql('postgres', "CREATE DATABASE $db TEMPLATE template0");
	$node->command_ok([ 'psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-o', '/dev/null', '-f', $file, $node->connstr($db) ], "restore to $db");
	return;
}

restore('again', $dump);
is($node->safe_psql('again', $events), $before, 'all is there');
is($node->safe_psql('again', $verify), '', 'and verifies');
my $repeat = q{SELECT is_duplicate FROM eventsource.append('person-1', 'joined', '{"email": "%s", "plan": "gold", "address": {"street": "Elm 5"},
	"tags": ["x", 1.50], "n": -2.0, "ok": true, "deep": {"bb": [], "a": null}}', idempotency_key => 'once')};
is($node->safe_psql('again', sprintf($repeat, 'ann@example.com')), 't', 'a repetition is known');
like(error_of($node, 'again', sprintf($repeat, 'bob@example.com')), qr/ZE008/, 'and told from another');
is($node->safe_psql('again', q{SELECT * FROM eventsource.verify_projection('person')}), '', 'projections are what they were');
is(problems_of($node, 'again'), '', 'nothing is wrong with it');

# ---- what was changed on the way ----

my $text = slurp_file($dump);
sub changed
{
	my ($db, $change) = @_;
	local $_ = $text;
	$change->();
	open(my $out, '>', "$tmp/$db.sql") or die $!;
	print $out $_;
	close $out;
	restore($db, "$tmp/$db.sql");
	return $node->safe_psql($db, 'SELECT stream_name, problem FROM eventsource.verify_chain()');
}
is(changed('forged', sub { s/"7\@example\.com"/"8\@example.com"/ }), 'person-7|personal fields are not those that were recorded', 'a field that was changed');
is(changed('salted', sub { s/(\t\{"email": "9\@example\.com"\}\t\\\\x)(.)/$1 . ($2 eq 'f' ? '0' : 'f')/e }), 'person-9|personal fields are not those that were recorded', 'a salt that was changed');
is(changed('lost', sub { s/^\d+\t\d+\tperson-11\t\{.*\n//m }), 'person-11|its personal fields are missing', 'a row that is missing');

# ---- another encoding ----

$node->safe_psql('postgres', "CREATE DATABASE latin ENCODING 'LATIN2' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0");
$node->safe_psql('latin', 'CREATE EXTENSION eventsource');
$node->safe_psql('latin', <<"SQL");
SET client_encoding = 'UTF8';
SELECT eventsource.register_event_type('x', pii => '{"jm\x{c3}\x{a9}no": "null", "\x{c4}\x{8d}": "null", "\x{c3}\x{a9}": "null", "zz": "null"}');
SELECT eventsource.append('a-1', 'x', '{"jm\x{c3}\x{a9}no": "\x{c4}\x{8d}", "\x{c4}\x{8d}": 1, "\x{c3}\x{a9}": 2, "zz": 3}');
SQL
is($node->safe_psql('latin', $verify), '', 'LATIN2: verifies');
$node->command_ok([ 'pg_dump', '-f', "$tmp/latin.sql", $node->connstr('latin') ], 'LATIN2: dump');
restore('latin_utf8', "$tmp/latin.sql");
is($node->safe_psql('latin_utf8', $verify), '', 'and so in UTF-8');
is($node->safe_psql('latin_utf8', q{SELECT data ->> 'zz' FROM eventsource.events WHERE stream = 'a-1'}), '3', 'and reads');
# ---- copies ----

$node->safe_psql('log', <<'SQL');
SELECT eventsource.register_event_type('seen', 'visit', pii => '{"ip": "mask_ip"}');
SELECT eventsource.append('visit-1', 'seen', '{"ip": "10.1.2.3", "page": "/a"}');
SELECT eventsource.append('visit-1', 'seen', '{"ip": "10.1.2.4", "page": "/b"}');
SELECT eventsource.append('visit-2', 'seen', '{"page": "/b"}');
CREATE ROLE copier;
SELECT eventsource.grant_admin('copier');
SQL
like(error_of($node, 'log', q{SET ROLE copier; SELECT eventsource.copy_category('visit', 'mapped', '{"seen": {"data": "jsonb_build_object(''at'', event.data->''ip'')"}}')}),
	qr/42501:.*may not see the personal fields/, 'a mapping sees them by the rights of who began the copy');
$node->safe_psql('log', q{SET ROLE copier; SELECT eventsource.copy_category('visit', 'copied')});
my $copied = q{SELECT jsonb_agg(e.data ORDER BY position), jsonb_agg(s.data ORDER BY position) FROM eventsource.events e JOIN eventsource.event s USING (position) WHERE e.category = 'copied'};
is($node->safe_psql('log', $copied),
	'[{"ip": "10.1.2.3", "page": "/a"}, {"ip": "10.1.2.4", "page": "/b"}, {"page": "/b"}]|[{"page": "/a"}, {"page": "/b"}, {"page": "/b"}]',
	'a copy keeps them apart, whatever is declared of the new category');
$node->safe_psql('log', q{SELECT eventsource.correct_event(min(position), '{"ip": "10.9.9.9", "page": "/a"}', 'typo', 'agent:joe') FROM eventsource.events WHERE category = 'visit'});
$node->safe_psql('log', q{SET ROLE copier; SELECT eventsource.copy_category('visit', 'copied')});
like($node->safe_psql('log', $copied), qr/"10\.9\.9\.9".*\|(?!.*10\.9)/, 'and so does a correction that is carried over');
is($node->safe_psql('log', $verify), '', 'all of it verifies');
is($node->safe_psql('log', q{SET ROLE copier; SELECT DISTINCT data ->> 'ip' FROM eventsource.events WHERE category = 'copied' AND data ? 'ip'}), '***', 'masked');
$node->stop;
done_testing();
