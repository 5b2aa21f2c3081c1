# vestibule: build, install, show, test. The targets that an operator needs are `build` and `install`;
# `demo` and `test` do all their own set-up on a fresh Debian 12, as root.

PREFIX     ?= /usr
SYSCONFDIR ?= /etc
DESTDIR    ?=
CARGO      ?= cargo
PROFILE    ?= release
# Where the dynamic linker looks for NSS modules.
MULTIARCH  ?= $(shell gcc -print-multiarch 2>/dev/null)
LIBDIR     ?= $(PREFIX)/lib$(if $(MULTIARCH),/$(MULTIARCH),64)
# Where libpam looks for modules.
PAMDIR     ?= $(LIBDIR)/security
# Where zsh looks for completions of packages: Debian's has a place of its own.
ZSHDIR     ?= $(PREFIX)/share/zsh/$(if $(MULTIARCH),vendor-completions,site-functions)

# Where AppArmor's profiles and SELinux's module go; not installed when empty. A host without the one or the other has no use
# for them: the Debian package says /etc/apparmor.d, the RPM $(PREFIX)/share/selinux/packages/vestibule.
APPARMORDIR ?=
SELINUXDIR  ?=
POLICIES    := $(if $(APPARMORDIR),$(patsubst packaging/apparmor/%,$(APPARMORDIR)/%,$(wildcard packaging/apparmor/*))) \
	$(if $(SELINUXDIR),$(SELINUXDIR)/vestibule.cil)

# The programs know of each other where they are, and ask nobody.
export VESTIBULE_PREFIX := $(PREFIX)

# Not asked of rustc, which root may not have on its path when it installs.
HOST       ?= $(shell uname -m)-unknown-linux-gnu

cargo_home  := $(or $(CARGO_HOME),$(HOME)/.cargo)
target_dir  := $(or $(CARGO_TARGET_DIR),target)
libexecdir  := $(DESTDIR)$(PREFIX)/libexec/vestibule
sharedir    := $(DESTDIR)$(PREFIX)/share/vestibule
programs    := $(target_dir)/$(HOST)/$(PROFILE)
nss_module  := $(target_dir)/$(PROFILE)/libnss_vestibule.so
pam_module  := $(target_dir)/$(PROFILE)/libpam_vestibule.so

# Owners, setuid and capabilities: by default only where the files go to their final place.
STAGE_OWNERS ?= $(if $(DESTDIR),0,$(if $(filter 0,$(shell id -u)),1,0))

.PHONY: build install packages demo test lint unit bats bench clean

# The programs carry their C library with them: they start faster, and depend on nothing that a package upgrade may swap
# underneath a login. The NSS and PAM modules live in other programs and must share theirs.
build:
	$(REPRODUCIBLE) RUSTFLAGS="-C target-feature=+crt-static $(REMAP)" \
		$(CARGO) build --locked --profile $(PROFILE) --target $(HOST)
	$(REPRODUCIBLE) RUSTFLAGS="$(strip $(RUSTFLAGS) $(REMAP))" $(CARGO) build --locked --profile $(PROFILE) -p nss_vestibule -p pam_vestibule

# Installs what `build` made, and changes nothing else: sshd, PAM, NSS and the store are as they were until an administrator
# runs `vestibulectl init`, edits nsswitch.conf and copies the drop-in.
install:
	@[ '$(PREFIX)' = /usr ] || grep -q -a -F '$(PREFIX)/libexec/vestibule/enter' $(programs)/vestibulectl || \
		{ echo "the programs were built for another PREFIX: make build PREFIX=$(PREFIX)" >&2; exit 1; }
	install -d $(libexecdir) $(sharedir)/empty $(sharedir)/sshd_config.d $(DESTDIR)$(PREFIX)/sbin $(DESTDIR)$(LIBDIR) \
		$(DESTDIR)$(PREFIX)/lib/sysusers.d $(DESTDIR)$(PREFIX)/lib/tmpfiles.d
	install -m 0755 $(programs)/route-session $(programs)/sftp-server $(programs)/refresh-keys \
		$(programs)/write-keys $(programs)/check-token $(libexecdir)/
	install -m 0711 $(programs)/connect $(libexecdir)/
	install -m 0750 $(programs)/keys-lookup $(programs)/enter $(libexecdir)/
	install -m 0755 $(programs)/vestibulectl $(DESTDIR)$(PREFIX)/sbin/vestibulectl
	install -m 0644 $(nss_module) $(DESTDIR)$(LIBDIR)/libnss_vestibule.so.2
	install -D -m 0644 $(pam_module) $(DESTDIR)$(PAMDIR)/pam_vestibule.so
	install -m 0644 sshd_config.d/05-vestibule-forward.conf sshd_config.d/06-vestibule-certificates.conf \
		sshd_config.d/06-vestibule-key-and-token.conf sshd_config.d/10-vestibule.conf \
		sshd_config.d/20-vestibule-trigger.conf $(sharedir)/sshd_config.d/
	install -m 0644 packaging/sysusers.d/vestibule.conf $(DESTDIR)$(PREFIX)/lib/sysusers.d/vestibule.conf
	install -m 0644 packaging/tmpfiles.d/vestibule.conf $(DESTDIR)$(PREFIX)/lib/tmpfiles.d/vestibule.conf
	install -D -m 0644 examples/sources.toml $(DESTDIR)$(PREFIX)/share/doc/vestibule/sources.toml
	set -e; for page in $(wildcard man/*.[1-9]); do \
		install -D -m 0644 $$page $(DESTDIR)$(PREFIX)/share/man/man$${page##*.}/$${page##*/}; \
	done
	install -D -m 0644 packaging/completions/vestibulectl.bash $(DESTDIR)$(PREFIX)/share/bash-completion/completions/vestibulectl
	install -D -m 0644 packaging/completions/vestibulectl.zsh $(DESTDIR)$(ZSHDIR)/_vestibulectl
	install -D -m 0644 packaging/completions/vestibulectl.fish $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/vestibulectl.fish
	if [ -e $(libexecdir)/refresh-keys ]; then \
		install -d $(DESTDIR)$(PREFIX)/lib/systemd/system && \
		install -m 0644 packaging/systemd/* $(DESTDIR)$(PREFIX)/lib/systemd/system/; \
	fi
ifneq ($(APPARMORDIR),)
	install -d $(DESTDIR)$(APPARMORDIR)
	install -m 0644 packaging/apparmor/* $(DESTDIR)$(APPARMORDIR)/
endif
ifneq ($(SELINUXDIR),)
	install -d $(DESTDIR)$(SELINUXDIR)
	install -m 0644 packaging/selinux/* $(DESTDIR)$(SELINUXDIR)/
endif
# Texts that name the programs follow the prefix, as the programs do.
ifneq ($(PREFIX),/usr)
	sed -i -E 's,/usr/((libexec|share)/vestibule|sbin/vestibulectl),$(PREFIX)/\1,g' $(sharedir)/sshd_config.d/* \
		$(DESTDIR)$(PREFIX)/lib/*.d/vestibule.conf $(DESTDIR)$(PREFIX)/lib/systemd/system/*-keys* \
		$(patsubst man/%,$(DESTDIR)$(PREFIX)/share/man/%,$(foreach page,$(wildcard man/*.[1-9]),man/man$(subst .,,$(suffix $(page)))/$(notdir $(page)))) $(addprefix $(DESTDIR),$(POLICIES))
endif
ifeq ($(STAGE_OWNERS),1)
	getent group vestibule >/dev/null || groupadd --system vestibule
	chown root:vestibule $(libexecdir)/keys-lookup $(libexecdir)/enter
	chmod 4750 $(libexecdir)/enter
	setcap cap_dac_read_search=p $(libexecdir)/keys-lookup
endif

# Debian packages and RPMs, in $(target_dir)/packages: built as they ship unless PROFILE says otherwise, and with no path of
# this machine in them, so that the same commit can give the same bytes; packaging/check-reproducible tries it.
ifeq ($(origin PROFILE),file)
packages: PROFILE = shipping
endif
packages: REMAP = --remap-path-prefix=$(cargo_home)=/cargo --remap-path-prefix=$(CURDIR)=/vestibule
packages: REPRODUCIBLE = CARGO_INCREMENTAL=0 CFLAGS="$(CFLAGS) -ffile-prefix-map=$(cargo_home)=/cargo -ffile-prefix-map=$(CURDIR)=/vestibule"
packages: build
	PROFILE=$(PROFILE) packaging/make-packages $(target_dir)/packages

demo:
	tests/demo.sh

test:
	tests/setup.sh
	tests/run --all

lint:
	tests/run --lint

unit:
	tests/run --unit

bats:
	tests/run

bench:
	tests/bench.sh

clean:
	$(CARGO) clean
