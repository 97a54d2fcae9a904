# 047_erased_tampered.pl: whoever may change anything cannot use erasure to hide what he
# did: what was erased without an erasure, what an erasure left and was changed since,
# what was put back, and marks that do not fit are found, by verify_log() and by the
# verifier that trusts no database; and what was erased lawfully is called redacted.
#
# As in 042_tampered.pl, a copy of the log that was not opened yet takes raw rows.

use strict;
use warnings;

use EventLog;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_server('erased_tampered');
my $dir = PostgreSQL::Test::Utils::tempdir;
my $verifier = "$ENV{TESTDIR}/tools/verify_log.py";
my @tables = qw(log word stream stream_segment segment event vault erased idempotency);

sub sql { return $node->safe_psql('log', $_[0]) }

# ---- subjects: 1 hard, 2 anonymized, 3 hidden, 4 hidden and shown again, 5 nothing, 6 all in turn ----

sql(<<'SQL');
SELECT eventsource.create_state_machine('door', '{"initial": "SHUT", "states": {"SHUT": {"on": {"opened": "OPEN", "noted": {}}}, "OPEN": {"on": {"noted": {}, "shut": "SHUT"}}}}');
SELECT eventsource.create_category('cust', 'door'), eventsource.create_category('order', subject => $$event.data->>'customer'$$);
SELECT eventsource.register_event_type('opened', category => 'cust', pii => '{"email": "hash", "ip": "mask_ip", "language": "keep", "born": "null"}');
SELECT count(eventsource.append('cust-' || i, 'noted', '{"n": 1}', actor => 'agent:1', metadata => '{"m": 1}', occurred_at => '2001-01-01')) FROM generate_series(1, 6) i;
SELECT count(eventsource.append('cust-' || i, 'opened', '{"email": "a@example.com", "ip": "10.1.2.3", "language": "de", "born": 1970, "n": 1}', idempotency_key => 'k' || i)) FROM generate_series(1, 6) i;
SELECT count(eventsource.append('order-1', 'placed', jsonb_build_object('customer', 'cust-' || i))) FROM generate_series(1, 6) i;
SELECT eventsource.correct_event(position, '{"email": "b@example.com", "n": 2}', 'typing', 'agent:1') FROM eventsource.events WHERE type = 'opened';
SELECT count(eventsource.append('cust-' || i, 'noted', '{"n": 2}')) FROM generate_series(1, 6) i;
CREATE TABLE event_before AS SELECT * FROM eventsource.event;
CREATE TABLE vault_before AS SELECT * FROM eventsource.vault;
SELECT eventsource.request_erasure('cust-1', 'hard');
SELECT count(*) FROM eventsource.erase_subject('cust-1', 'hard', 'gdpr-request');
SELECT count(*) FROM eventsource.erase_subject('cust-2', 'anonymize', 'gdpr-request');
SELECT count(*) FROM eventsource.erase_subject('cust-3', 'soft', 'gdpr-request');
SELECT count(*) FROM eventsource.erase_subject('cust-4', 'soft', 'gdpr-request');
SELECT count(*) FROM eventsource.revert_erasure('cust-4', 'back again');
SELECT count(eventsource.append('cust-4', 'noted', '{"n": 3}'));
SELECT count(*) FROM eventsource.erase_subject('cust-6', 'soft', 'gdpr-request');
SELECT count(*) FROM eventsource.erase_subject('cust-6', 'anonymize', 'gdpr-request');
SELECT count(*) FROM eventsource.erase_subject('cust-6', 'hard', 'gdpr-request');
SQL

