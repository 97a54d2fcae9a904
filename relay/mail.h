/*
 * mail.h
 *		Deliveries by SMTP.
 */
#ifndef RELAY_MAIL_H
#define RELAY_MAIL_H

#include "delivery.h"

/*
 * Makes the message ready; recipients are the caller's to free.  NULL, or why it cannot
 * be sent, for which it may have set the error code.
 */
extern const char *mail_prepare(Delivery *d, struct curl_slist **recipients);

extern bool mail_is_address(const char *address);

#endif							/* RELAY_MAIL_H */
