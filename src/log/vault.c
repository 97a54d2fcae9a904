/*
 * vault.c
 *		Where personal fields are kept, so that they can be erased, beside the events
 *		whose data lacks them.
 *
 * Rows are written with their events, under the streams' locks, and never with
 * SQL.  They are the only trace of what they hold: no index but on position and
 * subject, no statistics.  A row's order of fields is that of their paths in UTF-8,
 * whatever the database's encoding; jsonb has an order of its own.
 */
#include "log/vault.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/pg_collation.h"
#include "log/catalog.h"
#include "log/chain.h"
#include "log/json.h"
#include "log/json_walk.h"
#include "log/rows.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

typedef enum Column
{
	COL_POSITION,
	COL_STREAM,
	COL_SUBJECT,
	COL_FIELDS,
	COL_SALTS,
	COL_COMMITS,
	COL_STATE,
	COL_COUNT
} Column;

static void form_row(const EsVaultRow *row, Datum *values);
static Jsonb *form_fields(const EsPersonal *personal);
static bytea *form_hashes(const EsPersonal *personal, bool salts);
static void read_row(Relation rel, HeapTuple tuple, EsVaultRow *row);
static void read_fields(Jsonb *fields, EsPersonal *personal);
static void read_hashes(const bytea *salts, const bytea *commits, int64 position, EsPersonal *personal);
static void complete(EsPersonal *personal);
static void write_row(Relation rel, HeapTuple old, const EsVaultRow *row);

/* ---- writing ---- */

void
es_vault_insert(const EsEvent *events, int count)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "eventsource vault",
												  ALLOCSET_SMALL_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(context);
	EsRows		rows;
	TupleTableSlot **slots;
	int			n = 0;

	es_rows_open(&rows, es_catalog_oid(ES_REL_VAULT));
	slots = es_rows_slots(&rows, count);
	for (int i = 0; i < count; i++)
	{
		const EsEvent *event = &events[i];
		EsVaultRow	row;

		if (event->personal == NULL)
			continue;
		row.position = DatumGetInt64(event->value[ES_EVENT_POSITION]);
		row.stream_id = event->stream_id;
		row.subject = es_event_text(event, ES_EVENT_SUBJECT);
		row.personal = *event->personal;
		row.state = ES_VAULT_OPEN;
		ExecClearTuple(slots[n]);
		memset(slots[n]->tts_isnull, 0, COL_COUNT * sizeof(bool));
		form_row(&row, slots[n]->tts_values);
		ExecStoreVirtualTuple(slots[n++]);
	}
	es_rows_insert(&rows, n, -1, NULL);
	es_rows_close(&rows);
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(context);
}

static void
form_row(const EsVaultRow *row, Datum *values)
{
	values[COL_POSITION] = Int64GetDatum(row->position);
	values[COL_STREAM] = Int64GetDatum(row->stream_id);
	values[COL_SUBJECT] = PointerGetDatum(row->subject);
	values[COL_FIELDS] = JsonbPGetDatum(form_fields(&row->personal));
	values[COL_SALTS] = PointerGetDatum(form_hashes(&row->personal, true));
	values[COL_COMMITS] = PointerGetDatum(!es_personal_any_replaced(&row->personal) ? es_empty_text() :
										  form_hashes(&row->personal, false));
	values[COL_STATE] = Int16GetDatum((int16) row->state);
}

