\set ECHO none
\i test/helpers.sql
-- What a definition must look like: every problem is found, all of them at once.
BEGIN;
SELECT plan(71);
SET LOCAL client_min_messages = error;

-- The problems of a definition, one per line; 'good' if there are none.
CREATE FUNCTION pg_temp.problems(definition jsonb, name text DEFAULT 'm') RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	detail text;
	hint text;
BEGIN
	PERFORM eventsource.create_state_machine(name, definition);
	RETURN 'good';
EXCEPTION WHEN SQLSTATE 'ZE011' THEN
	GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
	RETURN CASE WHEN hint <> '' THEN detail ELSE 'no hint' END;
END
$$;

-- The definition of a good machine with one edge of state A replaced.
CREATE FUNCTION pg_temp.with_edge(edge text) RETURNS jsonb LANGUAGE sql AS $$
	SELECT jsonb_set('{"initial": "A", "states": {"A": {"on": {"go": "B"}}, "B": {"type": "final"}},
					   "reasons": {"r1": {}, "r2": {}}}', '{states,A,on,x}', edge::jsonb)
$$;

-- Shape.
SELECT is(pg_temp.problems('[]'), 'definition: must be an object, not an array', 'an array');
SELECT is(pg_temp.problems('7'), 'definition: must be an object, not a scalar', 'a scalar');
SELECT is(pg_temp.problems('null'), 'definition: must be an object, not a scalar', 'a JSON null');
SELECT throws_ok($$ SELECT eventsource.create_state_machine('m', NULL) $$, '22004', NULL, 'no definition');
SELECT throws_ok($$ SELECT eventsource.create_state_machine(NULL, '{}') $$, '22004', NULL, 'no name');
SELECT is(pg_temp.problems('{}'),
	'states: there must be at least one state', 'an empty object');
SELECT is(pg_temp.problems('{"states": {"A": {"on": {"x": "B"}}, "B": {"type": "final"}}}'),
	E'initial: say in which state a stream starts, or which events create one\n'
	'states.A: no event leads to this state\nstates.B: no event leads to this state', 'nowhere to start');
SELECT is(pg_temp.problems('{"initial": 1, "states": [], "on": null, "create": "x", "reasons": 2, "label": []}'),
	E'states: there must be at least one state\n'
	'label: must be a string, not an array\n'
	'reasons: must be an object, not a number\n'
	'initial: must be a string, not a number\n'
	'create: must be an object, not a string\n'
	'states: must be an object, not an array\n'
	'on: must be an object, not null', 'wrong types everywhere');
SELECT is(pg_temp.problems('{"initial": "A", "states": {"A": 1, "B": null, "C": []}}'),
	E'states.A: must be an object, not a number\nstates.B: must be an object, not null\nstates.C: must be an object, not an array\n'
	'states.A: no event leads out of this state, and it is not final\n'
	'states.B: no event leads to this state\nstates.B: no event leads out of this state, and it is not final\n'
	'states.C: no event leads to this state\nstates.C: no event leads out of this state, and it is not final',
	'states that are none');
SELECT is(pg_temp.problems('{"inital": "A", "initial": "A", "states": {"A": {"typo": 1, "type": "final"}}}'),
	E'states.A: unknown key "typo"\ndefinition: unknown key "inital"', 'typos');
SELECT is(pg_temp.problems('{"initial": "A", "states": {"A": {"type": "final", "always": {}, "entry": [], "states": {}}}}'),
	E'states.A: "entry" is not supported in this version\n'
	'states.A: "always" is not supported in this version\nstates.A: "states" is not supported in this version', 'what XState has and we have not');
SELECT is(pg_temp.problems('{"initial": "A", "states": {"A": {"type": "parallel"}}}'),
	E'states.A.type: must be "final" or left out, not "parallel"\n'
	'states.A: no event leads out of this state, and it is not final', 'another type of state');
