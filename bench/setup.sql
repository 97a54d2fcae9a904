-- setup.sql: both sides of the comparison, with the same events in each: 100,000
-- orders and 100,000 accounts that exist, and 20,000 ledgers of ten events, in no
-- order but that of versions.
-- Run by run.sh, in a database that has the extension and nothing else.
\set ON_ERROR_STOP on
\o /dev/null
SET client_min_messages = warning;

CREATE SCHEMA bench;

-- The plain side: what one writes who needs a table of events.
CREATE TABLE bench.plain_event (
	position    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	stream      text        NOT NULL,
	version     bigint      NOT NULL,
	type        text        NOT NULL,
	data        jsonb       NOT NULL,
	metadata    jsonb       NOT NULL,
	recorded_at timestamptz NOT NULL DEFAULT now(),
	UNIQUE (stream, version)
);

-- The same tables of current values on both sides.
CREATE TABLE bench.plain_account (
	account text    PRIMARY KEY,
	balance numeric NOT NULL DEFAULT 0,
	steps   bigint  NOT NULL DEFAULT 0
);
CREATE TABLE bench.account (LIKE bench.plain_account INCLUDING ALL);
CREATE TABLE bench.plain_ledger (LIKE bench.plain_account INCLUDING ALL);
CREATE TABLE bench.ledger (LIKE bench.plain_account INCLUDING ALL);

-- A queue as one writes it by hand, taken from with SKIP LOCKED.
CREATE TABLE bench.plain_job (
	id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	queue       text        NOT NULL,
	payload     jsonb       NOT NULL,
	state       text        NOT NULL DEFAULT 'available',
	priority    integer     NOT NULL DEFAULT 0,
	run_at      timestamptz NOT NULL DEFAULT now(),
	attempts    integer     NOT NULL DEFAULT 0,
	worker      text,
	lease_until timestamptz,
	finished_at timestamptz
);
CREATE INDEX ON bench.plain_job (queue, priority DESC, run_at, id) WHERE state = 'available';
CREATE INDEX ON bench.plain_job (lease_until) WHERE state = 'claimed';

-- A machine that allows the event in every state and always moves.
SELECT eventsource.create_state_machine('ring', '{
	"initial": "A",
	"states": {
		"A": {"on": {"step_done": "B", "paused": "D"}},
		"B": {"on": {"step_done": "C", "paused": "D"}},
		"C": {"on": {"step_done": "D", "paused": "D"}},
		"D": {"on": {"step_done": "A"}}},
	"on": {"note_added": {}}}');
SELECT eventsource.create_category(name, 'ring') FROM unnest(ARRAY['order', 'account', 'ledger', 'cart']) name;
SELECT eventsource.create_reaction('cart_mail', 'cart', 'step_done', NULL, '{"enqueue": "mail", "payload": "event.data"}');
SELECT eventsource.create_projection(target, ARRAY[category], jsonb_build_object('step_done',
		$$balance = row.balance + (event.data->>'amount')::numeric, steps = row.steps + 1$$))
  FROM (VALUES ('bench.account'::regclass, 'account'), ('bench.ledger', 'ledger')) p (target, category);

CREATE TEMP TABLE seed AS
SELECT stream, version, 'step_done' AS type,
	   jsonb_build_object('channel', 'phone', 'outcome', 'no answer', 'attempt', 3,
						  'agent', 'agent-17', 'amount', 12.50) AS data,
	   jsonb_build_object('correlation_id', 'b3f1c9d2-7a55-4c1e') AS metadata
  FROM (SELECT 'order-' || lpad(n::text, 5, '0'), 1 FROM generate_series(0, 99999) n
		UNION ALL
		SELECT 'account-' || lpad(n::text, 5, '0'), 1 FROM generate_series(0, 99999) n
		UNION ALL
		SELECT 'ledger-' || n, v FROM generate_series(1, 10) v, generate_series(1, 20000) n) s (stream, version)
 ORDER BY version, random();

INSERT INTO bench.plain_event (stream, version, type, data, metadata)
SELECT stream, version, type, data, metadata FROM seed;
INSERT INTO eventsource.events (stream, version, type, data, metadata)
SELECT stream, version, type, data, metadata FROM seed;
INSERT INTO bench.plain_account
SELECT substr(stream, 9), (data->>'amount')::numeric, 1 FROM bench.plain_event WHERE stream LIKE 'account-%';

-- An application's table three times: as it is, with an audit trigger as people
-- write it, and tracked.
CREATE TABLE bench.plain_lead (
	id         bigint PRIMARY KEY,
	name       text NOT NULL,
	email      text,
	status     text NOT NULL DEFAULT 'A',
	agent      text,
	score      int NOT NULL DEFAULT 0,
	note       text,
	updated_at timestamptz NOT NULL DEFAULT now()
);
INSERT INTO bench.plain_lead (id, name, email, agent, note)
SELECT n, 'Lead ' || n, 'lead' || n || '@example.org', 'agent-' || n % 50, repeat('called twice; ', 5)
  FROM generate_series(0, 99999) n;
CREATE TABLE bench.audit_lead (LIKE bench.plain_lead INCLUDING ALL);
INSERT INTO bench.audit_lead TABLE bench.plain_lead;
CREATE TABLE bench.lead (LIKE bench.plain_lead INCLUDING ALL);
INSERT INTO bench.lead TABLE bench.plain_lead;

CREATE TABLE bench.audit (
	id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	lead       bigint NOT NULL,
	operation  text NOT NULL,
	old_row    jsonb,
	new_row    jsonb,
	actor      text NOT NULL DEFAULT session_user,
	changed_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX ON bench.audit (lead, id);
CREATE FUNCTION bench.audit() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO bench.audit (lead, operation, old_row, new_row)
	VALUES (coalesce(new.id, old.id), tg_op, to_jsonb(old), to_jsonb(new));
	RETURN NULL;
END
$$;
CREATE TRIGGER audit AFTER INSERT OR UPDATE OR DELETE ON bench.audit_lead
	FOR EACH ROW EXECUTE FUNCTION bench.audit();

SELECT eventsource.create_state_machine('lead', '{
	"initial": "A",
	"states": {"A": {"on": {"step_done": "B"}}, "B": {"on": {"step_done": "C"}}, "C": {"on": {"step_done": "A"}}}}');
SELECT eventsource.create_category('lead', 'lead');
SELECT eventsource.track_table('bench.lead', 'lead', state_column => 'status', state_machine => 'lead');
SELECT eventsource.backfill('bench.lead');

-- CPU that the session's backend has used, in seconds, by the kernel's count, which is
-- brought up to date when the backend sleeps; else it is as old as the last tick.
CREATE FUNCTION bench.cpu_used() RETURNS numeric LANGUAGE sql VOLATILE
	RETURN (SELECT split_part(pg_read_file('/proc/self/schedstat'), ' ', 1)::numeric / 1e9
			  FROM (SELECT pg_sleep(0.001) OFFSET 0) slept);
CREATE TABLE bench.cpu (seconds numeric);
