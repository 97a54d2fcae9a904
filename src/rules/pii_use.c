/*
 * pii_use.c
 *		What an expression reads of personal fields.
 *
 * Looks at the tree that is planned: event.data is a parameter there, and what is
 * constant is a constant.  Steps into data are ->, ->>, #>, #>> and subscripts.
 */
#include "postgres.h"

#include "access/sysattr.h"
#include "catalog/pg_type.h"
#include "log/config.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "rules/event_type.h"
#include "rules/expr_parts.h"
#include "rules/pii_use.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"

/* Names on the way from data to what is read. */
typedef struct Way
{
	StringInfoData path;
	bool		ends;			/* the next name is computed */
} Way;

typedef struct Search
{
	const EsExpr *expr;
	const EsPii *pii;
	EsPiiUse   *use;
	int			shelter;		/* how many nodes above take NULL for an
								 * answer */
} Search;

static bool search_node(Node *node, void *arg);
static bool is_shelter(Node *node);
static bool find_way(const EsExpr *expr, Node *node, Way *way, List **computed);
static bool is_step(Oid function);
static void add_names(Way *way, Node *names, List **computed);
static void add_name(Way *way, const char *name);
static void note_use(Search *search, const Way *way);
static List *add_declared(List *result, List *categories, const char *type, bool subjectless);
static bool is_of_categories(const char *name, List *categories, const char **type);

void
es_pii_find_use(const EsExpr *expr, const EsPii *pii, EsPiiUse *use)
{
	Search		search = {.expr = expr,.pii = pii,.use = use};

	if (es_expr_uses_event(expr, ES_EVENT_DATA))
		(void) search_node(expr->plan->expr, &search);
}

static bool
search_node(Node *node, void *arg)
{
	Search	   *search = arg;
	Way			way = {.ends = false};
	List	   *computed = NIL;
	bool		shelters;

	if (node == NULL)
		return false;
	initStringInfo(&way.path);
	if (find_way(search->expr, node, &way, &computed))
	{
		note_use(search, &way);
		return search_node((Node *) computed, arg);
	}
	shelters = is_shelter(node);
	search->shelter += shelters;
	(void) expression_tree_walker(node, search_node, arg);
	search->shelter -= shelters;
	return false;
}

/* Can it have a value where what stands below is NULL? */
static bool
is_shelter(Node *node)
{
	switch (nodeTag(node))
	{
		case T_CoalesceExpr:
		case T_CaseExpr:
		case T_NullTest:
		case T_BooleanTest:
		case T_DistinctExpr:
			return true;
		case T_FuncExpr:
			return !func_strict(((FuncExpr *) node)->funcid);
		case T_OpExpr:
			set_opfuncid((OpExpr *) node);
			return !func_strict(((OpExpr *) node)->opfuncid);
		default:
			return false;
	}
}

/*
 * The way to what the node reads of data; false: it does not.  Names that are computed
 * are listed: they may read data themselves.
 */
static bool
find_way(const EsExpr *expr, Node *node, Way *way, List **computed)
{
	List	   *args = NIL;
	Oid			function = InvalidOid;

	if (IsA(node, RelabelType))
		return find_way(expr, (Node *) ((RelabelType *) node)->arg, way, computed);
	if (IsA(node, Param))
	{
		const EsNameUse *use = &expr->uses[((Param *) node)->paramid - 1];

		return use->kind == ES_NAME_EVENT && use->column == ES_EVENT_DATA;
	}
	if (IsA(node, SubscriptingRef))
	{
		SubscriptingRef *ref = (SubscriptingRef *) node;
		ListCell   *lc;

		if (ref->refassgnexpr != NULL || !find_way(expr, (Node *) ref->refexpr, way, computed))
			return false;
		foreach(lc, ref->refupperindexpr)
			add_names(way, lfirst(lc), computed);
		return true;
	}
	if (IsA(node, OpExpr))
	{
		set_opfuncid((OpExpr *) node);
		function = ((OpExpr *) node)->opfuncid;
		args = ((OpExpr *) node)->args;
	}
	else if (IsA(node, FuncExpr))
	{
		function = ((FuncExpr *) node)->funcid;
		args = ((FuncExpr *) node)->args;
	}
	if (!is_step(function) || !find_way(expr, linitial(args), way, computed))
		return false;
	add_names(way, lsecond(args), computed);
	return true;
}

static bool
is_step(Oid function)
{
	return function == F_JSONB_OBJECT_FIELD || function == F_JSONB_OBJECT_FIELD_TEXT ||
		function == F_JSONB_ARRAY_ELEMENT || function == F_JSONB_ARRAY_ELEMENT_TEXT ||
		function == F_JSONB_EXTRACT_PATH || function == F_JSONB_EXTRACT_PATH_TEXT ||
		function == F_JSONB_EXISTS;
}