static Jsonb *
form_fields(const EsPersonal *personal)
{
	JsonbParseState *state = NULL;

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	for (int i = 0; i < personal->n; i++)
	{
		const EsPersonalField *field = &personal->field[i];
		JsonbValue	key = {.type = jbvString};
		JsonbValue	value = field->value;

		key.val.string.val = unconstify(char *, field->path);
		key.val.string.len = field->length;
		pushJsonbValue(&state, WJB_KEY, &key);
		pushJsonbValue(&state, WJB_VALUE, &value);
	}
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

static bytea *
form_hashes(const EsPersonal *personal, bool salts)
{
	Size		size = VARHDRSZ + personal->n * ES_HASH_SIZE;
	bytea	   *result = palloc(size);

	SET_VARSIZE(result, size);
	for (int i = 0; i < personal->n; i++)
		memcpy(VARDATA(result) + i * ES_HASH_SIZE,
			   salts ? personal->field[i].salt : personal->field[i].commit, ES_HASH_SIZE);
	return result;
}

/* ---- reading ---- */

bool
es_vault_read(int64 position, Snapshot snapshot, EsVaultRow *row)
{
	Relation	rel = table_open(es_catalog_oid(ES_REL_VAULT), AccessShareLock);
	HeapTuple	tuple = es_catalog_find(rel, ES_REL_VAULT_PKEY, position, snapshot);

	if (tuple != NULL)
		read_row(rel, tuple, row);
	table_close(rel, AccessShareLock);
	return tuple != NULL;
}

/* Points into the tuple. */
static void
read_row(Relation rel, HeapTuple tuple, EsVaultRow *row)
{
	Datum		values[COL_COUNT];
	bool		nulls[COL_COUNT];

	heap_deform_tuple(tuple, RelationGetDescr(rel), values, nulls);
	row->position = DatumGetInt64(values[COL_POSITION]);
	row->stream_id = DatumGetInt64(values[COL_STREAM]);
	row->subject = DatumGetTextPP(values[COL_SUBJECT]);
	row->state = DatumGetInt16(values[COL_STATE]);
	read_fields(DatumGetJsonbP(values[COL_FIELDS]), &row->personal);
	read_hashes(DatumGetByteaPP(values[COL_SALTS]), DatumGetByteaPP(values[COL_COMMITS]), row->position,
				&row->personal);
}

static void
read_fields(Jsonb *fields, EsPersonal *personal)
{
	EsJsonWalk	walk;
	JsonbValue	key;
	EsPersonalField *field;

	memset(personal, 0, sizeof(EsPersonal));
	personal->field = palloc0(Max(1, JB_ROOT_COUNT(fields)) * sizeof(EsPersonalField));
	if (!JB_ROOT_IS_OBJECT(fields))
		return;
	es_json_walk_begin(&walk, &fields->root);
	for (field = personal->field; es_json_walk_member(&walk, &key, &field->value); field++)
	{
		field->path = key.val.string.val;
		field->length = key.val.string.len;
		personal->n++;
	}
	es_personal_sort(personal);
}

static void
read_hashes(const bytea *salts, const bytea *commits, int64 position, EsPersonal *personal)
{
	Size		size = (Size) personal->n * ES_HASH_SIZE;

	if (VARSIZE_ANY_EXHDR(salts) != size ||
		(VARSIZE_ANY_EXHDR(commits) != 0 && VARSIZE_ANY_EXHDR(commits) != size))
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("personal fields of the event at position " INT64_FORMAT " are damaged", position),
				 errdetail("Their row has %d fields, and other numbers of salts or commitments.", personal->n),
				 errhint("Restore table eventsource.vault from a backup.")));
	for (int i = 0; i < personal->n; i++)
	{
		EsPersonalField *field = &personal->field[i];

		memcpy(field->salt, VARDATA_ANY(salts) + i * ES_HASH_SIZE, ES_HASH_SIZE);
		if (VARSIZE_ANY_EXHDR(commits) != 0)
			memcpy(field->commit, VARDATA_ANY(commits) + i * ES_HASH_SIZE, ES_HASH_SIZE);
	}
}

/* What was committed to is kept from when a salt goes; until then it is computed. */
static void
complete(EsPersonal *personal)
{
	uint8	   *all = palloc(Max(1, personal->n) * ES_HASH_SIZE);

	for (int i = 0; i < personal->n; i++)
	{
		EsPersonalField *field = &personal->field[i];

		if (es_personal_is_original(field))
			es_chain_commit_field(field->salt, field->path, field->length, &field->value, field->commit);
		memcpy(all + i * ES_HASH_SIZE, field->commit, ES_HASH_SIZE);
	}
	es_chain_commit(all, personal->n, personal->commitment);
	pfree(all);
}

void
es_vault_visit_subject(const text *subject, Snapshot snapshot, EsVaultVisit visit, void *arg)
{
	Relation	rel = table_open(es_catalog_oid(ES_REL_VAULT), AccessShareLock);
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "eventsource vault row",
												  ALLOCSET_SMALL_SIZES);
	bool		goes_on = true;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&key, COL_SUBJECT + 1, BTEqualStrategyNumber, F_TEXTEQ, PointerGetDatum(subject));
	key.sk_collation = C_COLLATION_OID;
	scan = systable_beginscan(rel, es_catalog_oid(ES_REL_VAULT_SUBJECT_IDX), true, snapshot, 1, &key);
	while (goes_on && (tuple = systable_getnext(scan)) != NULL)
	{
		MemoryContext caller = MemoryContextSwitchTo(context);
		EsVaultRow	row;

		CHECK_FOR_INTERRUPTS();
		read_row(rel, tuple, &row);
		goes_on = visit(&row, arg);
		MemoryContextSwitchTo(caller);
		MemoryContextReset(context);
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	MemoryContextDelete(context);
}

