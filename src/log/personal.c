/*
 * personal.c
 *		Personal fields of data: which members they are, cut out and put back.
 *
 * Everything is palloc'd in the current memory context, and values point into the
 * jsonb that they were read from.
 */
#include "log/personal.h"

#include "errors.h"
#include "lib/stringinfo.h"
#include "log/chain.h"
#include "log/json_walk.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/builtins.h"

#define MAX_PARTS	32

/* Data that is being cut. */
typedef struct Cutting
{
	JsonbParseState *state;
	JsonbValue *result;
	StringInfoData path;		/* of the container that is being walked */
	EsPersonal *cut;
	int			max;
} Cutting;

static bool is_number(const char *name, int length);
static void read_part(const char *name, int length, EsPersonalPart *part);
static bool is_field(const EsPersonalPath **paths, int n, int depth);
static bool keeps_place(const EsPersonalPath **paths, int n, int depth);
static void cut_object(Cutting *cutting, JsonbContainer *object, const EsPersonalPath **paths, int n,
					   int depth);
static void cut_array(Cutting *cutting, JsonbContainer *array, const EsPersonalPath **paths, int n,
					  int depth);
static void cut_value(Cutting *cutting, JsonbValue *value, const EsPersonalPath **paths, int n, int depth,
					  const char *name, int length, JsonbIteratorToken leaves);
static void add_field(Cutting *cutting, const JsonbValue *value);
static void refuse_obstacle(const EsPersonalPath *path);
static int	compare_fields(const void *a, const void *b);
static void fill_object(JsonbParseState **state, JsonbContainer *object, const EsPersonalField *field, int n,
						int offset, bool keeps_places, JsonbValue **result);
static void fill_array(JsonbParseState **state, JsonbContainer *array, const EsPersonalField *field, int n,
					   int offset, bool keeps_places, JsonbValue **result);
static void fill_container(JsonbParseState **state, JsonbContainer *container, const EsPersonalField *field,
						   int n, int offset, bool keeps_places, JsonbValue **result);
static int	find_below(const EsPersonalField *field, int n, int offset, const char *name, int length,
					   int *first);
static const EsPersonalField *find_leaf(const EsPersonalField *field, int n, int offset, const char *name,
										int length);

/* ---- paths ---- */

char *
es_personal_parse(const char *source, EsPersonalPath *path)
{
	const char *at = source;

	path->source = source;
	path->n_parts = 0;
	path->keeps_place = false;
	path->part = palloc(MAX_PARTS * sizeof(EsPersonalPart));
	for (;;)
	{
		const char *end = strchr(at, '.');
		int			length = end == NULL ? (int) strlen(at) : (int) (end - at);

		if (length == 0)
			return pstrdup("a path is the names of members with dots between them, like address.street");
		if (path->n_parts == MAX_PARTS)
			return psprintf("has more than %d names", MAX_PARTS);
		read_part(at, length, &path->part[path->n_parts++]);
		if (end == NULL)
			return NULL;
		at = end + 1;
	}
}

static void
read_part(const char *name, int length, EsPersonalPart *part)
{
	part->name = name;
	part->length = length;
	part->any = length == 1 && name[0] == '*';
	part->index = -1;
	if (length < 10 && is_number(name, length))
		part->index = atoi(name);
}

static bool
is_number(const char *name, int length)
{
	for (int i = 0; i < length; i++)
		if (name[i] < '0' || name[i] > '9')
			return false;
	return length > 0;
}

bool
es_personal_matches(const EsPersonalPath *path, const char *field, int length)
{
	const char *end = field + length;
	const char *at = field;

	for (int i = 0; i < path->n_parts; i++)
	{
		const EsPersonalPart *part = &path->part[i];
		const char *dot = memchr(at, '.', end - at);
		int			n = (dot == NULL ? end : dot) - at;

		if (part->any ? !is_number(at, n) : n != part->length || memcmp(at, part->name, n) != 0)
			return false;
		if (dot == NULL)
			return i == path->n_parts - 1;
		at = dot + 1;
	}
	return false;
}

