//! Targets on other machines, as the parsing process tells of them: a few words, of fixed number.

use vestibule::target::{HostKeys, TcpAddress, Transport};

/// How many words a transport is.
const WORDS: usize = 5;

/// The words for a transport.
pub(crate) fn to_fields(over: &Transport) -> Vec<String> {
    let mut words: Vec<String> = match over {
        Transport::Tcp(TcpAddress::Fixed { host, port }) => {
            vec!["tcp".to_owned(), host.clone(), port.to_string()]
        }
        Transport::Tcp(TcpAddress::Container { engine, container, port, published }) => {
            let whose = if *published { "published" } else { "own" };
            vec![whose.to_owned(), engine.clone(), container.clone(), port.to_string()]
        }
        Transport::Unix(path) => vec!["unix".to_owned(), path.clone()],
        Transport::Command(name) => vec!["command".to_owned(), name.clone()],
        Transport::Websocket { site, path } => vec!["websocket".to_owned(), site.clone(), path.clone()],
    };
    words.resize(WORDS, String::new());
    words
}

/// The transport of these words.
pub(crate) fn from_fields(words: [String; WORDS]) -> Result<Transport, &'static str> {
    let [kind, one, two, three, _] = words;
    let port = |word: &str| word.parse().map_err(|_| "the parsing process gave no port");
    Ok(match kind.as_str() {
        "tcp" => Transport::Tcp(TcpAddress::Fixed { host: one, port: port(&two)? }),
        "own" | "published" => {
            let published = kind == "published";
            let port = port(&three)?;
            Transport::Tcp(TcpAddress::Container { engine: one, container: two, port, published })
        }
        "unix" => Transport::Unix(one),
        "command" => Transport::Command(one),
        "websocket" => Transport::Websocket { site: one, path: two },
        _ => return Err("the parsing process gave no transport"),
    })
}

/// The keys of a server, one a line; `learn` for those that are to be learned.
pub(crate) fn keys_to_field(keys: &HostKeys) -> String {
    match keys {
        HostKeys::Learn => "learn".to_owned(),
        HostKeys::Pinned(keys) => keys.iter().map(|key| format!("{key}\n")).collect(),
    }
}

/// See [`keys_to_field`].
pub(crate) fn keys_from_field(field: &str) -> Result<HostKeys, &'static str> {
    if field == "learn" {
        return Ok(HostKeys::Learn);
    }
    let keys: Result<_, _> = field.lines().map(str::parse).collect();
    keys.map(HostKeys::Pinned).map_err(|_| "the parsing process gave no host key")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transport_survives_the_way_to_the_worker() {
        let text = str::to_owned;
        for over in [
            Transport::Tcp(TcpAddress::Fixed { host: text("h"), port: 22 }),
            Transport::Tcp(TcpAddress::Container {
                engine: text("docker"),
                container: text("lab"),
                port: 22,
                published: true,
            }),
            Transport::Unix(text("/run/lab")),
            Transport::Command(text("site")),
            Transport::Websocket { site: text("hub"), path: text("/user/ada/sshd/") },
        ] {
            let words = to_fields(&over).try_into().unwrap();
            assert_eq!(from_fields(words), Ok(over));
        }
        assert!(from_fields(["tcp", "h", "x", "", ""].map(text)).is_err());
    }
}
