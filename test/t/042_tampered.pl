# 042_tampered.pl: whatever is changed in a log, verify_log() finds it, and so does the
# verifier that trusts no database, in the events that were changed and no others.
#
# A copy of the log that was not opened yet takes raw rows from its owner, as a
# restore needs it: so each case loads the rows, changed, in a transaction that is
# rolled back.

use strict;
use warnings;

use EventLog;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_server('tampered', 'eventsource.segment_size = 300');
my $dir = PostgreSQL::Test::Utils::tempdir;
my $verifier = "$ENV{TESTDIR}/tools/verify_log.py";
my @tables = qw(log word stream stream_segment segment event tile seal);

sub sql { return $node->safe_psql('log', $_[0]) }

# ---- a log of 700 events in two full tiles and a rest, with gaps ----

sql(<<'SQL');
SELECT eventsource.create_state_machine('door', '{"initial": "SHUT", "reasons": {"wind": {"category": "weather"}},
	"states": {"SHUT": {"on": {"opened": {"target": "OPEN", "reason": "optional"}}}, "OPEN": {"on": {"shut": {"target": "SHUT", "reason": "optional"}}}}}');
SELECT eventsource.create_category('door', 'door');
SELECT count(eventsource.append('door-' || i % 5, CASE WHEN i / 5 % 2 = 0 THEN 'opened' ELSE 'shut' END, '{"a": [1, 2.50]}', reason => 'wind', actor => 'agent:1',
	metadata => '{"m": "é"}', occurred_at => '2001-01-01')) FROM generate_series(0, 99) i;
SELECT count(eventsource.append('note-' || i % 7, 'written', to_jsonb(i))) FROM generate_series(1, 100) i;
BEGIN; SELECT count(eventsource.append('gone-1', 'x')) FROM generate_series(1, 5); ROLLBACK;
SELECT size FROM eventsource.seal(90);
SELECT count(eventsource.append('note-' || i % 7, 'written', to_jsonb(i))) FROM generate_series(1, 490) i;
SELECT count(eventsource.append('short-1', 'x')) FROM generate_series(1, 3);
SELECT count(eventsource.append('note-1', 'written', to_jsonb(i))) FROM generate_series(1, 5) i;
SELECT size FROM eventsource.seal();
SQL
my $size = sql('SELECT max(size) FROM eventsource.seals');
cmp_ok($size, '>', 3 * 256 - 100, 'events are sealed');
my ($first, $last) = split /\|/, sql('SELECT min(position), max(position) FROM eventsource.events');

# A file with a checkpoint: the lines and the newline at their end.
sub write_checkpoint
{
	my ($file, $db) = @_;
	open my $to, '>', "$dir/$file" or die;
	print $to $node->safe_psql($db, 'SELECT eventsource.checkpoint()'), "\n";
	close $to;
	return "$dir/$file";
}
my $checkpoint = write_checkpoint('checkpoint', 'log');

# ---- a copy that takes raw rows ----

$node->command_ok([ 'pg_dump', '--schema-only', '-f', "$dir/schema.sql", 'log' ], 'schema dumped');
$node->safe_psql('postgres', 'CREATE DATABASE copy');
$node->command_ok([ 'psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-o', '/dev/null', '-f', "$dir/schema.sql", 'copy' ], 'schema restored');
for my $table (@tables)
{
	sql("COPY (SELECT * FROM eventsource.$table) TO '$dir/$table'");
	$node->safe_psql('copy', "CREATE TABLE $table (LIKE eventsource.$table); COPY $table FROM '$dir/$table'");
}
$node->safe_psql('copy', "SELECT setval('eventsource.position_seq', $last)");
my $load = join '', map { "INSERT INTO eventsource.$_ SELECT * FROM public.$_;\n" } @tables;