bool
es_personal_overlap(const EsPersonalPath *a, const EsPersonalPath *b)
{
	for (int i = 0; i < Min(a->n_parts, b->n_parts); i++)
	{
		const EsPersonalPart *x = &a->part[i];
		const EsPersonalPart *y = &b->part[i];

		if (x->any ? !y->any && y->index < 0 : y->any ? x->index < 0
			: x->length != y->length || memcmp(x->name, y->name, x->length) != 0)
			return false;
	}
	return true;
}

/* ---- cutting ---- */

Jsonb *
es_personal_cut(Jsonb *data, const EsPersonalPath *paths, int n_paths, EsPersonal **cut)
{
	Cutting		cutting = {0};
	const EsPersonalPath **all = palloc(Max(n_paths, 1) * sizeof(EsPersonalPath *));
	JsonbValue	root = {.type = jbvNull};

	*cut = NULL;
	if (n_paths == 0)
		return data;
	es_json_root(data, &root);
	if (root.type != jbvBinary && root.type != jbvNull)
		refuse_obstacle(&paths[0]);
	if (root.type != jbvBinary)
		return data;
	for (int i = 0; i < n_paths; i++)
		all[i] = &paths[i];
	initStringInfo(&cutting.path);
	cutting.cut = palloc0(sizeof(EsPersonal));
	if (JsonContainerIsObject(root.val.binary.data))
		cut_object(&cutting, root.val.binary.data, all, n_paths, 0);
	else
		cut_array(&cutting, root.val.binary.data, all, n_paths, 0);
	if (cutting.cut->n == 0)
		return data;
	es_personal_sort(cutting.cut);
	for (int i = 0; i < n_paths; i++)
		cutting.cut->keeps_places |= paths[i].keeps_place;
	*cut = cutting.cut;
	return JsonbValueToJsonb(cutting.result);
}

static void
cut_object(Cutting *cutting, JsonbContainer *object, const EsPersonalPath **paths, int n, int depth)
{
	EsJsonWalk	walk;
	JsonbValue	key;
	JsonbValue	value;
	const EsPersonalPath **below = palloc(n * sizeof(EsPersonalPath *));

	check_stack_depth();
	for (int i = 0; i < n; i++)
		if (paths[i]->part[depth].any)
			refuse_obstacle(paths[i]);
	pushJsonbValue(&cutting->state, WJB_BEGIN_OBJECT, NULL);
	es_json_walk_begin(&walk, object);
	while (es_json_walk_member(&walk, &key, &value))
	{
		int			n_below = 0;
		bool		leaves_null;

		for (int i = 0; i < n; i++)
			if (paths[i]->part[depth].length == key.val.string.len &&
				memcmp(paths[i]->part[depth].name, key.val.string.val, key.val.string.len) == 0)
				below[n_below++] = paths[i];
		if (n_below == 0 || value.type == jbvNull)
		{
			pushJsonbValue(&cutting->state, WJB_KEY, &key);
			pushJsonbValue(&cutting->state, WJB_VALUE, &value);
			continue;
		}
		leaves_null = keeps_place(below, n_below, depth);
		if (leaves_null || !is_field(below, n_below, depth))
			pushJsonbValue(&cutting->state, WJB_KEY, &key);
		cut_value(cutting, &value, below, n_below, depth, key.val.string.val, key.val.string.len,
				  leaves_null ? WJB_VALUE : WJB_DONE);
	}
	cutting->result = pushJsonbValue(&cutting->state, WJB_END_OBJECT, NULL);
	pfree(below);
}

