/*
 * expr_room.c
 *		The settings and the rights under which expressions are evaluated.
 *
 * An expression must mean the same in every session and at every replay, so
 * whatever setting changes how a value is read or printed is pinned: UTC, ISO
 * dates (month before day), the server's own style for intervals, shortest
 * floats, hex bytea, standard strings.  Code of users runs as the definition's
 * owner under SECURITY_RESTRICTED_OPERATION, with search_path pg_catalog; beside
 * a table whose types bring code of its owner's, as that owner.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/transam.h"
#include "log/catalog.h"
#include "miscadmin.h"
#include "parser/parse_expr.h"
#include "parser/parser.h"
#include "pgtime.h"
#include "rules/expr_parts.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/bytea.h"
#include "utils/float.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"

typedef struct NumberPin
{
	int		   *variable;
	int			value;
	const char *setting;
	const char *text;
} NumberPin;

typedef struct FlagPin
{
	bool	   *variable;
	bool		value;
	const char *setting;
} FlagPin;

/* DateStyle covers two variables. */
static const NumberPin number_pins[] = {
	{&DateStyle, USE_ISO_DATES, "datestyle", "ISO, MDY"},
	{&DateOrder, DATEORDER_MDY, "datestyle", "ISO, MDY"},
	{&IntervalStyle, INTSTYLE_POSTGRES, "intervalstyle", "postgres"},
	{&extra_float_digits, 1, "extra_float_digits", "1"},
	{&bytea_output, BYTEA_OUTPUT_HEX, "bytea_output", "hex"},
};

static const FlagPin flag_pins[] = {
	{&quote_all_identifiers, false, "quote_all_identifiers"},
	{&Array_nulls, true, "array_nulls"},
	{&Transform_null_equals, false, "transform_null_equals"},
};

StaticAssertDecl(lengthof(number_pins) == lengthof(((EsPins *) 0)->number), "a pin has no place");
StaticAssertDecl(lengthof(flag_pins) == lengthof(((EsPins *) 0)->flag), "a pin has no place");

static pg_tz *utc(void);
static void set_for_now(const char *setting, const char *value);
static bool has_default_abbreviations(void);

void
es_expr_pin(EsPins *saved)
{
	pg_tz	   *zone = utc();

	saved->zone = session_timezone;
	session_timezone = zone;
	for (int i = 0; i < (int) lengthof(number_pins); i++)
	{
		saved->number[i] = *number_pins[i].variable;
		*number_pins[i].variable = number_pins[i].value;
	}
	for (int i = 0; i < (int) lengthof(flag_pins); i++)
	{
		saved->flag[i] = *flag_pins[i].variable;
		*flag_pins[i].variable = flag_pins[i].value;
	}
}

void
es_expr_unpin(const EsPins *saved)
{
	session_timezone = saved->zone;
	for (int i = 0; i < (int) lengthof(number_pins); i++)
		*number_pins[i].variable = saved->number[i];
	for (int i = 0; i < (int) lengthof(flag_pins); i++)
		*flag_pins[i].variable = saved->flag[i];
}

bool
es_expr_wants_room(const EsExprTraits *traits)
{
	return traits->foreign || traits->locale ||
		(traits->zone_words && !has_default_abbreviations());
}

/*
 * Only what differs is set: on an ordinary server that is search_path alone.
 * The current identity is needed to undo it even where the owner is gone.
 */
void
es_expr_enter_room(EsRoom *room, Oid owner, bool parsing, const EsExprTraits *traits)
{
	GetUserIdAndSecContext(&room->user, &room->security);
	SetUserIdAndSecContext(OidIsValid(owner) ? owner : room->user,
						   room->security | SECURITY_RESTRICTED_OPERATION);
	room->guc_level = NewGUCNestLevel();

	set_for_now("search_path", "pg_catalog, pg_temp");
	if (session_timezone != utc())
		set_for_now("timezone", "UTC");
	for (int i = 0; i < (int) lengthof(number_pins); i++)
		if (*number_pins[i].variable != number_pins[i].value)
			set_for_now(number_pins[i].setting, number_pins[i].text);
	for (int i = 0; i < (int) lengthof(flag_pins); i++)
		if (*flag_pins[i].variable != flag_pins[i].value)
			set_for_now(flag_pins[i].setting, flag_pins[i].value ? "on" : "off");

	if (parsing && !standard_conforming_strings)
		set_for_now("standard_conforming_strings", "on");
	if (!has_default_abbreviations())
		set_for_now("timezone_abbreviations", "Default");
	if (parsing || traits->locale)
	{
		set_for_now("lc_monetary", "C");
		set_for_now("lc_numeric", "C");
		set_for_now("lc_time", "C");
	}
}

void
es_expr_leave_room(const EsRoom *room)
{
	AtEOXact_GUC(false, room->guc_level);
	SetUserIdAndSecContext(room->user, room->security);
}

/*
 * Values of a type call what belongs to it: constraints, casts.  Who made it
 * could so run his code with the rights of a definer who has more than he.
 */
Oid
es_expr_owner_beside(Oid definer, TupleDesc row)
{
	Oid			owner;
	bool		is_foreign = false;

	for (int i = 0; i < row->natts; i++)
		is_foreign |= !TupleDescAttr(row, i)->attisdropped &&
			TupleDescAttr(row, i)->atttypid >= FirstNormalObjectId;
	if (!is_foreign || !OidIsValid(definer))
		return definer;
	owner = es_catalog_relation_owner(get_typ_typrelid(row->tdtypeid));
	return OidIsValid(owner) && has_privs_of_role(definer, owner) ? owner : definer;
}

static pg_tz *
utc(void)
{
	static pg_tz *zone = NULL;

	if (zone == NULL)
	{
		zone = pg_tzset("UTC");
		if (zone == NULL)
			zone = pg_tzset("GMT");
	}
	return zone;
}

static void
set_for_now(const char *setting, const char *value)
{
	(void) set_config_option(setting, value, PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
}

static bool
has_default_abbreviations(void)
{
	const char *value = GetConfigOption("timezone_abbreviations", true, false);

	return value == NULL || strcmp(value, "Default") == 0;
}
