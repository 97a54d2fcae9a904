# 054_verifier.pl: the verifier outside: signatures, made by somebody who is not the
# database, and malformed input.

use strict;
use warnings;

use EventLog;
use IPC::Run ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $dir = PostgreSQL::Test::Utils::tempdir;
my $tools = "$ENV{TESTDIR}/tools";
my $node = new_server('verifier', 'eventsource.segment_size = 300');

sub sql { return $node->safe_psql('log', $_[0]) }

sub write_file
{
	my ($file, $content) = @_;
	open my $to, '>', "$dir/$file" or die;
	print $to $content;
	close $to;
	return "$dir/$file";
}

# Exit code and what was said.
sub run_tool
{
	my ($tool, @arguments) = @_;
	my $out = '';
	IPC::Run::run([ 'python3', "$tools/$tool", @arguments ], '>', \$out, '2>&1');
	return ($? >> 8, $out);
}

# ---- a small log with what an export can have in it ----

sql(<<'SQL');
SELECT eventsource.register_event_type('signed_up', pii => '{"email": "hash", "name": "redact"}');
SELECT count(eventsource.append('person-' || i, 'signed_up', jsonb_build_object('email', i || '@example.com', 'name', 'é', 'plan', 1.50), metadata => '{"m": [null, true]}')) FROM generate_series(1, 12) i;
SELECT count(eventsource.append('note-' || i % 3, 'written', to_jsonb(i), occurred_at => '2001-01-01')) FROM generate_series(1, 20) i;
SELECT eventsource.seal();
SELECT count(*) FROM (VALUES ('person-1', 'soft'), ('person-2', 'anonymize'), ('person-3', 'hard')) v (who, how), eventsource.erase_subject(who, how, 'asked', 'dpo');
SELECT eventsource.seal();
SQL
sql("\\o $dir/export\nSELECT * FROM eventsource.export_log()");
# Three lines: psql adds an empty one.
my $checkpoint = write_file('checkpoint', sql('SELECT eventsource.checkpoint()') =~ s/\n*\z/\n/r);
my $old = write_file('old', sql('SELECT eventsource.checkpoint(32)') =~ s/\n*\z/\n/r);
my $inclusion = write_file('inclusion', sql('SELECT row_to_json(p) FROM eventsource.inclusion_proof(5) p'));
my $consistency = write_file('consistency', sql('SELECT to_json(eventsource.consistency_proof(32))'));

# ---- vectors, and malformed input ----

my $out = '';
IPC::Run::run([ 'python3', "$ENV{TESTDIR}/test/verifier.py", $tools, "$dir/export", $checkpoint, $old, $inclusion, $consistency ], '>', \$out, '2>&1');
is($?, 0, 'known vectors hold, and nothing malformed is taken') or diag substr($out, 0, 4000);
note $out;

# ---- exit codes ----

is((run_tool('verify_log.py'))[0], 2, 'no command');
is((run_tool('verify_log.py', 'inclusion', $checkpoint))[0], 2, 'too few files');
is((run_tool('verify_log.py', 'log', "$dir/none"))[0], 2, 'no such file');
is((run_tool('verify_log.py', '--key', 'x', 'log', "$dir/export"))[0], 2, 'no key');
is((run_tool('verify_log.py', 'log', $checkpoint))[0], 1, 'not an export');
is((run_tool('verify_log.py', 'log', "$dir/export", $inclusion))[0], 1, 'not a checkpoint');
like((run_tool('verify_log.py', 'log', write_file('nothing', '')))[1], qr/^malformed: there is nothing in it/, 'nothing at all is no log');
is((run_tool('verify_log.py', 'log', "$dir/nothing"))[0], 1, 'which is not well');
like((run_tool('verify_log.py', 'log', "$dir/export", $inclusion))[1], qr/^malformed: \S+: not a checkpoint/, 'is malformed, not tampered with');
is((run_tool('signed_note.py', 'verify', $checkpoint))[0], 2, 'no keys');

# ---- signed by openssl, as docs/proofs.md says ----

