/*
 * reading.c
 *		The seam between who reads events and what is made of them.
 */
#include "log/reading.h"

#include "compat.h"
#include "log/catalog.h"
#include "log/vault.h"

/* EXECUTE on it is the right to see personal fields. */
#define RIGHT	"personal_data"

static const EsUpcasters *(*begin_hook) (void);
static void (*upcast_hook) (const EsUpcasters *upcasters, EsEvent *event);
static void (*mask_hook) (const EsEvent *event, EsPersonalField *field);

static void restore(EsEvent *event, bool is_masked, Snapshot snapshot);
static void mask(const EsEvent *event, EsPersonal *personal);

void
es_reading_register(const EsUpcasters *(*begin) (void),
					void (*upcast) (const EsUpcasters *upcasters, EsEvent *event))
{
	begin_hook = begin;
	upcast_hook = upcast;
}

const EsUpcasters *
es_reading_begin(void)
{
	return begin_hook == NULL ? NULL : begin_hook();
}

void
es_reading_upcast(const EsUpcasters *upcasters, EsEvent *event)
{
	if (upcasters != NULL && !event->is_upcast)
		upcast_hook(upcasters, event);
}

void
es_reading_register_mask(void (*hook) (const EsEvent *event, EsPersonalField *field))
{
	mask_hook = hook;
}

bool
es_reading_is_trusted(Oid role)
{
	Oid			right = es_catalog_trigger_function(RIGHT);

	return OidIsValid(right) && es_compat_may_execute(right, role);
}

void
es_reading_restore(EsEvent *event, Oid reader, Snapshot snapshot)
{
	if (event->vault != 0)
		restore(event, OidIsValid(reader) && !es_reading_is_trusted(reader), snapshot);
}

void
es_reading_restore_masked(EsEvent *event, Snapshot snapshot)
{
	if (event->vault != 0)
		restore(event, true, snapshot);
}

/* That a row is missing is found by verify_chain(); readers miss the fields. */
static void
restore(EsEvent *event, bool is_masked, Snapshot snapshot)
{
	EsVaultRow *row;
	EsPersonal	shown;

	if (event->personal == NULL)
	{
		row = palloc(sizeof(EsVaultRow));
		if (es_vault_read(event->vault, snapshot, row) && row->state != ES_VAULT_HIDDEN)
			event->personal = &row->personal;
	}
	event->vault = 0;
	if (event->personal == NULL)
		return;
	shown = *event->personal;
	shown.keeps_places = (event->flags & ES_EVENT_CAPTURED) != 0;
	if (is_masked)
		mask(event, &shown);
	es_event_set(event, ES_EVENT_DATA,
				 JsonbPGetDatum(es_personal_put_back(DatumGetJsonbP(event->value[ES_EVENT_DATA]), &shown)));
}

/* In a copy; what replaces an erased field is for everybody. */
static void
mask(const EsEvent *event, EsPersonal *personal)
{
	EsPersonalField *field = palloc(personal->n * sizeof(EsPersonalField));

	memcpy(field, personal->field, personal->n * sizeof(EsPersonalField));
	for (int i = 0; i < personal->n; i++)
		if (es_personal_is_original(&field[i]))
			mask_hook(event, &field[i]);
	personal->field = field;
}
