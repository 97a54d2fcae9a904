/*
 * expr_check.c
 *		What an expression may contain: nothing whose value could differ between
 *		two evaluations over the same event and row.
 *
 * Every kind of node that is not known to be harmless is refused.  Functions
 * must be IMMUTABLE, or be one of PostgreSQL's own STABLE ones that depend only
 * on settings which expr_room.c pins.  Input functions of dates read "now" and
 * its like; they are allowed on plain casts only, where es_expr_guard_clock
 * refuses those words at run time.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/transam.h"
#include "catalog/namespace.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "compat.h"
#include "errors.h"
#include "executor/execExpr.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "parser/parse_coerce.h"
#include "rules/expr_parts.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/fmgroids.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/regproc.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"
#include "utils/typcache.h"

typedef struct CheckContext
{
	ParseState *pstate;
	EsExprTraits *traits;
	Node	   *set_allowed;	/* the one node that may return a set */
	List	   *clock_words;	/* where the text has literals like 'now' */
	Node	   *at;				/* whose location errors tell */
} CheckContext;

static bool check_walker(Node *node, void *arg);
static void check_node(Node *node, CheckContext *context);
static void check_type(Oid type, CheckContext *context);
static void note_foreign_type(Oid type, EsExprTraits *traits);
static bool is_temporary(Oid type);
static bool is_plain_node(Node *node);
static bool check_calling_node(Node *node, CheckContext *context);
static void refuse_node(Node *node, CheckContext *context);
static const char *value_function_name(const SQLValueFunction *function);
static void check_comparison(Oid type, CheckContext *context);
static bool check_function(Oid function, void *arg);
static void check_call(Node *node, Oid function, List *args, Oid result, CheckContext *context);
static void check_printed(Oid type, bool as_json, CheckContext *context);
static void check_read(Oid type, bool nested, CheckContext *context);
static void check_read_base(Oid type, bool nested, CheckContext *context);
static void check_columns(Oid type, bool printed, CheckContext *context);
static void check_domain(Oid type, CheckContext *context);
static void check_constant(Const *constant, CheckContext *context);
static bool format_is_free(List *args, const char *local);
static bool holds_datetime(Oid type);
static bool names_objects(Oid type);
static void refuse(CheckContext *context, const char *what, const char *why, const char *hint);

void
es_expr_check_tree(ParseState *pstate, Node *node, bool set_returning, List *clock_words,
				   EsExprTraits *traits)
{
	CheckContext context = {pstate, traits, set_returning ? node : NULL, clock_words, node};

	(void) check_walker(node, &context);
}

static bool
check_walker(Node *node, void *arg)
{
	CheckContext *context = arg;
	Node	   *outer = context->at;

	if (node == NULL)
		return false;
	check_stack_depth();

	if (!IsA(node, List))
	{
		context->at = node;
		check_node(node, context);
	}
	/* What an operand cannot tell its place of is told at its operator's. */
	(void) expression_tree_walker(node, check_walker, context);
	context->at = outer;
	return false;
}

static void
check_node(Node *node, CheckContext *context)
{
	if (IsA(node, CaseWhen))
		return;					/* has no type */
	if (!is_plain_node(node) && !check_calling_node(node, context))
	{
		refuse_node(node, context);
		return;
	}
	check_type(exprType(node), context);
}

static void
check_type(Oid type, CheckContext *context)
{
	/* What works on arrays, rows, domains and ranges keeps notes about them. */
	if (type != UNKNOWNOID && (get_typtype(type) != TYPTYPE_BASE || OidIsValid(get_element_type(type))))
		context->traits->transient = true;
	note_foreign_type(type, context->traits);
	if (is_temporary(type))
		refuse(context, psprintf("type %s is temporary", format_type_be(type)), "It ends with this session.", NULL);
	if (names_objects(type))
		refuse(context, psprintf("type %s is not allowed", format_type_be(type)),
			   "Its values are object identifiers, which do not survive a dump and restore.",
			   "Use the name as text.");
}

