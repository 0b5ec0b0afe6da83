# SPDX-License-Identifier: Apache-2.0
# librecurrentgemma. `make help` lists what can be asked for; everything built goes to build/.

prefix      ?= $(or $(PREFIX),/usr/local)
exec_prefix ?= $(prefix)
bindir      ?= $(exec_prefix)/bin
libdir      ?= $(exec_prefix)/lib
includedir  ?= $(prefix)/include
datarootdir ?= $(prefix)/share
datadir     ?= $(datarootdir)
docdir      ?= $(datarootdir)/doc/librecurrentgemma
INSTALL     ?= install

BUILD       ?= build
WITH_BLIS   ?= 1
WITH_SQLITE ?= 1
WITH_DEMO   ?= $(if $(wildcard examples/demo/demo.rgm),1,0)
WITH_EDIT   ?= 1
SANITIZE    ?=

# A cross compiler (CC=aarch64-linux-gnu-gcc) comes with an archiver of its own.
TARGET  := $(shell $(CC) -dumpmachine)
ifeq ($(origin AR),default)
AR      := $(or $(shell $(CC) -print-prog-name=ar),ar)
endif

number  = $(shell sed -n 's/^\#define $(1) //p' include/recurrentgemma/version.h)
ABI     := $(call number,RG_ABI)
VERSION := $(call number,RG_VERSION_MAJOR).$(call number,RG_VERSION_MINOR).$(call number,RG_VERSION_PATCH)

CFLAGS  ?= -O2 -g
HARDEN  := -fstack-protector-strong $(if $(SANITIZE),,-D_FORTIFY_SOURCE=2)
STRICT  := -std=c11 -D_GNU_SOURCE -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wvla -Wstrict-prototypes -Wmissing-prototypes \
           -fvisibility=hidden -fPIC -pthread -fno-fast-math -ffp-contract=off -fno-math-errno $(HARDEN) \
           $(if $(SANITIZE),-fsanitize=$(SANITIZE) -fno-omit-frame-pointer -fno-sanitize-recover=undefined)
LINK    := -pthread $(if $(SANITIZE),-fsanitize=$(SANITIZE)) -Wl,-z,relro,-z,now

# What is made is named; V=1 shows the commands instead.
QUIET    = $(if $(V),,@printf '  %s\n' '$@';)

# Headers of BLIS and libyaml do not tell their version; Debian's packages do.
BLIS_VERSION := $(shell dpkg-query -W -f='$${Version}' libblis-dev 2>/dev/null)
YAML_VERSION := $(shell dpkg-query -W -f='$${Version}' libyaml-dev 2>/dev/null)
DEFINES := -DRGI_WITH_BLIS=$(WITH_BLIS) -DRGI_WITH_SQLITE=$(WITH_SQLITE) -DRGI_WITH_DEMO=$(WITH_DEMO) -DRGI_BLIS_VERSION='"$(BLIS_VERSION)"' -DRGI_YAML_VERSION='"$(YAML_VERSION)"'
LIBS    := $(if $(filter 1,$(WITH_BLIS)),-lblis) $(if $(filter 1,$(WITH_SQLITE)),-lsqlite3) -lxxhash -lyaml -lm
# A BLIS with OpenMP brings the runtime of that along as a shared library, and not as an archive.
OPENMP   = $(if $(filter 1,$(WITH_BLIS)),$(shell nm -u "$$($(CC) -print-file-name=libblis.a)" 2>/dev/null | grep -q GOMP_ && echo -lgomp))
EDIT    := $(if $(filter 1,$(WITH_EDIT)),-ledit)

