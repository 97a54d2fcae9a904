/*
 * verify_erased.c
 *		What the log says of erasures held against what is there as a whole: marks of
 *		subjects, and how many events an erasure has left.
 *
 * What is to be said of single events is log/chain_check.c's.
 */
#include "log/accounts.h"
#include "trust/verify.h"
#include "utils/builtins.h"

typedef struct Comparison
{
	EsAccounts *accounts;
	bool		any_pruned;
	EsVerifyReport report;
	void	   *arg;
} Comparison;

/* What is left in the account's marks afterwards has none. */
static void
look_at_mark(const text *subject, int mode, void *arg)
{
	Comparison *it = arg;
	EsAccount  *account = es_accounts_find(it->accounts, subject);

	if (account != NULL && mode > 0 && mode < ES_ERASED_MODES && (account->marks & (1 << mode)) != 0)
		account->marks &= ~(1 << mode);
	else
		it->report(it->arg, NULL, psprintf("subject \"%s\" is marked as erased, but no erasure accounts for it",
										   text_to_cstring(subject)));
}

static void
look_at_account(EsAccount *account, void *arg)
{
	Comparison *it = arg;

	if (account->marks != 0)
		it->report(it->arg, NULL, psprintf("subject \"%s\" was erased, but is not marked so",
										   text_to_cstring(account->subject)));
	if (!it->any_pruned && account->met < account->left)
		it->report(it->arg, NULL, psprintf(INT64_FORMAT " event(s) that the erasure of subject \"%s\" has left are missing",
										   account->left - account->met, text_to_cstring(account->subject)));
}

void
es_verify_erasures(EsAccounts *accounts, Snapshot snapshot, bool any_pruned, EsVerifyReport report, void *arg)
{
	Comparison	it = {accounts, any_pruned, report, arg};

	es_erased_visit(snapshot, look_at_mark, &it);
	es_accounts_visit(accounts, look_at_account, &it);
}