static void
cut_array(Cutting *cutting, JsonbContainer *array, const EsPersonalPath **paths, int n, int depth)
{
	EsJsonWalk	walk;
	JsonbValue	value;
	const EsPersonalPath **below = palloc(n * sizeof(EsPersonalPath *));

	check_stack_depth();
	for (int i = 0; i < n; i++)
		if (!paths[i]->part[depth].any && paths[i]->part[depth].index < 0)
			refuse_obstacle(paths[i]);
	pushJsonbValue(&cutting->state, WJB_BEGIN_ARRAY, NULL);
	es_json_walk_begin(&walk, array);
	for (int k = 0; es_json_walk_element(&walk, &value); k++)
	{
		int			n_below = 0;
		char		name[12];

		CHECK_FOR_INTERRUPTS();
		for (int i = 0; i < n; i++)
			if (paths[i]->part[depth].any || paths[i]->part[depth].index == k)
				below[n_below++] = paths[i];
		if (n_below == 0 || value.type == jbvNull)
			pushJsonbValue(&cutting->state, WJB_ELEM, &value);
		else
			cut_value(cutting, &value, below, n_below, depth, name, pg_ltoa(k, name), WJB_ELEM);
	}
	cutting->result = pushJsonbValue(&cutting->state, WJB_END_ARRAY, NULL);
	pfree(below);
}

/* Does a path end here?  Paths of different times may lead on, too. */
static bool
is_field(const EsPersonalPath **paths, int n, int depth)
{
	for (int i = 0; i < n; i++)
		if (paths[i]->n_parts == depth + 1)
			return true;
	return false;
}

static bool
keeps_place(const EsPersonalPath **paths, int n, int depth)
{
	for (int i = 0; i < n; i++)
		if (paths[i]->n_parts == depth + 1 && paths[i]->keeps_place)
			return true;
	return false;
}

/*
 * A value that is a field, or that paths lead through.  leaves: as what a field leaves
 * a null behind; WJB_DONE: it does not.
 */
static void
cut_value(Cutting *cutting, JsonbValue *value, const EsPersonalPath **paths, int n, int depth,
		  const char *name, int length, JsonbIteratorToken leaves)
{
	int			before = cutting->path.len;

	if (before > 0)
		appendStringInfoChar(&cutting->path, '.');
	appendBinaryStringInfo(&cutting->path, name, length);
	if (is_field(paths, n, depth))
	{
		JsonbValue	null = {.type = jbvNull};

		add_field(cutting, value);
		if (leaves != WJB_DONE)
			pushJsonbValue(&cutting->state, leaves, &null);
	}
	else if (value->type != jbvBinary)
		refuse_obstacle(paths[0]);
	else if (JsonContainerIsObject(value->val.binary.data))
		cut_object(cutting, value->val.binary.data, paths, n, depth + 1);
	else
		cut_array(cutting, value->val.binary.data, paths, n, depth + 1);
	cutting->path.len = before;
}

static void
add_field(Cutting *cutting, const JsonbValue *value)
{
	EsPersonal *cut = cutting->cut;
	EsPersonalField *field;

	if (cut->n == ES_MAX_PERSONAL)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("data has too many personal fields"),
				 errdetail("An event may have %d of them.", ES_MAX_PERSONAL),
				 errhint("Declare the array as a whole to be personal, not each of its elements.")));
	if (cut->n == cutting->max)
	{
		cutting->max = Max(8, cutting->max * 2);
		cut->field = cut->field == NULL ? palloc(cutting->max * sizeof(EsPersonalField)) :
			repalloc(cut->field, cutting->max * sizeof(EsPersonalField));
	}
	field = &cut->field[cut->n++];
	field->path = pnstrdup(cutting->path.data, cutting->path.len);
	field->length = cutting->path.len;
	field->value = *value;
}

static void
refuse_obstacle(const EsPersonalPath *path)
{
	ereport(ERROR,
			(errcode(ES_ERRCODE_INVALID_PAYLOAD),
			 errmsg("data has something else where personal field \"%s\" should be", path->source),
			 errdetail("What is personal could not be told from the rest, and would stay in the log for good."),
			 errhint("Names stand for members of objects, * for all elements of an array; "
					 "what is missing or null is no obstacle.")));
}

