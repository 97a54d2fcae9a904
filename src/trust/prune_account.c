/*
 * prune_account.c
 *		What the log tells of events that retention took out of it, and whether just
 *		those are gone.
 *
 * The digest is that of all that is gone from a range, not only of what went last, so
 * what several runs took away needs no telling apart.  It begins with 32 zero bytes; for
 * each event that is gone, in order of position, it becomes the SHA-256 of 0x13, itself,
 * the position (8 bytes, big-endian) and the event's hash.
 *
 * Appended when all else of a run is done, as nothing that follows an event's position
 * is final before its transaction has ended.
 */
#include "trust/prune_account.h"

#include "append/own_event.h"
#include "log/json.h"
#include "log/pruned.h"
#include "log/read.h"
#include "log/sha256.h"
#include "miscadmin.h"
#include "port/pg_bswap.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#define STREAM			ES_PRUNE_CATEGORY "-log"
#define EVENTS_PRUNED	"events_pruned"

/* Members of its data. */
#define LOWER			"lower"
#define UPPER			"upper"
#define EVENTS			"events"
#define PRUNED			"pruned"
#define DIGEST			"digest"

#define DIGEST_TAG		0x13

/* From one segment, in one run. */
typedef struct Note
{
	EsSegment	segment;
	int64		events;
} Note;

typedef struct Range
{
	int64		lower;
	int64		upper;			/* first position beyond */
	int64		pruned;
	uint8		digest[ES_HASH_SIZE];
	int64		seen;
	uint8		seen_digest[ES_HASH_SIZE];
} Range;

struct EsPruneCheck
{
	Range	   *ranges;			/* in order; none has a part of another */
	int			n;
	int			max;
	int			at;				/* the one that the next leaf may be in */
};

static void add_to_digest(uint8 *digest, int64 position, const uint8 *entry);
static Jsonb *account_data(const Note *note);
static bool read_account(const EsEvent *event, Range *range);
static void add_range(EsPruneCheck *check, const Range *range);

static void
add_to_digest(uint8 *digest, int64 position, const uint8 *entry)
{
	uint8		input[1 + ES_HASH_SIZE + sizeof(int64) + ES_HASH_SIZE];
	uint64		number = pg_hton64((uint64) position);

	input[0] = DIGEST_TAG;
	memcpy(input + 1, digest, ES_HASH_SIZE);
	memcpy(input + 1 + ES_HASH_SIZE, &number, sizeof(number));
	memcpy(input + 1 + ES_HASH_SIZE + sizeof(number), entry, ES_HASH_SIZE);
	es_sha256(input, sizeof(input), digest);
}

/* ---- what is said ---- */

void
es_prune_account_note(EsArchiveRun *run, const EsSegment *segment, int64 events)
{
	MemoryContext caller = MemoryContextSwitchTo(run->context);
	Note	   *note = palloc(sizeof(Note));

	note->segment = *segment;
	note->events = events;
	run->pruned = lappend(run->pruned, note);
	MemoryContextSwitchTo(caller);
}

void
es_prune_account_forget(EsArchiveRun *run)
{
	run->pruned = NIL;
}

void
es_prune_account_write(EsArchiveRun *run)
{
	ListCell   *lc;

	foreach(lc, run->pruned)
		(void) es_own_event_append(cstring_to_text(STREAM), EVENTS_PRUNED, NULL, account_data(lfirst(lc)),
								   NULL, NULL);
}

