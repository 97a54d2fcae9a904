# 069_relay_mail.pl: the relay sends mail by a real mail server: what arrives, which
# refusal is which error, and what payloads may not do.

use strict;
use warnings;

use EventLog;
use JSON::PP ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Relay;
use Test::More;
use Time::HiRes qw(time);
use utf8;

my $missing = build_relay();
plan skip_all => $missing if $missing;
plan skip_all => 'no aiosmtpd here' if !python_with('aiosmtpd');

my $dir = PostgreSQL::Test::Utils::tempdir;
my $node = new_server('relay_mail');
my $sink = start_mail_sink("$dir/mails");
my @mail = ('--queue=mails', "--smtp=smtp://127.0.0.1:$sink->{port}", '--from=log@example.com', '--from=spam@example.com', '--timeout=2');

sub ask { return $node->safe_psql('log', shift) }

sub enqueue
{
	my (%payload) = (to => 'someone@example.com', subject => 'Hello', text => 'Hi', @_);
	my $json = JSON::PP->new->canonical->ascii->encode(\%payload);
	return ask("SELECT eventsource.enqueue('mails', \$payload\$$json\$payload\$)");
}

sub story_of
{
	my ($job) = @_;
	return ask(<<"SQL");
SELECT coalesce((SELECT string_agg(concat_ws(' ', e.type, e.data->>'error_code'), ', ' ORDER BY e.version)
		FROM eventsource.events e WHERE e.stream = 'delivery-$job'), 'nothing') || ': ' || j.state
  FROM eventsource.jobs j WHERE j.job_id = $job
SQL
}

ask("SELECT eventsource.create_queue('mails', max_attempts => 2, backoff => '0.05 seconds', strategy => 'fixed', jitter => 0)");
my $log_id = ask('SELECT eventsource.log_id()');

# ---- what arrives ----

my %messages = (
	'plain' => [ 'Hello', "Hi,\nthis is it.\n" ],
	'empty' => [ '', '' ],
	'dots' => [ 'Dots', ".\n..\n.\nno end\n" ],
	'not ASCII' => [ 'Grüße aus 東京, in einer Zeile, die länger ist, als eine Zeile sein darf: 東京東京東京東京東京東京', "Ä\n東京\n" ],
	'long' => [ 'x' x 500, 'y' x 100000 ],
	'what looks encoded' => [ '=?UTF-8?Q?no?=', '=20' ],
	'line ends' => [ 'Line ends', "a\r\nb\rc\n" ]);
my %job_of = map { $_ => enqueue(subject => $messages{$_}[0], text => $messages{$_}[1]) } sort keys %messages;
is((run_relay($node, @mail, '--drain', '--smtp-plain'))[0], 0, 'mail is sent');
my %received = map { $_->{id} => $_ } ledger_of("$dir/mails");
for my $name (sort keys %messages)
{
	my $message = $received{"<$log_id-$job_of{$name}\@example.com>"};
	my %headers = map { @$_ } @{ $message->{headers} };
	is(story_of($job_of{$name}), 'MessageSent: done', "$name: sent, with an id made of the job's");
	is($headers{subject}, $messages{$name}[0], "$name: its subject");
	is($message->{text} =~ s/\r\n?/\n/gr, $messages{$name}[1] =~ s/\r\n?/\n/gr, "$name: its text");
	is("$message->{from} @{ $message->{to} } $headers{from} $headers{to}",
		'log@example.com someone@example.com log@example.com someone@example.com', "$name: from whom to whom")
	  if $name eq 'plain';
}
is(scalar(keys %received), scalar(keys %messages), 'each once');

# ---- which refusal is which error, and what is refused ----

