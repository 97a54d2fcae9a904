-- Who may read, and who may append to, which categories: src/log/rights.h.

CREATE FUNCTION eventsource.reads_all_categories() RETURNS boolean
	LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
	RETURN true;
COMMENT ON FUNCTION eventsource.reads_all_categories() IS
	'Private: who may execute it reads every category. See grant_reader().';

CREATE FUNCTION eventsource.writes_all_categories() RETURNS boolean
	LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
	RETURN true;
COMMENT ON FUNCTION eventsource.writes_all_categories() IS
	'Private: who may execute it may append to every category. See grant_writer().';

-- For who reads everything, these are planned away; for others, a view that asks one
-- of them is a security barrier.
CREATE FUNCTION eventsource.may_read_support(request internal) RETURNS internal
	AS 'MODULE_PATHNAME', 'eventsource_may_read_support' LANGUAGE C STABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION eventsource.may_read_support(internal) IS
	'Private, for the planner: whether the current user reads every category.';

CREATE FUNCTION eventsource.may_read_stream(stream bigint) RETURNS boolean
	AS 'MODULE_PATHNAME', 'eventsource_may_read_stream' LANGUAGE C STABLE STRICT PARALLEL SAFE
	SUPPORT eventsource.may_read_support;
COMMENT ON FUNCTION eventsource.may_read_stream(bigint) IS
	'Private, for views: may the current user read the stream with this id?';

CREATE FUNCTION eventsource.may_read_category(category text) RETURNS boolean
	AS 'MODULE_PATHNAME', 'eventsource_may_read_category' LANGUAGE C STABLE STRICT PARALLEL SAFE
	SUPPORT eventsource.may_read_support;
COMMENT ON FUNCTION eventsource.may_read_category(text) IS
	'May the current user read this category? See grant_reader().';

CREATE FUNCTION eventsource.may_read_categories(category text[]) RETURNS boolean
	AS 'MODULE_PATHNAME', 'eventsource_may_read_categories' LANGUAGE C STABLE PARALLEL SAFE
	SUPPORT eventsource.may_read_support;
COMMENT ON FUNCTION eventsource.may_read_categories(text[]) IS
	'May the current user read each of these categories? NULL: every category there is or will be.';