/*
 * What hangs on a type of users is looked up at run time: constraints, also of
 * what is nested in it, support functions, casts.  Any of it may come later than
 * the expression.  The labels of an enum alone call nothing.
 */
static void
note_foreign_type(Oid type, EsExprTraits *traits)
{
	if (type < FirstNormalObjectId || get_typtype(type) == TYPTYPE_ENUM)
		return;
	traits->foreign = true;
	traits->transient = true;
}

static bool
is_temporary(Oid type)
{
	HeapTuple	tuple = SearchSysCache1(TYPEOID, ObjectIdGetDatum(type));
	bool		result;

	if (!HeapTupleIsValid(tuple))
		return false;
	result = isTempNamespace(((Form_pg_type) GETSTRUCT(tuple))->typnamespace);
	ReleaseSysCache(tuple);
	return result;
}

/* Nodes that call nothing which depends on anything but their inputs. */
static bool
is_plain_node(Node *node)
{
	switch (nodeTag(node))
	{
		case T_Param:
		case T_Var:
		case T_BoolExpr:
		case T_NamedArgExpr:
		case T_FieldSelect:
		case T_FieldStore:
		case T_RelabelType:
		case T_ArrayCoerceExpr:
		case T_ConvertRowtypeExpr:
		case T_CollateExpr:
		case T_CaseExpr:
		case T_CaseTestExpr:
		case T_ArrayExpr:
		case T_RowExpr:
		case T_CoalesceExpr:
		case T_NullTest:
		case T_BooleanTest:
		case T_CoerceToDomainValue:
		case T_SubscriptingRef:
			return true;
		default:
			return false;
	}
}

/* Nodes whose functions or constants must be looked at; false for others. */
static bool
check_calling_node(Node *node, CheckContext *context)
{
	List	   *printed = NIL;
	ListCell   *lc;

	switch (nodeTag(node))
	{
		case T_Const:
			check_constant((Const *) node, context);
			return true;
		case T_FuncExpr:
			check_call(node, ((FuncExpr *) node)->funcid, ((FuncExpr *) node)->args,
					   ((FuncExpr *) node)->funcresulttype, context);
			return true;
		case T_OpExpr:
		case T_DistinctExpr:
		case T_NullIfExpr:
			set_opfuncid((OpExpr *) node);
			check_call(node, ((OpExpr *) node)->opfuncid, ((OpExpr *) node)->args,
					   ((OpExpr *) node)->opresulttype, context);
			return true;
		case T_ScalarArrayOpExpr:
		case T_RowCompareExpr:
			(void) check_functions_in_node(node, check_function, context);
			return true;
		case T_MinMaxExpr:
			check_comparison(((MinMaxExpr *) node)->minmaxtype, context);
			return true;
		case T_CoerceViaIO:
			check_printed(exprType((Node *) ((CoerceViaIO *) node)->arg), false, context);
			check_read(((CoerceViaIO *) node)->resulttype, false, context);
			return true;
		case T_CoerceToDomain:
			check_domain(((CoerceToDomain *) node)->resulttype, context);
			return true;
		default:
			if (!es_compat_is_json_constructor(node, &printed))
				return false;
			foreach(lc, printed)
				check_printed(exprType(lfirst(lc)), true, context);
			return true;
	}
}

