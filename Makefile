# Builds, installs and tests the extension (PGXS). CMakeLists.txt builds what runs outside a server.
EXTENSION = cdp
MODULE_big = cdp
DATA = cdp--1.0.sql

SOURCES := $(sort $(wildcard src/pg/*.cpp src/collect/*.cpp src/identity/*.cpp src/profile/*.cpp \
                             src/segment/*.cpp src/activate/*.cpp src/govern/*.cpp src/pipeline/*.cpp))
OBJS = $(SOURCES:.cpp=.o)

# Without array-bounds and stringop-overflow: GCC 12 sees them in the operator+ of std::string (PR 105329), and says so where the
# libraries' headers are precompiled.
PG_CXXFLAGS = -std=c++20 -Wall -Wextra -Wno-register -Wno-unused-parameter -Wno-sign-compare \
              -Wno-missing-field-initializers -Wno-array-bounds -Wno-stringop-overflow -MMD -MP -include libraries.hpp
PG_CPPFLAGS = -Ibuild/precompiled -I$(srcdir)/src
ifdef ASSERTS  # those in PostgreSQL's headers, and ours, whatever the server was built with
PG_CPPFLAGS += -DUSE_ASSERT_CHECKING
endif
SHLIB_LINK = -lstdc++ -lphonenumber -lxxhash -Wl,--version-script=$(srcdir)/cdp.map
PRECOMPILED = build/precompiled/libraries.hpp.gch
EXTRA_CLEAN = $(SOURCES:.cpp=.d) $(PRECOMPILED) $(PRECOMPILED).d
override with_llvm := no

PG_CONFIG ?= pg_config
PGXS := $(shell $(PG_CONFIG) --pgxs)
include $(PGXS)

# cdp-relay, the companion program: where its libraries are (test/packages). Its pure files are compiled apart from the
# extension's, which are position-independent and have PostgreSQL's flags.
RELAY_PACKAGES = libcurl libpqxx libpq libcrypto icu-uc nlohmann_json
RELAY_SOURCES := $(sort $(wildcard src/relay/*.cpp)) src/collect/message.cpp src/identity/match_text.cpp src/identity/phone.cpp
RELAY_OBJS = $(RELAY_SOURCES:%.cpp=build/relay/%.o)
RELAY_CXXFLAGS = -std=c++20 -O2 -g -Wall -Wextra -Wno-unused-parameter -Wno-sign-compare -Wno-missing-field-initializers -MMD -MP

ifeq ($(shell pkg-config --exists $(RELAY_PACKAGES) && echo there),there)
all: build/relay/cdp-relay
install: install-relay
else
all install: no-relay
endif

build/relay/cdp-relay: $(RELAY_OBJS)
	$(CXX) $(LDFLAGS) $^ -o $@ -lpthread -lphonenumber $(shell pkg-config --libs $(RELAY_PACKAGES))
$(RELAY_OBJS): build/relay/%.o: %.cpp
	@mkdir -p $(@D)
	$(CXX) $(RELAY_CXXFLAGS) -Isrc $(shell pkg-config --cflags $(RELAY_PACKAGES)) -c $< -o $@
install-relay: build/relay/cdp-relay
	$(MKDIR_P) '$(DESTDIR)$(bindir)'
	$(INSTALL_PROGRAM) build/relay/cdp-relay '$(DESTDIR)$(bindir)/cdp-relay'
uninstall: uninstall-relay
uninstall-relay:
	rm -f '$(DESTDIR)$(bindir)/cdp-relay'
clean: clean-relay
clean-relay:
	rm -rf build/relay
no-relay:
	@echo "cdp-relay is left out: it needs pkg-config and $(RELAY_PACKAGES) (README, Installation)"
-include $(RELAY_OBJS:.o=.d)

cdp.so: cdp.map
$(OBJS): | $(PRECOMPILED)
$(PRECOMPILED): src/libraries.hpp
	@mkdir -p $(@D)
	$(CXX) $(CXXFLAGS) $(CPPFLAGS) -x c++-header -MF $@.d -c -o $@ $<
-include $(SOURCES:.cpp=.d)

# The install script, joined from the rooms' parts.
SQL_PARTS = src/preamble.sql src/collect/collect.sql src/identity/identity.sql src/identity/matching.sql src/profile/profile.sql \
            src/segment/segment.sql src/segment/groups.sql src/activate/activate.sql src/activate/delivery.sql \
            src/activate/connectors.sql src/govern/govern.sql src/govern/consent.sql \
            $(wildcard src/*/*_doors.sql) src/pipeline/pipeline.sql src/govern/roles.sql
cdp--1.0.sql: $(SQL_PARTS)
	cat $(SQL_PARTS) > $@

# The script as it should be, for the test that the committed one is not stale.
print-script:
	@cat $(SQL_PARTS)

test:
	@test/run

fuzz:
	@test/run fuzz

# What a compiler does not see; and the layout of the lines that are not committed yet.
lint:
	@test/lint

format:
	@git clang-format-14 --binary clang-format-14 --quiet HEAD -- $(shell git ls-files '*.cpp' '*.hpp') || true

bench:
	@bench/run $(BENCH)

demo:
	@demo/run

.PHONY: install-relay uninstall-relay clean-relay no-relay
.PHONY: print-script test fuzz lint format bench demo