/* ---- order, salts, commitments ---- */

static int
compare_fields(const void *a, const void *b)
{
	const EsPersonalField *x = a;
	const EsPersonalField *y = b;
	int			x_length = x->length;
	int			y_length = y->length;
	const char *x_path = es_chain_utf8(x->path, &x_length);
	const char *y_path = es_chain_utf8(y->path, &y_length);
	int			result = memcmp(x_path, y_path, Min(x_length, y_length));

	return result != 0 ? result : x_length - y_length;
}

void
es_personal_sort(EsPersonal *personal)
{
	qsort(personal->field, personal->n, sizeof(EsPersonalField), compare_fields);
}

/*
 * Random bytes that are asked for in stock: a call to the system's generator costs as
 * much as many of them.  No byte is left where it was once it is given away.
 */
static void
take_salts(uint8 *salts, Size size)
{
	static uint8 stock[64 * ES_HASH_SIZE];
	static Size in_stock = 0;
	bool		is_given = true;

	if (size > sizeof(stock))
		is_given = pg_strong_random(salts, size);
	else
	{
		if (in_stock < size)
		{
			in_stock = 0;
			is_given = pg_strong_random(stock, sizeof(stock));
			if (is_given)
				in_stock = sizeof(stock);
		}
		if (is_given)
		{
			in_stock -= size;
			memcpy(salts, stock + in_stock, size);
			explicit_bzero(stock + in_stock, size);
		}
	}
	if (!is_given)
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("could not generate random salts"),
				 errdetail("The operating system gave no random bytes."),
				 errhint("Retry; nothing was written.")));
}

void
es_personal_commit(EsPersonal *personal)
{
	uint8	   *commits = palloc(personal->n * ES_HASH_SIZE);
	uint8	   *salts = palloc(personal->n * ES_HASH_SIZE);

	take_salts(salts, personal->n * ES_HASH_SIZE);
	for (int i = 0; i < personal->n; i++)
	{
		EsPersonalField *field = &personal->field[i];

		memcpy(field->salt, salts + i * ES_HASH_SIZE, ES_HASH_SIZE);
		es_chain_commit_field(field->salt, field->path, field->length, &field->value, field->commit);
		memcpy(commits + i * ES_HASH_SIZE, field->commit, ES_HASH_SIZE);
	}
	es_chain_commit(commits, personal->n, personal->commitment);
	pfree(salts);
	pfree(commits);
}

bool
es_personal_is_original(const EsPersonalField *field)
{
	static const uint8 none[ES_HASH_SIZE] = {0};

	return memcmp(field->salt, none, ES_HASH_SIZE) != 0;
}

bool
es_personal_any_replaced(const EsPersonal *personal)
{
	for (int i = 0; i < personal->n; i++)
		if (!es_personal_is_original(&personal->field[i]))
			return true;
	return false;
}

/* ---- putting back ---- */

Jsonb *
es_personal_put_back(Jsonb *data, const EsPersonal *personal)
{
	JsonbParseState *state = NULL;
	JsonbValue *result = NULL;

	if (JB_ROOT_IS_SCALAR(data) || personal->n == 0)
		return data;
	fill_container(&state, &data->root, personal->field, personal->n, 0, personal->keeps_places, &result);
	return JsonbValueToJsonb(result);
}

/*
 * The fields are those below the container; their paths go on at the offset, and
 * stand in an order in which what begins alike stands together.
 */
static void
fill_container(JsonbParseState **state, JsonbContainer *container, const EsPersonalField *field, int n,
			   int offset, bool keeps_places, JsonbValue **result)
{
	check_stack_depth();
	if (JsonContainerIsObject(container))
		fill_object(state, container, field, n, offset, keeps_places, result);
	else
		fill_array(state, container, field, n, offset, keeps_places, result);
}

