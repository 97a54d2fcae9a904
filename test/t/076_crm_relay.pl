# 076_crm_relay.pl: messages of the CRM go out by the relay: what arrives, what does not
# and why, what is said of it, and that what is killed is recorded once.

use strict;
use warnings;

use EventLog;
use JSON::PP ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Relay;
use Test::More;

my $missing = build_relay();
plan skip_all => $missing if $missing;
plan skip_all => 'no aiosmtpd here' if !python_with('aiosmtpd');

my $dir = PostgreSQL::Test::Utils::tempdir;
my $node = new_server('crm_relay', 'client_min_messages = warning');
my $sink = start_mail_sink("$dir/mails");
my @crm = ('--queue=crm_email', '--render=crm.render_message', '--record=crm.record_delivery');
my @smtp = ("--smtp=smtp://127.0.0.1:$sink->{port}", '--smtp-plain', '--from=shop@example.com', '--timeout=2');
my @mail = (@crm, @smtp);
my $receiver = start_receiver("$dir/texts");
my @sms = ('--queue=crm_sms', "--url=http://127.0.0.1:$receiver->{port}/ok", '--unsigned', @crm[ 1, 2 ]);

sub ask { return $node->safe_psql('log', shift) }

# What became of a message: its state, the reason; the job's state; its events.
sub story_of
{
	my ($message) = @_;
	return ask(<<"SQL");
SELECT concat_ws(' ', m.status, m.skip_reason, m.error_type) || ': ' || (SELECT string_agg(j.state, ' ' ORDER BY j.job_id) FROM eventsource.jobs j WHERE j.stream = 'message-$message')
	|| ': ' || (SELECT string_agg(e.type, ' ' ORDER BY e.version) FROM eventsource.events e WHERE e.stream = 'message-$message')
  FROM crm.messages m WHERE m.message_id = '$message'
SQL
}

sub mails_to
{
	my ($who) = @_;
	return grep { "@{ $_->{to} }" eq $who } ledger_of("$dir/mails");
}

sub send_message
{
	my ($message, $customer, $class) = @_;
	$class //= 'transactional';
	return ask("SELECT is_queued FROM crm.send_message('$customer', 'email', message_class => '$class', message_id => '$message', content => '{\"subject\": \"About $message\", \"text\": \"Hello.\"}')");
}

ask(<<'SQL');
CREATE EXTENSION eventsource_crm;
SELECT crm.install();
CREATE ROLE mailer LOGIN;
SELECT crm.grant_writer('mailer');
SELECT eventsource.create_queue('crm_email', workers => 'mailer', max_attempts => 2, backoff => '0.05 seconds', strategy => 'fixed', jitter => 0);
SELECT eventsource.create_queue('crm_sms', workers => 'mailer', backoff => '1 hour');
SELECT crm.register_customer(c || '@example.com', '1', phone => '1', customer_id => c, marketing_consent => true) FROM unnest('{ada,bob,cy,later,unknown,linger,dee,elsewhere,outside}'::text[]) c;
SELECT crm.create_campaign('welcome', '{"event": "EmailVerified"}', '[{"type": "send-email", "config": {"title": "Welcome", "body": "Here we are."}}]', message_class => 'transactional');
SQL
local $ENV{PGUSER_FOR_RELAY} = 'mailer';

# ---- who may not see addresses ----

ask("SELECT crm.send_message('ada', 'sms', message_class => 'transactional', message_id => 'hidden', content => '{\"text\": \"Hello.\"}')");
my ($code, $err) = run_relay($node, @sms, '--drain');
like($err, qr/^eventsource-relay: job \d+, attempt 1: to make the message failed with SQLSTATE 42501$/m, 'who may not see numbers sends nothing');
is(scalar(ledger_of("$dir/texts")), 0, 'indeed');
is(story_of('hidden'), 'queued SERVICE_UNAVAILABLE: scheduled: MessageQueued MessageFailed', 'it waits');
ask("SELECT eventsource.grant_personal_data('mailer')");

# ---- what arrives ----

