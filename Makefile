# eventsource: an event store inside PostgreSQL
#
#   make            build against the server that PG_CONFIG names
#   make install    install it there
#   make relay      build the client that delivers jobs (needs libcurl's headers)
#   make demo       from a fresh machine to a story one can read
#   make dashboard  charts of the CRM that PGDATABASE and the like name (needs Node.js)
#   make test       everything, on the local major
#   make torture    the feed and its readers under load and murder, for long
#   make test-all   the suites on every supported major

EXTENSION = eventsource eventsource_crm
MODULE_big = eventsource
PGFILEDESC = "eventsource - event store with enforced state machines"

# The version of an extension lives in its control file and nowhere else.
version_of = $(shell sed -n "s/^default_version *= *'\(.*\)'/\1/p" $(1).control)
script_of = sql/$(1)--$(call version_of,$(1)).sql
EXTVERSION := $(call version_of,eventsource)

OBJS = $(patsubst %.c,%.o,$(sort $(wildcard src/*.c src/*/*.c)))
BITCODE = $(OBJS:.o=.bc)
SQL_PARTS = $(sort $(wildcard sql/core/*.sql))
SQL_SCRIPT := $(call script_of,eventsource)
CRM_PARTS = $(sort $(wildcard sql/crm/*.sql))
CRM_SCRIPT := $(call script_of,eventsource_crm)

# Scripts of versions that were released stay as they were; from each there is a way to this one.
DATA = $(filter-out %$(notdir $(SQL_SCRIPT)) %$(notdir $(CRM_SCRIPT)),$(wildcard sql/released/*.sql))
CRM_UPGRADES = $(patsubst sql/released/%.sql,sql/%--$(call version_of,eventsource_crm).sql,$(filter sql/released/eventsource_crm--%,$(DATA)))
DATA_built = $(SQL_SCRIPT) $(CRM_SCRIPT) $(CRM_UPGRADES)
EXTRA_CLEAN = .build_flags $(RELAY) $(OBJS:.o=.d) $(DATA_built:=.tmp) \
	results regression.diffs regression.out tmp_check

all:

# test/, bench/ and the like are folders too.
.PHONY: demo demo-stop dashboard test test-all torture bench check-style format relay

# These need no server yet, and so must not need pg_config either.
demo:
	tools/demo.sh

demo-stop:
	tools/demo.sh stop

dashboard:
	cd examples/dashboard && { [ -d node_modules ] || npm ci --ignore-scripts; } && node build.mjs

# make test TESTS="test/sql/append.sql test/t/001_crash.pl" runs only those.
test:
	tools/test.sh $(TESTS)

test-all:
	tools/test-all.sh

# The tests that throw dice, for longer than "make test" does.
torture:
	ES_TAP_SECONDS=$${ES_TAP_SECONDS:-10800} \
		ES_TORTURE_SECONDS=$${ES_TORTURE_SECONDS:-300} ES_KILL_ROUNDS=$${ES_KILL_ROUNDS:-200} \
		ES_REBUILD_ROUNDS=$${ES_REBUILD_ROUNDS:-200} ES_RELAY_ROUNDS=$${ES_RELAY_ROUNDS:-200} \
		ES_OUTBOX_ROUNDS=$${ES_OUTBOX_ROUNDS:-200} ES_TIMER_ROUNDS=$${ES_TIMER_ROUNDS:-200} \
		ES_DUE_ROUNDS=$${ES_DUE_ROUNDS:-200} ES_JOB_ROUNDS=$${ES_JOB_ROUNDS:-200} \
		tools/test.sh test/t/025_rebuild.pl test/t/027_torture.pl test/t/028_killed.pl test/t/053_recovery.pl \
		test/t/060_jobs.pl test/t/062_due_killed.pl test/t/063_timers.pl test/t/067_relay_killed.pl test/t/068_outbox_killed.pl

bench:
	tools/bench.sh

check-style:
	tools/check-style.sh
	tools/check-layers.sh
	tools/indent.sh --check

format:
	tools/indent.sh

PG_CONFIG ?= pg_config

# The relay is a client: it needs libpq and libcurl, and no server.
RELAY = relay/eventsource-relay
RELAY_CFLAGS = -std=gnu11 -D_GNU_SOURCE -O2 -g -Wall -Wextra -Werror -Wno-unused-parameter -Wstrict-prototypes \
	-DRELAY_VERSION='"$(EXTVERSION)"' -isystem $(shell $(PG_CONFIG) --includedir) \
	$(shell curl-config --cflags 2>/dev/null) $(ES_CFLAGS)
RELAY_LIBS = -L$(shell $(PG_CONFIG) --libdir) -lpq -lcurl -lpthread

relay: $(RELAY)

$(RELAY): $(wildcard relay/*.c relay/*.h) eventsource.control
	$(CC) $(RELAY_CFLAGS) -o $@ $(filter %.c,$^) $(LDFLAGS) $(RELAY_LIBS)

ifneq ($(shell command -v $(PG_CONFIG) 2>/dev/null),)
PGXS := $(shell $(PG_CONFIG) --pgxs)

# The server's headers are included as system headers, so that -Wextra judges
# our code and not theirs. Callbacks have fixed signatures, hence unused
# parameters are no fault.
PG_CPPFLAGS = -Isrc -isystem $(shell $(PG_CONFIG) --includedir-server)
PG_CFLAGS = -Wall -Wextra -Werror -Wno-unused-parameter \
	-Wstrict-prototypes -Wold-style-definition -fno-semantic-interposition $(ES_CFLAGS)
SHLIB_LINK = -Wl,--version-script=tools/exports.map

# Dependencies on headers, for the bitcode too: PGXS has none.
OUTPUT_OPTION = -o $@ -MMD -MP -MT $@ -MT $(@:.o=.bc)

include $(PGXS)
-include $(OBJS:.o=.d)

# Objects of one server or one set of flags never meet those of another, and a
# part that was taken away leaves the install script.
BUILD_FLAGS := $(strip $(shell $(PG_CONFIG) --version) $(CC) $(PG_CFLAGS) $(SQL_PARTS) $(CRM_PARTS) $(OBJS))
ifneq ($(BUILD_FLAGS),$(strip $(file <.build_flags)))
$(file >.build_flags,$(BUILD_FLAGS))
endif

$(OBJS) $(BITCODE): .build_flags
$(shlib): tools/exports.map

$(SQL_SCRIPT): $(SQL_PARTS)
$(CRM_SCRIPT): $(CRM_PARTS)
$(SQL_SCRIPT) $(CRM_SCRIPT): .build_flags
	printf '%s\n' '\echo Use "CREATE EXTENSION $(word 1,$(subst --, ,$(@F)))" to load this file. \quit' > $@.tmp
	cat $(filter %.sql,$^) /dev/null >> $@.tmp
	mv $@.tmp $@

$(CRM_UPGRADES): sql/%--$(call version_of,eventsource_crm).sql: sql/released/%.sql $(CRM_PARTS) tools/upgrade-script.pl .build_flags
	tools/upgrade-script.pl $(filter %.sql,$^) > $@.tmp
	mv $@.tmp $@

else
all install clean:
	@echo '$(PG_CONFIG) not found: tools/install-deps.sh installs what is missing, or give PG_CONFIG=...' >&2
	@exit 1
endif