static void
fill_object(JsonbParseState **state, JsonbContainer *object, const EsPersonalField *field, int n, int offset,
			bool keeps_places, JsonbValue **result)
{
	EsJsonWalk	walk;
	JsonbValue	key;
	JsonbValue	value;
	bool	   *is_there = palloc0(n * sizeof(bool));

	pushJsonbValue(state, WJB_BEGIN_OBJECT, NULL);
	es_json_walk_begin(&walk, object);
	while (es_json_walk_member(&walk, &key, &value))
	{
		const EsPersonalField *leaf = find_leaf(field, n, offset, key.val.string.val, key.val.string.len);
		int			first;
		int			below;

		pushJsonbValue(state, WJB_KEY, &key);
		if (leaf != NULL)
			is_there[leaf - field] = true;
		if (leaf != NULL && keeps_places && value.type == jbvNull)
			value = leaf->value;
		below = leaf != NULL ? 0 :
			find_below(field, n, offset, key.val.string.val, key.val.string.len, &first);
		if (below > 0 && value.type == jbvBinary)
			fill_container(state, value.val.binary.data, &field[first], below,
						   offset + key.val.string.len + 1, keeps_places, result);
		else
			pushJsonbValue(state, WJB_VALUE, &value);
	}
	for (int i = 0; i < n; i++)
	{
		if (is_there[i] || field[i].value.type == jbvNull ||
			memchr(field[i].path + offset, '.', field[i].length - offset) != NULL)
			continue;
		key.type = jbvString;
		key.val.string.val = unconstify(char *, field[i].path) + offset;
		key.val.string.len = field[i].length - offset;
		value = field[i].value;
		pushJsonbValue(state, WJB_KEY, &key);
		pushJsonbValue(state, WJB_VALUE, &value);
	}
	*result = pushJsonbValue(state, WJB_END_OBJECT, NULL);
	pfree(is_there);
}

static void
fill_array(JsonbParseState **state, JsonbContainer *array, const EsPersonalField *field, int n, int offset,
		   bool keeps_places, JsonbValue **result)
{
	EsJsonWalk	walk;
	JsonbValue	value;

	pushJsonbValue(state, WJB_BEGIN_ARRAY, NULL);
	es_json_walk_begin(&walk, array);
	for (int k = 0; es_json_walk_element(&walk, &value); k++)
	{
		char		name[12];
		int			length = pg_ltoa(k, name);
		const EsPersonalField *leaf = find_leaf(field, n, offset, name, length);
		int			first;
		int			below = leaf != NULL ? 0 : find_below(field, n, offset, name, length, &first);

		CHECK_FOR_INTERRUPTS();
		if (leaf != NULL && value.type == jbvNull)
			value = leaf->value;
		if (below > 0 && value.type == jbvBinary)
			fill_container(state, value.val.binary.data, &field[first], below, offset + length + 1,
						   keeps_places, result);
		else
			pushJsonbValue(state, WJB_ELEM, &value);
	}
	*result = pushJsonbValue(state, WJB_END_ARRAY, NULL);
}

/* How many fields lie below the member of that name; they stand together. */
static int
find_below(const EsPersonalField *field, int n, int offset, const char *name, int length, int *first)
{
	int			count = 0;

	for (int i = 0; i < n; i++)
	{
		const char *rest = field[i].path + offset;

		if (field[i].length - offset <= length || rest[length] != '.' || memcmp(rest, name, length) != 0)
			continue;
		if (count++ == 0)
			*first = i;
	}
	return count;
}

static const EsPersonalField *
find_leaf(const EsPersonalField *field, int n, int offset, const char *name, int length)
{
	for (int i = 0; i < n; i++)
		if (field[i].length - offset == length && memcmp(field[i].path + offset, name, length) == 0)
			return &field[i];
	return NULL;
}
