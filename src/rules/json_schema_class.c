/*
 * json_schema_class.c
 *		Sets of code points, as the classes of a regular expression are in ECMA-262:
 *		the same in every locale.
 */
#include "postgres.h"

#include "rules/json_schema_class.h"

typedef struct Property
{
	const char *name;
	const char *long_name;
	uint32		categories;		/* bits */
} Property;

#define CATEGORIES(from, to)	((UINT32_C(2) << (to)) - (UINT32_C(1) << (from)))
#define CATEGORY(n)				CATEGORIES(n, n)
#define UNASSIGNED				29

static int	compare_ranges(const void *a, const void *b);
static bool add_category(EsClass *set, const char *name);

/* Categories are numbered as in tools/category.pl. */
static const Property properties[] = {
	{"Lu", "Uppercase_Letter", CATEGORY(0)}, {"Ll", "Lowercase_Letter", CATEGORY(1)},
	{"Lt", "Titlecase_Letter", CATEGORY(2)}, {"Lm", "Modifier_Letter", CATEGORY(3)},
	{"Lo", "Other_Letter", CATEGORY(4)}, {"LC", "Cased_Letter", CATEGORIES(0, 2)},
	{"L", "Letter", CATEGORIES(0, 4)}, {"Mn", "Nonspacing_Mark", CATEGORY(5)},
	{"Mc", "Spacing_Mark", CATEGORY(6)}, {"Me", "Enclosing_Mark", CATEGORY(7)},
	{"M", "Mark", CATEGORIES(5, 7)}, {"Combining_Mark", "Combining_Mark", CATEGORIES(5, 7)},
	{"Nd", "Decimal_Number", CATEGORY(8)}, {"digit", "digit", CATEGORY(8)},
	{"Nl", "Letter_Number", CATEGORY(9)}, {"No", "Other_Number", CATEGORY(10)},
	{"N", "Number", CATEGORIES(8, 10)}, {"Pc", "Connector_Punctuation", CATEGORY(11)},
	{"Pd", "Dash_Punctuation", CATEGORY(12)}, {"Ps", "Open_Punctuation", CATEGORY(13)},
	{"Pe", "Close_Punctuation", CATEGORY(14)}, {"Pi", "Initial_Punctuation", CATEGORY(15)},
	{"Pf", "Final_Punctuation", CATEGORY(16)}, {"Po", "Other_Punctuation", CATEGORY(17)},
	{"P", "Punctuation", CATEGORIES(11, 17)}, {"punct", "punct", CATEGORIES(11, 17)},
	{"Sm", "Math_Symbol", CATEGORY(18)}, {"Sc", "Currency_Symbol", CATEGORY(19)},
	{"Sk", "Modifier_Symbol", CATEGORY(20)}, {"So", "Other_Symbol", CATEGORY(21)},
	{"S", "Symbol", CATEGORIES(18, 21)}, {"Zs", "Space_Separator", CATEGORY(22)},
	{"Zl", "Line_Separator", CATEGORY(23)}, {"Zp", "Paragraph_Separator", CATEGORY(24)},
	{"Z", "Separator", CATEGORIES(22, 24)}, {"Cc", "Control", CATEGORY(25)},
	{"cntrl", "cntrl", CATEGORY(25)}, {"Cf", "Format", CATEGORY(26)},
	{"Cs", "Surrogate", CATEGORY(27)}, {"Co", "Private_Use", CATEGORY(28)},
	{"Cn", "Unassigned", CATEGORY(UNASSIGNED)}, {"C", "Other", CATEGORIES(25, UNASSIGNED)},
	{"Assigned", "Assigned", CATEGORIES(0, UNASSIGNED - 1)}, {"Any", "Any", CATEGORIES(0, UNASSIGNED)},
};

static const EsRange digits[] = {{'0', '9'}};
static const EsRange word[] = {{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}};
static const EsRange spaces[] = {
	{0x09, 0x0D}, {0x20, 0x20}, {0xA0, 0xA0}, {0x1680, 0x1680}, {0x2000, 0x200A}, {0x2028, 0x2029},
	{0x202F, 0x202F}, {0x205F, 0x205F}, {0x3000, 0x3000}, {0xFEFF, 0xFEFF}
};
static const EsRange line_ends[] = {{'\n', '\n'}, {'\r', '\r'}, {0x2028, 0x2029}};

