\set ECHO none
\i test/helpers.sql
-- Event types: registering, and what appends make of it.
BEGIN;
SELECT plan(9);

SELECT is(eventsource.register_event_type('note_added', schema => '{"type": "object", "required": ["text"], "properties": {"text": {"type": "string", "maxLength": 5}, "n": {"type": "integer"}}}'),
	1, 'the first version is 1');
SELECT is((SELECT a.version FROM eventsource.append('lead-1', 'note_added', '{"text": "a"}') a), 1::bigint, 'data that matches');
SELECT throws_ok($$ SELECT eventsource.append('lead-1', 'note_added', '{"text": "too long", "n": 1.5}') $$, 'ZE007',
	'data does not match version 1 of event type "note_added"', 'data that does not');
SELECT is(eventsource.register_event_type('note_added', schema => '{"type": "object"}', compatibility => 'none'), 2, 'another schema is the next version');
SELECT position FROM eventsource.append('lead-1', 'note_added') \gset
SELECT is((SELECT e.schema_version FROM eventsource.events e WHERE e.position = :position), 2, 'events have the latest version');
SELECT throws_ok($$ SELECT eventsource.append('lead-1', 'note_added', '{}', schema_version => 1) $$, 'ZE007', NULL,
	'or are judged by the one that they name');
SELECT throws_ok($$ SELECT eventsource.append('lead-1', 'note_added', '{}', schema_version => 3) $$, 'ZE006', NULL,
	'which must be there');
SELECT results_eq('SELECT type, category, version, schema FROM eventsource.event_types',
	$$ VALUES ('note_added', NULL::text, 2, '{"type": "object"}'::jsonb) $$, 'the view event_types');
SELECT results_eq('SELECT version, is_latest FROM eventsource.event_type_versions ORDER BY version',
	$$ VALUES (1, false), (2, true) $$, 'the view event_type_versions');
SELECT * FROM finish();
ROLLBACK;
