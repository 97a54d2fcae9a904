\set ECHO none
\i test/helpers.sql
-- timeline: a stream in lines that people read.
BEGIN;
SELECT plan(27);

SELECT eventsource.create_state_machine('deal_line', $$ {"create": {"opened": {"target": "NEW", "label": "Came in"}},
	"states": {"NEW": {"on": {"deal_signed": {"target": "CONTRACT", "label": "Signed"}}},
			   "CONTRACT": {"on": {"deal_collapsed": {"target": "NEW", "reason": "required", "label": "Deal collapsed"}, "closed": "DONE"}},
			   "DONE": {"type": "final"}},
	"on": {"agent_assigned": {"reason": "optional", "fill": {"from_agent": "'joe'"}}, "note_added": {}},
	"reasons": {"financing": {"label": "Financing fell through"}, "pto": {}}} $$) AS version,
	eventsource.create_category('line', 'deal_line') AS version \gset
SELECT position AS p1 FROM eventsource.append('line-1', 'opened', '{"name": "Ada", "tags": ["a"], "none": null}', actor => 'customer:ada', occurred_at => '2026-05-01 10:00Z') \gset
SELECT position AS p2 FROM eventsource.append('line-1', 'deal_signed', actor => 'agent:Joe') \gset
SELECT position AS p3 FROM eventsource.append('line-1', 'deal_collapsed', reason => 'financing', actor => 'agent:Joe', occurred_at => '2026-05-02 10:00Z') \gset
SELECT position AS p4 FROM eventsource.append('line-1', 'agent_assigned', '{"agent": "ryan"}', reason => 'pto', actor => 'system:scribe:2') \gset
SELECT position AS p5 FROM eventsource.append('line-1', 'note_added', jsonb_build_object('text', repeat('x', 100), 'n', 1.50, 'ok', true), actor => ':odd') \gset
SELECT eventsource.create_state_machine('deal_line', jsonb_set(
	(SELECT definition FROM eventsource.state_machines WHERE name = 'deal_line'), '{states,NEW,on,deal_signed,label}', '"Signed again"')) AS version \gset
SELECT position AS p6 FROM eventsource.append('line-1', 'deal_signed', actor => 'joe') \gset

SELECT pg_temp.same_rows($$ SELECT sentence FROM eventsource.timeline('line-1') $$, $$ VALUES
	('customer ada: Came in (-> NEW), name: Ada'),
	('agent Joe: Signed (NEW -> CONTRACT)'),
	('agent Joe: Deal collapsed (CONTRACT -> NEW), reason: Financing fell through'),
	('system scribe:2: Agent assigned, agent: ryan, from_agent: joe, reason: pto'),
	('user :odd: Note added, n: 1.50, ok: true, text: ' || repeat('x', 57) || '...'),
	('user joe: Signed again (NEW -> CONTRACT)') $$, 'sentences, with the labels of the machine that was in force');
SELECT pg_temp.same_rows(
	$$ SELECT version, event_position, occurred_at, recorded_at, actor, type, from_state, to_state, reason, data, is_synthetic FROM eventsource.timeline('line-1') $$,
	$$ SELECT version, position, occurred_at, recorded_at, actor, type, from_state, to_state, reason, data, is_synthetic FROM eventsource.events WHERE stream = 'line-1' ORDER BY version $$,
	'the columns beside them are those of the log');
SELECT pg_temp.same_rows($$ SELECT actor_type, label, reason_label, detail IS NULL FROM eventsource.timeline('line-1') WHERE version IN (2, 3, 4) $$,
	$$ VALUES ('agent', 'Signed', NULL, true), ('agent', 'Deal collapsed', 'Financing fell through', true), ('system', 'Agent assigned', NULL, false) $$,
	'who and why in columns of their own');

-- No setting changes a sentence.
SELECT array_agg(sentence ORDER BY version) AS sentences FROM eventsource.timeline('line-1') \gset
SET LOCAL timezone = 'Asia/Tokyo';
SET LOCAL datestyle = 'German';
SET LOCAL extra_float_digits = -5;
SET LOCAL search_path = pg_temp, public;
SELECT is(array_agg(sentence ORDER BY version), :'sentences'::text[], 'under other settings') FROM eventsource.timeline('line-1');
RESET timezone;
RESET datestyle;
RESET extra_float_digits;
RESET search_path;

-- Corrections: lines of their own, and what became of the others.
SELECT position AS c1 FROM eventsource.correct_event(:p4, '{"agent": "josh"}', 'typo', 'agent:boss') \gset
SELECT position AS c2 FROM eventsource.void_event(:p5, 'not ours', 'agent:boss') \gset
SELECT pg_temp.same_rows($$ SELECT sentence, is_voided, corrected_by FROM eventsource.timeline('line-1') WHERE version >= 4 AND version <> 6 $$,
	format($$ VALUES ('system scribe:2: Agent assigned, agent: ryan, from_agent: joe, reason: pto [corrected]', false, %s::bigint),
		('user :odd: Note added, n: 1.50, ok: true, text: ' || repeat('x', 57) || '... [voided]', true, %s),
		('agent boss: Event corrected: Agent assigned (version 4), agent: josh, from_agent: joe, reason: typo', false, NULL),
		('agent boss: Event voided: Note added (version 5), reason: not ours', false, NULL) $$, :c1, :c2), 'corrected and voided events');

