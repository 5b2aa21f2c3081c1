//! Hub tokens at sshd's prompt: the configuration, sshd and its PAM stack must say the same of them. See check-token(8).

use vestibule::config::Config;
use vestibule::pam_stack::tokens::{self, Fault as Stack};
use vestibule::paths;

use super::setup::{SSHD_CONFIG_DIR, sshd_says, value_in};
use super::{Fault, MEND};
use crate::layout::Identities;

const PROMPT: &str = "what is typed at the prompt would be asked of the host's own passwords";
const NOBODY: &str = "nobody can log in by a login name where a token is wanted";

/// What sshd may want of logins, where tokens are on.
pub(super) const METHODS: [&str; 1] = ["publickey,password"];

/// Whether some source's tokens count.
pub(super) fn are_on(config: &Config) -> bool {
    config.token_sources().next().is_some()
}

/// Looks, where they are on, and where the stack or sshd says so though they are off.
pub(super) fn look(config: &Config, faults: &mut Vec<Fault>) {
    let on = are_on(config);
    let stack = tokens::judge_host();
    for (name, table) in config.token_sources() {
        if table.get("kind").and_then(|kind| kind.as_str()) != Some("jupyterhub") {
            let what = format!("source '{name}' has 'tokens = true', and is no hub that has tokens");
            faults.push(Fault::new(what, "remove the line"));
        }
    }
    match &stack {
        Err(Stack::Missing) if !on => {}
        Ok(()) if !on => {
            let what = format!("'{}' asks check-token, and no source has 'tokens = true'", paths::PAM_STACK);
            let mend = "put it into the source of vestibule.toml, or remove the rules";
            faults.push(Fault::new(what, mend).why("no token is taken").noted());
        }
        Ok(()) => {}
        Err(why) => {
            let what = format!("'{}': {why}", paths::PAM_STACK);
            let mend = format!("let these be its first rules for 'auth': {}", tokens::RULES.join("; "));
            faults.push(Fault::new(what, mend).why(PROMPT));
        }
    }
    let Ok(output) = sshd_says(paths::USER_SESSION, None) else { return };
    let value = |key: &str| value_in(&output, key).unwrap_or("nothing");
    if !on {
        return;
    }
    let methods = value("authenticationmethods");
    if !METHODS.contains(&methods) {
        let what = format!(
            "sshd has 'authenticationmethods {methods}' for vestibule's login names: no token is asked for"
        );
        let mend = format!("run 'cp {} {SSHD_CONFIG_DIR}/', and reload sshd", paths::TOKEN_DROP_IN);
        faults.push(Fault::new(what, mend).why("a source of vestibule.toml has 'tokens = true'").noted());
        return;
    }
    for (key, wanted) in
        [("usepam", "yes"), ("passwordauthentication", "yes"), ("kbdinteractiveauthentication", "no")]
    {
        if value(key) != wanted {
            let found = value(key);
            let what =
                format!("sshd has '{key} {found}' for vestibule's login names; tokens want '{wanted}'");
            faults.push(Fault::new(what, "mend sshd's configuration").why(NOBODY));
        }
    }
}

/// The user that check-token becomes must be one of its own.
pub(super) fn user(who: Identities, faults: &mut Vec<Fault>) {
    if [who.session.uid, who.refresh.uid].contains(&who.tokens.uid) || who.tokens.uid == 0 {
        let what = format!("user '{}' has the number of another", paths::USER_TOKENS);
        faults.push(Fault::new(what, MEND));
    }
}