static void
refuse_node(Node *node, CheckContext *context)
{
	static const struct
	{
		NodeTag		tag;
		const char *what;
		const char *why;
		const char *hint;
	}			refused[] = {
		{T_NextValueExpr, "a sequence is not allowed", "Every evaluation would draw another value.",
		"Use event.position, or a value that the event carries."},
		{T_Aggref, "aggregate functions are not allowed", "There is one event and one row to look at.",
		"Keep the running value in a column and add to it: total = row.total + ..."},
		{T_GroupingFunc, "GROUPING is not allowed", "There is one event and one row to look at.", NULL},
		{T_WindowFunc, "window functions are not allowed", "There is one event and one row to look at.", NULL},
		{T_SubLink, "subqueries are not allowed", "An expression sees the event and the row, no tables.", NULL},
		{T_Invalid, "this construct is not allowed",
		"Operators, functions, casts, CASE, COALESCE, arrays and rows are.", NULL},
	};
	int			i = 0;

	if (IsA(node, SQLValueFunction))
		refuse(context, psprintf("%s is not allowed", value_function_name((SQLValueFunction *) node)),
			   "Its value depends on when and by whom the expression is evaluated.",
			   "Use what the event carries: event.occurred_at, event.recorded_at, event.actor, event.recorded_by.");
	while (refused[i].tag != nodeTag(node) && refused[i].tag != T_Invalid)
		i++;
	refuse(context, refused[i].what, refused[i].why, refused[i].hint);
}

static const char *
value_function_name(const SQLValueFunction *function)
{
	static const char *const names[] = {
		[SVFOP_CURRENT_DATE] = "CURRENT_DATE",
		[SVFOP_CURRENT_TIME] = "CURRENT_TIME",
		[SVFOP_CURRENT_TIME_N] = "CURRENT_TIME",
		[SVFOP_CURRENT_TIMESTAMP] = "CURRENT_TIMESTAMP",
		[SVFOP_CURRENT_TIMESTAMP_N] = "CURRENT_TIMESTAMP",
		[SVFOP_LOCALTIME] = "LOCALTIME",
		[SVFOP_LOCALTIME_N] = "LOCALTIME",
		[SVFOP_LOCALTIMESTAMP] = "LOCALTIMESTAMP",
		[SVFOP_LOCALTIMESTAMP_N] = "LOCALTIMESTAMP",
		[SVFOP_CURRENT_ROLE] = "CURRENT_ROLE",
		[SVFOP_CURRENT_USER] = "CURRENT_USER",
		[SVFOP_USER] = "USER",
		[SVFOP_SESSION_USER] = "SESSION_USER",
		[SVFOP_CURRENT_CATALOG] = "CURRENT_CATALOG",
		[SVFOP_CURRENT_SCHEMA] = "CURRENT_SCHEMA",
	};

	return names[function->op];
}

static void
check_comparison(Oid type, CheckContext *context)
{
	Oid			compare = lookup_type_cache(type, TYPECACHE_CMP_PROC)->cmp_proc;

	if (OidIsValid(compare))
		(void) check_function(compare, context);
}

/* Callback for a function whose arguments do not matter. */
static bool
check_function(Oid function, void *arg)
{
	CheckContext *context = arg;
	char		volatility = func_volatile(function);

	if (function >= FirstNormalObjectId)
	{
		context->traits->foreign = true;
		context->traits->transient = true;
		if (isTempNamespace(get_func_namespace(function)))
			refuse(context, psprintf("function %s is temporary", format_procedure(function)),
				   "It ends with this session.", NULL);
	}
	if (func_parallel(function) != PROPARALLEL_SAFE)
		context->traits->serial = function;
	if (es_expr_reads_zone_words(function))
		context->traits->zone_words = true;
	if (volatility == PROVOLATILE_IMMUTABLE)
		return false;
	if (function < FirstNormalObjectId && volatility == PROVOLATILE_STABLE &&
		es_expr_stable_kind(function) != ES_STABLE_REFUSED)
		return false;
	refuse(context, psprintf("function %s is not allowed", format_procedure(function)),
		   volatility == PROVOLATILE_VOLATILE ?
		   "It is VOLATILE: two evaluations can give two values." :
		   "It is STABLE: its value depends on the session or the moment, not only on its arguments.",
		   function >= FirstNormalObjectId ?
		   "If its result depends on its arguments alone, declare it IMMUTABLE." :
		   "Use what the event carries, for instance event.occurred_at or event.actor.");
	return false;
}

