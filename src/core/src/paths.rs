//! Where things are. Fixed at build time: a privileged program asks nobody where its files are.

/// The configuration file, `vestibule.toml(5)`.
pub const CONFIG: &str = "/etc/vestibule/vestibule.toml";
/// Further configuration files, read in lexical order after [`CONFIG`].
pub const CONFIG_DIR: &str = "/etc/vestibule/vestibule.toml.d";
/// The shared uid and gid for the NSS module, owned by root.
pub const NSS_CONF: &str = "/etc/vestibule/nss.conf";
/// Managed key files, one a target, named as the target.
pub const MANAGED_KEYS: &str = "/etc/vestibule/authorized_keys.d";
/// The directory of the store; its owner is the writer of the store.
pub const STATE_DIR: &str = "/var/lib/vestibule";
/// The store, an SQLite file.
pub const STORE: &str = "/var/lib/vestibule/store.db";
/// What `write-keys` remembers; root's alone.
pub const WRITTEN_DIR: &str = "/var/lib/vestibule-written";
/// The keys by which the bastion logs in to targets on other machines; root's, or [`USER_HOP`]'s, alone.
pub const PROXY_KEYS: &str = "/etc/vestibule/proxy-keys";
/// An empty directory, in the place of which a session to a target on another machine has files of its own.
pub const HOP_DIR: &str = "/run/vestibule/hop";
/// The client of OpenSSH.
pub const SSH: &str = "/usr/bin/ssh";
/// What the packages bring for reading.
pub const SHARE_DIR: &str = concat!(env!("VESTIBULE_PREFIX"), "/share/vestibule");
/// The index of login names that the NSS module asks.
pub const INDEX: &str = "/var/lib/vestibule/names.idx";
/// The home of every login name: empty but for [`HOME_SSH`], and owned by root as every directory above it is: PAM modules and sshd read
/// files of a home, and the owner of a directory can put another one in its place.
pub const EMPTY_HOME: &str = concat!(env!("VESTIBULE_PREFIX"), "/share/vestibule/empty");
/// Where sshd of OpenSSH 10.1 and later keeps the sockets that lead to clients' agents: `.ssh/agent` in the home. It is
/// a link to [`AGENTS_DIR`], in directories of root's, so that nothing else can come into being in the home.
pub const HOME_SSH: &str = concat!(env!("VESTIBULE_PREFIX"), "/share/vestibule/empty/.ssh");
/// See [`HOME_SSH`].
pub const HOME_AGENTS: &str = concat!(env!("VESTIBULE_PREFIX"), "/share/vestibule/empty/.ssh/agent");
/// The sockets themselves, for the account of all login names alone.
pub const AGENTS_DIR: &str = "/run/vestibule/agents";
/// What lives only while the bastion runs.
pub const RUN_DIR: &str = "/run/vestibule";
/// One file for each session that lives.
pub const SESSIONS_DIR: &str = "/run/vestibule/sessions";
/// Which targets are in use, for `refresh-keys` to tell their hubs.
pub const USED_DIR: &str = "/run/vestibule/used";
/// One file for each connection that `pam_vestibule` let in and that lives; for root alone.
pub const CONNECTIONS_DIR: &str = "/run/vestibule/connections";
/// The PAM stack of sshd.
pub const PAM_STACK: &str = "/etc/pam.d/sshd";
/// A directory for each connection that may use the client's X display, in which xauth(1) leaves its cookie.
pub const X11_DIR: &str = "/run/vestibule/x11";
/// One file for each target that is being woken; root's alone.
pub const WAKE_DIR: &str = "/run/vestibule/wake";
/// What `check-token` keeps; its own user's.
pub const TOKENS_DIR: &str = "/run/vestibule/tokens";
/// One empty file for each connection that a hub's token let in; see `vestibule::ticket`.
pub const TICKETS_DIR: &str = "/run/vestibule/tokens/logins";
/// The AuthorizedKeysCommand.
pub const KEYS_LOOKUP: &str = concat!(env!("VESTIBULE_PREFIX"), "/libexec/vestibule/keys-lookup");
/// The ForceCommand.
pub const ROUTE_SESSION: &str = concat!(env!("VESTIBULE_PREFIX"), "/libexec/vestibule/route-session");
/// The one privileged program.
pub const ENTER: &str = concat!(env!("VESTIBULE_PREFIX"), "/libexec/vestibule/enter");
/// The SFTP server that is carried into containers.
pub const SFTP_SERVER: &str = concat!(env!("VESTIBULE_PREFIX"), "/libexec/vestibule/sftp-server");
/// The hub's client; it also asks the hub to start a target.
pub const REFRESH_KEYS: &str = concat!(env!("VESTIBULE_PREFIX"), "/libexec/vestibule/refresh-keys");
/// Whom PAM asks about a hub's token.
pub const CHECK_TOKEN: &str = concat!(env!("VESTIBULE_PREFIX"), "/libexec/vestibule/check-token");

/// What carries bytes to targets on other machines.
pub const CONNECT: &str = concat!(env!("VESTIBULE_PREFIX"), "/libexec/vestibule/connect");

/// The account that every login name maps to.
pub const USER_SESSION: &str = "vestibule";
/// The account that runs `keys-lookup`.
pub const USER_KEYS: &str = "vestibule-keys";
/// The account that owns the store.
pub const USER_REFRESH: &str = "vestibule-refresh";
/// The account that goes on to targets on other machines.
pub const USER_HOP: &str = "vestibule-hop";
/// The account that asks hubs about tokens.
pub const USER_TOKENS: &str = "vestibule-tokens";

/// The drop-in for sshd, where `make install` puts it.
pub const DROP_IN: &str =
    concat!(env!("VESTIBULE_PREFIX"), "/share/vestibule/sshd_config.d/10-vestibule.conf");
/// The drop-in that goes with `pam_vestibule`.
pub const FORWARD_DROP_IN: &str =
    concat!(env!("VESTIBULE_PREFIX"), "/share/vestibule/sshd_config.d/05-vestibule-forward.conf");
/// The drop-in with which a hub's token is a second factor to a key.
pub const TOKEN_DROP_IN: &str =
    concat!(env!("VESTIBULE_PREFIX"), "/share/vestibule/sshd_config.d/06-vestibule-key-and-token.conf");