static Jsonb *
account_data(const Note *note)
{
	EsPrunedScan *scan = es_pruned_begin(note->segment.lower - 1, note->segment.upper - 1);
	JsonbParseState *state = NULL;
	uint8		digest[ES_HASH_SIZE] = {0};
	uint8		entry[ES_HASH_SIZE];
	char		hex[2 * ES_HASH_SIZE + 1];
	int64		position;
	int64		pruned = 0;

	while (es_pruned_next(scan, &position, entry))
	{
		CHECK_FOR_INTERRUPTS();
		add_to_digest(digest, position, entry);
		pruned++;
	}
	es_pruned_end(scan);
	hex[hex_encode((const char *) digest, ES_HASH_SIZE, hex)] = '\0';
	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	es_json_push_number(&state, LOWER, note->segment.lower);
	es_json_push_number(&state, UPPER, note->segment.upper);
	es_json_push_number(&state, EVENTS, note->events);
	es_json_push_number(&state, PRUNED, pruned);
	es_json_push_string(&state, DIGEST, hex);
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

/* ---- whether it is so ---- */

EsPruneCheck *
es_prune_check_begin(Snapshot snapshot)
{
	EsPruneCheck *check = palloc0(sizeof(EsPruneCheck));
	EsScan	   *scan = es_scan_stream(cstring_to_text(STREAM), PG_INT64_MAX, true, snapshot);
	EsEvent		event;
	Range		range;

	es_scan_as_stored(scan);
	while (es_scan_next(scan, &event))
	{
		CHECK_FOR_INTERRUPTS();
		if (read_account(&event, &range))
			add_range(check, &range);
	}
	es_scan_end(scan);
	return check;
}

/* False: it is none, or none that we wrote. */
static bool
read_account(const EsEvent *event, Range *range)
{
	Jsonb	   *data = DatumGetJsonbP(event->value[ES_EVENT_DATA]);
	char	   *hex;

	memset(range, 0, sizeof(*range));
	if (strcmp(text_to_cstring(es_event_text(event, ES_EVENT_TYPE)), EVENTS_PRUNED) != 0 ||
		!JB_ROOT_IS_OBJECT(data) ||
		!es_json_find_number(&data->root, LOWER, &range->lower) ||
		!es_json_find_number(&data->root, UPPER, &range->upper) ||
		!es_json_find_number(&data->root, PRUNED, &range->pruned))
		return false;
	hex = es_json_find_string(&data->root, DIGEST);
	if (hex == NULL || strlen(hex) != 2 * ES_HASH_SIZE || strspn(hex, "0123456789abcdef") != 2 * ES_HASH_SIZE)
		return false;
	(void) hex_decode(hex, 2 * ES_HASH_SIZE, (char *) range->digest);
	return range->lower < range->upper;
}

/* The first one that does not end before a position. */
static int
find_range(const EsPruneCheck *check, int64 position)
{
	int			low = 0;
	int			high = check->n;

	while (low < high)
	{
		int			mid = (low + high) / 2;

		if (check->ranges[mid].upper <= position)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

/* Newest first: what an older one says of a part of it is past. */
static void
add_range(EsPruneCheck *check, const Range *range)
{
	int			at = find_range(check, range->lower);

	if (at < check->n && check->ranges[at].lower < range->upper)
		return;
	if (check->n == check->max)
	{
		check->max = Max(64, check->max * 2);
		check->ranges = check->ranges == NULL ? palloc(check->max * sizeof(Range)) :
			repalloc(check->ranges, check->max * sizeof(Range));
	}
	memmove(&check->ranges[at + 1], &check->ranges[at], (check->n - at) * sizeof(Range));
	check->ranges[at] = *range;
	check->n++;
}

const char *
es_prune_check_leaf(EsPruneCheck *check, int64 position, const uint8 *entry)
{
	Range	   *range;

	while (check->at < check->n && check->ranges[check->at].upper <= position)
		check->at++;
	range = &check->ranges[check->at];
	if (check->at == check->n || position < range->lower)
		return "it is gone, but nothing that retention did accounts for it";
	add_to_digest(range->seen_digest, position, entry);
	range->seen++;
	return NULL;
}

void
es_prune_check_end(EsPruneCheck *check, EsVerifyReport report, void *arg)
{
	for (int i = 0; i < check->n; i++)
	{
		const Range *range = &check->ranges[i];

		if (range->seen != range->pruned || memcmp(range->seen_digest, range->digest, ES_HASH_SIZE) != 0)
			report(arg, NULL, psprintf("what is gone between positions " INT64_FORMAT " and " INT64_FORMAT
									   " (" INT64_FORMAT " events) is not what retention took out there (" INT64_FORMAT ")",
									   range->lower, range->upper - 1, range->seen, range->pruned));
	}
}