static void
check_call(Node *node, Oid function, List *args, Oid result, CheckContext *context)
{
	EsStableKind kind;
	ListCell   *lc;

	if (node != context->set_allowed &&
		((IsA(node, FuncExpr) && ((FuncExpr *) node)->funcretset) ||
		 (IsA(node, OpExpr) && ((OpExpr *) node)->opretset)))
		refuse(context, psprintf("set-returning function %s is not allowed here", format_procedure(function)),
			   "One value is wanted.", "A set belongs into \"each\", as its outermost function.");

	(void) check_function(function, context);
	if (function >= FirstNormalObjectId || func_volatile(function) != PROVOLATILE_STABLE)
		return;

	kind = es_expr_stable_kind(function);
	switch (kind)
	{
		case ES_STABLE_PRINTS:
		case ES_STABLE_PRINTS_JSON:
			foreach(lc, args)
				check_printed(exprType(lfirst(lc)), kind == ES_STABLE_PRINTS_JSON, context);
			break;
		case ES_STABLE_READS:
			check_read(result, true, context);
			break;
		case ES_STABLE_FORMATS_NUMBER:
			if (!format_is_free(args, "LDGldg"))
				context->traits->locale = true;
			break;
		case ES_STABLE_FORMATS_TIME:
			if (!format_is_free(args, "TMtm"))
				context->traits->locale = true;
			break;
		default:
			break;
	}
}

/*
 * Values of this type are turned into text (or json).  Object names, money
 * and what else depends on the session is refused.
 */
static void
check_printed(Oid type, bool as_json, CheckContext *context)
{
	Oid			base = getBaseType(type);
	Oid			element = get_element_type(base);
	Oid			function;
	bool		is_varlena;

	check_stack_depth();
	note_foreign_type(type, context->traits);
	/* A cast to json may come later; a row may hold any type. */
	if (as_json && (base >= FirstNormalObjectId || base == RECORDOID))
	{
		context->traits->foreign = true;
		context->traits->transient = true;
		if (find_coercion_pathway(JSONOID, type, COERCION_EXPLICIT, &function) == COERCION_PATH_FUNC)
			(void) check_function(function, context);
	}
	if (OidIsValid(element))
		check_printed(element, as_json, context);
	else if (get_typtype(base) == TYPTYPE_RANGE)
		check_printed(get_range_subtype(base), as_json, context);
	else if (get_typtype(base) == TYPTYPE_MULTIRANGE)
		check_printed(get_range_subtype(get_multirange_range(base)), as_json, context);
	else if (get_typtype(base) == TYPTYPE_COMPOSITE)
		check_columns(base, true, context);
	else if (get_typtype(base) == TYPTYPE_BASE)
	{
		getTypeOutputInfo(base, &function, &is_varlena);
		(void) check_function(function, context);
	}
}

/* Text is read as a value of this type; nested: as a part of something else. */
static void
check_read(Oid type, bool nested, CheckContext *context)
{
	Oid			base = getBaseType(type);
	Oid			element = get_element_type(base);

	check_stack_depth();
	note_foreign_type(type, context->traits);
	if (base != type)
		check_domain(type, context);

	if (OidIsValid(element))
		check_read(element, true, context);
	else if (get_typtype(base) == TYPTYPE_RANGE)
		check_read(get_range_subtype(base), true, context);
	else if (get_typtype(base) == TYPTYPE_MULTIRANGE)
		check_read(get_range_subtype(get_multirange_range(base)), true, context);
	else if (get_typtype(base) == TYPTYPE_COMPOSITE)
		check_columns(base, false, context);
	else if (get_typtype(base) == TYPTYPE_BASE)
		check_read_base(base, nested, context);
	else if (base == RECORDOID)
		refuse(context, "a row of unknown type is not allowed", "Its columns cannot be checked.",
			   "Cast to a composite type.");
}

