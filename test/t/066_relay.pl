# 066_relay.pl: the relay delivers to a real HTTP receiver and a real mail server: what is
# sent, how it is signed, which answer is which error, what payloads may not do, and that
# nothing that is stuck holds up the rest.

use strict;
use warnings;

use Digest::SHA qw(hmac_sha256_base64);
use EventLog;
use JSON::PP ();
use MIME::Base64 qw(encode_base64);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Relay;
use Test::More;
use Time::HiRes qw(time);

my $missing = build_relay();
plan skip_all => $missing if $missing;

my $dir = PostgreSQL::Test::Utils::tempdir;
my $node = new_server('relay');
my $json = JSON::PP->new->utf8->canonical;
my $key = join '', map { chr(33 + $_) } 1 .. 32;
my $secret = 'whsec_' . encode_base64($key, '');
append_to_file("$dir/secret", "$secret\n");

sub ask { return $node->safe_psql('log', shift) }

# Queues whose failures come again at once, and a role that may work them and tell of it, no more.
ask(<<'SQL');
CREATE ROLE relay LOGIN;
SELECT eventsource.grant_writer('relay', '{delivery}');
SELECT eventsource.create_queue(q, max_attempts => 3, backoff => '0.05 seconds', strategy => 'fixed', jitter => 0, workers => 'relay')
  FROM unnest('{hooks,mails,public,fixed,tls,heavy}'::text[]) q;
SQL
my $log_id = ask('SELECT eventsource.log_id()');

my $receiver = start_receiver("$dir/hooks");
my $base = "http://127.0.0.1:$receiver->{port}";
my @as_relay = ('--secret-file', "$dir/secret");
my @hooks = (@as_relay, '--queue=hooks', "--allow-url=$base", '--allow-header=X-Tenant');
$ENV{PGUSER_FOR_RELAY} = 'relay';

sub enqueue
{
	my ($queue, $payload, @more) = @_;
	my $text = ref $payload ? $json->encode($payload) : $payload;
	return ask('SELECT eventsource.enqueue(' . join(', ', "'$queue'", '$payload$' . $text . '$payload$', @more) . ')');
}

sub hook { return enqueue('hooks', { url => $base . shift, body => {} }, @_) }

# Types of the events about a job, in order, and its state.
sub story_of
{
	my ($job) = @_;
	return ask(<<"SQL");
SELECT coalesce((SELECT string_agg(concat_ws(' ', e.type, e.data->>'error_code'), ', ' ORDER BY e.version)
		FROM eventsource.events e WHERE e.stream = 'delivery-$job'), 'nothing') || ': ' || j.state
  FROM eventsource.jobs j WHERE j.job_id = $job
SQL
}

