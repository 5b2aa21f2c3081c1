//! What an answer that opens no WebSocket means, in words for whoever wants to log in.

use vestibule::messages::shown;

use crate::failure::Failure;
use crate::handshake::Head;
use crate::site::Site;

/// What there is to be done about a status.
fn meaning(status: u16) -> &'static str {
    match status {
        200..=299 => ": a page in the place of a WebSocket",
        300..=399 => ": a redirect, which is not followed",
        401 => ": it wants another token of the bastion",
        403 => ": the bastion's token is not allowed to go there",
        404 => ": there is no such server, or it does not run",
        405 | 426 => ": what is there is no WebSocket",
        407 => ": a proxy wants to know who asks",
        429 => ": it is asked too often",
        424 | 502..=504 => ": the server behind it does not run or does not answer",
        500..=599 => ": the fault is on the other side",
        _ => "",
    }
}

/// The failure that an answer is.
pub(crate) fn refused(site: &Site, head: &Head) -> Failure {
    let (name, status) = (shown(&site.name), head.status);
    let without_token = |text: &str| {
        let has = site.token.as_ref().is_some_and(|token| text.contains(token.expose()));
        if has { "something with the token in it".to_owned() } else { text.to_owned() }
    };
    let said = said(head).map(|said| without_token(&said));
    let location = head.header("location").map(&without_token);
    let words = match &said {
        Some(said) => {
            format!("the site '{name}' answers {status} and says '{}'{}", shown(said), meaning(status))
        }
        None => format!("the site '{name}' answers {status}{}", meaning(status)),
    };
    let cause = match location {
        Some(location) => format!("status {status}, location '{}'", shown(&location)),
        None => format!("status {status}, '{}'", shown(said.as_deref().unwrap_or_default())),
    };
    Failure::unreachable(words, cause)
}

/// What the body says, where it is for people: a message in JSON, as Jupyter's are, or a line of plain text.
fn said(head: &Head) -> Option<String> {
    let kind = head.header("content-type").unwrap_or_default().to_ascii_lowercase();
    let text = if kind.starts_with("application/json") {
        let value: serde_json::Value = serde_json::from_slice(&head.rest).ok()?;
        value.get("message")?.as_str()?.to_owned()
    } else if kind.starts_with("text/plain") {
        String::from_utf8_lossy(&head.rest).lines().next()?.to_owned()
    } else {
        return None;
    };
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::origin::Origin;
    use vestibule::secret::Secret;

    fn site() -> Site {
        let file = std::env::temp_dir().join(format!("vestibule-connect-token-{}", std::process::id()));
        std::fs::write(&file, "s3cret\n").unwrap();
        std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        let token = Secret::read(&file).unwrap();
        let _ = std::fs::remove_file(&file);
        Site {
            name: "hub".to_owned(),
            origin: Origin::parse("https://hub.example").unwrap(),
            token: Some(token),
            ca_file: None,
            proxy: None,
        }
    }

    fn head(status: u16, kind: &str, body: &str) -> Head {
        let headers = vec![("content-type".to_owned(), kind.to_owned())];
        Head { status, headers, rest: body.as_bytes().to_vec() }
    }

    #[test]
    fn an_answer_is_told_in_words_and_never_with_the_token() {
        let site = site();
        for (head, wanted) in [
            (
                head(403, "application/json", r#"{"status": 403, "message": "Forbidden, that"}"#),
                "the site 'hub' answers 403 and says 'Forbidden, that': the bastion's token is not allowed to go there\n",
            ),
            (head(404, "text/html", "<html>"), "answers 404: there is no such server, or it does not run\n"),
            (
                head(200, "text/html; charset=x", "<html>"),
                "answers 200: a page in the place of a WebSocket\n",
            ),
            (head(429, "text/plain", "slow\ndown"), "answers 429 and says 'slow': it is asked too often\n"),
            (head(503, "text/plain", "a\u{1b}[2J"), "and says 'a\\u{1b}[2J': the server"),
            (head(400, "text/plain", "bad s3cret"), "and says 'something with the token in it'\n"),
            (head(500, "application/json", "{"), "answers 500: the fault is on the other side\n"),
        ] {
            let text = refused(&site, &head).to_string();
            assert!(text.contains(wanted), "{text}");
            assert!(!text.contains("s3cret") && !text.contains('\u{1b}'), "{text}");
        }
        let mut there = head(302, "text/html", "");
        there.headers.push(("location".to_owned(), "/hub/login?next=s3cret".to_owned()));
        assert!(!refused(&site, &there).to_string().contains("s3cret"));
        let long = head(400, "text/plain", &"x".repeat(4000));
        assert!(refused(&site, &long).to_string().len() < 500);
    }
}