# Positions of events about a subject: "opened" has personal fields, and so has its correction.
sub of { return split /\n/, sql("SELECT position FROM eventsource.events WHERE subject = 'cust-$_[0]' AND category NOT LIKE '\$%' " . ($_[1] // '') . ' ORDER BY position') }
my $personal = "AND type IN ('opened', 'event_corrected') AND category = 'cust'";

$node->command_ok([ 'pg_dump', '--schema-only', '-f', "$dir/schema.sql", 'log' ], 'schema dumped');
$node->safe_psql('postgres', 'CREATE DATABASE copy');
$node->command_ok([ 'psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-o', '/dev/null', '-f', "$dir/schema.sql", 'copy' ], 'schema restored');
for my $table (@tables, 'event_before', 'vault_before')
{
	my $name = $table =~ /_before/ ? $table : "eventsource.$table";
	my $like = $table =~ s/_before//r;
	sql("COPY (SELECT * FROM $name) TO '$dir/$table'");
	$node->safe_psql('copy', "DROP TABLE IF EXISTS public.$table; CREATE TABLE public.$table (LIKE eventsource.$like); COPY public.$table FROM '$dir/$table'");
}
$node->safe_psql('copy', "SELECT setval('eventsource.position_seq', " . sql('SELECT max(position) FROM eventsource.events') . ')');
my $load = join '', map { "INSERT INTO eventsource.$_ SELECT * FROM public.$_;\n" } @tables;

# What verify_log() calls tampered after some statements, and others once rows are loaded.
sub found
{
	my ($change, $after) = @_;
	my ($out, $err) = ('', '');

	$node->psql('copy', <<"SQL", stdout => \$out, stderr => \$err, on_error_stop => 1);
BEGIN;
SET LOCAL search_path = public;
DO \$change\$ BEGIN $change; END \$change\$;
$load
\\o $dir/export
@{[ $after // '' ]}
SELECT * FROM eventsource.export_log();
\\o
SELECT concat_ws(' ', coalesce(event_position::text, '-'), problem) FROM eventsource.verify_log() WHERE status = 'tampered';
ROLLBACK;
SQL
	return $err || $out;
}

sub found_outside
{
	my $out = '';
	IPC::Run::run([ 'python3', $verifier, 'log', "$dir/export" ], '>', \$out, '2>&1');
	return $out;
}

sub positions { return join ' ', map { /^(\d+|-)/ ? $1 : $_ } split /\n/, $_[0] }
sub positions_outside { return join ' ', map { /^tampered: position (\d+)/ ? $1 : /^tampered/ ? '-' : () } split /\n/, $_[0] }

# ---- nothing changed ----

is(found('NULL'), '', 'the rows as they were: nothing is tampered with');
my @redacted = sort { $a <=> $b } of(1), of(2, $personal), of(6);
is(sql("SELECT string_agg(event_position::text, ' ' ORDER BY event_position) FROM eventsource.verify_log() WHERE status = 'redacted'"), "@redacted", 'what was erased is redacted');
like(found_outside(), qr/ @{[ scalar @redacted ]} redacted, 0 tampered$/m, 'the verifier outside agrees');
unlike(slurp_file("$dir/export"), qr/[ab]\@example|10\.1\.2\.3|:\s*1970\b/, 'who is told no personal field');

# ---- the rest of a tombstone ----

my ($tombstone) = of(1, $personal);
my %fields = (
	data => q('{"n": 1}'),
	metadata => q('{"corrects": 1}'),
	type => q((SELECT id FROM word WHERE word = 'noted')),
	actor => '0',
	recorded_by => q((SELECT id FROM word WHERE word = 'agent:1')),
	from_state => '0',
	to_state => q((SELECT id FROM word WHERE word = 'SHUT')),
	reason => q((SELECT id FROM word WHERE word = 'agent:1')),
	machine => '0',
	schema_version => '2',
	flags => 'flags # 1',
	recorded_at => q(recorded_at + interval '1 us'),
	extra => q('\x0000000000000001' || substr(extra, 1)));
for my $field (sort keys %fields)
{
	my $got = found("UPDATE event SET $field = $fields{$field} WHERE position = $tombstone");
	is(positions($got), $tombstone, "a tombstone's $field: found") or diag $got;
	$got = found_outside();
	is(positions_outside($got), $tombstone, "a tombstone's $field: found outside") or diag $got;
}

# ---- everything else: what is done, the positions told inside and outside; undef: is not exported ----

my ($innocent) = of(5);
my ($kept) = of(2);
my ($anonymized, $anonymized_correction) = of(2, $personal);
my @hidden = of(3, $personal);
my @shown = (of(4, $personal), of(5, $personal));
my ($completed) = split /\n/, sql(q{SELECT position FROM eventsource.events WHERE stream = '$erasure-cust-1' AND type = 'erasure_completed'});
my $last = (of(1))[-1];
my ($second) = (of(1))[1];
my $tomb = q(flags = flags | 64, data = '{}', metadata = '{}');
my $any = '(?:\d+|-)(?: (?:\d+|-))*';

my @cases = (
	[ 'a mark taken away', "DELETE FROM erased WHERE subject = 'cust-1'", '-', undef ],
	[ 'a mark too many', "INSERT INTO erased VALUES ('cust-5', 3, now())", '-', undef ],
	[ 'the mark of a subject that was restored', "INSERT INTO erased VALUES ('cust-4', 1, now())", '-', undef ],
	[ 'a mark of another mode', "UPDATE erased SET mode = 2 WHERE subject = 'cust-1'", '- -', undef ],
	[ 'a mark of no mode', "UPDATE erased SET mode = 77 WHERE subject = 'cust-1'", '- -', undef ],
	[ 'an event erased without an erasure', "UPDATE event SET $tomb WHERE position = $innocent", $innocent, $innocent ],
	[ 'one that is said to be of an erased subject', "UPDATE event SET $tomb, subject = 'cust-1' WHERE position = $innocent", $innocent, $innocent ],
	[ 'one in a stream of an erased subject', "UPDATE event SET $tomb, stream = (SELECT id FROM stream WHERE name = 'cust-1'), version = 99 WHERE position = $innocent", $any, $any ],
	[ 'an event of one who was anonymized', "UPDATE event SET $tomb WHERE position = $kept", $kept, $kept ],
	[ 'an event of one who was hidden', "UPDATE event SET $tomb WHERE position = $hidden[0]", $hidden[0], $hidden[0] ],
	[ 'a tombstone given to another subject', "UPDATE event SET subject = 'cust-5' WHERE position = $tombstone", "$tombstone -", "$tombstone -" ],
	[ 'a tombstone and its fields given to another erased subject', "UPDATE event SET subject = 'cust-6' WHERE position = $tombstone; UPDATE vault SET subject = 'cust-6' WHERE position = $tombstone", "$tombstone -", "$tombstone -" ],
	[ 'two tombstones swapped', "UPDATE event SET position = CASE position WHEN $tombstone THEN $last ELSE $tombstone END WHERE position IN ($tombstone, $last)", $any, $any ],
	[ 'a tombstone taken out at the end', "DELETE FROM event WHERE position = $last", '-', '-' ],
	[ 'a tombstone no more', "UPDATE event SET flags = flags & ~64 WHERE position = $second", "$second -", "$second -" ],
	[ 'an event put back', "DELETE FROM event WHERE position = $last; INSERT INTO event SELECT * FROM event_before WHERE position = $last", "$last -", "$last -" ],
	[ 'an event and its fields put back', "DELETE FROM event WHERE position = $tombstone; INSERT INTO event SELECT * FROM event_before WHERE position = $tombstone; DELETE FROM vault WHERE position = $tombstone; INSERT INTO vault SELECT * FROM vault_before WHERE position = $tombstone",
		"$tombstone -", "$tombstone -" ],
	[ 'fields of a tombstone put back', "DELETE FROM vault WHERE position = $tombstone; INSERT INTO vault SELECT * FROM vault_before WHERE position = $tombstone", $tombstone, $tombstone ],
	[ 'fields of one who was anonymized put back', "DELETE FROM vault WHERE position = $anonymized; INSERT INTO vault SELECT * FROM vault_before WHERE position = $anonymized", $anonymized, $anonymized ],
	[ 'a replaced field', "UPDATE vault SET fields = jsonb_set(fields, '{email}', '\"c\@example.com\"') WHERE position = $anonymized", $anonymized, $anonymized ],
	[ 'a field erased beside', "UPDATE vault SET fields = jsonb_set(fields, '{language}', 'null') WHERE position = $anonymized", "$anonymized -", undef ],
	[ 'what fields were committed to', "UPDATE vault SET commits = set_byte(commits, 40, get_byte(commits, 40) # 1) WHERE position = $anonymized", "$anonymized -", "$anonymized -" ],
	[ 'fields taken away', "DELETE FROM vault WHERE position = $anonymized", "$anonymized -", "$anonymized -" ],
	[ 'fields erased without an erasure', "UPDATE vault v SET (fields, salts, commits) = (SELECT w.fields, w.salts, w.commits FROM vault w WHERE w.position = $anonymized) WHERE position = $shown[0]", $shown[0], $shown[0] ],
	[ 'hidden fields shown', "UPDATE vault SET state = 0 WHERE subject = 'cust-3'", "@hidden", "@hidden" ],
	[ 'hidden fields put back', "DELETE FROM vault WHERE subject = 'cust-3'; INSERT INTO vault SELECT * FROM vault_before WHERE subject = 'cust-3'", "@hidden", "@hidden" ],
	[ 'fields hidden', "UPDATE vault SET state = 1 WHERE position IN ($shown[0], $shown[-1])", "$shown[0] $shown[-1]", "$shown[0] $shown[-1]" ],
	[ 'an anonymized one hidden', "UPDATE vault SET state = 1 WHERE position = $anonymized_correction", "$anonymized_correction -", "$anonymized_correction -" ],
	[ 'an erasure that says more', "UPDATE event SET data = jsonb_set(data, '{upto}', '1e30') WHERE position = $completed", $any, $any ],
	[ 'an erasure that says nothing', "UPDATE event SET data = '[1]' WHERE position = $completed", $any, $any ],
	[ 'what an erasure has left, as anything', "UPDATE event SET data = jsonb_set(data, '{left}', '[\"xyz\", 7, {\"a\": []}]') WHERE position = $completed", $any, $any ],
	[ 'an erasure taken out', "DELETE FROM event WHERE position = $completed", $any, $any ]);

for my $case (@cases)
{
	my ($name, $change, $expected, $outside) = @$case;
	my $got = found($change);
	like(positions($got), qr/^$expected$/, "$name: found") or diag $got;
	next unless defined $outside;
	$got = found_outside();
	like(positions_outside($got), qr/^$outside$/, "$name: found outside") or diag $got;
}

# One that is recorded while the mark is not there.
my $new = sql('SELECT last_value + 1 FROM eventsource.position_seq');
my $got = found(q{DELETE FROM erased WHERE subject = 'cust-2'}, q{SELECT eventsource.append('cust-2', 'noted', '{}');});
like($got, qr/^\d+ it is about a subject that was erased before$/m, 'an event about an erased subject: found') or diag $got;
like($got, qr/^- subject "cust-2" was erased, but is not marked so$/m, 'and the mark that is missing');

is(problems_of($node, 'log'), '', 'the log itself is whole');

# ---- more than one event of an erasure can tell of ----

sql(<<'SQL');
SELECT count(*) FROM eventsource.append_events((SELECT jsonb_agg('{"stream": "many-1", "type": "noted", "data": {"n": 1}}'::jsonb) FROM generate_series(1, 33000)));
SELECT count(*) FROM eventsource.erase_subject('many-1', 'hard', 'gdpr-request');
SQL
is(sql("SELECT string_agg(type, ' ' ORDER BY position) FROM eventsource.erasures WHERE subject = 'many-1'"), 'erasure_part erasure_part erasure_completed', 'in several events');
is(sql("SELECT string_agg(DISTINCT what, ' ') FROM eventsource.erasure_report('many-1')"), 'erasure_completed', 'the report is of the last');
is(sql("SELECT count(*) || ' ' || count(*) FILTER (WHERE status = 'redacted') FROM eventsource.verify_log() JOIN eventsource.events e ON e.position = event_position WHERE e.stream = 'many-1'"), '33000 33000', 'all that were erased are told');
$node->safe_psql('log', "\\o $dir/export\nSELECT * FROM eventsource.export_log()");
like(found_outside(), qr/ @{[ 33000 + @redacted ]} redacted, 0 tampered$/m, 'by the verifier outside, too');
$node->stop;
done_testing();