my $before = ledger_of("$dir/mails");
my $last = 'discarded';
my @others = (
	[ 'an unknown recipient' => "MessageFailed INVALID_RECIPIENT: $last", to => 'unknown@example.com' ],
	[ 'one that is to be tried later' => "MessageFailed SERVICE_UNAVAILABLE, MessageFailed SERVICE_UNAVAILABLE: $last", to => 'later@example.com' ],
	[ 'a message nobody wants' => "MessageFailed REJECTED: $last", to => 'unwanted@example.com' ],
	[ 'a sender nobody wants' => "MessageFailed REJECTED: $last", from => 'spam@example.com' ],
	[ 'a server that does not answer' => "MessageFailed TIMEOUT, MessageFailed TIMEOUT: $last", to => 'hang@example.com' ],
	[ 'a sender that was not named' => "MessageFailed BAD_REQUEST: $last", from => 'boss@example.com' ],
	[ 'two recipients' => "MessageFailed INVALID_RECIPIENT: $last", to => 'a@example.com,b@example.com' ],
	[ 'a list of recipients' => "MessageFailed BAD_REQUEST: $last", to => ['a@example.com'] ],
	[ 'a command in the recipient' => "MessageFailed INVALID_RECIPIENT: $last", to => "a\@example.com>\r\nRCPT TO:<b\@example.com" ],
	[ 'no recipient' => "MessageFailed INVALID_RECIPIENT: $last", to => '' ],
	[ 'a header in the subject' => "MessageFailed BAD_REQUEST: $last", subject => "Hello\r\nBcc: b\@example.com" ],
	[ 'no subject' => "MessageFailed BAD_REQUEST: $last", subject => undef ]);