my $signs = 0;
if (IPC::Run::run([ 'sh', '-c', 'command -v openssl' ], '>', \$out, '2>&1'))
{
	$signs = IPC::Run::run([ 'sh', '-ec', <<"SH" ], '>', \$out, '2>&1');
cd $dir
openssl genpkey -algorithm ed25519 -out key.pem
openssl pkey -in key.pem -pubout -out public.pem
openssl pkey -in key.pem -pubout -outform DER -out public.der
openssl pkeyutl -sign -rawin -inkey key.pem -in checkpoint -out signature
openssl genpkey -algorithm ed25519 -out other.pem
openssl pkey -in other.pem -pubout -out other_public.pem
openssl pkeyutl -sign -rawin -inkey other.pem -in checkpoint -out other_signature
SH
	note $out;
}
SKIP:
{
	skip 'no openssl that signs with Ed25519', 1 unless $signs;

	my ($code, $key) = run_tool('signed_note.py', 'key', 'shop.example/log', "$dir/public.pem");
	is($code, 0, 'a key');
	chomp $key;
	is((run_tool('signed_note.py', 'key', 'shop.example/log', "$dir/public.der"))[1], "$key\n", 'the same in DER');
	my (undef, $other) = run_tool('signed_note.py', 'key', 'witness.example', "$dir/other_public.pem");
	chomp $other;
	($code, my $note) = run_tool('signed_note.py', 'note', $checkpoint, $key, "$dir/signature");
	is($code, 0, 'a note');
	like($note, qr{\A\Q@{[ slurp_file($checkpoint) ]}\E\n\xe2\x80\x94 shop\.example/log [\w+/]+=*\n\z}, 'the checkpoint and a signature');
	my $signed = write_file('signed', $note);
	is((run_tool('signed_note.py', 'note', $checkpoint, $key, "$dir/other_signature"))[0], 1, 'not with the signature of another key');
	is((run_tool('signed_note.py', 'note', $old, $key, "$dir/signature"))[0], 1, 'nor with one of something else');
	is((run_tool('signed_note.py', 'verify', $signed, $key))[0], 0, 'it is signed');
	is((run_tool('signed_note.py', 'verify', $signed, $other))[0], 1, 'by nobody else');

	is((run_tool('verify_log.py', '--key', $key, 'log', "$dir/export", $signed))[0], 0, 'the log continues a signed checkpoint');
	is((run_tool('verify_log.py', '--key', $other, '--key', $key, 'log', "$dir/export", $signed))[0], 0, 'of one of two keys');
	like((run_tool('verify_log.py', '--key', $other, 'log', "$dir/export", $signed))[1], qr/none of the known keys has signed it/, 'none of which must be missing');
	is((run_tool('verify_log.py', '--key', $key, 'log', "$dir/export", $checkpoint))[0], 1, 'an unsigned one is refused');
	is((run_tool('verify_log.py', 'log', "$dir/export", $signed))[0], 0, 'without a key nobody asks');
	is((run_tool('verify_log.py', '--key', $key, 'inclusion', $signed, $inclusion))[0], 0, 'a proof against a signed checkpoint');
	(undef, my $witnessed) = run_tool('signed_note.py', 'note', $checkpoint, $other, "$dir/other_signature");
	my $both = write_file('both', $note . (split /\n\n/, $witnessed)[1]);
	is((run_tool('verify_log.py', '--key', $key, 'log', "$dir/export", $both))[0], 0, 'a witness has signed, too');
	is((run_tool('signed_note.py', 'verify', $both, $other))[0], 0, 'which is verified when it is known');
	write_file('forged', $note =~ s/^(\d+)$/$1 - 1/emr);
	like((run_tool('verify_log.py', '--key', $key, 'log', "$dir/export", "$dir/forged"))[1], qr/is not one of this checkpoint/, 'a checkpoint that was changed');

	# The database takes it with its signatures.
	is(sql("SELECT * FROM eventsource.verify_log(\$c\$$both\$c\$) WHERE status <> 'redacted'"), '', 'verify_log() takes the note as it is')
	  if ($both = slurp_file($both));
}

$node->stop;
done_testing();
