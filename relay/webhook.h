/*
 * webhook.h
 *		Deliveries by HTTP.
 */
#ifndef RELAY_WEBHOOK_H
#define RELAY_WEBHOOK_H

#include "delivery.h"

/* Makes the request ready; headers are the caller's to free.  NULL, or why it cannot be sent. */
extern const char *webhook_prepare(Delivery *d, struct curl_slist **headers);

/* What is wrong with a URL that the operator gave, NULL if nothing is. */
extern const char *webhook_prefix_problem(const char *url);

/* May an operator let payloads set this header? */
extern bool webhook_header_is_free(const char *name);

#endif							/* RELAY_WEBHOOK_H */
