# 074_dashboard.pl: examples/dashboard, as a stranger builds it: by a role that reads
# the views alone. A browser draws the page, and what then stands in it, in tables and on
# the marks of the charts, is what plain SQL over the log says. Skipped where there is
# no Node, no browser, or no package from the registry.

use strict;
use warnings;

use EventLog;
use File::Basename qw(basename);
use IPC::Run qw(run timeout);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $source = ($ENV{TESTDIR} // '.') . '/examples/dashboard';
my ($browser) = grep { system("command -v $_ >/dev/null 2>&1") == 0 } qw(chromium-headless-shell chromium chromium-browser google-chrome);
my $node_version = `node --version 2>/dev/null` || '';

plan skip_all => 'no Node.js of version 18 or later here' if $node_version !~ /^v(\d+)/ || $1 < 18;
plan skip_all => 'no Chromium here' if !$browser;
plan skip_all => 'packages of examples/dashboard are not installed (npm ci there)' if !-e "$source/node_modules/vega" || !-e "$source/node_modules/vega-lite";

my $dir = PostgreSQL::Test::Utils::tempdir;
my $node = new_server('dashboard', 'jit = off', 'synchronous_commit = off', 'client_min_messages = warning');

$node->safe_psql('log', 'CREATE EXTENSION eventsource_crm; SELECT crm.install(); CREATE ROLE crm_reports LOGIN; CREATE ROLE stranger LOGIN; SELECT crm.grant_reader(\'crm_reports\')');

# Runs the generator; its exit code and what it says.
sub build
{
	my ($role, $file) = @_;
	my ($out, $err);
	local $ENV{PGHOST} = $node->host;
	local $ENV{PGPORT} = $node->port;
	local $ENV{PGUSER} = $role;
	local $ENV{PGDATABASE} = 'log';
	my $ok = run([ 'node', "$source/build.mjs", $file ], '<', \'', '>', \$out, '2>', \$err, timeout(120));
	return ($ok, $out . $err);
}

# Has the browser draw a page: the document that comes of it, and what its console says.
sub browse
{
	my ($file, @flags) = @_;
	my ($out, $err);
	run([ qw(timeout -k 5 180), $browser, qw(--headless --no-sandbox --disable-gpu --disable-quic --disable-dev-shm-usage --no-first-run --disable-background-networking --disable-component-update
			--disable-sync --hide-scrollbars --enable-logging=stderr --virtual-time-budget=10000), "--user-data-dir=$dir/browser", @flags, "file://$file" ],
		'<', \'', '>', \$out, '2>', \$err) or diag("$browser: $err");
	return ($out, join '', grep { /CONSOLE/ } split /^/, $err);
}

# What a table of the page says: a line per row, cells joined by |.
sub table
{
	my ($page, $name) = @_;
	my ($body) = $page =~ m{<table data-source="$name">.*?<tbody>(.*?)</tbody>}s;
	my @rows;
	for my $row (($body // '') =~ m{<tr>(.*?)</tr>}gs)
	{
		push @rows, join '|', map { /data-value="([^"]*)"/ ? $1 + 0 : text_of(s/^<[^>]*>//r) } $row =~ m{(<td[^>]*>.*?)</td>}gs;
	}
	return join "\n", @rows;
}

sub text_of
{
	my ($html) = @_;
	my %char = (amp => '&', lt => '<', gt => '>', quot => '"', '#39' => "'");
	return $html =~ s/&(amp|lt|gt|quot|#39);/$char{$1}/gr;
}

# The marks of a chart, by what they say to who cannot see them; those that show nothing
# are left out.
sub marks
{
	my ($page, $chart) = @_;
	my ($drawn) = $page =~ m{<div class="chart" id="$chart"[^>]*>(.*?)</svg>}s;
	return join "\n", sort grep { !/(leads|deals|revenue|customers): 0(;|$)/ } map { text_of($_) } ($drawn // '') =~ /<path aria-label="([^"]*)" role="graphics-symbol" aria-roledescription="bar"/g;
}

sub sql
{
	my ($query) = @_;
	return $node->safe_psql('log', $query);
}

# ---- before anything happened ----

my ($ok, $said) = build('crm_reports', "$dir/empty.html");
ok($ok, 'a page of nothing is built') or diag($said);
my ($page, $console) = browse("$dir/empty.html", '--dump-dom');
is($console, '', 'the console is silent');
is(() = $page =~ /Nothing yet/g, 3, 'charts of nothing say so');
is(table($page, 'columns'), sql(q{SELECT state, 0, 0, 0, 0, 0, 0, 0 FROM crm.lead_states() ORDER BY display_order}), 'the board has its columns');
is(table($page, 'stages'), join("\n", 'purchase|1|awareness|0|–|–|–|–', map { "purchase|$_|0|–|–|0|–" } '2|consideration', '3|intent', '4|checkout', '5|purchase'), 'and the funnel its stages');

# ---- a year, and somebody who means ill ----

my $evil = q{<img src=x onerror=console.error(1)></script>'"&};
$node->psql('log', undef, extra_params => [ '-q', '-f', "$source/sample.sql" ], on_error_die => 1);
sql(qq{SELECT crm.create_lead('9001', name => 'Evangeline Malory', email => 'evangeline\@example.com', agent_id => \$e\$$evil\$e\$, occurred_at => '2025-06-01 12:00Z')});
sql(q{SELECT eventsource.append('lead-9001', t, d, r, occurred_at => '2025-06-02 12:00Z') FROM (VALUES (1, 'contact_attempted', NULL, jsonb '{"channel": "phone"}'), (2, 'motivation_confirmed', NULL, '{}'), (3, 'buyer_agreement_signed', NULL, '{}'), (4, 'deal_collapsed', 'appraisal', '{}')) v (n, t, r, d) ORDER BY n});
cmp_ok(sql('SELECT count(*) FROM eventsource.events'), '>', 8000, 'a year of a small brokerage');
is(sql('SELECT count(*) FROM eventsource.jobs WHERE error_code IS NOT NULL'), '0', 'what followed from it was done');

($ok, $said) = build('crm_reports', "$dir/page.html");
ok($ok, 'the page is built by a role that reads the views alone') or diag($said);
($page, $console) = browse("$dir/page.html", '--dump-dom');
is($console, '', 'the console is silent');
like($page, qr/<html[^>]* data-drawn="4"/, 'four charts are drawn');
is(() = $page =~ /<svg[^>]* class="marks"/g, 4, 'as vector graphics');

# ---- the figures ----

my $lead = q{(SELECT key, (array_agg(to_state ORDER BY version DESC))[1] AS state, bool_or(type = 'lead_assigned') AS assigned,
	(array_agg(type ORDER BY version DESC) FILTER (WHERE to_state IS DISTINCT FROM from_state))[1] AS came_by, (array_agg(from_state ORDER BY version DESC) FILTER (WHERE to_state IS DISTINCT FROM from_state))[1] AS came_from,
	min(occurred_at) FILTER (WHERE type = 'contact_form_submission') AS intake, min(occurred_at) FILTER (WHERE type = 'contact_attempted') AS contact
	FROM eventsource.events WHERE category = 'lead' GROUP BY key)};
my $columns = table($page, 'columns') =~ s/^([^|]*\|\d+\|\d+)\|\d+(\|.*)$/$1$2/mgr;
is($columns, sql(qq{SELECT s.state, count(l.key), count(*) FILTER (WHERE NOT l.assigned), 0, count(*) FILTER (WHERE coalesce(l.contact, now()) > l.intake + interval '5 minutes'),
	count(*) FILTER (WHERE l.came_by IN ('deal_collapsed', 'contract_voided')), 0 FROM crm.lead_states() s LEFT JOIN $lead l USING (state) GROUP BY s.state, s.display_order ORDER BY s.display_order}), 'leads by state');
is(marks($page, 'board'), sql(qq{SELECT format('state: %s; leads: %s; arrival: %s', state, count(*), kind) AS told FROM (SELECT state, CASE WHEN came_from IS NULL THEN 'new' WHEN came_by IN ('deal_collapsed', 'contract_voided') THEN 'demoted'
	WHEN state IN ('ARCHIVED', 'TRASHED') THEN 'set_aside' ELSE 'forward' END AS kind FROM $lead l) x GROUP BY state, kind ORDER BY format('state: %s; leads: %s; arrival: %s', state, count(*), kind) COLLATE "C"}), 'drawn as they are');

my $collapse = q{(SELECT (SELECT a.data->>'agent_id' FROM eventsource.events a WHERE a.stream = e.stream AND a.type = 'lead_assigned' AND a.version < e.version ORDER BY a.version DESC LIMIT 1) AS agent,
	to_char(e.occurred_at AT TIME ZONE 'UTC', 'YYYY "Q"Q') AS quarter, e.reason, r.reason_label AS label, e.type FROM eventsource.events e JOIN crm.lead_reasons r ON r.reason = e.reason WHERE e.type IN ('deal_collapsed', 'contract_voided'))};
is(table($page, 'collapses'), sql(qq{SELECT coalesce(agent, 'nobody'), quarter, label, count(*), count(*) FILTER (WHERE type = 'deal_collapsed'), count(*) FILTER (WHERE type = 'contract_voided') FROM $collapse c
	GROUP BY agent, quarter, reason, label ORDER BY agent, quarter, reason}), 'collapses by agent, quarter and reason');
is(marks($page, 'collapses'), sql(qq{SELECT t FROM (SELECT format('quarter: %s; deals: %s; reason: %s', quarter, count(*), label) AS t FROM $collapse c GROUP BY agent, quarter, label) x ORDER BY t COLLATE "C"}), 'drawn as they are');

# Stage after stage, each the first event after the one before.
my $before = 's0';
my $stages = '';
my $n = 0;
for my $types ([ 'PageViewed', 'ProductViewed' ], [ 'ProductCompared', 'ReviewRead' ], [ 'ItemAddedToCart', 'CartCreated' ], [ 'CheckoutStarted', 'CheckoutStepCompleted' ], [ 'OrderPlaced', 'PaymentSucceeded' ])
{
	my $in = join ', ', map { "'$_'" } @$types;
	$n++;
	$stages .= ", s$n AS (SELECT DISTINCT ON (customer) customer, e.occurred_at AS at, e.event_position AS p, e.occurred_at - b.at AS since FROM $before b JOIN j e USING (customer) WHERE e.type IN ($in) AND (e.occurred_at, e.event_position) > (b.at, b.p) ORDER BY customer, e.occurred_at, e.event_position)";
	$before = "s$n";
}
my $reached = sql(q{WITH j AS MATERIALIZED (SELECT e.type, e.occurred_at, e.position AS event_position, coalesce(e.data->>'customerId', (SELECT max(x.data->>'customerId') FROM eventsource.events x WHERE x.stream = e.stream)) AS customer
	FROM eventsource.events e WHERE e.category IN ('visit', 'cart', 'order')), s0 AS (SELECT DISTINCT customer, timestamptz '2000-01-01' AS at, 0::bigint AS p FROM j)} . $stages .
	join ' UNION ALL ', map { " SELECT $_, count(*), round((percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM since)) / 3600)::numeric, 2)::float8 FROM s$_" } 1 .. 5);
my (@stages, @bars, $first, $last);
for my $line (split /\n/, $reached)
{
	my ($step, $users, $hours) = split /\|/, $line;
	my $stage = (qw(awareness consideration intent checkout purchase))[ $step - 1 ];
	push @stages, join '|', 'purchase', $step, $stage, $users, sprintf('%.4f', $users / ($first // $users)) + 0, defined $last ? (sprintf('%.4f', $users / $last) + 0, $last - $users, $hours + 0) : ('–', '–', '–');
	push @bars, "customers: $users; stage: $stage";
	$first //= $users;
	$last = $users;
}
is(table($page, 'stages'), join("\n", @stages), 'the funnel');
is(marks($page, 'funnel') =~ s/; told:[^\n]*//gr, join("\n", sort @bars), 'drawn as it is');

# One model in full; of all of them, that they part what there is.
my %sum;
my %linear;
for my $row (split /\n/, table($page, 'channels'))
{
	my ($channel, $model, $currency, $revenue, $orders) = split /\|/, $row;
	$sum{"$model $currency"} += $revenue;
	$linear{"$channel $currency"} = sprintf '%.6f %.2f', $orders, $revenue if $model eq 'last_touch' && $orders > 0;
}
my $paths = q{(SELECT DISTINCT ON (o.position) o.position, o.data->>'currency' AS currency, (o.data->>'total')::numeric AS total, coalesce(t.data->>'channel', 'direct') AS channel
	FROM eventsource.events o LEFT JOIN eventsource.events t ON t.category = 'visit' AND t.data->>'channel' IS NOT NULL AND t.data->>'customerId' = o.data->>'customerId'
		AND (t.occurred_at, t.position) < (o.occurred_at, o.position) AND t.occurred_at >= o.occurred_at - interval '30 days' WHERE o.type = 'OrderPlaced' ORDER BY o.position, t.occurred_at DESC NULLS LAST, t.position DESC)};
is(join("\n", map { "$_ $linear{$_}" } sort keys %linear), sql(qq{SELECT t FROM (SELECT format('%s %s %s.000000 %s', channel, currency, count(*), sum(total)) AS t FROM $paths p GROUP BY channel, currency) x ORDER BY t COLLATE "C"}), 'last touches');
is(join("\n", map { sprintf '%s %.2f', $_, $sum{$_} } sort keys %sum), sql(q{SELECT t FROM (SELECT format('%s %s %s', model, data->>'currency', sum((data->>'total')::numeric)) AS t
	FROM crm.attribution_models(), eventsource.events WHERE type = 'OrderPlaced' GROUP BY model, data->>'currency') x ORDER BY t COLLATE "C"}), 'every model parts all of it, to the cent');
is(marks($page, 'attribution'), join("\n", sort map { my @c = split /\|/; "channel: $c[0]; revenue: $c[3]; model: $c[1]" } grep { (split /\|/)[3] > 0 } split /\n/, table($page, 'channels')), 'drawn as they are');

# ---- what must not be on it ----

my $html = slurp_file("$dir/page.html");
my @personal = split /\n/, sql(q{SELECT DISTINCT v FROM eventsource.events e, jsonb_each_text(e.data) d (k, v) WHERE e.category IN ('lead', 'customer') AND d.k IN ('name', 'email', 'phone', 'firstName', 'lastName') AND length(v) > 2 AND v <> 'Sample'
	UNION SELECT DISTINCT key FROM eventsource.events WHERE category = 'customer'});
cmp_ok(scalar(@personal), '>', 1500, 'there is personal data');
is(join(' ', grep { index($html, $_) >= 0 || index($page, $_) >= 0 } @personal), '', 'none of it is on the page, nor is who a customer is');
unlike($page, qr/<img/, 'text stays text');
is(() = $html =~ m{</script>}g, 3, 'and ends no script');
like($html, qr/default-src 'none'/, 'the page loads nothing');
unlike($html =~ s{<script>.*?</script>}{}gsr, qr{<[a-z][^>]*\s(src|href)\s*=}, 'and names nothing to load');

# ---- as a picture ----

browse("$dir/page.html", "--screenshot=$dir/page.png", '--window-size=1200,1600');
cmp_ok(-s "$dir/page.png", '>', 50_000, 'a picture of it, not of white paper');

# ---- who may not read ----

($ok, $said) = build('stranger', "$dir/none.html");
ok(!$ok, 'a role without rights builds nothing');
like($said, qr/permission denied for schema crm.*crm\.grant_reader\(\)/s, 'and is told what it needs');
ok(!-e "$dir/none.html" && !-e "$dir/none.html.tmp", 'nothing is written');
($ok, $said) = build('stranger', "$dir/page.html");
is(slurp_file("$dir/page.html"), $html, 'and what was there stays');

$node->stop;
done_testing();