void
es_class_add(EsClass *set, pg_wchar from, pg_wchar to)
{
	if (set->count == set->room)
	{
		set->room = set->room == 0 ? 8 : set->room * 2;
		set->range = set->range == NULL ? palloc(sizeof(EsRange) * set->room)
			: repalloc(set->range, sizeof(EsRange) * set->room);
	}
	set->range[set->count].from = from;
	set->range[set->count++].to = to;
}

void
es_class_sort(EsClass *set)
{
	int			n = 0;

	qsort(set->range, set->count, sizeof(EsRange), compare_ranges);
	for (int i = 0; i < set->count; i++)
	{
		if (n > 0 && set->range[i].from <= set->range[n - 1].to + 1)
			set->range[n - 1].to = Max(set->range[n - 1].to, set->range[i].to);
		else
			set->range[n++] = set->range[i];
	}
	set->count = n;
}

void
es_class_invert(EsClass *set)
{
	EsClass		inverse = {0};
	pg_wchar	next = 0;

	es_class_sort(set);
	for (int i = 0; i < set->count; i++)
	{
		if (set->range[i].from > next)
			es_class_add(&inverse, next, set->range[i].from - 1);
		next = set->range[i].to + 1;
	}
	if (next <= ES_CODE_POINT_MAX)
		es_class_add(&inverse, next, ES_CODE_POINT_MAX);
	*set = inverse;
}

void
es_class_add_escape(EsClass *set, char letter)
{
	const EsRange *ranges = word;
	int			count = lengthof(word);
	EsClass		added = {0};

	if (letter == 'd' || letter == 'D')
	{
		ranges = digits;
		count = lengthof(digits);
	}
	else if (letter == 's' || letter == 'S')
	{
		ranges = spaces;
		count = lengthof(spaces);
	}
	else if (letter == '.')
	{
		ranges = line_ends;
		count = lengthof(line_ends);
	}
	for (int i = 0; i < count; i++)
		es_class_add(&added, ranges[i].from, ranges[i].to);
	if (letter == 'D' || letter == 'W' || letter == 'S' || letter == '.')
		es_class_invert(&added);
	for (int i = 0; i < added.count; i++)
		es_class_add(set, added.range[i].from, added.range[i].to);
}

bool
es_class_add_property(EsClass *set, const char *name, bool is_inverted)
{
	EsClass		added = {0};

	if (strncmp(name, "gc=", 3) == 0)
		name += 3;
	else if (strncmp(name, "General_Category=", 17) == 0)
		name += 17;
	if (strcmp(name, "ASCII") == 0)
		es_class_add(&added, 0, 0x7F);
	else if (!add_category(&added, name))
		return false;
	if (is_inverted)
		es_class_invert(&added);
	for (int i = 0; i < added.count; i++)
		es_class_add(set, added.range[i].from, added.range[i].to);
	return true;
}

static int
compare_ranges(const void *a, const void *b)
{
	pg_wchar	from_a = ((const EsRange *) a)->from;
	pg_wchar	from_b = ((const EsRange *) b)->from;

	return from_a < from_b ? -1 : from_a > from_b;
}

/* All of one general category, or of several with one name; false if there is no such name. */
static bool
add_category(EsClass *set, const char *name)
{
	uint32		categories = 0;

	for (int i = 0; i < (int) lengthof(properties); i++)
	{
		if (strcmp(name, properties[i].name) == 0 || strcmp(name, properties[i].long_name) == 0)
			categories = properties[i].categories;
	}
	for (int i = 0; i < es_category_nruns; i++)
	{
		pg_wchar	end = i + 1 < es_category_nruns ? es_category_runs[i + 1] >> 8 : ES_CODE_POINT_MAX + 1;

		if ((categories & CATEGORY(es_category_runs[i] & 0xFF)) != 0)
			es_class_add(set, es_category_runs[i] >> 8, end - 1);
	}
	es_class_sort(set);
	return categories != 0;
}