SELECT is(pg_temp.problems('{"initial": "A", "label": "M", "description": "d", "states": {"A": {"type": "final", "label": "a", "description": "d"}},
	"reasons": {"r": {"label": "l", "category": "c", "description": "d"}},
	"on": {"x": {"label": "l", "description": "d", "kind": "forward"}}}'), 'good', 'labels and descriptions are welcome anywhere');

-- Edges.
SELECT is(pg_temp.problems(pg_temp.with_edge('"B"')), 'good', 'an edge as a string');
SELECT is(pg_temp.problems(pg_temp.with_edge('{}')), 'good', 'an edge that stays');
SELECT is(pg_temp.problems(pg_temp.with_edge('"X"')), 'states.A.on.x: there is no state "X"', 'an unknown target');
SELECT is(pg_temp.problems(pg_temp.with_edge('{"target": "X"}')), 'states.A.on.x.target: there is no state "X"', 'in an object');
SELECT is(pg_temp.problems(pg_temp.with_edge('["X", {"target": 1}]')),
	E'states.A.on.x[1]: there is no state "X"\nstates.A.on.x[2].target: must be a string, not a number\n'
	'states.A.on.x[2]: is never tried, because states.A.on.x[1] has no guard', 'in a list');
SELECT is(pg_temp.problems(pg_temp.with_edge('7')),
	'states.A.on.x: must be the name of a state, an object, or a list of these, not a number', 'a number as edge');
SELECT is(pg_temp.problems(pg_temp.with_edge('[["B"]]')),
	'states.A.on.x[1]: must be the name of a state, an object, or a list of these, not an array', 'lists in lists');
SELECT is(pg_temp.problems(pg_temp.with_edge('[]')), 'states.A.on.x: the list of candidates is empty', 'an empty list');
SELECT is(pg_temp.problems(pg_temp.with_edge('{"targt": "B", "entry": 1}')),
	E'states.A.on.x: "entry" is not supported in this version\nstates.A.on.x: unknown key "targt"', 'keys of an edge');
SELECT is(pg_temp.problems(pg_temp.with_edge('{"kind": "sideways"}')),
	'states.A.on.x.kind: must be "forward" or "backward", not "sideways"', 'kind');
SELECT is(pg_temp.problems(pg_temp.with_edge('{"kind": 1, "label": 1, "description": []}')),
	E'states.A.on.x.label: must be a string, not a number\nstates.A.on.x.description: must be a string, not an array\n'
	'states.A.on.x.kind: must be a string, not a number', 'types in an edge');
SELECT is(pg_temp.problems(pg_temp.with_edge('["B", {"target": "A", "guard": "true"}, "A"]')),
	'states.A.on.x[2]: is never tried, because states.A.on.x[1] has no guard', 'candidates behind one without guard');

-- Reasons.
SELECT is(pg_temp.problems(pg_temp.with_edge('{"reason": "maybe"}')),
	'states.A.on.x.reason: must be "required", "optional" or "forbidden", not "maybe"', 'reason');
SELECT is(pg_temp.problems(pg_temp.with_edge('{"reasons": ["r1", "r3", "r1"]}')),
	E'states.A.on.x.reasons: there is no reason "r3"\nstates.A.on.x.reasons: "r1" is listed twice', 'unknown reasons');
SELECT is(pg_temp.problems(pg_temp.with_edge('{"reasons": []}')),
	'states.A.on.x.reasons: the list of reason codes is empty', 'no reasons');
SELECT is(pg_temp.problems(pg_temp.with_edge('{"reasons": "r1"}')),
	'states.A.on.x.reasons: must be an array of reason codes, not a string', 'one reason');
SELECT is(pg_temp.problems(pg_temp.with_edge('{"reasons": [1]}')),
	'states.A.on.x.reasons: must be a string, not a number', 'a number as reason');
SELECT is(pg_temp.problems(pg_temp.with_edge('{"reason": "forbidden", "reasons": ["r1"]}')),
	'states.A.on.x.reason: a reason cannot be forbidden where reasons are listed', 'forbidden and listed');
SELECT is(pg_temp.problems(pg_temp.with_edge('{"reason": "optional", "reasons": ["r1"]}')), 'good', 'optional and listed');
SELECT is(pg_temp.problems('{"initial": "A", "states": {"A": {"type": "final"}}, "on": {"x": {"reason": "required"}}, "reasons": {}}'),
	'on.x.reason: a reason cannot be required where the machine declares none', 'required where there is none');
SELECT is(pg_temp.problems('{"initial": "A", "states": {"A": {"type": "final"}}, "on": {"x": {"reasons": ["free"]}}}'),
	'good', 'without declared reasons, edges may name their own');
SELECT is(pg_temp.problems('{"initial": "A", "states": {"A": {"type": "final"}}, "reasons": {"": {}, "x": 1, "y": {"categry": "c", "category": 1}}}'),
	E'reasons: a name must not be empty\nreasons.x: must be an object, not a number\n'
	'reasons.y.category: must be a string, not a number\nreasons.y: unknown key "categry"', 'bad reasons');

-- Expressions.
SELECT is(pg_temp.problems(pg_temp.with_edge('{"guard": 1}')), 'states.A.on.x.guard: must be a string, not a number', 'guard');
SELECT is(pg_temp.problems(pg_temp.with_edge('{"guard": []}')), 'states.A.on.x.guard: the list of guards is empty', 'no guards');
SELECT is(pg_temp.problems(pg_temp.with_edge('{"guard": {}}')), 'states.A.on.x.guard: there is no guard in it', 'none in an object');
SELECT is(pg_temp.problems(pg_temp.with_edge('{"guard": [{"a": "true", "b": 1}, "true", [1]]}')),
	E'states.A.on.x.guard[1].b: must be a string, not a number\nstates.A.on.x.guard[3]: must be a string, not an array', 'a mixed list');
SELECT is(pg_temp.problems(pg_temp.with_edge('{"guard": {"": "true"}}')), 'states.A.on.x.guard: a name must not be empty', 'a nameless guard');
SELECT is(pg_temp.problems(pg_temp.with_edge('{"guard": [{"a": "true"}, {"a": "false"}]}')),
	'states.A.on.x.guard: two guards are named "a"', 'two of one name');
SELECT is(pg_temp.problems(pg_temp.with_edge('{"fill": {}}')), 'states.A.on.x.fill: there is no field in it', 'nothing to fill in');
SELECT is(pg_temp.problems(pg_temp.with_edge('{"fill": {"f": 1}}')), 'states.A.on.x.fill.f: must be a string, not a number', 'fill');
SELECT is(pg_temp.problems(pg_temp.with_edge('{"fill": []}')), 'states.A.on.x.fill: must be an object, not an array', 'fill as array');
SELECT matches(pg_temp.problems(pg_temp.with_edge('{"guard": {"g": "event.data ->> 7 +"}}')),
	'^states\.A\.on\.x\.guard, "g": .*syntax error', 'an expression that does not parse');
SELECT matches(pg_temp.problems(pg_temp.with_edge('{"guard": "event.nonsense = 1"}')),
	'^states\.A\.on\.x\.guard, "x_guard": .*nonsense', 'an unknown column');
SELECT matches(pg_temp.problems(pg_temp.with_edge('{"guard": "1"}')),
	'^states\.A\.on\.x\.guard, "x_guard": .*boolean', 'a guard that is no condition');
SELECT matches(pg_temp.problems(pg_temp.with_edge('{"guard": "now() > event.occurred_at"}')),
	'^states\.A\.on\.x\.guard, "x_guard": .*now', 'a guard that reads the clock');
SELECT matches(pg_temp.problems(pg_temp.with_edge('{"fill": {"f": "random()"}}')),
	'^states\.A\.on\.x\.fill, "f": .*random', 'a fill value out of nowhere');
SELECT matches(pg_temp.problems(pg_temp.with_edge('{"guard": {"a": "nonsense_a", "b": "nonsense_b"}, "fill": {"f": "nonsense_c"}}')),
	E'nonsense_a.*\n.*nonsense_b.*\n.*nonsense_c', 'all of them at once');
SELECT is(pg_temp.problems(pg_temp.with_edge('{"guard": "row.n > 1", "fill": {"f": "row.whatever"}}')), 'good',
	'what names "row" is judged when a category has a context');
SELECT is(pg_temp.problems(pg_temp.with_edge('{"fill": {"a": "1", "b": "''x''", "c": "event.data", "d": "null", "e": "true -- yes", "f": "state"}}')),
	'good', 'fill values of any type');

-- The graph.
SELECT is(pg_temp.problems('{"initial": "A", "states": {"A": {"on": {"x": "B"}}, "B": {"type": "final"}, "C": {"on": {"y": "A"}}}}'),
	'states.C: no event leads to this state', 'an unreachable state');
SELECT is(pg_temp.problems('{"initial": "A", "states": {"A": {"on": {"x": "B"}}, "B": {"on": {"y": {}, "z": "B"}}}}'),
	'states.B: no event leads out of this state, and it is not final', 'a dead end that is not final');
SELECT is(pg_temp.problems('{"initial": "A", "states": {"A": {"on": {"x": "B"}}, "B": {"type": "final", "on": {"y": "A"}}}}'),
	'states.B: the state is final, but events lead out of it', 'a way out of a final state');
SELECT is(pg_temp.problems('{"initial": "A", "states": {"A": {"on": {"x": "B"}}, "B": {"on": {}}}, "on": {"back": "A"}}'), 'good',
	'the root leads out, and back');
SELECT is(pg_temp.problems('{"initial": "A", "create": {"c": "B"}, "states": {"A": {"on": {"x": "B"}}, "B": {"type": "final"}}}'),
	'states.A: no event leads to this state', 'an initial state that nothing enters');
SELECT is(pg_temp.problems('{"create": {"c": {}}, "states": {"A": {"type": "final"}}}'),
	E'create.c: has no target, and the machine has no initial state\nstates.A: no event leads to this state', 'creation without target');
SELECT is(pg_temp.problems('{"create": {}, "initial": "A", "states": {"A": {"type": "final"}}}'),
	E'create: no event type could ever start a stream\nstates.A: no event leads to this state', 'creation by nothing');
SELECT is(pg_temp.problems('{"initial": "X", "states": {"A": {"type": "final"}}}'),
	E'initial: there is no state "X"\nstates.A: no event leads to this state', 'an unknown initial state');

-- Names.
SELECT is(pg_temp.problems('{"initial": "A", "states": {"A": {"type": "final", "on": {"": {}}}}}'),
	'states.A.on: a name must not be empty', 'an empty type');
SELECT is(pg_temp.problems(jsonb_build_object('initial', repeat('A', 256), 'states', jsonb_build_object(repeat('A', 256), '{"type": "final"}'::jsonb))),
	'good', 'a name of 256 bytes');
SELECT is(pg_temp.problems(jsonb_build_object('initial', 'A', 'states', jsonb_build_object('A', '{"type": "final"}'::jsonb, repeat('B', 257), '{}'::jsonb))),
	'states: the name "' || repeat('B', 64) || '..." is longer than 256 bytes', 'a name of 257 bytes');
SELECT is(pg_temp.problems(jsonb_build_object('initial', 'A', 'states', jsonb_build_object('A', jsonb_build_object('type', 'final', 'on', jsonb_build_object(E'a\tb', '{}'::jsonb))))),
	E'states.A.on: the name "a\tb" contains a control character', 'a control character');
SELECT is(pg_temp.problems('{"initial": "A", "states": {"A": {"type": "final"}}}', ''), 'a name must not be empty', 'a nameless machine');
SELECT is(pg_temp.problems('{"initial": "A", "states": {"A": {"type": "final"}}}', repeat('m', 257)),
	'the name "' || repeat('m', 64) || '..." is longer than 256 bytes', 'a machine with a long name');
SELECT is(pg_temp.problems('{"initial": "Zustand – π", "states": {"Zustand – π": {"type": "final"}}}', 'a@b.c "d"'), 'good', 'other characters are welcome');

-- Size.
SELECT matches(pg_temp.problems(jsonb_build_object('initial', 'S1', 'states', (
		SELECT jsonb_object_agg('S' || n, '{"on": {"x": "S1"}}'::jsonb) FROM generate_series(1, 1001) n))),
	'^states: more than 1000 states', 'too many states');
SELECT is((SELECT count(*) FROM regexp_split_to_table(pg_temp.problems(jsonb_build_object('initial', 'S1', 'states', (
		SELECT jsonb_object_agg('S' || n, '{"type": "final"}'::jsonb) FROM generate_series(1, 500) n))), E'\n')),
	101::bigint, 'a hundred problems are listed, the others counted');
SELECT matches(pg_temp.problems(jsonb_build_object('initial', repeat('x', 1100000))), '^the definition is larger than', 'too large');
SELECT is((SELECT count(*) FROM eventsource.state_machines WHERE name = 'none'), 0::bigint, 'what is refused is not there');

SELECT * FROM finish();
ROLLBACK;
