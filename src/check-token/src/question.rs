//! What is asked: the login's name and the client's address, by pam_exec(8)'s environment, and the token on standard input.

use std::env;
use std::io::Read;
use std::os::unix::ffi::OsStringExt;

use vestibule::secret::Secret;

use crate::refused::Refused;

/// libpam takes no longer answer to a prompt (`PAM_MAX_RESP_SIZE`).
const MAX_TOKEN: usize = 512;
/// A host's name has no more characters.
const MAX_CLIENT: usize = 255;

/// A login with a token.
#[derive(Debug)]
pub(crate) struct Question {
    /// Any bytes.
    pub(crate) login: Vec<u8>,
    /// The client's address, or its name with `UseDNS yes`.
    pub(crate) client: Option<String>,
}

impl Question {
    /// Reads the environment.
    ///
    /// # Errors
    /// When this is not the question that PAM asks at a prompt.
    pub(crate) fn of_pam() -> Result<Question, Refused> {
        let kind = env::var("PAM_TYPE").unwrap_or_default();
        if kind != "auth" {
            return Err(Refused::new("setup", "not run by pam_exec in a rule of the kind 'auth'"));
        }
        let login = env::var_os("PAM_USER").unwrap_or_default().into_vec();
        let client = env::var("PAM_RHOST").ok().filter(|c| !c.is_empty() && c.len() <= MAX_CLIENT);
        Ok(Question { login, client })
    }
}

/// Reads the token: to a NUL, which pam_exec(8) writes behind it, or to the end.
///
/// # Errors
/// What can't be a token.
pub(crate) fn token(from: impl Read) -> Result<Secret, Refused> {
    let mut bytes = Vec::with_capacity(MAX_TOKEN + 2);
    from.take(MAX_TOKEN as u64 + 2)
        .read_to_end(&mut bytes)
        .map_err(|e| Refused::new("setup", format_args!("standard input: {e}")))?;
    let typed = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
    if typed.is_empty() {
        return Err(Refused::new(
            "no-token",
            "nothing was typed, or pam_exec is without its option 'expose_authtok'",
        ));
    }
    let token = if typed.len() <= MAX_TOKEN { Secret::typed(typed) } else { None };
    // sshd gives PAM a word of its own for somebody that it has refused already.
    token.ok_or_else(|| Refused::new("no-token", "what was typed can't be a token"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_ends_at_a_nul_or_at_the_end() {
        assert_eq!(token(&b"abc\0rest"[..]).unwrap().expose(), "abc");
        assert_eq!(token(&b"abc"[..]).unwrap().expose(), "abc");
        let long = vec![b'a'; MAX_TOKEN];
        assert_eq!(token(&long[..]).unwrap().expose().len(), MAX_TOKEN);
    }

    #[test]
    fn what_is_no_token_is_none_and_not_shown() {
        for bad in [
            &b""[..],
            b"\0",
            b"with blank",
            b"\x08\n\r\x7fINCORRECT\0",
            b"caf\xc3\xa9",
            &[b'a'; MAX_TOKEN + 1],
            &[b'a'; 9000],
        ] {
            let refused = token(bad).unwrap_err();
            assert_eq!(refused.reason, "no-token");
            assert!(!refused.cause.contains("INCORRECT"), "{refused:?}");
        }
    }
}