static void
add_names(Way *way, Node *names, List **computed)
{
	Const	   *constant = (Const *) names;
	Datum	   *elements;
	bool	   *nulls;
	int			count;

	if (!IsA(names, Const) || constant->constisnull)
	{
		way->ends = true;
		*computed = lappend(*computed, names);
		return;
	}
	if (constant->consttype == INT4OID)
		add_name(way, psprintf("%d", DatumGetInt32(constant->constvalue)));
	else if (constant->consttype == TEXTOID)
		add_name(way, TextDatumGetCString(constant->constvalue));
	else if (constant->consttype == TEXTARRAYOID)
	{
		deconstruct_array(DatumGetArrayTypeP(constant->constvalue), TEXTOID, -1, false, TYPALIGN_INT,
						  &elements, &nulls, &count);
		for (int i = 0; i < count && !nulls[i]; i++)
			add_name(way, TextDatumGetCString(elements[i]));
	}
	else
		way->ends = true;
}

/* After one that is computed nothing is known. */
static void
add_name(Way *way, const char *name)
{
	if (way->ends)
		return;
	if (way->path.len > 0)
		appendStringInfoChar(&way->path, '.');
	appendStringInfoString(&way->path, name);
}

static void
note_use(Search *search, const Way *way)
{
	EsPersonalPath path = {.n_parts = 0};

	/*
	 * A name that no path can have leads to no personal field; nor does what
	 * follows.
	 */
	if (way->path.len > 0 && es_personal_parse(way->path.data, &path) != NULL)
		return;
	for (int i = 0; i < search->pii->n; i++)
	{
		const EsPersonalPath *field = &search->pii->path[i];

		if (!es_personal_overlap(&path, field))
			continue;
		search->use->touches = true;
		if (path.n_parts < field->n_parts)
			continue;
		search->use->names = field->source;
		if (search->shelter == 0)
			search->use->exposed = field->source;
	}
}

Bitmapset *
es_pii_row_columns(const EsExpr *expr, bool *uses_item)
{
	Bitmapset  *columns = NULL;

	*uses_item = false;
	for (int i = 0; i < expr->nuses; i++)
	{
		if (expr->uses[i].kind == ES_NAME_ROW && expr->uses[i].column > 0)
			columns = bms_add_member(columns, expr->uses[i].column);
		*uses_item |= expr->uses[i].kind == ES_NAME_ITEM;
	}
	return columns;
}

Bitmapset *
es_pii_generated_from(TupleDesc table, AttrNumber attno)
{
	Bitmapset  *columns = NULL;
	Bitmapset  *found = NULL;
	int			n = -1;

	if (TupleDescAttr(table, attno - 1)->attgenerated == '\0')
		return NULL;
	for (int i = 0; table->constr != NULL && i < table->constr->num_defval; i++)
		if (table->constr->defval[i].adnum == attno)
			pull_varattnos(stringToNode(table->constr->defval[i].adbin), 1, &found);
	while ((n = bms_next_member(found, n)) >= 0)
		columns = bms_add_member(columns, n + FirstLowInvalidHeapAttributeNumber);
	return columns;
}

List *
es_pii_declared(List *categories, const char *type)
{
	return add_declared(es_pii_declared_captured(categories, type), categories, type, false);
}

List *
es_pii_declared_subjectless(const char *category)
{
	List	   *categories = list_make1(unconstify(char *, category));

	return add_declared(es_pii_declared_captured(categories, NULL), categories, NULL, true);
}

static List *
add_declared(List *result, List *categories, const char *type, bool subjectless)
{
	ListCell   *lc;

	foreach(lc, es_config_names(ES_EVENT_TYPE_KIND))
	{
		const char *name = lfirst(lc);
		const char *of;
		EsEventType *stored;

		if (!is_of_categories(name, categories, &of) || (type != NULL && strcmp(of, type) != 0))
			continue;
		stored = es_event_type_read(of == name + 1 ? NULL : pnstrdup(name, of - name - 1), of);
		if (stored == NULL || (subjectless && es_event_type_latest(stored)->subject != NULL))
			continue;
		for (int i = 0; i < stored->n_versions; i++)
			if (stored->version[i].personal != NULL)
				result = lappend(result, stored->version[i].personal);
	}
	return result;
}

/* *type: what the definition of that name is of. */
static bool
is_of_categories(const char *name, List *categories, const char **type)
{
	const char *hyphen = strchr(name, '-');
	ListCell   *lc;

	if (hyphen == NULL)
		return false;
	*type = hyphen + 1;
	if (hyphen == name || categories == NIL)
		return true;
	foreach(lc, categories)
		if (strlen(lfirst(lc)) == (size_t) (hyphen - name) && memcmp(lfirst(lc), name, hyphen - name) == 0)
		return true;
	return false;
}