-- Without a machine; with one whose first event steps from its initial state.
SELECT count(*) FROM (SELECT eventsource.append('free-1', 'thing_seen', '[1]', actor => 'agent:joe', reason => 'why_not')) e \gset
SELECT is(sentence, 'agent joe: Thing seen, reason: why_not', 'a category without a machine') FROM eventsource.timeline('free-1');
SELECT eventsource.create_state_machine('door_line', '{"initial": "SHUT", "states": {"SHUT": {"on": {"opened": {"target": "OPEN", "label": "The door opens"}}}, "OPEN": {"on": {"shut": "SHUT"}}}}') AS version,
	eventsource.create_category('doorline', 'door_line') AS version \gset
SELECT count(*) FROM (SELECT eventsource.append('doorline-1', type, actor => 'a:b') FROM (VALUES (1, 'opened'), (2, 'shut'), (3, 'opened')) v (n, type) ORDER BY n) e \gset
SELECT is(array_agg(sentence ORDER BY version), ARRAY['a b: The door opens (-> OPEN)', 'a b: Shut (OPEN -> SHUT)', 'a b: The door opens (SHUT -> OPEN)'], 'an initial state')
	FROM eventsource.timeline('doorline-1');
SELECT is_empty($$ SELECT * FROM eventsource.timeline('line-nobody') $$, 'a stream that does not exist');

-- What changed in a captured row.
SELECT is(eventsource.event_detail('{"changed": {"name": {"old": "Ann", "new": "Anne"}, "age": {"old": 7, "new": null}, "vip": {"new": true}, "tags": {"old": [1], "new": [1, 2]}}}', true),
	'age: 7 -> (none), name: Ann -> Anne, tags: [1] -> [1, 2], vip: true', 'columns with their old and new values');
SELECT is(eventsource.event_detail('{"changed": {"name": {"old": "Ann"}}}', true), 'name: Ann', 'a deleted row: what it was');
SELECT is(eventsource.event_detail('{"changed": {}}', true), NULL, 'nothing changed');
SELECT is(eventsource.event_detail('{"changed": {"a": {"old": 1, "new": 2}}, "n": 1}', false), 'n: 1', 'of other events, the plain fields');
SELECT is(eventsource.event_detail('{"b": "x", "a": 2, "B": false}', false), 'B: false, a: 2, b: x', 'in order of their names as bytes');
SELECT is(eventsource.event_detail(d, c), NULL, 'data that is no object: ' || d::text || ', ' || c) FROM (VALUES ('[1]'::jsonb), ('"x"'), ('null')) d (d), (VALUES (true), (false)) c (c);
SELECT is(eventsource.words(t), w, 'words of "' || t || '"') FROM (VALUES ('deal_collapsed', 'Deal collapsed'), ('CustomerCreated', 'CustomerCreated'), ('x', 'X'), ('', '')) v (t, w);

-- Captured changes.
CREATE TABLE tracked_line (id int PRIMARY KEY, status text, name text, agent text, why text);
SELECT eventsource.create_state_machine('tracked_line', $$ {"create": {"made": "NEW"},
	"states": {"NEW": {"on": {"qualified": "QUALIFIED"}}, "QUALIFIED": {"on": {"collapsed": {"target": "NEW", "reason": "required", "label": "Deal collapsed"}}}},
	"reasons": {"financing": {"label": "Financing fell through"}}} $$) AS version,
	eventsource.track_table('tracked_line', 'trackedline', state_column => 'status', state_machine => 'tracked_line', reason_column => 'why',
		event_types => '{"agent": "agent_assigned"}', on_violation => 'record') AS version \gset
SET LOCAL eventsource.actor = 'agent:joe';
INSERT INTO tracked_line VALUES (1, 'NEW', 'Ann', 'joe');
UPDATE tracked_line SET status = 'QUALIFIED', agent = 'ryan';
UPDATE tracked_line SET name = 'Anne';
UPDATE tracked_line SET status = 'NEW', why = 'financing';
UPDATE tracked_line SET status = 'GONE', why = NULL;
DELETE FROM tracked_line;
SELECT pg_temp.same_rows($$ SELECT sentence, is_violation FROM eventsource.timeline('trackedline-1') $$, $$ VALUES
	('agent joe: Made (-> NEW), agent: joe, id: 1, name: Ann, status: NEW', false),
	('agent joe: Qualified (NEW -> QUALIFIED), status: NEW -> QUALIFIED', false),
	('agent joe: Agent assigned, agent: joe -> ryan', false),
	('agent joe: Trackedline updated, name: Ann -> Anne', false),
	('agent joe: Deal collapsed (QUALIFIED -> NEW), status: QUALIFIED -> NEW, why: (none) -> financing, reason: Financing fell through', false),
	('agent joe: Trackedline updated (NEW -> GONE), status: NEW -> GONE, why: financing -> (none) [against the rules]', true),
	('agent joe: Trackedline deleted (GONE ->), agent: ryan, id: 1, name: Anne, status: GONE', false) $$, 'which columns changed, and how');
RESET eventsource.actor;

-- For readers.
CREATE ROLE timeline_reader;
SELECT eventsource.grant_reader('timeline_reader') IS NULL AS granted \gset
SET LOCAL ROLE timeline_reader;
SELECT is(count(*), 8::bigint, 'who may read the log may read it so') FROM eventsource.timeline('line-1');
RESET ROLE;
CREATE ROLE timeline_stranger;
SET LOCAL ROLE timeline_stranger;
SELECT throws_ok($$ SELECT * FROM eventsource.timeline('line-1') $$, '42501', NULL, 'and nobody else');
RESET ROLE;
-- A long stream takes one look at its machine.
SELECT count(*) FROM (SELECT eventsource.append('line-2', CASE n WHEN 1 THEN 'opened' ELSE 'note_added' END) FROM generate_series(1, 2000) n) e \gset
SELECT is(count(*), 2000::bigint, 'every event of a long stream once') FROM eventsource.timeline('line-2');

SELECT * FROM finish();
ROLLBACK;