static void
check_read_base(Oid type, bool nested, CheckContext *context)
{
	Oid			function;
	Oid			param;

	getTypeInputInfo(type, &function, &param);
	(void) check_function(function, context);
	if (nested && es_expr_reads_clock(function))
		refuse(context, psprintf("a cast that reads %s inside another value is not allowed", format_type_be(type)),
			   "Words like \"now\" would be read as the moment of evaluation.",
			   "Take the part out as text and cast it by itself.");
}

static void
check_columns(Oid type, bool printed, CheckContext *context)
{
	TupleDesc	desc = lookup_rowtype_tupdesc_copy(type, -1);

	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (att->attisdropped)
			continue;
		if (printed)
			check_printed(att->atttypid, true, context);
		else
			check_read(att->atttypid, true, context);
	}
	FreeTupleDesc(desc);
}

/* Its CHECKs are evaluated with the cast. */
static void
check_domain(Oid type, CheckContext *context)
{
	DomainConstraintRef *ref = palloc0(sizeof(DomainConstraintRef));
	ParseState *pstate = context->pstate;
	ListCell   *lc;

	/* Locations inside a domain's CHECK are not places in our text. */
	context->pstate = NULL;
	InitDomainConstraintRef(type, ref, CurrentMemoryContext, false);
	foreach(lc, ref->constraints)
	{
		DomainConstraintState *constraint = lfirst(lc);

		if (constraint->check_expr != NULL)
			(void) check_walker((Node *) constraint->check_expr, context);
	}
	context->pstate = pstate;
}

/* 'now'::timestamptz has become a constant already: the raw literal tells. */
static void
check_constant(Const *constant, CheckContext *context)
{
	if (list_member_int(context->clock_words, constant->location) &&
		holds_datetime(constant->consttype))
		refuse(context, "'now', 'today' and their like are not allowed",
			   "They were read as the moment of the definition.",
			   "Use event.occurred_at or event.recorded_at.");
}

static bool
holds_datetime(Oid type)
{
	Oid			base = getBaseType(type);
	Oid			element = get_element_type(base);

	if (OidIsValid(element))
		return holds_datetime(element);
	if (get_typtype(base) == TYPTYPE_RANGE)
		return holds_datetime(get_range_subtype(base));
	if (get_typtype(base) == TYPTYPE_MULTIRANGE)
		return holds_datetime(get_range_subtype(get_multirange_range(base)));
	return get_typtype(base) == TYPTYPE_COMPOSITE || TypeCategory(base) == TYPCATEGORY_DATETIME;
}

/* True if the format is a constant without any of the letters "local". */
static bool
format_is_free(List *args, const char *local)
{
	Const	   *format = llast(args);

	return IsA(format, Const) && !format->constisnull && format->consttype == TEXTOID &&
		strpbrk(TextDatumGetCString(format->constvalue), local) == NULL;
}

/* Types whose values are oids, printed as names. */
static bool
names_objects(Oid type)
{
	switch (type)
	{
		case OIDOID:
		case REGPROCOID:
		case REGPROCEDUREOID:
		case REGOPEROID:
		case REGOPERATOROID:
		case REGCLASSOID:
		case REGCOLLATIONOID:
		case REGTYPEOID:
		case REGROLEOID:
		case REGNAMESPACEOID:
		case REGCONFIGOID:
		case REGDICTIONARYOID:
			return true;
		default:
			return OidIsValid(get_element_type(type)) && names_objects(get_element_type(type));
	}
}

static void
refuse(CheckContext *context, const char *what, const char *why, const char *hint)
{
	ereport(ERROR,
			(errcode(ES_ERRCODE_INVALID_DEFINITION),
			 errmsg("%s", what),
			 errdetail("%s", why),
			 hint ? errhint("%s", hint) : 0,
			 context->pstate ? parser_errposition(context->pstate, exprLocation(context->at)) : 0));
}