my @jobs = map { my ($name, $story, %payload) = @$_; enqueue(%payload) } @others;
my ($code, $err) = run_relay($node, @mail, '--smtp-plain', '--drain');
is($code, 0, 'others are dealt with');
like($err, qr/^eventsource-relay: job $jobs[0], attempt 1: INVALID_RECIPIENT, status 550(?:, [\w ]+)?$/m, 'a line tells of a failure');
like($err, qr/^eventsource-relay: job $jobs[5], attempt 1: BAD_REQUEST, the payload's sender is none/m, 'and of what was not sent');
my @told = $err =~ /^eventsource-relay: job (\d+), attempt 1: [A-Z_]+, .+$/mg;
is(join(' ', sort { $a <=> $b } @told), join(' ', @jobs), 'of each one');
unlike($err, qr/@|Hello|boss/, 'without a word of the message');
ok(wait_until(sub { run_relay($node, @mail, '--smtp-plain', '--drain'); ask("SELECT count(*) FROM eventsource.jobs WHERE state NOT IN ('done', 'discarded')") eq '0' }),
	'to the end');
is(story_of($jobs[$_]), $others[$_][1], "$others[$_][0]: its error") for 0 .. $#jobs;
is(ledger_of("$dir/mails") - $before, 0, 'none of them arrived');
is(ask("SELECT count(*) FROM eventsource.events WHERE category = 'delivery' AND data::text LIKE '%\@%'"), 0, 'no event tells an address');

# ---- from an event to a mail, as docs/relay.md tells it ----

{
	my $page = slurp_file(($ENV{TESTDIR} // '.') . '/docs/relay.md');
	my ($role) = $page =~ /^```sql\n(CREATE ROLE courier .*?)^```$/ms;
	my ($walk) = $page =~ /^## From an event to a mail\n(.*?)^## /ms;
	$node->psql('log', join('', $role, $walk =~ /^```sql\n(.*?)^```$/msg), on_error_die => 1);
	my $letter = ask("SELECT job_id FROM eventsource.jobs WHERE queue = 'letters'");
	local $ENV{PGUSER_FOR_RELAY} = 'courier';
	($code, $err) = run_relay($node, '--queue=letters', '--render=shop.letter', "--smtp=smtp://127.0.0.1:$sink->{port}",
		'--from=shop@example.com', '--smtp-plain', '--drain');
	is("$code $err", '0 ', 'what the page says is run');
	is(story_of($letter), 'MessageSent: done', 'the letter is sent');
	my ($message) = grep { $_->{id} eq "<$log_id-$letter\@example.com>" } ledger_of("$dir/mails");
	is("@{ $message->{to} }: $message->{text}" =~ s/\s+\z//r, 'ann@example.com: Thank you for the lamp.', 'to the address in the event');
	is(ask("SELECT count(*) FROM eventsource.jobs WHERE to_jsonb(jobs)::text LIKE '%ann@%'"), 0, 'which is not in the job');
	is(ask("SELECT string_agg(k, ' ' ORDER BY k) FROM eventsource.events e, jsonb_object_keys(e.data->'details') k WHERE e.stream = 'delivery-$letter'"),
		'duration_ms id status target', 'what is kept of a delivery');
	is(ask("SELECT result = (SELECT data->'details' FROM eventsource.events WHERE stream = 'delivery-$letter') FROM eventsource.jobs WHERE job_id = $letter"),
		't', 'is in the event and in the result');
	$before = ledger_of("$dir/mails");

	# What the function declines.
	ask(<<'SQL');
CREATE FUNCTION shop.declined(payload jsonb, event_position bigint) RETURNS jsonb LANGUAGE sql STABLE AS $$ SELECT payload || '{"skip": "not any more"}' $$;
SQL
	my $declined = ask("SELECT eventsource.enqueue('letters', '{\"to\": \"bob\@example.com\", \"subject\": \"No\", \"text\": \"No\"}')");
	($code, $err) = run_relay($node, '--queue=letters', '--render=shop.declined', "--smtp=smtp://127.0.0.1:$sink->{port}",
		'--from=shop@example.com', '--smtp-plain', '--drain');
	is("$code $err", '0 ', 'a function may decline');
	is(story_of($declined), 'MessageSkipped: done', 'then nothing is sent, and that is recorded');
	is(ask("SELECT data->'details'->>'reason' FROM eventsource.events WHERE stream = 'delivery-$declined'"), 'not any more', 'with the reason');
	is(ledger_of("$dir/mails") - $before, 0, 'indeed');
}
my $not_declined = enqueue(skip => 'a payload has no say');
run_relay($node, @mail, '--smtp-plain', '--drain');
is(story_of($not_declined), 'MessageSent: done', 'a payload that says so is sent all the same');
$before = ledger_of("$dir/mails");

# ---- a server that does not say good-bye ----

my $lingering = enqueue(to => 'linger@example.com');
my $started = time;
is((run_relay($node, @mail, '--smtp-plain', '--drain'))[0], 0, 'a server that does not answer at the end');
is(story_of($lingering), 'MessageSent: done', 'has the mail');
cmp_ok(time - $started, '<', 30, 'and is not waited for');
is(ledger_of("$dir/mails") - $before, 1, 'it came once');
$before++;

# ---- a server without TLS, or none at all ----

my $plain = enqueue();
($code, $err) = run_relay($node, @mail, '--drain');
is($code, 0, 'without --smtp-plain');
like(story_of($plain), qr/^MessageFailed SERVICE_UNAVAILABLE/, 'nothing is sent in the clear');
my $no_tls = 'the mail server does no STARTTLS, and --smtp-plain, which does without TLS, is not given';
like($err, qr/^eventsource-relay: job $plain, attempt 1: SERVICE_UNAVAILABLE, $no_tls$/m, 'the operator is told why');
is(ask("SELECT error FROM eventsource.jobs WHERE job_id = $plain"), $no_tls, 'and so is the job');
is(ask("SELECT count(*) FROM eventsource.events WHERE stream = 'delivery-$plain' AND data->'details' ? 'status'"), 0,
	'the answer before is not the reason');
is(ledger_of("$dir/mails") - $before, 0, 'indeed');
kill_receiver($sink);
my $down = enqueue();
is((run_relay($node, @mail, '--drain', '--smtp-plain'))[0], 0, 'no server');
like(story_of($down), qr/^MessageFailed SERVICE_UNAVAILABLE/, 'is no end of the job');

is(problems_of($node, 'log'), '', 'the log is whole');
done_testing();
