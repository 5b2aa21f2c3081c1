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

# Not asked of rustc, which root may not have on its path when it installs.
HOST       ?= $(shell uname -m)-unknown-linux-gnu

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
	RUSTFLAGS="-C target-feature=+crt-static" $(CARGO) build --locked --profile $(PROFILE) --target $(HOST)
	$(CARGO) build --locked --profile $(PROFILE) -p nss_vestibule -p pam_vestibule

# Installs what `build` made, and changes nothing else: sshd, PAM, NSS and the store are as they were until an administrator
# runs `vestibulectl init`, edits nsswitch.conf and copies the drop-in.
install:
	install -d $(libexecdir) $(sharedir)/empty $(sharedir)/sshd_config.d $(DESTDIR)$(PREFIX)/sbin $(DESTDIR)$(LIBDIR) \
		$(DESTDIR)$(PREFIX)/lib/sysusers.d $(DESTDIR)$(PREFIX)/lib/tmpfiles.d
	install -m 0755 $(programs)/route-session $(programs)/sftp-server $(programs)/refresh-keys \
		$(programs)/write-keys $(libexecdir)/
	install -m 0750 $(programs)/keys-lookup $(programs)/enter $(libexecdir)/
	install -m 0755 $(programs)/vestibulectl $(DESTDIR)$(PREFIX)/sbin/vestibulectl
	install -m 0644 $(nss_module) $(DESTDIR)$(LIBDIR)/libnss_vestibule.so.2
	install -D -m 0644 $(pam_module) $(DESTDIR)$(PAMDIR)/pam_vestibule.so
	install -m 0644 sshd_config.d/05-vestibule-forward.conf sshd_config.d/10-vestibule.conf \
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
ifeq ($(STAGE_OWNERS),1)
	getent group vestibule >/dev/null || groupadd --system vestibule
	chown root:vestibule $(libexecdir)/keys-lookup $(libexecdir)/enter
	chmod 4750 $(libexecdir)/enter
	setcap cap_dac_read_search=p $(libexecdir)/keys-lookup
endif

# Debian packages and RPMs of what was built, in $(target_dir)/packages. For a release: PROFILE=shipping.
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