# What verify_log() finds after some statements: positions, or '-' for what is no event.
sub found
{
	my ($change, $checkpoint_file) = @_;
	my $argument = $checkpoint_file ? "E'" . slurp_file($checkpoint_file) =~ s/\n/\\n/gr . "'" : 'NULL';
	my ($out, $err) = ('', '');

	$node->psql('copy', <<"SQL", stdout => \$out, stderr => \$err, on_error_stop => 1);
BEGIN;
SET LOCAL search_path = public;
DO \$change\$ BEGIN $change; END \$change\$;
$load
\\o $dir/export
SELECT * FROM eventsource.export_log();
\\o
SELECT concat_ws(' ', coalesce(event_position::text, '-'), status, problem) FROM eventsource.verify_log($argument);
ROLLBACK;
SQL
	return $err || $out;
}

# The same of the verifier outside.
sub found_outside
{
	my (@checkpoints) = @_;
	my $out = '';
	IPC::Run::run([ 'python3', $verifier, 'log', "$dir/export", @checkpoints ], '>', \$out, '2>&1');
	return ($? == 0, $out);
}

sub positions { return join ' ', map { /^(\d+|-)/ ? $1 : $_ } split /\n/, $_[0] }

sub positions_outside { return join ' ', $_[0] =~ /^tampered: position (\d+)/mg }

is(found('NULL'), '', 'the rows as they were: nothing is found');
is(found('NULL', $checkpoint), '', 'and they continue the checkpoint');
my ($ok, $said) = found_outside($checkpoint);
ok($ok, 'the verifier outside agrees') or diag $said;
like($said, qr/^$size events: $size ok, 0 redacted, 0 tampered$/m, 'and says so');

# ---- each field of one event ----

# One in a full tile; its successor in its stream is in order: it follows the stored hash.
my $at = sql("SELECT position FROM eventsource.events WHERE stream = 'door-2' AND version = 7");
my $next = sql("SELECT position FROM eventsource.events WHERE stream = 'door-2' AND version = 8");
my %fields = (
	data => q('{"a": [1, 2.5]}'),
	metadata => q('{"m": "e"}'),
	type => q((SELECT id FROM word WHERE word = 'shut' OR word = 'written' ORDER BY word DESC LIMIT 1)),
	actor => '0',
	recorded_by => q((SELECT id FROM word WHERE word = 'agent:1' LIMIT 1)),
	from_state => '0',
	to_state => q((SELECT id FROM word WHERE word = 'written' LIMIT 1)),
	reason => '0',
	machine => '0',
	schema_version => '2',
	flags => 'flags # 1',
	recorded_at => q(recorded_at + interval '1 us'),
	extra => q('\x0000000000000001'),
	subject => q('door-3'));
for my $field (sort keys %fields)
{
	is(positions(found("UPDATE event SET $field = $fields{$field} WHERE position = $at")), $at, "$field: found");
	($ok, $said) = found_outside($checkpoint);
	ok(!$ok && positions_outside($said) eq $at, "$field: found outside") or diag $said;
}

# ---- everything else: what is done, the positions that are told, those that are told outside ----

my $free = sql('SELECT n FROM generate_series(1, 1000) n WHERE NOT EXISTS (SELECT FROM eventsource.events WHERE position = n) ORDER BY n LIMIT 1 OFFSET 1');
my ($short1, $short2, $short3) = split /\n/, sql("SELECT position FROM eventsource.events WHERE stream = 'short-1' ORDER BY version");
my ($tile1_first, $tile1_last) = split /\|/, sql('SELECT first_position, last_position FROM eventsource.tile WHERE level = 0 AND index = 1');
my $note3 = sql("SELECT string_agg(position::text, ' ' ORDER BY position) FROM eventsource.events WHERE stream = 'note-3'");
my $in_tile1 = $tile1_last - 1;
my $after1 = sql("SELECT min(position) FROM eventsource.events WHERE position > $tile1_last");
my $all = sql("SELECT string_agg(position::text, ' ' ORDER BY position) FROM eventsource.events");
# Their hashes are kept, so the tree is what it was.
sub take_away
{
	my ($which) = @_;
	return "CREATE TEMP TABLE taken AS SELECT * FROM event WHERE $which; "
	  . q(INSERT INTO eventsource.pruned_leaf SELECT position / 32, bit_or(1 << (position % 32)::int), string_agg(hash, '' ORDER BY position) FROM taken GROUP BY 1; )
	  . "DELETE FROM event WHERE $which";
}
my $anywhere = '(\d+|-)( (\d+|-))*';

