/*
 * reading.c
 *		The seam between who reads events and the upcasters.
 */
#include "log/reading.h"

static const EsUpcasters *(*begin_hook) (void);
static void (*upcast_hook) (const EsUpcasters *upcasters, EsEvent *event);

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
