//! What of the host's own set-up vestibule depends on: NSS, sshd, programs, users.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use vestibule::config::{Config, Forwarding};
use vestibule::{pam_stack, paths};

use super::{Fault, MEND, server, tokens};
use crate::getent;
use crate::layout::{self, Identities};

const NSSWITCH: &str = "/etc/nsswitch.conf";
const PAM_MODULE: &str = "pam_vestibule.so";
pub(super) const SSHD_CONFIG_DIR: &str = "/etc/ssh/sshd_config.d";
pub(super) const SSHD: &str = "/usr/sbin/sshd";
const GETCAP: &str = "/usr/sbin/getcap";
const PROGRAM: &str = "logins fail, or somebody may start it who should not";
const NAMES: &str = "to sshd the login names do not exist, and nobody can log in by them";
const OPEN: &str =
    "other keys than the store's may count, or a login name may do more on the bastion than it should";
const NO_FORWARDS: &str = "forwards are refused that targets' policies grant";

/// What an administrator has to do after `init`, with what is done already left out.
pub(crate) fn next_steps() -> Vec<String> {
    let mut faults = Vec::new();
    nsswitch(&mut faults);
    sshd(None, None, &Config::default(), &mut faults);
    if faults.is_empty() {
        return vec!["NSS and sshd are set up".to_owned()];
    }
    let steps = faults.into_iter().enumerate();
    let lines = steps.map(|(number, fault)| format!("  {}. {} ({})", number + 1, fault.mend, fault.what));
    std::iter::once("next:".to_owned()).chain(lines).collect()
}

/// The users that read the store must be in its group.
pub(super) fn members(faults: &mut Vec<Fault>) {
    let group = paths::USER_SESSION;
    let members = match getent::group(group) {
        Ok(Some((_, members))) => members,
        Ok(None) => {
            return faults
                .push(Fault::new(format!("group '{group}' does not exist"), "run 'vestibulectl init'"));
        }
        Err(error) => return faults.push(Fault::new(format!("{error:#}"), "")),
    };
    let is_member = |user: &str| members.iter().any(|member| member == user);
    if !is_member(paths::USER_KEYS) {
        let what = format!("user '{}' is not a member of group '{group}'", paths::USER_KEYS);
        faults.push(Fault::new(what, MEND).why("keys-lookup can't read the store, and nobody can log in"));
    }
    for member in members.iter().filter(|member| *member != paths::USER_KEYS) {
        let what = format!("user '{member}' is a member of group '{group}', which may read the store");
        faults.push(
            Fault::new(what, format!("run 'gpasswd --delete {member} {group}'"))
                .why("this user may start enter, too, and needs neither"),
        );
    }
}

pub(super) fn nss_conf(who: Identities, faults: &mut Vec<Fault>) {
    let text = fs::read_to_string(paths::NSS_CONF).unwrap_or_default();
    let value = |key: &str| {
        let line =
            text.lines().find_map(|line| line.trim().strip_prefix(key)?.trim_start().strip_prefix('='));
        line.and_then(|value| value.trim().parse::<u32>().ok())
    };
    if (value("uid"), value("gid")) != (Some(who.session.uid), Some(who.session.gid)) {
        let what = format!("'{}' does not have the ids of user '{}'", paths::NSS_CONF, paths::USER_SESSION);
        faults.push(Fault::new(what, MEND).why(NAMES));
    }
}

pub(super) fn programs(who: Identities, faults: &mut Vec<Fault>) {
    for program in layout::programs(who) {
        faults.extend(program.fault().map(|what| match program.mend_by_hand() {
            Some(command) => Fault::new(what, format!("run '{command}'")).why(PROGRAM),
            None => Fault::new(what, "install vestibule again").why(PROGRAM),
        }));
    }
    let asked = Command::new(GETCAP).arg(paths::KEYS_LOOKUP).env_clear().stdin(Stdio::null()).output();
    let capabilities = asked.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    let needed = "cap_dac_read_search=p";
    match capabilities {
        Ok(text) if text.trim_end().ends_with(needed) => {}
        Ok(_) => faults.push(
            Fault::new(
                format!(
                    "'{}' lacks the capability {needed}, and can't read targets' own key files",
                    paths::KEYS_LOOKUP
                ),
                format!("run 'setcap {needed} {}'", paths::KEYS_LOOKUP),
            )
            .why("keys that only a file inside the target lists open nothing; a copy of a program has no capabilities"),
        ),
        Err(error) => faults.push(Fault::new(
            format!("can't execute '{GETCAP}' to see the capability of keys-lookup: {error}"),
            "install libcap2-bin",
        )),
    }
}