my @cases = (
	[ 'hash', "UPDATE event SET hash = sha256('x') WHERE position = $at", "$at $next", "$at $next" ],
	# The first byte: a last one may be 0, which it is again in an export, where hashes are written whole.
	[ 'hash, too short', "UPDATE event SET hash = substr(hash, 2) WHERE position = $at", "$at $next", "$at $next" ],
	[ 'version', "UPDATE event SET version = 1000 WHERE position = $at", "$at $next", "$at $next" ],
	[ 'stream', "UPDATE event SET stream = (SELECT id FROM stream WHERE name = 'short-1') WHERE position = $at", "$at $next $short1", "$at $next $short1" ],
	[ 'position', "UPDATE event SET position = $free WHERE position = $at", $anywhere, $anywhere ],
	[ 'data of two swapped', "UPDATE event e SET data = o.data FROM event o WHERE (e.position, o.position) IN (($short1 - 2, $short1 - 1), ($short1 - 1, $short1 - 2))",
		join(' ', $short1 - 2, $short1 - 1), join(' ', $short1 - 2, $short1 - 1) ],
	[ 'positions of two swapped', "UPDATE event SET position = CASE position WHEN $at THEN $at + 1 ELSE $at END WHERE position IN ($at, $at + 1)",
		join(' ', $at, $at + 1), join(' ', $at, $at + 1) ],
	[ 'one dropped', "DELETE FROM event WHERE position = $at", "- $next", "$next" ],
	[ 'the first of a stream dropped', "DELETE FROM event WHERE position = $short1", "$short2 -", "$short2" ],
	[ 'the last of a stream dropped', "DELETE FROM event WHERE position = $short3", '-', '' ],
	[ 'a stream dropped', "DELETE FROM event WHERE stream = (SELECT id FROM stream WHERE name = 'note-3'); DELETE FROM stream WHERE name = 'note-3'", '- - -', '' ],
	[ 'a tile of events dropped', "DELETE FROM event WHERE position BETWEEN $tile1_first AND $tile1_last", $anywhere, $anywhere ],
	[ 'the tail cut', "DELETE FROM event WHERE position > $last - 1", '-', '' ],
	[ 'more of the tail cut', "DELETE FROM event WHERE position >= $in_tile1", '- -', '' ],
	[ 'one duplicated', "INSERT INTO event SELECT $free, stream, 1000, recorded_at, type, actor, recorded_by, from_state, to_state, reason, machine, schema_version, flags, hash, data, metadata, subject, extra FROM event WHERE position = $short3",
		$anywhere, $anywhere ],
	[ 'a word', "UPDATE word SET word = 'geschrieben' WHERE word = 'written'", $anywhere, $anywhere ],
	[ 'the name of a stream', "UPDATE stream SET name = 'note-30' WHERE name = 'note-3'", $note3, $note3 ],
	[ 'the identity of the log', 'UPDATE log SET id = gen_random_uuid()', $all, $all ],
	# Retention did not say so.
	[ 'one gone, as if it had expired', take_away("position = $short3"), $short3, $short3 ],
	[ 'the first one gone, likewise', take_away("position = $short1") .
		"; INSERT INTO eventsource.pruned_head SELECT stream, version, position, recorded_at, coalesce(to_state, 0), hash FROM taken", $short1, $short1 ],
	[ 'a stream gone, likewise', take_away("stream = (SELECT id FROM stream WHERE name = 'note-3')"), $note3, $note3 ],
	# Of the tree, which is not exported.
	[ 'a hash of a tile', "UPDATE tile SET hashes = set_byte(hashes, 40, get_byte(hashes, 40) # 1) WHERE index = 0", $anywhere ],
	[ 'the root of a tile', "UPDATE tile SET root = sha256('x') WHERE index = 1", '-' ],
	[ 'a tile, cut', "UPDATE tile SET hashes = substr(hashes, 1, 8160) WHERE index = 0", $anywhere ],
	[ 'a tile dropped', 'DELETE FROM tile WHERE index = 0', '-' ],
	[ 'the last tile dropped', 'DELETE FROM tile WHERE index = (SELECT max(index) FROM tile)', '-' ],
	[ 'where a tile ends', "UPDATE tile SET last_position = last_position - 1 WHERE index = 0", $anywhere ],
	[ 'tiles swapped', 'UPDATE tile SET index = 5 - index WHERE index IN (0, 1); UPDATE tile SET index = 5 - index - 4 WHERE index > 3', $anywhere ],
	[ 'a tile too many', "INSERT INTO tile SELECT level, index + 1, last_position + 100000, last_position + 100001, root, hashes FROM tile ORDER BY index DESC LIMIT 1", '-' ],
	[ 'the root of a seal', "UPDATE seal SET root = sha256('x') WHERE size = 90", '-' ],
	[ 'the root of the newest seal', "UPDATE seal SET root = sha256('x') WHERE size > 90", '-' ],
	[ 'the size of a seal', 'UPDATE seal SET size = size + 1 WHERE size = 90', '-' ],
	[ 'a seal of more than there is', 'UPDATE seal SET size = size + 1, position = position + 10 WHERE size > 90', '-' ]);