sub requests_of
{
	my ($job, $ledger) = @_;
	return grep { my %h = map { @$_ } @{ $_->{headers} }; ($h{'webhook-id'} // '') eq "$log_id-$job" }
	  ledger_of($ledger // "$dir/hooks");
}

# ---- options ----

for (
	[ 'no queue' => 2, 'queue: is missing', '--unsigned' ],
	[ 'no secret' => 2, 'secret-file: is needed', '--queue=q' ],
	[ 'a number that is none' => 2, 'concurrency: a number from 1', @as_relay, '--queue=q', '--concurrency=many' ],
	[ 'a reserved header' => 2, 'is no header', @as_relay, '--queue=q', '--allow-header=Authorization' ],
	[ 'a header with an underscore' => 2, 'is no header', @as_relay, '--queue=q', '--allow-header=X_Tenant' ],
	[ 'a prefix that is none' => 2, 'is no URL', @as_relay, '--queue=q', '--allow-url=example.com' ],
	[ 'a password in a prefix' => 2, 'is no URL', @as_relay, '--queue=q', '--allow-url=https://me:too@example.com' ],
	[ 'mail without sender' => 2, 'from: is missing', '--queue=q', '--smtp=smtp://localhost' ],
	[ 'a sender with a line break' => 2, 'bare address', '--queue=q', '--smtp=smtp://localhost', "--from=a\@b\nRcpt: c" ],
	[ 'help' => 0, '', '--help' ])
{
	my ($name, $code, $message, @options) = @$_;
	my ($exit, $err) = run_relay($node, @options);
	is($exit, $code, "$name: exit code");
	like($err, qr/\Q$message\E/, "$name: message");
}
append_to_file("$dir/weak", "whsec_c2hvcnQ=\n");
is((run_relay($node, '--queue=hooks', '--secret-file', "$dir/weak"))[0], 2, 'a weak secret is refused');
{
	local $ENV{EVENTSOURCE_RELAY_QUEUE} = 'hooks';
	local $ENV{EVENTSOURCE_RELAY_SECRET} = $secret;
	local $ENV{EVENTSOURCE_RELAY_DRAIN} = '1';
	is((run_relay($node))[0], 0, 'options may be in the environment');
}

# ---- what is sent ----

my @jobs = map { enqueue('hooks', { url => "$base/ok", body => { text => 'x' x $_, greeting => "gr\x{fc}\x{df} dich" }, headers => { 'X-Tenant' => 'a b' } }) }
  0 .. 70;
my ($code, $err) = run_relay($node, @hooks, '--drain');
is($code, 0, 'a queue is drained');
unlike($err, qr/^eventsource-relay: job/m, 'of what goes well nothing is said');
is(ask("SELECT count(*) FROM eventsource.events WHERE type = 'MessageSent' AND category = 'delivery'"), 71, 'each job is delivered');
my @wrong;
for my $job (@jobs)
{
	my @requests = requests_of($job);
	my %h = map { @$_ } @{ $requests[0]{headers} };
	utf8::encode(my $body = $requests[0]{body});
	my $signed = "$h{'webhook-id'}.$h{'webhook-timestamp'}.$body";
	push @wrong, $job
	  if @requests != 1
	  || $h{'webhook-signature'} ne 'v1,' . hmac_sha256_base64($signed, $key) . '='
	  || $h{'idempotency-key'} ne "$log_id-$job"
	  || $h{'content-type'} ne 'application/json'
	  || $h{'x-tenant'} ne 'a b'
	  || abs($h{'webhook-timestamp'} - time) > 60
	  || JSON::PP::decode_json($body)->{greeting} ne "gr\x{fc}\x{df} dich";
}
is("@wrong", '', 'once, signed as Standard Webhooks has it, whatever the length');
is(story_of($jobs[0]), 'MessageSent: done', 'the job is done');
is( ask("SELECT data - 'details' || jsonb_build_object('id', data #> '{details,id}', 'status', data #> '{details,status}') FROM eventsource.events WHERE stream = 'delivery-$jobs[0]'"),
	qq({"id": "$log_id-$jobs[0]", "queue": "hooks", "job_id": $jobs[0], "status": 204, "attempt": 1}),
	'and the event says what was done');
is(ask("SELECT DISTINCT recorded_by FROM eventsource.events WHERE category = 'delivery'"), 'relay', 'who did it');

# ---- which answer is which error ----

my %answers = (
	'/status/200' => 'MessageSent: done',
	'/status/400' => 'MessageFailed BAD_REQUEST: discarded',
	'/status/401' => 'MessageFailed REJECTED: discarded',
	'/status/410' => 'MessageFailed REJECTED: discarded',
	'/status/422' => 'MessageFailed BAD_REQUEST: discarded',
	'/redirect' => 'MessageFailed REJECTED: discarded',
	'/status/500' => join(', ', ('MessageFailed SERVICE_UNAVAILABLE') x 3) . ': discarded',
	'/status/408' => join(', ', ('MessageFailed TIMEOUT') x 3) . ': discarded',
	'/first/503' => 'MessageFailed SERVICE_UNAVAILABLE, MessageSent: done',
	'/first/429' => 'MessageFailed RATE_LIMIT, MessageSent: done',
	'/hang' => join(', ', ('MessageFailed TIMEOUT') x 3) . ': discarded',
	'/drip' => 'MessageSent: done',
	'/headers/200' => 'MessageSent: done',
	'/headers/503' => join(', ', ('MessageFailed SERVICE_UNAVAILABLE') x 3) . ': discarded',
	'/break' => 'MessageSent: done');
my %job_of = map { $_ => hook($_) } sort keys %answers;
my $nobody = PostgreSQL::Test::Cluster::get_free_port();
my $refused = enqueue('hooks', { url => "http://127.0.0.1:$nobody/", body => {} });
my $relay = start_relay($node, @hooks, "--allow-url=http://127.0.0.1:$nobody", '--timeout=0.7');
ok(wait_until(sub { ask("SELECT count(*) FROM eventsource.jobs WHERE queue = 'hooks' AND state NOT IN ('done', 'discarded')") eq '0' }),
	'all are finished');
is(stop_relay($relay), 0, 'and the relay stops');
is(story_of($job_of{$_}), $answers{$_}, "what $_ is") for sort keys %answers;
like(ask("SELECT error FROM eventsource.jobs WHERE job_id = $job_of{'/headers/503'}"), qr/^status 503, (?!.*timed out)/, 'headers without end are not taken');
for ([ '/status/400', 1, 'BAD_REQUEST, status 400' ], [ '/status/500', 3, 'SERVICE_UNAVAILABLE, status 500' ], [ '/first/429', 1, 'RATE_LIMIT, status 429' ])
{
	my ($path, $count, $line) = @$_;
	is(scalar(() = $relay->{err} =~ /^eventsource-relay: job $job_of{$path}, attempt \d+: $line$/mg), $count, "a line for each failure of $path");
}
is(scalar(() = $relay->{err} =~ m{^eventsource-relay: job $job_of{'/hang'}, attempt \d+: TIMEOUT, [\w ]+$}mg), 3, 'and for each that had no answer');
unlike($relay->{err}, qr{127\.0\.0\.1|job $job_of{'/status/200'},}, 'without addresses, and none for what was delivered');
is(story_of($refused), join(', ', ('MessageFailed SERVICE_UNAVAILABLE') x 3) . ': discarded', 'what nobody listening is');
is(scalar(requests_of($job_of{'/first/503'})), 2, 'the same id in each attempt');
is(scalar(grep { $_->{path} ne '/redirect' } requests_of($job_of{'/redirect'})), 0, 'no redirect is followed');

# ---- Retry-After ----

my ($long, $bounded) = (hook('/retry/429?after=1000'), hook('/retry/503?after=100000'));
is((run_relay($node, @hooks, '--drain', '--max-retry-after=2000'))[0], 0, 'drained, though jobs wait');
is(ask("SELECT count(*) FROM eventsource.jobs WHERE job_id = $long AND state = 'scheduled' AND run_at - now() BETWEEN '900 seconds' AND '1000 seconds'"),
	1, 'Retry-After is honoured');
is(ask("SELECT count(*) FROM eventsource.jobs WHERE job_id = $bounded AND state = 'scheduled' AND run_at - now() BETWEEN '1900 seconds' AND '2000 seconds'"),
	1, 'within limits');
ask("SELECT eventsource.cancel_job($_)") for $long, $bounded;

# ---- what a payload may not do ----

my %ok = (url => "$base/ok", body => {});
my @attacks = (
	[ 'another host' => { %ok, url => 'http://localhost:' . $receiver->{port} . '/ok' } ],
	[ 'another port' => { %ok, url => "http://127.0.0.1:$nobody/ok" } ],
	[ 'a prefix that is a user name' => { %ok, url => "$base\@localhost/ok" } ],
	[ 'a prefix that goes on' => { %ok, url => "${base}0/ok" } ],
	[ 'a file' => { %ok, url => 'file:///etc/passwd' } ],
	[ 'another protocol' => { %ok, url => "gopher://127.0.0.1:$receiver->{port}/ok" } ],
	[ 'a line break in the URL' => { %ok, url => "$base/ok\r\nX: y" } ],
	[ 'a way up' => { %ok, url => "$base/a/../ok" } ],
	[ 'a coded way up' => { %ok, url => "$base/a/%2e%2e/ok" } ],
	[ 'a header nobody allowed' => { %ok, headers => { 'X-Other' => '1' } } ],
	[ 'Host' => { %ok, headers => { Host => 'example.com' } } ],
	[ 'the signature' => { %ok, headers => { 'webhook-signature' => 'v1,x' } } ],
	[ 'the id' => { %ok, headers => { 'Idempotency-Key' => '1' } } ],
	[ 'a line break in a header' => { %ok, headers => { 'X-Tenant' => "a\r\nwebhook-id: b" } } ],
	[ 'a line break in its name' => { %ok, headers => { "X-Tenant\r\nwebhook-id" => 'b' } } ],
	[ 'too many headers' => { %ok, headers => { map { ("X-Tenant$_" => '1') } 1 .. 100 } } ],
	[ 'a body too long' => { %ok, body => { text => 'x' x 2000 } } ],
	[ 'no body' => { url => "$base/ok" } ],
	[ 'no url' => { body => {} } ],
	[ 'a url that is none' => { %ok, url => { a => 1 } } ],
	[ 'a payload that is an array' => [ 1, 2 ] ],
	[ 'a payload that is null' => 'null' ]);
my @attempts = map { enqueue('hooks', $_->[1]) } @attacks;
my $harmless = enqueue('hooks', { %ok, stream => 'delivery-1', category => 'order', metadata => { a => 1 }, worker => 'me', id => 'x', headers => 7 });
my $requests = ledger_of("$dir/hooks");
($code, $err) = run_relay($node, @hooks, '--drain', '--max-body=1000');
is($code, 0, 'attacks are dealt with');
is(scalar(() = $err =~ /^eventsource-relay: job \d+, attempt 1: BAD_REQUEST, [\w ,:]+$/mg), scalar(@attacks), 'a line for each');
unlike($err, qr/localhost|gopher|127/, 'and nothing of what they said');
is(story_of($attempts[$_]), 'MessageFailed BAD_REQUEST: discarded', "$attacks[$_][0] is refused") for 0 .. $#attacks;
is(ledger_of("$dir/hooks") - $requests, 1, 'none of these was sent');
is(story_of($harmless), 'MessageSent: done', 'what a payload says of streams does not count');
is(ask("SELECT count(*) FROM eventsource.events WHERE metadata ? 'a' OR category NOT IN ('delivery', '\$config', '\$job')"), 0, 'nor of metadata');

my @private = map { enqueue('public', { url => $_, body => {} }) }
  'https://127.0.0.1/', 'https://[::1]/', 'https://[::ffff:10.0.0.1]/', 'https://169.254.169.254/latest', 'https://0x7f000001/', "$base/ok";
is((run_relay($node, @as_relay, '--queue=public', '--drain'))[0], 0, 'without a list');
is(story_of($_), 'MessageFailed BAD_REQUEST: discarded', 'only https to public addresses is allowed') for @private;

my $fixed = enqueue('fixed', { url => 'http://example.com/', headers => { 'X-Tenant' => 1 }, b => 2 });
is((run_relay($node, @as_relay, '--queue=fixed', '--drain', "--url=$base/all?of=it"))[0], 0, 'one URL for all');
is(story_of($fixed), 'MessageSent: done', 'delivered there');
is((map { "$_->{path} " . $json->encode(JSON::PP::decode_json($_->{body})) } requests_of($fixed))[0],
	'/all?of=it {"b":2,"headers":{"X-Tenant":1},"url":"http://example.com/"}', 'with the payload as it is');

# ---- what a payload may not break ----

# Each is within what the server takes, and long in work; the queue is not theirs alone.
my @heavy = split /\n/, ask(<<"SQL");
SELECT eventsource.enqueue('heavy', jsonb_build_object('url', '$base/ok', 'body', '{}'::jsonb, 'headers', h.headers))
  FROM (SELECT jsonb_object_agg('h' || n, '') FROM generate_series(1, 50000) n) h (headers), generate_series(1, 60)
SQL
my $wide = enqueue('heavy', '{"url": "' . $base . '/ok", "body": [' . join(',', ('1e131071') x 100) . ']}');
my $light = enqueue('heavy', \%ok);
is((run_relay($node, @as_relay, '--queue=heavy', '--drain', "--allow-url=$base", '--concurrency=100', '--db-timeout=0.5', '--max-body=1000'))[0],
	0, 'payloads that are much work');
is(story_of($light), 'MessageSent: done', 'hold up no others');
is(join(' ', map { story_of($_) } @heavy), join(' ', ('MessageFailed BAD_REQUEST: discarded') x @heavy), 'and are given up');
is(ask("SELECT DISTINCT error FROM eventsource.jobs WHERE job_id = ANY('{@{[join ',', @heavy, $wide]}}')"), 'the payload is too long', 'with the reason');

ask(<<'SQL');
CREATE SCHEMA shop;
GRANT USAGE ON SCHEMA shop TO relay;
CREATE FUNCTION shop.deadly(payload jsonb, event_position bigint) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	IF payload ? 'deadly' THEN
		PERFORM pg_terminate_backend(pg_backend_pid());
	END IF;
	RAISE WARNING 'this is private: %', payload;
	RETURN payload;
END $$;
SQL
my $deadly = enqueue('heavy', { %ok, deadly => 1 });
my $beside = enqueue('heavy', \%ok);
my @rendered = (@as_relay, '--queue=heavy', "--allow-url=$base", '--render=shop.deadly');
$relay = start_relay($node, @rendered);
ok(wait_until(sub { story_of($deadly) =~ /discarded/ }), 'a payload that ends its backend each time is given up');
is(story_of($deadly), join(', ', ('MessageFailed SERVICE_UNAVAILABLE') x 3) . ': discarded', 'by its attempts');
is(story_of($beside), 'MessageSent: done', 'others are delivered');
is(stop_relay($relay), 0, 'and the relay lives');
unlike($relay->{err}, qr/private/, 'and says nothing of payloads');

ask('REVOKE USAGE ON SCHEMA shop FROM relay');
my $barred = enqueue('heavy', \%ok);
is((run_relay($node, @rendered, '--drain'))[0], 3, 'where the function is out of reach');
is(story_of($barred), 'nothing: available', 'no job is lost for that');
ask('GRANT USAGE ON SCHEMA shop TO relay; REVOKE EXECUTE ON FUNCTION shop.deadly FROM PUBLIC');
is((run_relay($node, @rendered, '--drain'))[0], 0, 'nor where it must not be called');
like(story_of($barred), qr/^MessageFailed SERVICE_UNAVAILABLE(?:, MessageFailed SERVICE_UNAVAILABLE)*: (?:scheduled|available|discarded)$/, 'at once');

# ---- TLS ----

SKIP:
{
	skip 'no openssl here', 6
	  if system("cd $dir && openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -days 2"
		  . " -subj /CN=localhost -addext subjectAltName=IP:127.0.0.1 >/dev/null 2>&1") != 0;
	my $server = start_receiver("$dir/tls", undef, "$dir/cert.pem", "$dir/key.pem");
	my @tls = (@as_relay, '--queue=tls', '--drain', "--allow-url=https://127.0.0.1:$server->{port}/");
	my $strange = enqueue('tls', { url => "https://127.0.0.1:$server->{port}/ok", body => {} });
	is((run_relay($node, @tls))[0], 0, 'an unknown certificate');
	like(story_of($strange), qr/^MessageFailed SERVICE_UNAVAILABLE/, 'is not trusted');
	is((run_relay($node, @tls, '--ca-file', "$dir/cert.pem"))[0], 0, 'one that was given');
	my $known = enqueue('tls', { url => "https://127.0.0.1:$server->{port}/ok", body => {} });
	wait_until(sub { run_relay($node, @tls, '--ca-file', "$dir/cert.pem"); story_of($known) =~ /done/ });
	is(story_of($known), 'MessageSent: done', 'is');
	my $other = enqueue('tls', { url => "https://localhost:$server->{port}/ok", body => {} });
	is((run_relay($node, @tls, "--allow-url=https://localhost:$server->{port}/", '--ca-file', "$dir/cert.pem"))[0], 0, 'but not of another name');
	like(story_of($other), qr/^MessageFailed SERVICE_UNAVAILABLE/, 'than it is for');
}

# ---- what is slow or stuck holds up nothing ----

my $slow = hook('/slow/3');
my $hanging = hook('/hang');
$relay = start_relay($node, @hooks, '--lease=1', '--timeout=20', '--concurrency=3', '--db-timeout=1');
ok(wait_until(sub { requests_of($hanging) > 0 }), 'one hangs, one is slow');
my $started = time;
my @quick = map { hook('/ok') } 1 .. 5;
ok(wait_until(sub { !grep { story_of($_) ne 'MessageSent: done' } @quick }), 'others go through');
cmp_ok(time - $started, '<', 10, 'meanwhile');
ok(wait_until(sub { story_of($slow) ne 'nothing: claimed' }), 'the slow one ends');
is(story_of($slow), 'MessageSent: done', 'well');
is(scalar(requests_of($slow)), 1, 'and was lent to nobody else, much longer than the lease as it took');
is(ask("SELECT attempt FROM eventsource.jobs WHERE job_id = $hanging"), 1, 'nor was the one that hangs');

# A stream that somebody has locked: the event cannot be appended as long.
my $locked = ask('SELECT nextval(\'eventsource.job_seq\')') + 1;
my ($in, $out) = ("BEGIN; SELECT version FROM eventsource.lock_stream('delivery-$locked');\n\\echo locked\n", '');
my $psql = IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr('log') ], '<', \$in, '>', \$out);
$psql->pump until $out =~ /locked/;
is(hook('/ok'), $locked, 'a job whose stream is locked');
ok(wait_until(sub { requests_of($locked) == 1 }), 'is sent');
@quick = map { hook('/ok') } 1 .. 5;
ok(wait_until(sub { !grep { story_of($_) ne 'MessageSent: done' } @quick }), 'others are recorded before it');
is(story_of($locked), 'nothing: claimed', 'which waits');
$in .= "ROLLBACK;\n\\q\n";
$psql->finish;
ok(wait_until(sub { story_of($locked) eq 'MessageSent: done' }), 'and is recorded, too');
is(scalar(requests_of($locked)), 1, 'sent once');

# ---- a server that goes away ----

my $across = hook('/slow/1');
ok(wait_until(sub { ask("SELECT state FROM eventsource.jobs WHERE job_id = $across") eq 'claimed' }), 'a delivery is under way');
$node->restart;
my $later = hook('/ok');
ok(wait_until(sub { story_of($across) eq 'MessageSent: done' && story_of($later) eq 'MessageSent: done' }),
	'recorded when the server is back, and later ones');
ask("SELECT eventsource.cancel_job($hanging)");
$across = hook('/slow/1');
ok(wait_until(sub { ask("SELECT state FROM eventsource.jobs WHERE job_id = $across") eq 'claimed' }), 'another one');
is(stop_relay($relay), 0, 'the relay is told to stop');
is(story_of($across), 'MessageSent: done', 'and finishes that first');
is(story_of($hanging), 'nothing: cancelled', 'what was cancelled under way is let go');

# ---- told to stop while something hangs ----

my $held = hook('/hang');
for ([ 'for as long as it may' => '--grace=0.5', 1 ], [ 'or until it is told again' => '--grace=60', 2 ])
{
	my ($name, $grace, $signals) = @$_;
	my $count = requests_of($held);
	$relay = start_relay($node, @hooks, '--timeout=300', '--lease=1', $grace);
	ok(wait_until(sub { requests_of($held) > $count }), 'something hangs');
	$relay->{run}->signal('TERM');
	ok(wait_until(sub { $relay->{run}->pump_nb; $relay->{err} =~ /stopping/ }), 'the relay goes on with it');
	$relay->{run}->signal('TERM') if $signals > 1;
	$relay->{run}->finish;
	is($relay->{run}->full_result(0) >> 8, 1, "$name, and says that something is not recorded");
}
is(story_of($held) =~ s/^nothing: (?:claimed|available)$/open/r, 'open', 'it is delivered again');
ask("SELECT eventsource.cancel_job($held)");

# ---- who may not ----

{
	local $ENV{PGUSER_FOR_RELAY} = 'stranger';
	ask('CREATE ROLE stranger LOGIN');
	is((run_relay($node, @hooks))[0], 3, 'a role that was given nothing');
	ask("SELECT eventsource.grant_writer('stranger', '{delivery}')");
	hook('/ok');
	is((run_relay($node, @hooks))[0], 3, 'a role that may not work the queue');
}
$node->safe_psql('postgres', 'CREATE DATABASE bare');
is((run_relay($node, @hooks, '--dbname=' . $node->connstr('bare')))[0], 3, 'a database without the extension');

is(problems_of($node, 'log'), '', 'the log is whole');
done_testing();