/// `vestibule` must stand on the passwd line behind `files`, so that the host's own users come first.
pub(super) fn nsswitch(faults: &mut Vec<Fault>) {
    if !module_is_installed() {
        faults.push(
            Fault::new("libnss_vestibule.so.2 is not installed", "install libnss-vestibule").why(NAMES),
        );
    }
    let text = fs::read_to_string(NSSWITCH).unwrap_or_default();
    let sources = text.lines().find_map(|line| {
        let line = line.split('#').next().unwrap_or_default();
        line.trim_start().strip_prefix("passwd")?.trim_start().strip_prefix(':').map(str::to_owned)
    });
    let sources = sources.unwrap_or_default();
    let at = |name: &str| sources.split_whitespace().position(|source| source == name);
    let hosts_own = at("files").or_else(|| at("compat"));
    let mend = format!(
        "run 'sed -i -E \"/^passwd:/{{s/[[:space:]]+vestibule\\b//;s/([[:space:]])(files|compat)\\b/\\1\\2 vestibule/}}\" {NSSWITCH}', and put it into authselect's profile where there is one"
    );
    match (hosts_own, at("vestibule")) {
        (Some(files), Some(ours)) if files < ours => {}
        (_, None) => faults.push(
            Fault::new(format!("'{NSSWITCH}' does not have 'vestibule' on the line 'passwd:'"), mend)
                .why(NAMES),
        ),
        (_, Some(_)) => faults.push(
            Fault::new(format!("'{NSSWITCH}' has 'vestibule' before the host's own users"), mend)
                .why("a target could take the name of a user of this host"),
        ),
    }
}

fn module_is_installed() -> bool {
    let module = "libnss_vestibule.so.2";
    let multiarch = |base: &str| {
        let entries = fs::read_dir(base).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect::<Vec<PathBuf>>()
    };
    ["/usr/lib", "/lib", "/usr/lib64", "/lib64"]
        .iter()
        .flat_map(|base| multiarch(base).into_iter().chain([PathBuf::from(base)]))
        .any(|directory| directory.join(module).exists())
}

/// Forwards that end in the target, where the configuration has them: the module is there and stands last in sshd's
/// stack, and sshd uses PAM. `keys-lookup` looks at the same before it grants a forward.
pub(super) fn forwarding(config: &Config, faults: &mut Vec<Fault>) {
    let stack = fs::read_to_string(paths::PAM_STACK).unwrap_or_default();
    let in_stack = stack.lines().any(|line| !line.trim_start().starts_with('#') && line.contains(PAM_MODULE));
    if config.forwarding != Forwarding::Pam {
        if in_stack {
            let what =
                format!("'{}' has {PAM_MODULE}, which refuses sessions as it is set up", paths::PAM_STACK);
            faults.push(
                Fault::new(what, "put 'forwarding = \"pam\"' into vestibule.toml, or remove the line")
                    .why("nobody can log in by a login name"),
            );
        }
        return;
    }
    if let Err(why) = pam_stack::judge_host() {
        let mend = match why {
            pam_stack::Fault::Skipped(_) => "make that rule 'optional' or 'required'".to_owned(),
            pam_stack::Fault::NotLast => format!("make 'session required {PAM_MODULE}' its last line"),
            _ => "mend the file".to_owned(),
        };
        let what = format!("'{}': {why}: no forwards are granted", paths::PAM_STACK);
        faults.push(Fault::new(what, mend).why(NO_FORWARDS));
    }
    let asked = sshd_says(paths::USER_SESSION, None);
    for (key, wanted) in [("usepam", "yes"), ("allowtcpforwarding", "yes"), ("gatewayports", "no")] {
        if let Ok(output) = &asked
            && value_in(output, key) != Some(wanted)
        {
            let found = value_in(output, key).unwrap_or("nothing");
            let what =
                format!("sshd has '{key} {found}' for vestibule's login names; forwarding wants '{wanted}'");
            let mend = format!("run 'cp {} {SSHD_CONFIG_DIR}/', and reload sshd", paths::FORWARD_DROP_IN);
            faults.push(Fault::new(what, mend).why(NO_FORWARDS));
        }
    }
}

