/*
 * place.c
 *		Where rows stood that are written anew again and again.
 *
 * A row of progress is written with each batch, and while anybody holds an old
 * snapshot none of its versions can go.  So that strangers make nobody slow, the
 * index, which leads to all versions, is not asked again: each backend remembers
 * where it saw a row, and goes on from there, version by version.
 *
 * Only a hint, which vacuum or another row may make wrong; it survives the
 * transaction.  A dead version may lead to where vacuum found nothing any more,
 * so these tables are never truncated (vacuum_truncate).
 */
#include "log/place.h"

#include "access/relscan.h"
#include "access/tableam.h"
#include "executor/tuptable.h"
#include "utils/hsearch.h"

#define MAX_PLACES	10000

typedef struct PlaceKey
{
	Oid			relid;
	char		name[ES_PLACE_NAME_SIZE];
} PlaceKey;

typedef struct Place
{
	PlaceKey	key;
	ItemPointerData tid;
} Place;

static HTAB *places = NULL;

static void
set_key(PlaceKey *key, Relation rel, const char *name)
{
	Assert(strlen(name) < ES_PLACE_NAME_SIZE);
	memset(key, 0, sizeof(PlaceKey));
	key->relid = RelationGetRelid(rel);
	strlcpy(key->name, name, sizeof(key->name));
}

HeapTuple
es_place_read(Relation rel, const char *name, Snapshot snapshot)
{
	PlaceKey	key;
	Place	   *place;
	ItemPointerData tid;
	TableScanDesc scan;
	HeapTuple	result = NULL;

	set_key(&key, rel, name);
	place = places == NULL ? NULL : hash_search(places, &key, HASH_FIND, NULL);
	if (place == NULL)
		return NULL;
	tid = place->tid;
	scan = table_beginscan_tid(rel, snapshot);
	if (table_tuple_tid_valid(scan, &tid))
	{
		TupleTableSlot *slot = table_slot_create(rel, NULL);

		table_tuple_get_latest_tid(scan, &tid);
		if (table_tuple_fetch_row_version(rel, &tid, snapshot, slot))
			result = ExecCopySlotHeapTuple(slot);
		ExecDropSingleTupleTableSlot(slot);
	}
	table_endscan(scan);
	return result;
}

void
es_place_note(Relation rel, const char *name, HeapTuple row)
{
	HASHCTL		ctl = {.keysize = sizeof(PlaceKey),.entrysize = sizeof(Place)};
	PlaceKey	key;
	Place	   *place;

	if (places != NULL && hash_get_num_entries(places) >= MAX_PLACES)
	{
		hash_destroy(places);
		places = NULL;
	}
	if (places == NULL)
		places = hash_create("eventsource places of rows", 16, &ctl, HASH_ELEM | HASH_BLOBS);
	set_key(&key, rel, name);
	place = hash_search(places, &key, HASH_ENTER, NULL);
	place->tid = row->t_self;
}