for my $case (@cases)
{
	my ($name, $change, $expected, $outside) = @$case;
	my $got = found($change);
	like(positions($got), qr/^$expected$/, "$name: found") or diag $got;
	next unless defined $outside;
	($ok, $said) = found_outside($checkpoint);
	ok(!$ok, "$name: refused outside") or diag $said;
	like(positions_outside($said), qr/^$outside$/, "$name: found outside") or diag $said;
}

# ---- hashed anew, by who knows how ----

# The stream from the changed event on: its chain is whole again, but not what was sealed.
my $rehash = <<'PY';
import json, sys, importlib.util
spec = importlib.util.spec_from_file_location("v", sys.argv[1])
v = importlib.util.module_from_spec(spec)
spec.loader.exec_module(v)
log, head = None, {}
for line in open(sys.argv[2]):
    e = v.parse(line)
    if "format" in e:
        log = bytes.fromhex(e["log"].replace("-", ""))
        continue
    head[e["stream"]] = v.event_hash(log, e, head.get(e["stream"], bytes(32)))
    if head[e["stream"]].hex() != e["hash"]:
        print(f"UPDATE event SET hash = '\\x{head[e['stream']].hex()}' WHERE position = {e['position']};")
PY
append_to_file("$dir/rehash.py", $rehash);
found("UPDATE event SET data = '{}' WHERE position = $at");
my ($updates) = run_command([ 'python3', "$dir/rehash.py", $verifier, "$dir/export" ]);
$updates =~ s|;\z||;
my $rest = sql("SELECT string_agg(position::text, ' ' ORDER BY position) FROM eventsource.events WHERE stream = 'door-2' AND version >= 7");
my $rehashed = "UPDATE event SET data = '{}' WHERE position = $at; $updates";
my $got = found($rehashed);
is(positions($got), $rest, 'a chain hashed anew: found');
like($got, qr/^$at tampered its hash is not one that was sealed here$/m, 'though each event fits the one before it');
($ok, $said) = found_outside($checkpoint);
ok(!$ok, 'refused outside');
is(positions_outside($said), '', 'where only the checkpoint tells');

# All of it, with tiles and seals: a log written anew under the same identity.
create_log($node, 'fork');
$node->safe_psql('fork', 'INSERT INTO eventsource.log VALUES (\'' . sql('SELECT eventsource.log_id()') . '\', 1, now())');
$node->safe_psql('fork', "SELECT count(eventsource.append('note-' || i % 7, 'written', to_jsonb(i))) FROM generate_series(1, 800) i");
$node->safe_psql('fork', 'SELECT eventsource.seal()');
is($node->safe_psql('fork', 'SELECT * FROM eventsource.verify_log()'), '', 'a log written anew verifies within itself');
my $argument = "E'" . slurp_file($checkpoint) =~ s/\n/\\n/gr . "'";
my $refusal = error_of($node, 'fork', "SELECT * FROM eventsource.verify_log($argument)");
like($refusal, qr/ERROR:  ZE012: .*not the one that the checkpoint was made of/, 'but is not the one of the checkpoint');
like($refusal, qr/DETAIL:.*first $size events is another one.*\nHINT:/, 'and why');
$node->safe_psql('fork', "\\o $dir/export\nSELECT * FROM eventsource.export_log()");
($ok, $said) = found_outside($checkpoint);
ok(!$ok && $said =~ /^tampered: checkpoint .*: the first $size events are other ones$/m, 'refused outside');
($ok, $said) = found_outside(write_checkpoint('fork_checkpoint', 'fork'));
ok($ok, 'where its own checkpoint is all right') or diag $said;