send_message('m1', 'ada');
($code, $err) = run_relay($node, @mail, '--drain');
is("$code $err", '0 ', 'a message is sent');
is(story_of('m1'), 'sent: done: MessageQueued MessageSent', 'and the message says so');
my ($mail) = grep { my %headers = map { @$_ } @{ $_->{headers} }; $headers{subject} eq 'About m1' } mails_to('ada@example.com');
is($mail->{text} =~ s/\s+\z//r, 'Hello.', 'it is what it should be');
is('<' . ask("SELECT provider_message_id FROM crm.messages WHERE message_id = 'm1'") . '@example.com>', $mail->{id}, 'its id is that of the mail');
is(ask("SELECT count(*) FROM eventsource.events WHERE category = 'delivery'"), 0, 'there is no other stream of it');

ask("SELECT crm.trigger_campaign('welcome', 'bob')");
ok(wait_until(sub { ask('SELECT eventsource.run_due()'); ask("SELECT count(*) FROM crm.messages WHERE campaign_id = 'welcome'") eq '1' }), 'a campaign has a message sent');
is((run_relay($node, @mail, '--drain'))[0], 0, 'which the relay takes');
($mail) = mails_to('bob@example.com');
is(join(' ', map { $_->[1] } grep { $_->[0] eq 'subject' } @{ $mail->{headers} }) . ': ' . $mail->{text} =~ s/\s+\z//r, 'Welcome: Here we are.', 'and it arrives');
is(ask("SELECT status FROM crm.messages WHERE campaign_id = 'welcome'"), 'sent', 'and is said to');

# ---- what may not be sent any more ----

is(send_message('m2', 'cy', 'marketing'), 't', 'who consents is sent something');
ask("SELECT eventsource.append('customer-cy', 'ConsentRevoked', '{\"purpose\": \"marketing\", \"channel\": \"email\"}')");
is(story_of('m2'), 'queued: available: MessageQueued', 'what the commands would have skipped waits here');
($code, $err) = run_relay($node, @mail, '--drain', '--verbose');
like($err, qr/^eventsource-relay: job \d+, attempt 1: skipped$/m, 'but it is asked again');
is(story_of('m2'), 'skipped no-consent: cancelled: MessageQueued MessageSkipped', 'and skipped, with the reason');
is(ask("SELECT decision->>'refused' FROM crm.messages WHERE message_id = 'm2'"), 'no-consent > campaigns-paused', 'and the decision');
is(scalar(mails_to('cy@example.com')), 0, 'nothing arrives');

# ---- what fails ----

send_message('m3', 'unknown');
($code, $err) = run_relay($node, @mail, '--drain');
like($err, qr/^eventsource-relay: job \d+, attempt 1: INVALID_RECIPIENT, status 550/m, 'a recipient whom nobody knows');
is(story_of('m3'), 'failed INVALID_RECIPIENT: discarded: MessageQueued MessageFailed', 'is a message that failed');
is(ask("SELECT error_type FROM crm.dead_letters WHERE message_id = 'm3'"), 'INVALID_RECIPIENT', 'and a dead letter');
is(ask("SELECT is_email_deliverable FROM crm.customers WHERE customer_id = 'unknown'"), 'f', 'and an address that takes no mail');
send_message("m3-$_", $_) foreach 'elsewhere', 'outside';
ask("SELECT crm.register_customer('j\x{c3}\x{bc}rgen\@example.com', '1', customer_id => 'umlaut')");
send_message('m3-umlaut', 'umlaut');
run_relay($node, @mail, '--drain');
is(story_of("m3-$_"), 'failed REJECTED: discarded: MessageQueued MessageFailed', "$_: a server that refuses us, or an address that we cannot write, is a message that failed")
	foreach 'elsewhere', 'outside', 'umlaut';
is(ask("SELECT bool_and(is_email_deliverable) FROM crm.customers WHERE customer_id IN ('elsewhere', 'outside', 'umlaut')"), 't', 'and says nothing of the address');
is(ask("SELECT crm.redrive_message('m3-outside')"), 'queued', 'so it can be sent when that is mended');
run_relay($node, @mail, '--drain');
send_message('m4', 'later');
ok(wait_until(sub { run_relay($node, @mail, '--drain'); story_of('m4') =~ /^failed/ }), 'a server that is busy');
is(story_of('m4'), 'failed SERVICE_UNAVAILABLE: discarded: MessageQueued MessageFailed MessageFailed', 'is asked again');
ask("SELECT crm.send_message('ada', 'email', 'some-template', 'transactional', message_id => 'm5')");
run_relay($node, @mail, '--drain');
is(story_of('m5'), 'failed BAD_REQUEST: discarded: MessageQueued MessageFailed', 'a message without text is a dead letter');

# ---- texts of one's own, and what they decline ----

ask(<<'SQL');
CREATE SCHEMA shop;
CREATE TABLE shop.templates (template_id text PRIMARY KEY, subject text, body text);
INSERT INTO shop.templates VALUES ('hello', 'Hello, %s', 'Dear %s.');
CREATE FUNCTION shop.letter(payload jsonb, event_position bigint) RETURNS jsonb LANGUAGE sql VOLATILE AS $$
	SELECT CASE WHEN m ? 'skip' THEN m
				WHEN m->>'template_id' = 'wordy' THEN jsonb_build_object('skip', repeat('w', 150))
				WHEN m->>'template_id' = 'mute' THEN '{"skip": ""}'
				WHEN t.template_id IS NULL THEN '{"skip": "no-template"}'
				ELSE m || jsonb_build_object('subject', format(t.subject, m->>'customer_id'), 'text', format(t.body, m->>'customer_id')) END
	  FROM crm.render_message(payload, event_position) m LEFT JOIN shop.templates t ON t.template_id = m->>'template_id'
$$;
GRANT USAGE ON SCHEMA shop TO mailer;
GRANT SELECT ON shop.templates TO mailer;
SELECT crm.send_message('dee', 'email', 'hello', 'transactional', message_id => 'm6'), crm.send_message('dee', 'email', 'bye', 'transactional', message_id => 'm7');
SELECT crm.send_message('dee', 'email', t, 'transactional', message_id => t) FROM unnest('{wordy,mute}'::text[]) t;
SQL
run_relay($node, '--queue=crm_email', '--render=shop.letter', '--record=crm.record_delivery', @smtp, '--drain');
is(join(', ', map { $_->{text} =~ s/\s+\z//r } mails_to('dee@example.com')), 'Dear dee.', 'a function of ones own makes the text');
is(story_of('m6'), 'sent: done: MessageQueued MessageSent', 'what it made is sent');
is(story_of('m7'), 'skipped no-template: cancelled: MessageQueued MessageSkipped', 'what it declines is skipped, for its reason');
is(story_of('wordy'), 'skipped ' . 'w' x 100 . ': cancelled: MessageQueued MessageSkipped', 'of which as much is kept as there is room for');
is(story_of('mute'), 'skipped not-rendered: cancelled: MessageQueued MessageSkipped', 'or for none');

# ---- quiet hours ----

ask(<<'SQL');
SELECT crm.grant_consent('ada', 'marketing', 'sms'), crm.update_preferences('ada', '{"smsForPromotions": true}');
SELECT crm.send_message('ada', 'sms', message_class => 'urgent-marketing', message_id => 's1', content => '{"text": "Now or never."}');
SELECT crm.set_setting('quiet_hours', to_char(t - interval '6 hours', 'HH24:MI-') || to_char(t + interval '6 hours', 'HH24:MI')) FROM (SELECT now() AT TIME ZONE crm.setting('default_timezone')) z (t);
SQL
is((run_relay($node, @sms, '--drain'))[0], 0, 'a text message');
is(story_of('s1'), 'queued: scheduled: MessageQueued', 'waits while it is quiet');
ok(ask("SELECT run_at > now() + '5 hours' FROM eventsource.jobs WHERE stream = 'message-s1'") eq 't', 'until it is not');
ask("SELECT crm.set_setting('quiet_hours', NULL); SELECT crm.send_message('ada', 'sms', message_class => 'urgent-marketing', message_id => 's2', content => '{\"text\": \"Now!\"}')");
is((run_relay($node, @sms, '--drain'))[0], 0, 'another');
is(join(', ', map { my $body = JSON::PP::decode_json($_->{body}); "$body->{to} $body->{text} $body->{message_id}" } ledger_of("$dir/texts")), '1 Now! s2', 'is posted whole');

# ---- told again, too late, by others ----

send_message('m8', 'ada');
ask("SET ROLE mailer; SELECT job_id FROM eventsource.claim('crm_email', worker => 'me')");
my $job = ask("SELECT job_id FROM eventsource.jobs WHERE stream = 'message-m8'");
my $sent = "SET ROLE mailer; SELECT crm.record_delivery($job, 'sent', details => '{\"id\": \"x\"}', worker => 'me', attempt => 1)";
like(error_of($node, 'log', $sent =~ s/'me'/'you'/r), qr/55000: job/, 'another worker is refused');
is(ask($sent), 'done', 'what was sent is said once');
is(ask($sent), 'recorded', 'and may be said again');
is(story_of('m8'), 'sent: done: MessageQueued MessageSent', 'which changes nothing');
like(error_of($node, 'log', "SELECT crm.record_delivery($job, 'lost', worker => 'me', attempt => 1)"), qr/22023/, 'there are three outcomes');
like(error_of($node, 'log', "SELECT crm.render_message('{\"message_id\": \"m8\"}', 1)"), qr/55000/, 'nothing is made of what is lent to nobody');
like(error_of($node, 'log', "SELECT crm.render_message('{\"message_id\": \"nothing\"}', 1)"), qr/42704/, 'nor of nothing');

# ---- said without the job while the relay has it ----

ask(<<'SQL');
CREATE FUNCTION shop.settled(payload jsonb, event_position bigint) RETURNS jsonb LANGUAGE plpgsql VOLATILE AS $$
BEGIN
	PERFORM crm.complete_message(payload->>'message_id');
	RETURN CASE WHEN payload->>'message_id' = 'settled-sent' THEN '{"to": "dee@example.com", "subject": "s", "text": "settled"}' ELSE '{"skip": "no-template"}' END::jsonb;
END
$$;
SQL
send_message("settled-$_", 'dee') foreach 'sent', 'declined';
my $begin = time;
($code, $err) = run_relay($node, '--queue=crm_email', '--render=shop.settled', '--record=crm.record_delivery', @smtp, '--drain', '--lease=1');
ok(time - $begin < 60, 'a message that was settled without its job keeps the relay no longer than it takes');
like($err, qr/not ours any more: .*message "settled-declined" is sent/, 'which is told, where it knows otherwise');
is(story_of('settled-sent'), 'sent: done: MessageQueued MessageSent', 'where both say the same the job ends');
ok(wait_until(sub { run_relay($node, @mail, '--drain', '--lease=1'); story_of('settled-declined') =~ /: done:/ }), 'else when it is lent again');

# ---- late ----

send_message($_, 'ada') foreach 'late', 'lost';
ask("SET ROLE mailer; SELECT job_id FROM eventsource.claim('crm_email', 2, '0.1 seconds', 'me')");
ok(wait_until(sub { ask("SELECT count(*) FROM eventsource.jobs WHERE stream IN ('message-late', 'message-lost') AND state = 'available'") eq '2' }), 'a lease ends');
sub late { my ($message, $how) = @_; return "SET ROLE mailer; SELECT crm.record_delivery(job_id, $how, worker => 'me', attempt => 1) FROM eventsource.jobs WHERE stream = 'message-$message'" }
is(ask(late('late', "'sent'")), 'done', 'who comes late, but before the next, says what became of a message');
is(story_of('late'), 'sent: done: MessageQueued MessageSent', 'and it is recorded');
is(ask(late('lost', "'skipped', details => '{\"reason\": \"no-template\"}'")), 'cancelled', 'as it is that nothing did');
is(story_of('lost'), 'skipped no-template: cancelled: MessageQueued MessageSkipped', 'indeed');

# ---- killed after the mail server has it ----

send_message('m9', 'linger');
my $relay = start_relay($node, @mail, '--lease=1', '--timeout=30');
ok(wait_until(sub { return mails_to('linger@example.com') > 0 }), 'a mail server has a mail, and the relay does not know yet');
kill_relay($relay);
is(ask("SELECT status FROM crm.messages WHERE message_id = 'm9'"), 'queued', 'killed then, nothing is recorded');
ok(wait_until(sub { run_relay($node, @mail, '--drain', '--lease=1'); ask("SELECT status FROM crm.messages WHERE message_id = 'm9'") eq 'sent' }), 'another sends it');
is(story_of('m9'), 'sent: done: MessageQueued MessageSent', 'and says so once');
my %ids = map { $_->{id} => 1 } mails_to('linger@example.com');
is(scalar(keys %ids), 1, 'under the id that it had');

# ---- a function that is not there ----

($code, $err) = run_relay($node, '--queue=crm_email', '--render=crm.render_message', '--record=crm.nothing', @smtp, '--drain');
is($code, 3, 'a function to record with that is not there ends the relay');
like($err, qr/crm\.nothing/, 'which says which');
ask('REVOKE EXECUTE ON FUNCTION crm.record_delivery FROM mailer');
($code, $err) = run_relay($node, @mail, '--drain');
is($code, 3, 'and so does one that it may not call');

is(problems_of($node, 'log'), '', 'and the log is sound');
$node->stop;
done_testing();