/* ---- erasing ---- */

int
es_vault_erase(int64 position, EsVaultReplace replace, void *arg)
{
	Relation	rel = table_open(es_catalog_oid(ES_REL_VAULT), RowExclusiveLock);
	HeapTuple	old = es_catalog_find(rel, ES_REL_VAULT_PKEY, position, SnapshotSelf);
	EsVaultRow	row;
	int			changed = 0;

	if (old != NULL)
	{
		read_row(rel, old, &row);
		complete(&row.personal);
	}
	for (int i = 0; old != NULL && i < row.personal.n; i++)
	{
		EsPersonalField *field = &row.personal.field[i];
		JsonbValue	value = {.type = jbvNull};

		if (!replace(&row, field, &value, arg))
			continue;
		field->value = value;
		memset(field->salt, 0, ES_HASH_SIZE);
		changed++;
	}
	if (changed > 0)
		write_row(rel, old, &row);
	table_close(rel, NoLock);
	return changed;
}

void
es_vault_forget(int64 position)
{
	Relation	rel = table_open(es_catalog_oid(ES_REL_VAULT), RowExclusiveLock);
	HeapTuple	old = es_catalog_find(rel, ES_REL_VAULT_PKEY, position, SnapshotSelf);

	if (old != NULL)
		es_catalog_delete(rel, old);
	table_close(rel, NoLock);
}

bool
es_vault_set_state(int64 position, EsVaultState state)
{
	Relation	rel = table_open(es_catalog_oid(ES_REL_VAULT), RowExclusiveLock);
	HeapTuple	old = es_catalog_find(rel, ES_REL_VAULT_PKEY, position, SnapshotSelf);
	EsVaultRow	row;
	bool		changes = false;

	if (old != NULL)
	{
		read_row(rel, old, &row);
		changes = row.state != state;
		row.state = state;
		if (changes)
			write_row(rel, old, &row);
	}
	table_close(rel, NoLock);
	return changes;
}

static void
write_row(Relation rel, HeapTuple old, const EsVaultRow *row)
{
	Datum		values[COL_COUNT];
	bool		nulls[COL_COUNT] = {0};

	form_row(row, values);
	es_catalog_update(rel, old, values, nulls);
}

/* ---- comparing ---- */

EsVaultVerdict
es_vault_verify(const EsEvent *event, Snapshot snapshot, EsVaultRow *row)
{
	if (!es_vault_read(event->vault, snapshot, row))
		return ES_VAULT_MISSING;
	if (row->stream_id != event->stream_id ||
		!es_text_same(row->subject, es_event_text(event, ES_EVENT_SUBJECT)))
		return ES_VAULT_STRAY;
	complete(&row->personal);
	if (memcmp(row->personal.commitment, event->commitment, ES_HASH_SIZE) != 0)
		return ES_VAULT_TAMPERED;
	return es_personal_any_replaced(&row->personal) ? ES_VAULT_REDACTED : ES_VAULT_INTACT;
}

const uint8 *
es_vault_commit_again(const EsPersonal *personal, Jsonb *data, Jsonb **cut)
{
	EsPersonalPath *paths = palloc(personal->n * sizeof(EsPersonalPath));
	uint8	   *commits = palloc(personal->n * ES_HASH_SIZE);
	uint8	   *result = palloc(ES_HASH_SIZE);
	EsPersonal *again;

	for (int i = 0; i < personal->n; i++)
		(void) es_personal_parse(pnstrdup(personal->field[i].path, personal->field[i].length), &paths[i]);
	*cut = es_personal_cut(data, paths, personal->n, &again);
	for (int i = 0; again != NULL && i < personal->n && i < again->n; i++)
	{
		const EsPersonalField *known = &personal->field[i];
		EsPersonalField *given = &again->field[i];

		if (es_personal_is_original(known))
			es_chain_commit_field(known->salt, given->path, given->length, &given->value, given->commit);
		else
			memcpy(given->commit, known->commit, ES_HASH_SIZE);
		memcpy(commits + i * ES_HASH_SIZE, given->commit, ES_HASH_SIZE);
	}
	es_chain_commit(commits, again == NULL ? 0 : Min(again->n, personal->n), result);
	return result;
}