# An older state, whole.
my $older = "DELETE FROM event WHERE position > 300; DELETE FROM tile; DELETE FROM seal WHERE position > 300";
is(found($older), '', 'a log from a backup verifies within itself');
$refusal = found($older, $checkpoint);
like($refusal, qr/ZE012|not the one that the checkpoint was made of/, 'but is shorter than the checkpoint');
like($refusal, qr/DETAIL:  The checkpoint is of $size events, and there are \d+ up to the watermark/, 'and why');

# ---- proofs, held against checkpoints by the verifier outside ----

sub outside
{
	my (@arguments) = @_;
	my $out = '';
	IPC::Run::run([ 'python3', $verifier, @arguments ], '>', \$out, '2>&1');
	return $? == 0;
}

sub write_file
{
	my ($file, $content) = @_;
	open my $to, '>', "$dir/$file" or die;
	print $to $content;
	close $to;
	return "$dir/$file";
}

my $old = write_file('old', sql('SELECT eventsource.checkpoint(300)') . "\n");
for my $position ($first, $at, $in_tile1, $last)
{
	my $proof = sql("SELECT row_to_json(p) FROM eventsource.inclusion_proof($position) p");
	ok(outside('inclusion', $checkpoint, write_file('proof', $proof)), "the event at $position is in the log");
	IPC::Run::run([ 'python3', $verifier, 'inclusion', $old, "$dir/proof" ], '2>', \my $told);
	is($? >> 8, 2, 'a proof for another checkpoint is no tampering');
	like($told, qr/^the proof is for a tree of $size, .* ask for inclusion_proof\(position, \d+\)$/, 'and what to ask for is said');
	ok(!outside('inclusion', $checkpoint, write_file('proof', $proof =~ s/("leaf_index":)(\d+)/$1 . ($2 + 1)/er)), 'at its place alone');
	ok(!outside('inclusion', $checkpoint, write_file('proof', $proof =~ s/("hash":"\\\\x)(.)/$1 . ($2 eq '0' ? 1 : 0)/er)), 'as it is alone');
	ok(!outside('inclusion', $checkpoint, write_file('proof', $proof =~ s/,"[^"]*"\]/]/r)), 'with the whole proof');
}
my $proof = sql('SELECT to_json(eventsource.consistency_proof(300))');
ok(outside('consistency', $old, $checkpoint, write_file('proof', $proof)), 'the log is what it was, and more');
ok(!outside('consistency', $checkpoint, $old, "$dir/proof"), 'and never less');
ok(!outside('consistency', $old, "$dir/fork_checkpoint", "$dir/proof"), 'a fork does not continue it');
ok(!outside('consistency', $old, $checkpoint, write_file('proof', $proof =~ s/,"[^"]*"\]/]/r)), 'not by half a proof');

# Known vectors for what the verifier computes itself: those of Certificate Transparency.
my $vectors = <<'PY';
import sys, importlib.util
spec = importlib.util.spec_from_file_location("v", sys.argv[1])
v = importlib.util.module_from_spec(spec)
spec.loader.exec_module(v)
tree = v.Tree()
for entry in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"):
    tree.add(v.leaf_hash(bytes.fromhex(entry)))
    print(tree.root().hex())
PY
my ($roots) = run_command([ 'python3', '-c', $vectors, $verifier ]);
is($roots, join("\n", qw(
	6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125
	aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77 d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7
	4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4 76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef
	ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c 5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328)),
	'the verifier has the known roots');

$node->stop;
done_testing();