LIB_C   := $(sort $(wildcard lib/*/*.c lib/*/*/*.c))
ifneq ($(WITH_BLIS),1)
LIB_C   := $(filter-out lib/backend/blis/%,$(LIB_C))
endif
ifeq ($(WITH_SQLITE),1)
LIB_C   := $(filter-out lib/state/store_none.c,$(LIB_C))
else
LIB_C   := $(filter-out $(filter-out %/store_none.c,$(wildcard lib/state/store*.c)),$(LIB_C))
endif
LIB_O   := $(LIB_C:%.c=$(BUILD)/%.o)
SRC_O   := $(patsubst %.c,$(BUILD)/%.o,$(sort $(wildcard src/*.c))) $(if $(filter 1,$(WITH_DEMO)),$(BUILD)/src/demo_bytes.o)
DEMO    := $(if $(filter 1,$(WITH_DEMO)),$(BUILD)/demo.rgm)
DATA_O  := $(BUILD)/lib/io/data_folder.o
STATIC  := $(BUILD)/librecurrentgemma.a
SHARED  := $(BUILD)/librecurrentgemma.so.$(ABI)
COMMAND := $(if $(wildcard src/main.c),$(BUILD)/recurrentgemma)
EXAMPLE := $(patsubst %.c,$(BUILD)/%,$(filter-out examples/custom_backend.c,$(wildcard examples/*.c)))
PLUGIN  := $(if $(wildcard examples/custom_backend.c),$(BUILD)/examples/custom_backend.so)
TEST_C  := $(sort $(wildcard tests/unit/*_test.c tests/kernel/*_test.c tests/model/*_test.c tests/fail/*_test.c))
ifneq ($(WITH_SQLITE),1)
TEST_C  := $(filter-out $(wildcard tests/*/store_*test.c),$(TEST_C))
endif
ifeq ($(filter aarch64%,$(TARGET)),)
TEST_C  := $(filter-out tests/kernel/bfmmla_test.c,$(TEST_C))
endif
TEST    := $(TEST_C:%.c=$(BUILD)/%)
TEST_SH := $(filter-out tests/large/%,$(sort $(wildcard tests/*/*_test.sh tests/*/*_test.py)))
LARGE   := $(patsubst %.c,$(BUILD)/%,$(sort $(wildcard tests/large/*_test.c)))

.PHONY: FORCE all demo check check-large deps install uninstall installcheck dist clean help tests
.DELETE_ON_ERROR:

all: $(STATIC) $(SHARED) $(BUILD)/librecurrentgemma.so $(COMMAND) $(DEMO) $(EXAMPLE) $(PLUGIN) ## build the library, the command and the examples

help: ## show this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 16

deps: ## install what building and testing need (Debian packages; with sudo when not root)
	@sh ./tests/deps.sh

demo: deps ## build, and let the demo model write a story
	@$(MAKE) --no-print-directory all
	@echo
	$(BUILD)/recurrentgemma generate demo -p "It is a truth universally acknowledged, that" -n 200 --temp 0.8 --seed 1

check: deps ## build, and run all tests
	@$(MAKE) --no-print-directory tests
	@BUILD='$(BUILD)' CC='$(CC)' CXX='$(CXX)' sh tests/run.sh $(TEST) $(TEST_SH)

check-large: deps ## tests that need the 2B and 9B shapes, other packages, or more than minutes
	@$(MAKE) --no-print-directory tests $(LARGE)
	@BUILD='$(BUILD)' sh tests/large/run.sh

tests: all $(TEST)

# What everything was built with; a change of it rebuilds everything.
FLAGS := $(CC) $(DEFINES) $(CPPFLAGS) $(CFLAGS) $(STRICT) WITH_EDIT=$(WITH_EDIT) $(LDFLAGS) $(LIBS)
$(BUILD)/flags: FORCE
	@mkdir -p $(@D)
	@printf '%s\n' "$$FLAGS" | cmp -s - $@ || printf '%s\n' "$$FLAGS" > $@
$(BUILD)/flags: export FLAGS := $(FLAGS)
FORCE:

$(BUILD)/%.o: %.c $(BUILD)/flags
	@mkdir -p $(@D)
	$(QUIET)$(CC) -Iinclude $(if $(filter lib/% tests/%,$<),-Ilib -Itests) $(DEFINES) $(CPPFLAGS) $(CFLAGS) $(STRICT) -MMD -MP -c $< -o $@

# Kernels of one instruction set each; chosen when the library runs. Only these files may use more than the baseline. Which they are is a
# question of what the compiler makes programs for, not of where it runs.
$(BUILD)/src/machine_%.o: STRICT += -O3
ifneq ($(filter x86_64%,$(TARGET)),)
$(BUILD)/lib/backend/cpu/kernels_avx2.o: STRICT += -mavx2 -mfma -mf16c
$(BUILD)/lib/backend/cpu/kernels_avx512.o: STRICT += -mavx512f -mavx512bw -mavx512dq -mavx512vl -mfma -mf16c -mprfchw
$(BUILD)/lib/backend/cpu/kernels_avx512bf16.o: STRICT += -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx512bf16 -mfma -mf16c -mprfchw
$(BUILD)/lib/backend/cpu/kernels_amx.o: STRICT += -mavx512f -mavx512bw -mavx512dq -mavx512vl -mfma -mf16c -mprfchw
$(BUILD)/lib/quantize/quantize_avx2.o: STRICT += -mavx2
$(BUILD)/lib/quantize/quantize_avx512.o: STRICT += -mavx512f -mavx512bw -mavx512dq -mavx512vl
$(BUILD)/src/machine_avx2.o: STRICT += -mavx2 -mfma
$(BUILD)/src/machine_avx512.o $(BUILD)/src/machine_amx.o: STRICT += -mavx512f
$(BUILD)/src/machine_avx512bf16.o: STRICT += -mavx512f -mavx512bf16
endif
ifneq ($(filter aarch64%,$(TARGET)),)
$(BUILD)/lib/backend/cpu/kernels_neonbf16.o $(BUILD)/src/machine_neonbf16.o: STRICT += -march=armv8.2-a+bf16
# gcc for aarch64 moves loads so far ahead that a product's sums have to leave their registers; clang has no such option.
$(BUILD)/lib/backend/cpu/kernels_neon.o $(BUILD)/lib/backend/cpu/kernels_neonbf16.o: \
    STRICT += $(shell $(CC) -Werror -fno-schedule-insns -x c -S /dev/null -o /dev/null 2>/dev/null && echo -fno-schedule-insns)
endif

# The demo model is a data file, which the library looks for in the build folder, or when it is installed in $(datadir); the command carries a copy.
$(BUILD)/demo.rgm: examples/demo/demo.rgm
	@mkdir -p $(@D)
	$(QUIET)cp $< $@

$(BUILD)/src/demo_bytes.o: src/demo_bytes.S examples/demo/demo.rgm $(BUILD)/flags
	@mkdir -p $(@D)
	$(QUIET)$(CC) -c $< -o $@

# A build folder that was moved is noticed.
$(BUILD)/folder: FORCE
	@mkdir -p $(@D)
	@printf '%s\n' '$(abspath $(BUILD))' | cmp -s - $@ || printf '%s\n' '$(abspath $(BUILD))' > $@
$(DATA_O): DEFINES += -DRGI_DATA_FOLDER='"$(abspath $(BUILD))"'
$(DATA_O): $(BUILD)/folder

$(STATIC): $(LIB_O) $(BUILD)/flags
	$(QUIET)rm -f $@ && $(AR) rcs $@ $(LIB_O)

LINK_SHARED = $(CC) -shared $(LDFLAGS) $(LINK) -Wl,-soname,librecurrentgemma.so.$(ABI) -Wl,--version-script=lib/api/exports.map \
              $(if $(SANITIZE),,-Wl,--no-undefined)
$(SHARED): $(LIB_O) lib/api/exports.map $(BUILD)/flags
	$(QUIET)$(LINK_SHARED) $(LIB_O) $(LIBS) -o $@

$(BUILD)/librecurrentgemma.so: $(SHARED)
	@ln -sf $(<F) $@

# The command carries the library inside, so that it works as a single file.
$(BUILD)/recurrentgemma: $(SRC_O) $(STATIC)
	$(QUIET)$(CC) $(LDFLAGS) $(LINK) $^ $(LIBS) $(EDIT) -o $@

$(BUILD)/src/%.o: DEFINES += -DRG_WITH_EDIT=$(WITH_EDIT) -DRG_WITH_DEMO=$(WITH_DEMO)

$(EXAMPLE): $(BUILD)/%: $(BUILD)/%.o $(SHARED) | $(BUILD)/librecurrentgemma.so
	$(QUIET)$(CC) $(LDFLAGS) $(LINK) $< -L$(BUILD) -lrecurrentgemma -Wl,-rpath,'$$ORIGIN/..' -lm -o $@

$(PLUGIN): examples/custom_backend.c $(wildcard include/recurrentgemma/*.h)
	@mkdir -p $(@D)
	$(QUIET)$(CC) -Iinclude $(CPPFLAGS) $(CFLAGS) $(STRICT) $(LDFLAGS) -shared $< -o $@

$(TEST) $(LARGE): $(BUILD)/%: $(BUILD)/%.o $(STATIC)
	@mkdir -p $(@D)
	$(QUIET)$(CC) $(LDFLAGS) $(LINK) $^ $(LIBS) -o $@

# Always written anew: it holds the folders that this very install was asked for.
.PHONY: $(BUILD)/recurrentgemma.pc
$(BUILD)/recurrentgemma.pc: pkgconfig/recurrentgemma.pc.in
	@mkdir -p $(@D)
	sed -e 's|@prefix@|$(prefix)|' -e 's|@libdir@|$(patsubst $(prefix)/%,$${prefix}/%,$(libdir))|' \
	    -e 's|@includedir@|$(patsubst $(prefix)/%,$${prefix}/%,$(includedir))|' -e 's|@version@|$(VERSION)|' \
	    -e 's|@libs_private@|$(LIBS) $(OPENMP) -pthread|' $< > $@

# So is everything that knows where the data will be: the build folder's own programs go on finding theirs there.
READY    = $(BUILD)/ready
.PHONY: $(READY)/data_folder.o
$(READY)/data_folder.o: lib/io/data_folder.c
	@mkdir -p $(@D)
	$(QUIET)$(CC) -Iinclude -Ilib $(CPPFLAGS) $(CFLAGS) $(STRICT) -DRGI_DATA_FOLDER='"$(datadir)/librecurrentgemma"' -c $< -o $@
$(READY)/$(notdir $(SHARED)): $(LIB_O) $(READY)/data_folder.o
	$(QUIET)$(LINK_SHARED) $(filter-out $(DATA_O),$^) $(LIBS) -o $@
$(READY)/$(notdir $(STATIC)): $(STATIC) $(READY)/data_folder.o
	$(QUIET)cp $< $@ && $(AR) rs $@ $(READY)/data_folder.o
$(READY)/recurrentgemma: $(SRC_O) $(READY)/$(notdir $(STATIC))
	$(QUIET)$(CC) $(LDFLAGS) $(LINK) $^ $(LIBS) $(EDIT) -o $@

HEADERS := $(wildcard include/recurrentgemma/*.h)
PAGES   := README.md CHANGELOG.md LICENSE

install: all $(BUILD)/recurrentgemma.pc $(READY)/$(notdir $(STATIC)) $(READY)/$(notdir $(SHARED)) $(READY)/recurrentgemma ## copy headers, libraries, the command, the demo model and the .pc file under $(DESTDIR)$(prefix)
	$(INSTALL) -d '$(DESTDIR)$(includedir)/recurrentgemma' '$(DESTDIR)$(libdir)/pkgconfig' '$(DESTDIR)$(bindir)' '$(DESTDIR)$(docdir)'
	$(INSTALL) -m 644 include/recurrentgemma.h '$(DESTDIR)$(includedir)'
	$(INSTALL) -m 644 $(HEADERS) '$(DESTDIR)$(includedir)/recurrentgemma'
	$(INSTALL) -m 644 $(READY)/$(notdir $(STATIC)) '$(DESTDIR)$(libdir)'
	$(INSTALL) -m 755 $(READY)/$(notdir $(SHARED)) '$(DESTDIR)$(libdir)'
	ln -sf $(notdir $(SHARED)) '$(DESTDIR)$(libdir)/librecurrentgemma.so'
	$(INSTALL) -m 644 $(BUILD)/recurrentgemma.pc '$(DESTDIR)$(libdir)/pkgconfig'
	$(INSTALL) -m 755 $(READY)/recurrentgemma '$(DESTDIR)$(bindir)'
	$(if $(DEMO),$(INSTALL) -d '$(DESTDIR)$(datadir)/librecurrentgemma' && $(INSTALL) -m 644 $(DEMO) '$(DESTDIR)$(datadir)/librecurrentgemma')
	$(INSTALL) -m 644 $(PAGES) '$(DESTDIR)$(docdir)'

# File by file, and folders of its own only when nothing else is in them.
uninstall: ## remove what install copied
	rm -f '$(DESTDIR)$(includedir)/recurrentgemma.h' $(HEADERS:include/%='$(DESTDIR)$(includedir)/%') \
	    '$(DESTDIR)$(libdir)/$(notdir $(STATIC))' '$(DESTDIR)$(libdir)/$(notdir $(SHARED))' '$(DESTDIR)$(libdir)/librecurrentgemma.so' \
	    '$(DESTDIR)$(libdir)/pkgconfig/recurrentgemma.pc' '$(DESTDIR)$(bindir)/recurrentgemma' $(PAGES:%='$(DESTDIR)$(docdir)/%') \
	    '$(DESTDIR)$(datadir)/librecurrentgemma/demo.rgm'
	@rmdir '$(DESTDIR)$(includedir)/recurrentgemma' '$(DESTDIR)$(docdir)' '$(DESTDIR)$(datadir)/librecurrentgemma' 2>/dev/null || true

installcheck: ## build and run programs against a staged install, with pkg-config
	@BUILD='$(BUILD)' CC='$(CC)' MAKE='$(MAKE)' sh tests/abi/installcheck.sh

dist: ## a source archive of the committed tree
	git archive --format=tar.gz --prefix=librecurrentgemma-$(VERSION)/ -o librecurrentgemma-$(VERSION).tar.gz HEAD

clean: ## remove everything built
	rm -rf '$(BUILD)'

-include $(LIB_O:.o=.d) $(SRC_O:.o=.d) $(TEST:=.d) $(LARGE:=.d) $(EXAMPLE:=.d)