/// A value of `sshd -T`; OpenSSH 10.5 prints the names in mixed case.
pub(super) fn value_in<'a>(output: &'a str, key: &str) -> Option<&'a str> {
    output
        .lines()
        .filter_map(|line| line.split_once(' '))
        .find_map(|(name, value)| name.eq_ignore_ascii_case(key).then_some(value))
}

/// `sshd -T` for a user who comes from an address, or why it fails.
pub(super) fn sshd_says(user: &str, client: Option<IpAddr>) -> Result<String, Fault> {
    let client = client.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let who = format!("user={user},host={client},addr={client}");
    match Command::new(SSHD).args(["-T", "-C", &who]).stdin(Stdio::null()).output() {
        Ok(output) if output.status.success() => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        Ok(output) => {
            let why = String::from_utf8_lossy(&output.stderr);
            let what = format!("'{SSHD} -T' fails: {}", why.trim().replace(['\r', '\n'], " "));
            Err(Fault::new(what, "mend sshd's configuration"))
        }
        Err(error) => Err(Fault::new(format!("can't execute '{SSHD}': {error}"), "")),
    }
}

/// What sshd itself says it would do with one of our login names.
///
/// Without a `login` it is the user that all of them are; a Match block of sshd's may know one by its name.
pub(super) fn sshd(login: Option<&str>, client: Option<IpAddr>, config: &Config, faults: &mut Vec<Fault>) {
    let mend =
        format!("install vestibule-sshd, or run 'cp {} {SSHD_CONFIG_DIR}/', and reload sshd", paths::DROP_IN);
    if !Path::new(SSHD).exists() {
        return faults.push(Fault::new(format!("'{SSHD}' does not exist"), "install OpenSSH's server"));
    }
    let output = match sshd_says(login.unwrap_or(paths::USER_SESSION), client) {
        Ok(output) => output,
        Err(fault) => return faults.push(fault),
    };
    server::shut_out(&output, faults);
    let value = |key: &str| value_in(&output, key);
    // `forcecommand` may have the shell's `exec` before the program.
    let runs = |key: &str, wanted: &str| {
        let mut words = value(key).unwrap_or_default().split(' ').filter(|word| *word != "exec");
        words.next() == Some(wanted)
    };
    let is = |key: &str, wanted: &str| value(key) == Some(wanted);
    if !runs("authorizedkeyscommand", paths::KEYS_LOOKUP) || !runs("forcecommand", paths::ROUTE_SESSION) {
        if let Some(fault) = server::who_wins() {
            return faults.push(fault);
        }
        let what = format!("sshd does not have vestibule's drop-in for group '{}'", paths::USER_SESSION);
        return faults.push(Fault::new(what, mend).why(server::NOT_ASKED));
    }
    // With the PAM module forwards end in the container, and the drop-in that goes with it opens these.
    let without_pam = (config.forwarding != Forwarding::Pam)
        .then_some([("allowtcpforwarding", "local"), ("permitlisten", "none"), ("x11forwarding", "no")])
        .into_iter()
        .flatten()
        .filter(|(key, _)| !(*key == "allowtcpforwarding" && is(key, "no")));
    // A token may be wanted as well: `tokens.rs`.
    let with_token = tokens::are_on(config)
        && value("authenticationmethods").is_some_and(|methods| tokens::METHODS.contains(&methods));
    let keys_alone = (!with_token).then_some(("authenticationmethods", "publickey"));
    for (key, wanted) in [
        ("authorizedkeyscommanduser", paths::USER_KEYS),
        ("authorizedkeysfile", "none"),
        ("exposeauthinfo", "yes"),
        ("permituserrc", "no"),
        ("allowstreamlocalforwarding", "no"),
        ("permittunnel", "no"),
        ("gatewayports", "no"),
        ("fingerprinthash", "SHA256"),
    ]
    .into_iter()
    .chain(without_pam)
    .chain(keys_alone)
    {
        if !is(key, wanted) {
            let found = value(key).unwrap_or("nothing");
            let what = format!("sshd has '{key} {found}' for vestibule's login names; it must be '{wanted}'");
            faults.push(Fault::new(what, &mend).why(OPEN));
        }
    }
}
